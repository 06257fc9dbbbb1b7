//! How a machine becomes a node, and what keeps the wrong ones out.

mod support;

use shoal_model::node::NodeRole;
use shoal_model::{ClusterId, NodeId};
use shoal_peer::{
    Code, Identity, IdentityFiles, JoinIntent, JoinToken, NodeKey, PeerClient, PeerError, PeerIdentity,
    RootCa, join,
};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use support::{Cluster, LIFE, Manager, now, refusal};

fn intent() -> JoinIntent {
    JoinIntent { hostname: "swarm-worker1".to_owned(), ..JoinIntent::default() }
}

#[tokio::test]
async fn the_token_says_as_what_a_machine_joins() {
    let cluster = Arc::new(Cluster::new());
    let manager = Manager::start(&cluster).await;
    for (token, role) in
        [(&cluster.tokens.worker, NodeRole::Worker), (&cluster.tokens.manager, NodeRole::Manager)]
    {
        let (identity, reply) = join(std::slice::from_ref(&manager.addr), token, intent()).await.unwrap();
        assert_eq!(reply.role, role);
        assert_eq!(identity.peer().role, role);
        assert_eq!(identity.peer().node, reply.node_id);
        assert_eq!(identity.peer().cluster, cluster.id);
        assert_eq!(reply.managers, vec![manager.addr.clone()]);
    }
    assert_eq!(manager.brain.joins.lock().unwrap()[0].hostname, "swarm-worker1");
}

#[tokio::test]
async fn wrong_tokens_are_refused_with_dockers_words() {
    let cluster = Arc::new(Cluster::new());
    let manager = Manager::start(&cluster).await;
    let addrs = [manager.addr.clone()];

    let nonsense = join(&addrs, "SWMTKN-1-abc", intent()).await;
    assert_eq!(nonsense.unwrap_err().to_string(), "invalid join token");

    let right_cluster = JoinToken::generate(cluster.root.digest()).to_string();
    let (code, words) = refusal(join(&addrs, &right_cluster, intent()).await);
    assert_eq!(code, Code::InvalidArgument);
    assert_eq!(words, "A valid join token is necessary to join this cluster");

    let mut digest = cluster.root.digest();
    digest[31] ^= 1;
    let other_cluster = join(&addrs, &JoinToken::generate(digest).to_string(), intent()).await.unwrap_err();
    assert!(matches!(other_cluster, PeerError::WrongRoot { .. }), "{other_cluster:?}");
    let words = other_cluster.to_string();
    assert!(words.starts_with("remote CA does not match fingerprint. Expected: "), "{words}");
    assert!(manager.brain.joins.lock().unwrap().is_empty(), "the token must not be shown to a stranger");
}

