//! Who leads, drawn from what the consensus library knows.

use crate::network::LastHeard;
use crate::types::{Metrics, Place};
use crate::{Leadership, MemberStatus, Options};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// Follows the library until it stops.
pub(crate) async fn follow(
    mut metrics: watch::Receiver<Metrics>,
    heard: LastHeard,
    options: Options,
    leadership: watch::Sender<Leadership>,
) {
    // The others elect another leader a little later, so that there are never two that lead.
    let silence = options.election_timeout;
    // Silence makes no event, so it is looked for.
    let mut look = tokio::time::interval(options.heartbeat);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = draw(&metrics.borrow_and_update(), &heard, silence);
        leadership.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { break },
            _ = look.tick() => {}
        }
    }
    leadership.send_modify(|last| {
        last.is_leader = false;
        last.leader = None;
    });
}

fn draw(metrics: &Metrics, heard: &LastHeard, silence: Duration) -> Leadership {
    let me = metrics.id;
    let works = metrics.running_state.is_ok();
    let leads = metrics.current_leader == Some(me);
    let followed = metrics.millis_since_quorum_ack.is_some_and(|ms| Duration::from_millis(ms) <= silence);
    let is_leader = works && leads && followed;
    let leader = metrics.current_leader.filter(|_| works && (!leads || followed));

    let membership = metrics.membership_config.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let status = |(id, place): (&u64, &Place)| {
        let member = place.member(*id)?;
        let reachable = *id == me || if leads { heard.within(*id, silence) } else { leader == Some(*id) };
        Some(MemberStatus { member, voter: voters.contains(id), leader: leader == Some(*id), reachable })
    };
    Leadership {
        is_leader,
        leader: leader.and_then(|id| membership.get_node(&id)).and_then(Place::hint),
        term: metrics.current_term,
        members: membership.nodes().filter_map(status).collect(),
    }
}
