//! What Docker shows of the swarm's root certificate: issuer and public key, each as base64 of its DER.
//!
//! Reads just enough DER (X.690) of an X.509 certificate (RFC 5280, section 4.1) to cut out the two; nothing is verified.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// A node's or the swarm's trust root as Docker shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TlsInfo {
    /// PEM of the root certificate.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trust_root: String,
    /// DER of the issuer's name, base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_issuer_subject: String,
    /// DER of the issuer's public key, base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_issuer_public_key: String,
}

impl TlsInfo {
    /// From the PEM of the root certificate. What cannot be read is left empty.
    pub fn of_root(pem: &str) -> Self {
        let (subject, key) = subject_and_key(pem).unwrap_or_default();
        Self { trust_root: pem.to_owned(), cert_issuer_subject: subject, cert_issuer_public_key: key }
    }
}

/// Tag of the version, which the oldest certificates lack.
const EXPLICIT_VERSION: u8 = 0xa0;

fn subject_and_key(pem: &str) -> Option<(String, String)> {
    let body = pem.split_once("-----BEGIN CERTIFICATE-----")?.1.split_once("-----END CERTIFICATE-----")?.0;
    let text: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(text).ok()?;
    let (certificate, _) = element(&der)?;
    let (to_be_signed, _) = element(certificate.content)?;
    let mut rest = to_be_signed.content;
    let mut next = || -> Option<Element<'_>> {
        let (element, after) = element(rest)?;
        rest = after;
        Some(element)
    };
    if next()?.tag == EXPLICIT_VERSION {
        next()?; // serial number
    }
    next()?; // signature algorithm
    next()?; // issuer
    next()?; // validity
    let subject = next()?;
    let key = next()?;
    Some((STANDARD.encode(subject.whole), STANDARD.encode(key.whole)))
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

/// The first element of `bytes` and what follows it.
fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, after_tag) = bytes.split_first()?;
    let (&first, after_first) = after_tag.split_first()?;
    let (length, header) = if first < 0x80 {
        (usize::from(first), 2)
    } else {
        let digits = usize::from(first & 0x7f);
        let big_endian = after_first.get(..digits).filter(|d| (1..=4).contains(&d.len()))?;
        let length = big_endian.iter().fold(0_usize, |sum, d| (sum << 8) | usize::from(*d));
        (length, 2 + digits)
    };
    let end = header.checked_add(length)?;
    let content = bytes.get(header..end)?;
    Some((Element { tag, content, whole: bytes.get(..end)? }, bytes.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root as a real swarm made it.
    const ROOT: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBazCCARCgAwIBAgIULleLjMKugohW3i6i8FZDENFmBPowCgYIKoZIzj0EAwIw\n\
        EzERMA8GA1UEAxMIc3dhcm0tY2EwHhcNMjYxMTIyMjMxMTAwWhcNNDYxMTE3MjMx\n\
        MTAwWjATMREwDwYDVQQDEwhzd2FybS1jYTBZMBMGByqGSM49AgEGCCqGSM49AwEH\n\
        A0IABEGgSOm3eYnmHsqcrhAD6CmuP3+pnb2rmjn5bO4xCf64RQLdhStLJBaVejNp\n\
        1iMztQ4xFPeospJTTNx+Hhb565OjQjBAMA4GA1UdDwEB/wQEAwIBBjAPBgNVHRMB\n\
        Af8EBTADAQH/MB0GA1UdDgQWBBRUdT2kw0s8qXpIJTRqRJDN8WcdhTAKBggqhkjO\n\
        PQQDAgNJADBGAiEA6U1jmELAetK31lTiYd53gCAVXlZvR9g80SYQJ14taTACIQCi\n\
        epBHxkMrtvbONupKCoxRWLWXuAXkDNzrmw5jtL/NLg==\n\
        -----END CERTIFICATE-----\n";

    #[test]
    fn issuer_and_key_are_what_docker_shows() {
        let info = TlsInfo::of_root(ROOT);
        assert_eq!(info.cert_issuer_subject, "MBMxETAPBgNVBAMTCHN3YXJtLWNh");
        assert_eq!(
            info.cert_issuer_public_key,
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQaBI6bd5ieYeypyuEAPoKa4/f6mdvauaOfls7jEJ/rhFAt2FK0skFpV6M2nW\
             IzO1DjEU96iyklNM3H4eFvnrkw=="
        );
        assert_eq!(info.trust_root, ROOT);
    }

    #[test]
    fn nonsense_is_shown_as_it_is() {
        for pem in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(TlsInfo::of_root(pem).cert_issuer_subject, "", "{pem}");
        }
    }
}
