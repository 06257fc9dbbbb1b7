//! Names of objects.

use super::AdmitError;

/// DNS labels end here (RFC 1035, section 2.3.4).
const NAME_MAX_CHARS: usize = 63;
/// Names of secrets and configs may be longer and looser.
const DATA_NAME_MAX_CHARS: usize = 64;

/// A service's or network's name must be usable as a DNS label.
pub(super) fn check_name(name: &str) -> Result<(), AdmitError> {
    if name.is_empty() {
        return Err(AdmitError::invalid("meta: name must be provided"));
    }
    let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    let bytes = name.as_bytes();
    let ends_well = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    if !ends_well(bytes.first()) || !ends_well(bytes.last()) || !bytes.iter().all(|c| inner(*c)) {
        return Err(AdmitError::invalid("name must be valid as a DNS name component"));
    }
    if name.len() > NAME_MAX_CHARS {
        return Err(AdmitError::invalid("name must be 63 characters or fewer"));
    }
    Ok(())
}

/// A secret's or config's name.
pub(super) fn check_data_name(name: &str) -> Result<(), AdmitError> {
    if name.is_empty() {
        return Err(AdmitError::invalid("name must be provided"));
    }
    let inner = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    let bytes = name.as_bytes();
    let ends_well = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let fits = name.len() <= DATA_NAME_MAX_CHARS;
    if !fits || !ends_well(bytes.first()) || !ends_well(bytes.last()) || !bytes.iter().all(|c| inner(*c)) {
        return Err(AdmitError::invalid(
            "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["whoami", "a", "my-demo", "st_front", "A1", "a--b", &"x".repeat(63)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for (bad, words) in [
            ("", "meta: name must be provided"),
            ("bad_name!", "name must be valid as a DNS name component"),
            ("-a", "name must be valid as a DNS name component"),
            ("a.b", "name must be valid as a DNS name component"),
            ("a_", "name must be valid as a DNS name component"),
        ] {
            let error = check_name(bad).unwrap_err();
            assert_eq!(error.to_string(), format!("rpc error: code = InvalidArgument desc = {words}"));
        }
        assert!(check_name(&"x".repeat(64)).unwrap_err().to_string().ends_with("63 characters or fewer"));
    }

    #[test]
    fn names_of_secrets_may_hold_dots() {
        assert_eq!(check_data_name("tls.key_1"), Ok(()));
        for bad in ["", ".a", "a b", "a.", &"x".repeat(65)] {
            assert!(check_data_name(bad).is_err(), "{bad}");
        }
    }
}
