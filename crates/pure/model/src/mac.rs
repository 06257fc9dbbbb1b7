//! Ethernet addresses.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An Ethernet (MAC) address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// Why a text is not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address: six hexadecimal bytes parted by colons are needed")]
pub struct InvalidMac(pub String);

impl Mac {
    /// The address of an endpoint, made from the endpoint's identity (a task's or node's id and the network's) and
    /// never from its IP address: a reused IP must not meet a stale forwarding entry of its former holder.
    ///
    /// Locally administered, unicast, starting with `02:42` as Docker's do; the rest is 32 bits of FNV-1a.
    pub fn of_endpoint(holder: &str, network: &str) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in holder.bytes().chain([b'/']).chain(network.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let folded = (hash ^ (hash >> 32)).to_be_bytes();
        Self([0x02, 0x42, folded[4], folded[5], folded[6], folded[7]])
    }
}

impl std::str::FromStr for Mac {
    type Err = InvalidMac;
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let invalid = || InvalidMac(text.to_owned());
        let mut bytes = [0_u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() { Err(invalid()) } else { Ok(Self(bytes)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = InvalidMac;
    fn try_from(text: String) -> Result<Self, InvalidMac> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip() {
        let mac: Mac = "02:42:0a:ff:00:03".parse().unwrap();
        assert_eq!(mac.to_string(), "02:42:0a:ff:00:03");
        for bad in ["", "02:42", "02:42:0a:ff:00:03:04", "2:42:0a:ff:00:03", "zz:42:0a:ff:00:03"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn endpoint_addresses_are_unicast_local_and_differ_by_holder_and_network() {
        let a = Mac::of_endpoint("task1", "net1");
        assert_eq!(a.0[0] & 0b11, 0b10);
        assert_ne!(a, Mac::of_endpoint("task2", "net1"));
        assert_ne!(a, Mac::of_endpoint("task1", "net2"));
    }
}
