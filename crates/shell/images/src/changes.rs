//! Dockerfile instructions that change the configuration of an image: those that `docker import --change` takes. Pure.

use crate::configuration::{ContainerConfig, Healthcheck};
use crate::error::Error;

/// Applies one instruction such as `ENV PATH=/bin` to `config`.
pub(crate) fn apply(config: &mut ContainerConfig, instruction: &str) -> Result<(), Error> {
    let instruction = instruction.trim();
    let (name, arguments) = instruction.split_once(char::is_whitespace).unwrap_or((instruction, ""));
    let arguments = arguments.trim();
    let upper = name.to_ascii_uppercase();
    if arguments.is_empty() {
        return Err(Error::Invalid(format!("{upper} requires at least one argument")));
    }
    match upper.as_str() {
        "CMD" => config.cmd = command(arguments, &config.shell),
        "ENTRYPOINT" => {
            config.entrypoint = command(arguments, &config.shell);
            // As a Dockerfile has it: the command of before was for the entrypoint of before.
            config.cmd.clear();
        }
        "ENV" => {
            for (key, value) in pairs(arguments)? {
                config.env.retain(|known| known.split('=').next() != Some(key.as_str()));
                config.env.push(format!("{key}={value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(arguments)?),
        "EXPOSE" => {
            for port in words(arguments)? {
                add(&mut config.exposed_ports, exposed(&port)?);
            }
        }
        "VOLUME" => {
            let volumes = match json_array(arguments) {
                Some(volumes) => volumes,
                None => words(arguments)?,
            };
            for volume in volumes {
                add(&mut config.volumes, volume);
            }
        }
        "USER" => arguments.clone_into(&mut config.user),
        "WORKDIR" => config.working_dir = joined(&config.working_dir, arguments),
        "STOPSIGNAL" => arguments.clone_into(&mut config.stop_signal),
        "ONBUILD" => config.on_build.push(arguments.to_owned()),
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(arguments, &config.shell)?),
        _ => return Err(Error::Invalid(format!("{name} is not a valid change command"))),
    }
    Ok(())
}

fn add(set: &mut Vec<String>, item: String) {
    if let Err(place) = set.binary_search(&item) {
        set.insert(place, item);
    }
}

/// `["a", "b"]`, or a line for the shell.
fn command(arguments: &str, shell: &[String]) -> Vec<String> {
    json_array(arguments).unwrap_or_else(|| {
        let default = ["/bin/sh".to_owned(), "-c".to_owned()];
        let shell = if shell.is_empty() { &default[..] } else { shell };
        shell.iter().cloned().chain([arguments.to_owned()]).collect()
    })
}

fn json_array(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// `a=b "c d"=e`, or `a` and the rest of the line.
fn pairs(arguments: &str) -> Result<Vec<(String, String)>, Error> {
    let words = words(arguments)?;
    let first = words.first().map(String::as_str).unwrap_or_default();
    if !first.contains('=') {
        let (key, value) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
        if value.is_empty() {
            return Err(Error::Invalid(format!("{key} must have two arguments")));
        }
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::Invalid(format!("can't find = in {word:?}. Must be of the form: name=value"))),
    };
    words.iter().map(pair).collect()
}

/// Words parted by blanks, with quotes and backslashes as in a Dockerfile.
fn words(text: &str) -> Result<Vec<String>, Error> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == character => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err(Error::Invalid(format!(
            "unexpected end of statement while looking for matching quote: {text}"
        )));
    }
    words.extend(word);
    Ok(words)
}

/// `80` is `80/tcp`.
fn exposed(port: &str) -> Result<String, Error> {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let known = matches!(protocol.as_str(), "tcp" | "udp" | "sctp");
    if number.parse::<u16>().is_err() || !known {
        return Err(Error::Invalid(format!("Invalid containerPort: {port}")));
    }
    Ok(format!("{number}/{protocol}"))
}

fn joined(base: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    format!("{}/{path}", base.trim_end_matches('/'))
}

/// `NONE`, or `[--interval=5s …] CMD …`.
fn healthcheck(arguments: &str, shell: &[String]) -> Result<Healthcheck, Error> {
    let mut check = Healthcheck::default();
    let mut rest = arguments;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        let invalid = || Error::Invalid(format!("invalid HEALTHCHECK flag --{option}"));
        let (name, value) = option.split_once('=').ok_or_else(invalid)?;
        let field = match name {
            "interval" => &mut check.interval,
            "timeout" => &mut check.timeout,
            "start-period" => &mut check.start_period,
            "start-interval" => &mut check.start_interval,
            "retries" => {
                check.retries = value.parse().map_err(|_| invalid())?;
                rest = after.trim_start();
                continue;
            }
            _ => return Err(invalid()),
        };
        *field = nanoseconds(value).ok_or_else(invalid)?;
        rest = after.trim_start();
    }
    let (kind, line) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    check.test = match (kind.to_ascii_uppercase().as_str(), line.trim()) {
        ("NONE", "") => vec!["NONE".to_owned()],
        ("CMD", line) if !line.is_empty() => match json_array(line) {
            Some(words) => ["CMD".to_owned()].into_iter().chain(words).collect(),
            None if shell.is_empty() => vec!["CMD-SHELL".to_owned(), line.to_owned()],
            None => ["CMD".to_owned()].into_iter().chain(command(line, shell)).collect(),
        },
        _ => return Err(Error::Invalid(format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)"))),
    };
    Ok(check)
}

/// Go's durations: `1h2m3.5s`, `300ms`.
fn nanoseconds(text: &str) -> Option<i64> {
    let (mut rest, mut sum) = (text, 0_i64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let unit: i64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()? };
        let mut part = unit;
        sum = sum.checked_add(whole.checked_mul(unit)?)?;
        for digit in fraction.chars() {
            part /= 10;
            sum = sum.checked_add(part * i64::from(digit.to_digit(10)?))?;
        }
        rest = next;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(instructions: &[&str]) -> ContainerConfig {
        let mut config = ContainerConfig::default();
        for instruction in instructions {
            apply(&mut config, instruction).unwrap();
        }
        config
    }

    #[test]
    fn commands_come_as_lists_or_for_the_shell() {
        assert_eq!(changed(&[r#"CMD ["/a", "b c"]"#]).cmd, ["/a", "b c"]);
        assert_eq!(changed(&["cmd echo hi"]).cmd, ["/bin/sh", "-c", "echo hi"]);
        let config = changed(&["CMD x", r#"ENTRYPOINT ["/e"]"#]);
        assert_eq!((config.entrypoint, config.cmd.len()), (vec!["/e".to_owned()], 0));
    }

    #[test]
    fn variables_replace_those_of_before() {
        let config = changed(&["ENV A=1 B='2 3'", "ENV A=4", r#"ENV C d "e""#]);
        assert_eq!(config.env, ["B=2 3", "A=4", r#"C=d "e""#]);
        assert_eq!(changed(&[r#"LABEL a=b "c d"="e f""#]).labels["c d"], "e f");
    }

    #[test]
    fn the_rest_lands_where_it_belongs() {
        let config = changed(&[
            "EXPOSE 80 53/UDP 80/tcp",
            r#"VOLUME ["/data"]"#,
            "VOLUME /a /b",
            "USER 1:2",
            "WORKDIR /x",
            "WORKDIR y",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN x",
            "HEALTHCHECK --interval=1m30s --timeout=1.5s --retries=3 CMD curl -f http://localhost",
        ]);
        assert_eq!(config.exposed_ports, ["53/udp", "80/tcp"]);
        assert_eq!(config.volumes, ["/a", "/b", "/data"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1:2", "/x/y"));
        assert_eq!((config.stop_signal.as_str(), config.on_build.len()), ("SIGINT", 1));
        let check = config.healthcheck.unwrap();
        assert_eq!(check.test, ["CMD-SHELL", "curl -f http://localhost"]);
        assert_eq!((check.interval, check.timeout, check.retries), (90_000_000_000, 1_500_000_000, 3));
        assert_eq!(changed(&["HEALTHCHECK NONE"]).healthcheck.unwrap().test, ["NONE"]);
    }

    #[test]
    fn bad_instructions_are_refused() {
        for bad in [
            "RUN x",
            "FROM y",
            "CMD",
            "ENV A",
            "ENV A=1 B",
            "EXPOSE x",
            "ENV 'A=1",
            "HEALTHCHECK --x=1 CMD y",
            "",
        ] {
            assert!(apply(&mut ContainerConfig::default(), bad).is_err(), "{bad}");
        }
    }
}
