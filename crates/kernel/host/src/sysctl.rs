//! Kernel parameters below `/proc/sys`. Those of the network show the namespace of the thread that looks.

use crate::Reason;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// File of a parameter: dots part the name, and a slash stands for a dot within a part, as `sysctl` has it.
fn file_of(name: &str) -> Result<PathBuf, Reason> {
    let relative: String = name
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    let path = Path::new(&relative);
    if relative.is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(Reason::Impossible("this is not the name of a kernel parameter"));
    }
    Ok(Path::new("/proc/sys").join(path))
}

/// The parameter's value with single spaces between its words; `None` if there is no such parameter.
pub(crate) fn read(name: &str) -> Result<Option<String>, Reason> {
    match fs::read_to_string(file_of(name)?) {
        Ok(text) => Ok(Some(text.split_whitespace().collect::<Vec<_>>().join(" "))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Reason::File(e)),
    }
}

/// Sets the parameter.
pub(crate) fn write(name: &str, value: &str) -> Result<(), Reason> {
    fs::write(file_of(name)?, value).map_err(Reason::File)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_stands_for_a_dot_in_a_link_name() {
        let path = file_of("net.ipv4.conf.eth0/5.forwarding").unwrap();
        assert_eq!(path, Path::new("/proc/sys/net/ipv4/conf/eth0.5/forwarding"));
    }

    #[test]
    fn names_cannot_lead_out_of_the_tree() {
        for name in ["", "..etc", "net.//.x", ".net"] {
            assert!(file_of(name).is_err(), "{name}");
        }
    }
}
