//! Does every node's kernel hold what the cluster declared?

use crate::dispatcher::Dispatcher;
use crate::manager::Manager;
use crate::own_node::OwnNode;
use futures::future::join_all;
use shoal_control::assign;
use shoal_model::node::{Node, NodeState};
use shoal_model::verdict::{NodeVerdict, Outcome, Verdict};
use shoal_model::{Deviation, DeviationKind, Found};
use shoal_peer::{Answer, Question};

/// What is known of a node that tells no digest.
const NOT_HELD: &str = "something in its kernel is not as declared, or was not when it last looked";

/// Asks every node; `quick` asks none and goes by the digests in their heartbeats. On managers that do not lead, the
/// leader is asked to do so.
pub(crate) async fn of_cluster(dispatcher: &Dispatcher, quick: bool) -> Result<Verdict, String> {
    let leadership = dispatcher.manager.log.leadership().borrow().clone();
    if !leadership.is_leader {
        let leader = leadership.leader.ok_or("no manager leads at the moment")?;
        return match dispatcher.ask(&leader.node_id, Question::CompareAll { quick }).await? {
            Answer::Verdict(verdict) => Ok(verdict),
            other => Err(format!("the leader gave an odd answer: {other:?}")),
        };
    }
    let state = dispatcher.manager.log.state();
    let verdicts = state.nodes().values().map(|node| async move {
        let outcome = if quick { by_digest(dispatcher, node) } else { by_asking(dispatcher, node).await };
        NodeVerdict { node: node.id.clone(), hostname: node.description.hostname.clone(), outcome }
    });
    let mut nodes = join_all(verdicts).await;
    nodes.sort_by(|a, b| (&a.hostname, &a.node).cmp(&(&b.hostname, &b.node)));
    Ok(Verdict { nodes, note: String::new() })
}

/// The same of a worker, which knows of no other node.
pub(crate) async fn of_worker(own: &OwnNode, quick: bool) -> Verdict {
    let outcome = if quick {
        let assigned = shoal_agent::digest(&own.assignment.borrow());
        let held = own.engine.tallies.now().digest == assigned;
        outcome(if held { Vec::new() } else { vec![of_assignment(NOT_HELD.to_owned())] })
    } else {
        match own.compare().await {
            Ok(comparison) => outcome(comparison.deviations),
            Err(error) => Outcome::Silent { reason: format!("{error:#}") },
        }
    };
    let hostname = own.engine.machine.hostname.clone();
    let note = "This node is a worker and speaks for itself only; ask a manager about all nodes.".to_owned();
    Verdict { nodes: vec![NodeVerdict { node: own.identity.node.clone(), hostname, outcome }], note }
}

fn outcome(deviations: Vec<Deviation>) -> Outcome {
    if deviations.is_empty() { Outcome::Clean } else { Outcome::Differs { deviations } }
}

/// The digest of what a node is told to hold now.
pub(crate) fn assigned(manager: &Manager, node: &Node) -> String {
    shoal_agent::digest(&assign(&manager.log.state(), &manager.liveness(), &node.id))
}

fn by_digest(dispatcher: &Dispatcher, node: &Node) -> Outcome {
    match dispatcher.manager.holdings.of(&node.id) {
        None => Outcome::Silent { reason: silence(node, "has not been heard of since this manager leads") },
        Some(progress) if progress.digest == assigned(&dispatcher.manager, node) => Outcome::Clean,
        Some(progress) => {
            let detail = if progress.digest.is_empty() {
                NOT_HELD.to_owned()
            } else {
                format!("its kernel holds an older one, {}", progress.digest)
            };
            Outcome::Differs { deviations: vec![of_assignment(detail)] }
        }
    }
}

async fn by_asking(dispatcher: &Dispatcher, node: &Node) -> Outcome {
    match dispatcher.ask(&node.id, Question::Compare).await {
        Ok(Answer::Comparison(mut comparison)) => {
            let wanted = assigned(&dispatcher.manager, node);
            if comparison.assigned != wanted {
                let detail = format!("the node has {} and the managers want {wanted}", comparison.assigned);
                comparison.deviations.insert(0, of_assignment(detail));
            }
            outcome(comparison.deviations)
        }
        Ok(other) => Outcome::Silent { reason: format!("it gave an odd answer: {other:?}") },
        Err(reason) => Outcome::Silent { reason: silence(node, &reason) },
    }
}

fn silence(node: &Node, reason: &str) -> String {
    if node.status.state == NodeState::Down { "it is down".to_owned() } else { reason.to_owned() }
}

fn of_assignment(detail: String) -> Deviation {
    Deviation {
        kind: DeviationKind::Assignment,
        namespace: String::new(),
        what: "assignment".to_owned(),
        found: Found::Different,
        detail,
    }
}
