//! How long flows live without a packet.

use super::abi::{FLOW_ANSWERED, PROTOCOL_UDP, is_closed};
use std::time::Duration;

/// How long flows live without a packet, by what was seen of them. After that they are forgotten, and what comes of them
/// is a new flow. Programs are loaded with it: it counts from the next start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleLimits {
    /// An exchange of datagrams. Netfilter's for streams of UDP is as long.
    pub datagram: Duration,
    /// A connection without an answer. Netfilter waits as long for the end of the handshake.
    pub opening: Duration,
    /// A connection that both sides closed, or one reset. Less than the kernel's `TIME_WAIT`, which is 60 seconds, lets new
    /// connections meet old ones at the task.
    pub closed: Duration,
    /// A connection. Netfilter's, five days.
    pub connection: Duration,
}

impl Default for IdleLimits {
    fn default() -> Self {
        Self {
            datagram: Duration::from_mins(2),
            opening: Duration::from_mins(1),
            closed: Duration::from_mins(1),
            connection: Duration::from_hours(120),
        }
    }
}

impl IdleLimits {
    /// Nanoseconds by the names that the programs know them by, see `bpf/abi.h`.
    pub(crate) fn by_name(&self) -> [(&'static str, u64); 4] {
        [
            ("idle_datagram", nanoseconds(self.datagram)),
            ("idle_opening", nanoseconds(self.opening)),
            ("idle_closed", nanoseconds(self.closed)),
            ("idle_connection", nanoseconds(self.connection)),
        ]
    }

    /// Nanoseconds without a packet after which a flow is forgotten; as `longest_idle` in `bpf/flow.h`.
    pub(crate) fn longest(&self, protocol: u8, state: u32) -> u64 {
        nanoseconds(if protocol == PROTOCOL_UDP {
            self.datagram
        } else if is_closed(state) {
            self.closed
        } else if state & FLOW_ANSWERED == 0 {
            self.opening
        } else {
            self.connection
        })
    }

    /// Nanoseconds after which an exchange of datagrams is over.
    pub(crate) fn datagram(&self) -> u64 {
        nanoseconds(self.datagram)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::abi::{FLOW_CLIENT_FIN, FLOW_RESET, FLOW_SERVER_FIN, PROTOCOL_TCP};
    use super::*;

    #[test]
    fn an_answered_connection_lives_until_it_is_closed() {
        let limits = IdleLimits::default();
        let longest = |state| Duration::from_nanos(limits.longest(PROTOCOL_TCP, state));
        assert!(longest(FLOW_ANSWERED) > Duration::from_hours(1));
        assert!(longest(FLOW_ANSWERED | FLOW_CLIENT_FIN) > Duration::from_hours(1));
        assert_eq!(longest(0), Duration::from_mins(1));
        assert_eq!(longest(FLOW_ANSWERED | FLOW_RESET), Duration::from_mins(1));
        assert_eq!(longest(FLOW_ANSWERED | FLOW_CLIENT_FIN | FLOW_SERVER_FIN), Duration::from_mins(1));
    }
}
