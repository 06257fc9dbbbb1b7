//! Rates from two samples.

use super::{Shown, ShownRealServer, Totals};

/// What each real server did a second, by two samples of the same host `millis` apart, in place of its totals. A server
/// that the first sample lacks, or whose counters began anew, has none yet.
pub fn rates(before: &Shown, mut after: Shown, millis: u64) -> Shown {
    for service in &mut after.services {
        let known = before.services.iter().find(|s| {
            (&s.protocol, &s.address, &s.service) == (&service.protocol, &service.address, &service.service)
        });
        for server in &mut service.real_servers {
            let same = |s: &&ShownRealServer| s.task == server.task;
            let earlier = known.and_then(|s| s.real_servers.iter().find(same));
            server.totals = earlier.map(|e| a_second(e.totals, server.totals, millis)).unwrap_or_default();
        }
    }
    after
}

fn a_second(before: Totals, after: Totals, millis: u64) -> Totals {
    let rate = |before: u64, after: u64| after.saturating_sub(before) * 1000 / millis.max(1);
    Totals {
        connections: rate(before.connections, after.connections),
        resets: rate(before.resets, after.resets),
        packets_in: rate(before.packets_in, after.packets_in),
        packets_out: rate(before.packets_out, after.packets_out),
        bytes_in: rate(before.bytes_in, after.bytes_in),
        bytes_out: rate(before.bytes_out, after.bytes_out),
    }
}
