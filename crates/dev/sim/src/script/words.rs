//! The words of a script's line.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::time::Duration;

/// The words of a line: plain ones in order, and `key=value` pairs.
pub(super) struct Words<'a> {
    plain: std::collections::VecDeque<&'a str>,
    pairs: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        let (pairs, plain) = line.split_whitespace().partition::<Vec<_>, _>(|word| word.contains('='));
        let pairs = pairs.into_iter().filter_map(|pair| pair.split_once('=')).collect();
        Self { plain: plain.into(), pairs }
    }

    pub(super) fn next(&mut self, what: &str) -> Result<&'a str> {
        self.plain.pop_front().with_context(|| format!("{what} is missing"))
    }

    pub(super) fn optional(&mut self) -> Option<&'a str> {
        self.plain.pop_front()
    }

    /// Whether a plain word is there.
    pub(super) fn flag(&mut self, word: &str) -> bool {
        let at = self.plain.iter().position(|plain| *plain == word);
        at.and_then(|at| self.plain.remove(at)).is_some()
    }

    /// The value of a key.
    pub(super) fn take(&mut self, key: &str) -> Option<&'a str> {
        self.pairs.remove(key)
    }

    /// All pairs whose key starts with `prefix`, without it.
    pub(super) fn take_all(&mut self, prefix: &str) -> Vec<(&'a str, &'a str)> {
        let keys: Vec<_> = self.pairs.keys().copied().filter(|key| key.starts_with(prefix)).collect();
        let found = keys.into_iter().filter_map(|key| Some((&key[prefix.len()..], self.pairs.remove(key)?)));
        found.collect()
    }

    /// Nothing may be left over: a misspelt word would change what a scenario tests.
    pub(super) fn done(self) -> Result<String> {
        if let Some(word) = self.plain.front() {
            bail!("{word} means nothing here");
        }
        if let Some((key, value)) = self.pairs.first_key_value() {
            bail!("{key}={value} means nothing here");
        }
        Ok(String::new())
    }
}

/// `500ms`, `10s`, `5m`, `24h`.
pub(super) fn duration(text: &str) -> Result<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().with_context(|| format!("{text} is no duration"))?;
    Ok(match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_mins(number),
        "h" => Duration::from_hours(number),
        _ => bail!("{text} is no duration"),
    })
}

/// The same in nanoseconds.
pub(super) fn nanos(text: &str) -> Result<i64> {
    Ok(i64::try_from(duration(text)?.as_nanos())?)
}
