//! Values in queries.

use crate::ApiError;
use shoal_model::Timestamp;

/// The parsed query of a request, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=1&b=%20`.
    pub fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The first value of `key`, empty ones too.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The first value of `key`, or an empty text.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    /// All values of `key`.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Docker's lenient boolean: all but nothing, `0`, `no`, `false` and `none` (in any case) is true.
    pub fn flag(&self, key: &str) -> bool {
        self.flag_or(key, false)
    }

    /// The same with another value for an absent key.
    pub fn flag_or(&self, key: &str, default: bool) -> bool {
        let Some(value) = self.get(key) else { return default };
        let value = value.trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// Go's strict boolean (`strconv.ParseBool`); absent or empty is false.
    pub fn strict_flag(&self, key: &str) -> Result<bool, ApiError> {
        match self.text(key) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            other => Err(ApiError::bad_request(format!(
                "invalid value for {key}: strconv.ParseBool: parsing \"{other}\": invalid syntax"
            ))),
        }
    }

    /// A whole number; absent or empty is `None`.
    pub fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, ApiError> {
        match self.text(key) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                ApiError::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))
            }),
        }
    }

    /// A time: unix seconds with an optional fraction, or RFC 3339. `0` and absent mean none.
    pub fn time(&self, key: &str) -> Result<Option<Timestamp>, ApiError> {
        match self.text(key) {
            "" | "0" => Ok(None),
            text => unix_time(text).or_else(|| text.parse().ok()).map(Some).ok_or_else(|| {
                ApiError::bad_request(format!("invalid value for {key}: {text:?} is not a time"))
            }),
        }
    }

    /// The version that a write is based on, required.
    pub fn object_version(&self, kind: &str) -> Result<u64, ApiError> {
        let text = self.text("version");
        text.parse().map_err(|_| {
            ApiError::bad_request(format!(
                "invalid {kind} version '{text}': strconv.ParseUint: parsing \"{text}\": invalid syntax"
            ))
        })
    }
}

fn unix_time(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos).map(Timestamp)
}

/// The time that `until` means in a filter: unix seconds, RFC 3339, or a Go duration before `now` (`1h30m`).
pub fn before(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(nanos) = go_duration(text) {
        return Some(Timestamp(now.0.saturating_sub(nanos)));
    }
    unix_time(text).or_else(|| text.parse().ok()).filter(|_| !text.is_empty())
}

/// A Go duration (`1h30m`, `1.5s`, `10ms`) in nanoseconds.
fn go_duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut sum: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let scale: i64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let mut nanos = whole.parse::<i64>().ok()?.checked_mul(scale)?;
        if !fraction.is_empty() {
            let digits = fraction.get(..fraction.len().min(9))?;
            let of: i64 = 10_i64.checked_pow(u32::try_from(digits.len()).ok()?)?;
            nanos = nanos.checked_add(
                i64::try_from(i128::from(digits.parse::<i64>().ok()?) * i128::from(scale) / i128::from(of))
                    .ok()?,
            )?;
        }
        sum = sum.checked_add(nanos)?;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenient_booleans_follow_docker() {
        for (text, want) in [
            ("", false),
            ("0", false),
            ("No", false),
            ("False", false),
            ("none", false),
            ("True", true),
            ("x", true),
        ] {
            assert_eq!(Query::parse(&format!("v={text}")).flag("v"), want, "{text}");
        }
        assert!(!Query::parse("").flag("v"));
        assert!(Query::parse("").flag_or("v", true));
    }

    #[test]
    fn strict_booleans_refuse_other_words() {
        assert!(Query::parse("status=t").strict_flag("status").unwrap());
        assert_eq!(Query::parse("status=yes").strict_flag("status").unwrap_err().status.code(), 400);
    }

    #[test]
    fn times_are_unix_seconds_or_rfc_3339() {
        let q = Query::parse("a=1700000000.5&b=2026-11-22T23:16:29Z&c=0&d=soon");
        assert_eq!(q.time("a").unwrap(), Some(Timestamp(1_700_000_000_500_000_000)));
        assert_eq!(q.time("b").unwrap().unwrap().to_string(), "2026-11-22T23:16:29Z");
        assert_eq!(q.time("c").unwrap(), None);
        assert!(q.time("d").is_err());
    }

    #[test]
    fn a_missing_version_is_refused_in_dockers_words() {
        let err = Query::parse("").object_version("service").unwrap_err();
        assert!(err.message.starts_with("invalid service version ''"), "{}", err.message);
    }

    #[test]
    fn repeated_keys_are_kept_in_order() {
        let q = Query::parse("names=a&names=b%3A1&x=");
        assert_eq!(q.all("names").collect::<Vec<_>>(), ["a", "b:1"]);
        assert_eq!(q.get("x"), Some(""));
    }

    #[test]
    fn until_may_be_a_time_before_now() {
        let now = Timestamp(10_000_000_000_000);
        assert_eq!(before("1h30m", now), Some(Timestamp(10_000_000_000_000 - 5_400_000_000_000)));
        assert_eq!(before("1.5s", now), Some(Timestamp(9_998_500_000_000)));
        assert_eq!(before("7", now), Some(Timestamp(7_000_000_000)));
        assert_eq!(before("soon", now), None);
        assert_eq!(before("", now), None);
    }
}
