use super::*;
use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use tempfile::TempDir;
use tokio::task::JoinSet;

const DEADLINE: Duration = Duration::from_secs(20);

/// What a fake server outside does with queries.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Answers,
    Refuses,
    Silent,
    /// A forged reply with another id, one with another question, then the true one.
    AnswersAfterForgeries,
    /// Truncated over UDP, whole over TCP.
    TruncatesDatagrams,
}

/// A name server on port 53 of a loopback address of its own.
struct Outside {
    address: IpAddr,
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Outside {
    async fn start(manner: Manner, found: Ipv4Addr) -> Self {
        let (address, udp, tcp) = loop {
            let [a, b, c]: [u8; 3] = rand::random();
            let address = Ipv4Addr::new(127, a.max(1), b, c);
            let Ok(udp) = UdpSocket::bind((address, 53)).await else { continue };
            if let Ok(tcp) = TcpListener::bind((address, 53)).await {
                break (address.into(), udp, tcp);
            }
        };
        let asked = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let count = Arc::clone(&asked);
        tasks.spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::SeqCst);
                for reply in replies(&buffer[..length], manner, found, true) {
                    udp.send_to(&reply, client).await.unwrap();
                }
            }
        });
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let query = read_message(&mut stream).await.unwrap();
                for reply in replies(&query, manner, found, false) {
                    write_message(&mut stream, &reply).await.unwrap();
                }
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn replies(query: &[u8], manner: Manner, found: Ipv4Addr, datagram: bool) -> Vec<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.queries.clone_from(&query.queries);
    let name = query.queries[0].name.clone();
    let records = if manner == Manner::TruncatesDatagrams { 100 } else { 1 };
    for _ in 0..records {
        reply.add_answer(Record::from_rdata(name.clone(), 5, RData::A(A(found))));
    }
    let good = reply.to_vec().unwrap();
    match manner {
        Manner::Silent => vec![],
        Manner::Answers => vec![good],
        Manner::Refuses => vec![failure(&query.to_vec().unwrap(), ResponseCode::Refused).unwrap()],
        Manner::TruncatesDatagrams if datagram => vec![reply.truncate().to_vec().unwrap()],
        Manner::TruncatesDatagrams => vec![good],
        Manner::AnswersAfterForgeries => {
            let mut other_id = good.clone();
            other_id[0] ^= 0xff;
            reply.queries[0].name = Name::from_ascii("evil.example.").unwrap();
            vec![other_id, reply.to_vec().unwrap(), good]
        }
    }
}

/// A server of a sandbox on loopback.
struct Sandbox {
    address: SocketAddr,
    zone: watch::Sender<Arc<Zone>>,
    shutdown: CancellationToken,
    serving: JoinSet<Result<(), Error>>,
    _directory: TempDir,
}

