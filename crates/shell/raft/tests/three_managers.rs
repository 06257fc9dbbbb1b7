//! Three managers: what was acknowledged is never lost, whoever dies or is cut off.

mod support;

use shoal_raft::{Log, Options, ProposeError, RaftLog};
use shoal_store::{Change, Object};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Group, batch, eventually, member, names, write};

#[tokio::test(flavor = "multi_thread")]
async fn all_hold_the_same_to_the_last_bit() {
    let group = Group::of(3).await;
    for n in 0..30 {
        group.leader().await.propose(batch(&format!("c{n}"))).await.unwrap();
    }
    group.same_digests().await;
    let leadership = group.log(2).leadership().borrow().clone();
    assert!(!leadership.is_leader);
    assert_eq!(leadership.leader.unwrap().node_id, member(1).node_id);
    assert_eq!(leadership.members.iter().filter(|m| m.voter).count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_points_to_the_leader() {
    let group = Group::of(3).await;
    for refused in [group.log(2).propose(batch("x")).await.map(drop), group.log(2).read_barrier().await] {
        let Err(ProposeError::NotLeader { leader: Some(leader) }) = refused else { panic!("{refused:?}") };
        assert_eq!(leader.addr, member(1).addr);
    }
    group.log(1).read_barrier().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leads_when_the_leader_dies_and_nothing_is_lost() {
    let mut group = Group::of(3).await;
    let mut wanted = BTreeSet::new();
    for n in 0..10 {
        write(&group, &[1, 2, 3], &format!("a{n}")).await;
        wanted.insert(format!("a{n}"));
    }
    group.stop(1).await;
    for n in 0..10 {
        write(&group, &[2, 3], &format!("b{n}")).await;
        wanted.insert(format!("b{n}"));
    }
    group.start(1).await;
    group.all_have(&wanted).await;
    group.same_digests().await;
    let leader = group.leader().await;
    eventually("the one that came back to count as reachable", || async {
        leader.leadership().borrow().members.iter().all(|m| m.reachable).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_stops_leading_and_its_writes_fail_in_time() {
    let group = Group::of(3).await;
    write(&group, &[1, 2, 3], "before").await;
    group.lan.cut(1, &[2, 3]);
    let begun = std::time::Instant::now();
    let lost = group.log(1).propose(batch("into the void")).await;
    assert_eq!(lost, Err(ProposeError::NoQuorum));
    assert!(begun.elapsed() < group.options.deadline + Duration::from_secs(2));
    assert!(!group.log(1).leadership().borrow().is_leader, "it must know that it is cut off");
    assert!(group.log(1).leadership().borrow().leader.is_none());
    assert_eq!(group.log(1).read_barrier().await, Err(ProposeError::NoQuorum));
    assert!(names(&group.log(1)).contains("before"), "reads go on");

    write(&group, &[2, 3], "meanwhile").await;
    group.lan.heal();
    write(&group, &[1, 2, 3], "after").await;
    let wanted = ["before", "meanwhile", "after"].map(str::to_owned).into();
    group.all_have(&wanted).await;
    group.same_digests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_follower_fails_in_time_as_well() {
    let group = Group::of(3).await;
    group.lan.cut(3, &[1, 2]);
    eventually("the follower to notice", || async {
        group.log(3).leadership().borrow().leader.is_none().then_some(())
    })
    .await;
    assert_eq!(group.log(3).propose(batch("x")).await, Err(ProposeError::NoQuorum));
    group.lan.heal();
    write(&group, &[1, 2, 3], "y").await;
    group.all_have(&BTreeSet::from(["y".to_owned()])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_away_for_long_gets_a_snapshot() {
    let options = Options { snapshot_interval: 40, entries_kept: 4, ..support::options() };
    let mut group = Group::with(3, options).await;
    group.stop(3).await;
    let mut wanted = BTreeSet::new();
    for n in 0..200 {
        write(&group, &[1, 2], &format!("c{n}")).await;
        wanted.insert(format!("c{n}"));
    }
    group.start(3).await;
    group.all_have(&wanted).await;
    assert!(group.path(3).join("snapshot").exists(), "the log alone cannot have brought it up to date");
    group.same_digests().await;
    // What was installed is on disk, too.
    group.stop(3).await;
    group.start(3).await;
    group.all_have(&wanted).await;
    group.same_digests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_many_pieces_arrives_whole() {
    // Reading and writing so much takes its time without optimisation.
    let deadline = support::PATIENCE;
    let options = Options { snapshot_interval: 6, entries_kept: 1, deadline, ..support::options() };
    let mut group = Group::with(1, options).await;
    for n in 0..14 {
        let mut batch = batch(&format!("c{n}"));
        let Change::Create(Object::Config(config)) = &mut batch.changes[0] else { panic!("not a config") };
        Arc::make_mut(config).spec.data = (0..200_000).map(|i: u32| i.to_le_bytes()[0]).collect();
        group.log(1).propose(batch).await.unwrap();
    }
    group.join(2).await;
    group.same_digests().await;
    let size = std::fs::metadata(group.path(2).join("snapshot")).unwrap().len();
    assert!(size > 6 * 1024 * 1024, "{size} bytes are one piece or two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_member_gets_everything_and_then_a_vote() {
    let options = Options { snapshot_interval: 30, entries_kept: 2, ..support::options() };
    let mut group = Group::with(1, options).await;
    for n in 0..100 {
        group.log(1).propose(batch(&format!("c{n}"))).await.unwrap();
    }
    group.join(2).await;
    group.join(3).await;
    group.same_digests().await;
    // Twice is once.
    group.leader().await.add_voter(member(3)).await.unwrap();
    let members = group.leader().await.leadership().borrow().members.clone();
    assert_eq!(members.len(), 3);
    assert!(members.iter().all(|m| m.voter));
    // Two of three go on without the first.
    group.stop(1).await;
    write(&group, &[2, 3], "without the first").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_cannot_be_reached_is_not_let_in() {
    let group = Group::of(1).await;
    let refused = group.log(1).add_voter(member(7)).await;
    assert_eq!(refused, Err(ProposeError::NoQuorum));
    eventually("it to be forgotten", || async {
        (group.log(1).leadership().borrow().members.len() == 1).then_some(())
    })
    .await;
    group.log(1).propose(batch("alone")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_taken_out_is_not_needed_any_more() {
    let mut group = Group::of(3).await;
    group.leader().await.remove_voter(3).await.unwrap();
    group.leader().await.remove_voter(3).await.unwrap();
    group.stop(3).await;
    group.leader().await.remove_voter(2).await.unwrap();
    group.stop(2).await;
    let index = group.log(1).propose(batch("alone")).await.unwrap();
    assert!(index > 0);
    assert_eq!(group.log(1).leadership().borrow().members.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_can_take_itself_out() {
    let group = Group::of(3).await;
    let leader = group.leader().await;
    assert_eq!(leader.me().raft_id, 1);
    leader.remove_voter(1).await.unwrap();
    write(&group, &[2, 3], "without it").await;
    let members = group.leader_among(&[2, 3]).await.leadership().borrow().members.clone();
    assert_eq!(members.iter().map(|m| m.member.raft_id).collect::<Vec<_>>(), [2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_may_move_to_another_address() {
    let group = Group::of(3).await;
    let moved = shoal_raft::Member { addr: "elsewhere:2377".to_owned(), ..member(3) };
    group.leader().await.add_voter(moved.clone()).await.unwrap();
    let members = group.leader().await.leadership().borrow().members.clone();
    assert!(members.iter().any(|m| m.member == moved && m.voter));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_survivor_can_be_made_to_go_on_alone() {
    let mut group = Group::of(3).await;
    let mut wanted = BTreeSet::new();
    for n in 0..15 {
        write(&group, &[1, 2, 3], &format!("c{n}")).await;
        wanted.insert(format!("c{n}"));
    }
    group.all_have(&wanted).await;
    for id in [1, 2, 3] {
        group.stop(id).await;
    }
    let (path, transport) = (group.path(2), group.transport(2));
    let alone = RaftLog::force_new(&path, "new-address:2377".to_owned(), transport, support::options())
        .await
        .unwrap();
    let alone = group.run(2, alone);
    group.leader().await.propose(batch("alone")).await.unwrap();
    assert!(wanted.is_subset(&names(&alone)));
    let members = alone.leadership().borrow().members.clone();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].member.addr, "new-address:2377");
    // And others can be let in again.
    group.join(5).await;
    group.same_digests().await;
}

/// Writers go on while managers are killed, cut off and healed in turn; whatever was acknowledged must be on all three
/// in the end.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_a_row_of_misfortunes() {
    let options = Options { snapshot_interval: 60, entries_kept: 5, ..support::options() };
    let group = Arc::new(tokio::sync::Mutex::new(Group::with(3, options).await));
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (group, over) = (Arc::clone(&group), Arc::clone(&over));
            tokio::spawn(async move {
                let mut acknowledged = BTreeSet::new();
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let logs = group.lock().await.logs();
                    let leading = logs.into_iter().find(|log| log.leadership().borrow().is_leader);
                    let name = format!("w{writer}-{n}");
                    match leading {
                        Some(log) => {
                            if log.propose(batch(&name)).await.is_ok() {
                                acknowledged.insert(name);
                            }
                        }
                        None => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                }
                acknowledged
            })
        })
        .collect();
    let progress = async |by: usize| {
        let before = *group.lock().await.leader().await.applied().borrow();
        eventually("writers to get on", || async {
            let logs = group.lock().await.logs();
            let furthest = logs.iter().map(|log| *log.applied().borrow()).max()?;
            (furthest >= before + by as u64).then_some(())
        })
        .await;
    };
    for round in 0..2 {
        for id in [1, 2, 3] {
            progress(30).await;
            if (round + id) % 2 == 0 {
                group.lock().await.stop(id).await;
                progress(30).await;
                group.lock().await.start(id).await;
            } else {
                let others: Vec<u64> = [1, 2, 3].into_iter().filter(|other| *other != id).collect();
                let guard = group.lock().await;
                guard.lan.cut(id, &others);
                guard.leader_among(&others).await;
                drop(guard);
                progress(30).await;
                group.lock().await.lan.heal();
            }
        }
    }
    over.store(true, Ordering::Relaxed);
    let mut wanted = BTreeSet::new();
    for writer in writers {
        wanted.extend(writer.await.unwrap());
    }
    assert!(wanted.len() > 100, "only {} writes got through", wanted.len());
    let group = group.lock().await;
    group.all_have(&wanted).await;
    group.same_digests().await;
}