#[tokio::test]
async fn a_stranger_who_shows_the_right_root_is_still_a_stranger() {
    // It copied the root certificate, which is public, but its own certificate is signed by another root.
    let (cluster, stranger) = (Cluster::new(), Cluster::new());
    let key = NodeKey::generate().unwrap();
    let node = NodeId::from_random(1);
    let csr = key.signing_request().unwrap();
    let signed = stranger.root.sign(&csr, &node, NodeRole::Manager, &stranger.id, LIFE, now()).unwrap();
    let forged = Identity::new(&key, signed, cluster.root.certificate().to_owned()).unwrap();
    let manager = Manager::start_as(&Arc::new(stranger), forged).await;
    let error =
        join(std::slice::from_ref(&manager.addr), &cluster.tokens.worker, intent()).await.unwrap_err();
    assert!(matches!(error, PeerError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_worker_cannot_pose_as_a_manager_to_those_who_join() {
    let cluster = Arc::new(Cluster::new());
    let posing =
        Manager::start_as(&cluster, cluster.identity(&NodeId::from_random(1), NodeRole::Worker)).await;
    let error = join(std::slice::from_ref(&posing.addr), &cluster.tokens.worker, intent()).await.unwrap_err();
    assert!(matches!(error, PeerError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn joining_follows_the_leader_and_passes_over_the_dead() {
    let cluster = Arc::new(Cluster::new());
    let (leader, follower) = (Manager::start(&cluster).await, Manager::start(&cluster).await);
    *follower.brain.leader.lock().unwrap() = Some(leader.addr.clone());
    let addrs = ["127.0.0.1:1".to_owned(), follower.addr.clone()];
    join(&addrs, &cluster.tokens.worker, intent()).await.unwrap();
    assert_eq!(leader.brain.joins.lock().unwrap().len(), 1);

    let nobody = join(&addrs[..1], &cluster.tokens.worker, intent()).await.unwrap_err();
    assert!(matches!(nobody, PeerError::Unreachable { .. }), "{nobody:?}");
}

#[tokio::test]
async fn calls_of_managers_are_not_for_workers() {
    let cluster = Arc::new(Cluster::new());
    let manager = Manager::start(&cluster).await;
    let node = NodeId::from_random(5);

    let worker = cluster.connector(&node, NodeRole::Worker);
    let mut client = PeerClient::new(&worker, &manager.addr).unwrap();
    let refused = (Code::PermissionDenied, "this call needs the certificate of a manager".to_owned());
    assert_eq!(refusal(client.raft(b"abc".as_slice().into()).await), refused);
    assert_eq!(refusal(client.propose(shoal_store::Batch::default()).await), refused);
    let asked = shoal_peer::ManagerJoin { addr: "a:1".to_owned(), raft_id: None };
    assert_eq!(refusal(client.join_managers(asked.clone()).await), refused);
    let kind = shoal_peer::StreamKind::Logs {
        task: shoal_model::TaskId::from_random(1),
        query: shoal_peer::LogQuery::default(),
    };
    let relay = shoal_peer::RelayRequest { node: node.clone(), kind };
    assert_eq!(refusal(client.relay(relay, futures::stream::empty()).await.map(drop)), refused);
    assert!(manager.brain.batches.lock().unwrap().is_empty());

    let other = cluster.connector(&node, NodeRole::Manager);
    let mut client = PeerClient::new(&other, &manager.addr).unwrap();
    assert_eq!(client.raft(b"abc".as_slice().into()).await.unwrap(), b"cba".as_slice());
    assert_eq!(client.join_managers(asked).await.unwrap().raft_id, 7);
    let applied = client.propose(shoal_store::Batch::default()).await.unwrap();
    assert_eq!(applied, shoal_peer::ProposeReply::Applied(1));
}

#[tokio::test]
async fn an_expired_certificate_opens_nothing() {
    let cluster = Arc::new(Cluster::new());
    let manager = Manager::start(&cluster).await;
    let old = cluster.identity_of(&NodeId::from_random(5), NodeRole::Manager, support::days_ago(91));
    let connector = shoal_peer::Connector::new(shoal_peer::Credentials::new(old).unwrap());
    let mut client = PeerClient::new(&connector, &manager.addr).unwrap();
    let error = client.raft(b"abc".as_slice().into()).await.unwrap_err();
    assert!(matches!(error, PeerError::Unreachable { .. } | PeerError::Tls { .. }), "{error:?}");
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(deeper) = source {
        words = format!("{words}: {deeper}");
        source = deeper.source();
    }
    assert!(words.to_lowercase().contains("expired"), "the reason is lost: {words}");
}

#[tokio::test]
async fn a_certificate_of_another_cluster_opens_nothing() {
    let cluster = Arc::new(Cluster::new());
    let manager = Manager::start(&cluster).await;
    // Signed by our root, but in another cluster's name.
    let key = NodeKey::generate().unwrap();
    let (node, elsewhere) = (NodeId::from_random(5), ClusterId::from_random(99));
    let csr = key.signing_request().unwrap();
    let signed = cluster.root.sign(&csr, &node, NodeRole::Manager, &elsewhere, LIFE, now()).unwrap();
    let identity = Identity::new(&key, signed, cluster.root.certificate().to_owned()).unwrap();
    let connector = shoal_peer::Connector::new(shoal_peer::Credentials::new(identity).unwrap());
    let mut client = PeerClient::new(&connector, &manager.addr).unwrap();
    let (code, words) = refusal(client.raft(b"abc".as_slice().into()).await);
    assert_eq!((code, words.as_str()), (Code::PermissionDenied, "the certificate is of another cluster"));

    // Signed by another root.
    let stranger = Cluster::new();
    let connector = stranger.connector(&node, NodeRole::Manager);
    let mut client = PeerClient::new(&connector, &manager.addr).unwrap();
    assert!(client.raft(b"abc".as_slice().into()).await.is_err());
}

#[tokio::test]
async fn an_identity_survives_on_disk_and_its_key_is_private() {
    let cluster = Cluster::new();
    let node = NodeId::from_random(3);
    let dir = tempfile::tempdir().unwrap();
    let files = IdentityFiles::new(dir.path().join("swarm/certificates"));
    assert!(files.load().unwrap().is_none());
    let identity = cluster.identity(&node, NodeRole::Worker);
    files.save(&identity).unwrap();
    assert!(files.load().unwrap() == Some(identity.clone()));
    let key = dir.path().join("swarm/certificates/swarm-node.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    // Another machine's certificate does not go with this key.
    let other = cluster.identity(&node, NodeRole::Worker);
    assert!(identity.renewed(other.certificate().to_owned(), other.root().to_owned()).is_err());
    // A new identity replaces key and certificate together.
    files.save(&other).unwrap();
    assert!(files.load().unwrap() == Some(other));
    files.remove().unwrap();
    assert!(files.load().unwrap().is_none());
}

#[test]
fn a_certificate_says_what_the_cluster_decided_whatever_was_asked() {
    let cluster = Cluster::new();
    let (node, at) = (NodeId::from_random(3), now());
    let first = Identity::first(&cluster.root, &node, &cluster.id, LIFE, at).unwrap();
    let peer: &PeerIdentity = first.peer();
    assert_eq!((peer.role, &peer.node, &peer.cluster), (NodeRole::Manager, &node, &cluster.id));
    assert!(peer.is_valid_at(at));
    assert!(!peer.is_valid_at(at.plus(LIFE * 2)));
    assert_eq!(peer.key_digest.len(), 64);
    // The same key keeps its digest.
    let again = cluster
        .root
        .sign(&first.signing_request().unwrap(), &node, NodeRole::Worker, &cluster.id, LIFE, at)
        .unwrap();
    let renewed = first.renewed(again, cluster.root.certificate().to_owned()).unwrap();
    assert_eq!(renewed.peer().key_digest, peer.key_digest);
    assert_eq!(renewed.peer().role, NodeRole::Worker);

    assert!(cluster.root.sign("nonsense", &node, NodeRole::Worker, &cluster.id, LIFE, at).is_err());
    let stored = (cluster.root.certificate().to_owned(), cluster.root.key().to_owned());
    assert_eq!(RootCa::load(stored.0, stored.1).unwrap().digest(), cluster.root.digest());
}