impl Sandbox {
    fn start(forward_to: &[IpAddr]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("resolv.conf"), "nameserver 127.0.0.11\n").unwrap();
        Self::start_with(forward_to, directory, |directory| Upstream::new(directory.join("resolv.conf")))
    }

    fn start_with(forward_to: &[IpAddr], directory: TempDir, upstream: fn(&Path) -> Upstream) -> Self {
        let (udp, tcp) = loop {
            let tcp = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            if let Ok(udp) = std::net::UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let mut zone = Zone { forward_to: forward_to.to_vec(), forwards: true, ..Zone::default() };
        zone.names.insert("web".into(), vec![IpAddr::from([10, 0, 0, 5])]);
        zone.names.insert("many".into(), (1..=200).map(|i| IpAddr::from([10, 1, 0, i])).collect());
        let (sender, receiver) = watch::channel(Arc::new(zone));
        let (address, shutdown) = (udp.local_addr().unwrap(), CancellationToken::new());
        let mut serving = JoinSet::new();
        serving.spawn(serve(udp, tcp, receiver, upstream(directory.path()), shutdown.clone()));
        Self { address, zone: sender, shutdown, serving, _directory: directory }
    }

    async fn ask_udp(&self, name: &str) -> Message {
        self.ask_datagram(&query(name)).await
    }

    async fn ask_datagram(&self, query: &[u8]) -> Message {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket.send(query).await.unwrap();
        let mut buffer = [0; 4096];
        let length = timeout(DEADLINE, socket.recv(&mut buffer)).await.expect("answered in time").unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    async fn ask_tcp(&self, name: &str) -> Message {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        write_message(&mut stream, &query(name)).await.unwrap();
        let reply = timeout(DEADLINE, read_message(&mut stream)).await.expect("answered in time").unwrap();
        Message::from_vec(&reply).unwrap()
    }
}

fn query(name: &str) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

fn addresses(reply: &Message) -> Vec<IpAddr> {
    reply.answers.iter().filter_map(|record| record.data.ip_addr()).collect()
}

#[tokio::test]
async fn answers_from_the_zone_over_both_transports_and_follows_its_changes() {
    let mut sandbox = Sandbox::start(&[]);
    assert_eq!(addresses(&sandbox.ask_udp("web").await), [IpAddr::from([10, 0, 0, 5])]);
    assert_eq!(addresses(&sandbox.ask_tcp("web").await), [IpAddr::from([10, 0, 0, 5])]);
    let cut = sandbox.ask_udp("many").await;
    assert!(cut.metadata.truncation && cut.answers.len() < 200);
    assert_eq!(sandbox.ask_tcp("many").await.answers.len(), 200);

    sandbox.zone.send_modify(|zone| {
        Arc::make_mut(zone).names.insert("web".into(), vec![IpAddr::from([10, 0, 0, 6])]);
    });
    assert_eq!(addresses(&sandbox.ask_udp("web").await), [IpAddr::from([10, 0, 0, 6])]);

    sandbox.shutdown.cancel();
    let ended = timeout(DEADLINE, sandbox.serving.join_next()).await.expect("ends in time");
    assert!(ended.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn one_connection_carries_several_queries() {
    let sandbox = Sandbox::start(&[]);
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    for name in ["web", "many"] {
        write_message(&mut stream, &query(name)).await.unwrap();
        let reply = timeout(DEADLINE, read_message(&mut stream)).await.unwrap().unwrap();
        assert_eq!(Message::from_vec(&reply).unwrap().queries[0].name.to_ascii(), format!("{name}."));
    }
}

#[tokio::test]
async fn other_names_come_from_outside_with_the_clients_id() {
    let outside = Outside::start(Manner::Answers, [192, 0, 2, 1].into()).await;
    let sandbox = Sandbox::start(&[outside.address]);
    for reply in [sandbox.ask_udp("example.org").await, sandbox.ask_tcp("example.org").await] {
        assert_eq!(reply.metadata.id, 4711);
        assert_eq!(addresses(&reply), [IpAddr::from([192, 0, 2, 1])]);
    }
    sandbox.ask_udp("web").await;
    assert_eq!(outside.asked(), 1, "names of the zone are never asked outside");
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_is_silent_or_refuses() {
    let silent = Outside::start(Manner::Silent, [192, 0, 2, 1].into()).await;
    let refusing = Outside::start(Manner::Refuses, [192, 0, 2, 1].into()).await;
    let good = Outside::start(Manner::Answers, [192, 0, 2, 2].into()).await;
    let sandbox = Sandbox::start(&[silent.address, refusing.address, good.address]);
    assert_eq!(addresses(&sandbox.ask_udp("example.org").await), [IpAddr::from([192, 0, 2, 2])]);
    assert_eq!((silent.asked(), refusing.asked(), good.asked()), (1, 1, 1));
}

#[tokio::test]
async fn forged_replies_are_passed_over() {
    let outside = Outside::start(Manner::AnswersAfterForgeries, [192, 0, 2, 3].into()).await;
    let sandbox = Sandbox::start(&[outside.address]);
    let reply = sandbox.ask_udp("example.org").await;
    assert_eq!(reply.queries[0].name.to_ascii(), "example.org.");
    assert_eq!(addresses(&reply), [IpAddr::from([192, 0, 2, 3])]);
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_whole_where_the_client_takes_it() {
    let outside = Outside::start(Manner::TruncatesDatagrams, [192, 0, 2, 4].into()).await;
    let sandbox = Sandbox::start(&[outside.address]);
    let short = sandbox.ask_udp("example.org").await;
    assert!(short.metadata.truncation && short.answers.is_empty(), "512 octets hold no 100 records");
    assert_eq!(short.metadata.id, 4711);
    let mut roomy = Message::from_vec(&query("example.org")).unwrap();
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    roomy.set_edns(edns);
    let whole = sandbox.ask_datagram(&roomy.to_vec().unwrap()).await;
    assert!(!whole.metadata.truncation && whole.metadata.id == 4711);
    assert_eq!(whole.answers.len(), 100);
    assert_eq!(sandbox.ask_tcp("example.org").await.answers.len(), 100);
}

#[tokio::test]
async fn without_a_server_it_fails_at_once_and_never_asks_itself() {
    let sandbox = Sandbox::start(&[]);
    for reply in [sandbox.ask_udp("example.org").await, sandbox.ask_tcp("example.org").await] {
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
        assert_eq!((reply.metadata.id, reply.queries.len()), (4711, 1));
    }
}

#[tokio::test]
async fn a_flood_of_other_names_is_refused_and_the_zone_still_answers() {
    let silent = Outside::start(Manner::Silent, [192, 0, 2, 1].into()).await;
    let sandbox = Sandbox::start(&[silent.address]);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(sandbox.address).await.unwrap();
    let mut buffer = [0; 4096];
    let refused = async {
        loop {
            for _ in 0..32 {
                socket.send(&query("example.org")).await.unwrap();
            }
            let Ok(received) = timeout(Duration::from_millis(5), socket.recv(&mut buffer)).await else {
                continue;
            };
            let reply = Message::from_vec(&buffer[..received.unwrap()]).unwrap();
            if reply.metadata.response_code == ResponseCode::Refused {
                return;
            }
        }
    };
    timeout(DEADLINE, refused).await.expect("more than the bound is refused");
    assert!(silent.asked() <= 2 * MOST_FORWARDED);
    assert_eq!(addresses(&sandbox.ask_udp("web").await), [IpAddr::from([10, 0, 0, 5])]);
}
