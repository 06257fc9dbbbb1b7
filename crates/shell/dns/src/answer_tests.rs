use super::*;
use proptest::prelude::*;
use std::net::Ipv4Addr;

fn zone() -> Zone {
    let mut zone = Zone { forwards: true, ..Zone::default() };
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
    zone.names.insert("whoami".into(), addresses(&["10.0.1.2"]));
    zone.names.insert("tasks.whoami".into(), addresses(&["10.0.1.3", "10.0.1.4", "fd00::3", "10.0.1.5"]));
    zone.names.insert("my_db.1.x".into(), addresses(&["10.0.1.9"]));
    zone.names.insert("six".into(), addresses(&["fd00::4"]));
    zone.names.insert("empty".into(), vec![]);
    zone.names.insert("many".into(), (0..500).map(|i| Ipv4Addr::from(0x0a00_0000 + i).into()).collect());
    zone.reverse.insert("10.0.1.3".parse().unwrap(), "whoami.1.abc.demo".into());
    zone.reverse.insert("fd00::3".parse().unwrap(), "whoami.2.abc.demo".into());
    zone
}

fn query(name: &str, query_type: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 77;
    message.metadata.recursion_desired = true;
    let mut labels = Name::from_labels(name.split('.').map(str::as_bytes)).unwrap();
    labels.set_fqdn(true);
    message.add_query(Query::query(labels, query_type));
    message
}

fn ask_in(zone: &Zone, message: &Message, transport: Transport) -> Option<(Message, usize)> {
    match answer(&message.to_vec().unwrap(), zone, 0, transport) {
        Answer::Reply(octets) => Some((Message::from_vec(&octets).unwrap(), octets.len())),
        Answer::Forward => None,
        Answer::Drop => panic!("a good query is never dropped"),
    }
}

fn ask(name: &str, query_type: RecordType) -> Message {
    ask_in(&zone(), &query(name, query_type), Transport::Udp).expect("answered from the zone").0
}

fn data(reply: &Message) -> Vec<String> {
    reply.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn a_name_of_the_zone_answers_with_its_addresses() {
    let reply = ask("whoami", RecordType::A);
    assert_eq!(data(&reply), ["10.0.1.2"]);
    assert_eq!(reply.answers[0].ttl, 600);
    let head = reply.metadata;
    assert_eq!((head.id, head.message_type as u8, head.response_code), (77, 1, ResponseCode::NoError));
    assert!(head.recursion_desired && head.recursion_available && !head.authoritative && !head.truncation);
    assert_eq!(data(&ask("tasks.whoami", RecordType::AAAA)), ["fd00::3"]);
    assert_eq!(data(&ask("my_db.1.x", RecordType::A)), ["10.0.1.9"]);
}

#[test]
fn names_have_no_case_and_the_reply_keeps_the_spelling_of_the_question() {
    let reply = ask("TASKS.WhoAmI", RecordType::AAAA);
    assert_eq!(data(&reply), ["fd00::3"]);
    assert!(reply.queries[0].name.eq_case(&Name::from_ascii("TASKS.WhoAmI.").unwrap()));
    assert!(reply.answers[0].name.eq_case(&Name::from_ascii("TASKS.WhoAmI.").unwrap()));
}

#[test]
fn a_known_name_without_such_an_address_is_empty_and_not_forwarded() {
    let known = [
        ("whoami", RecordType::AAAA),
        ("six", RecordType::A),
        ("empty", RecordType::A),
        ("whoami", RecordType::MX),
    ];
    for (name, query_type) in known {
        let reply = ask(name, query_type);
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError, "{name}");
        assert!(reply.answers.is_empty() && reply.metadata.recursion_available);
    }
}

#[test]
fn addresses_turn_with_the_rotation() {
    let octets = query("tasks.whoami", RecordType::A).to_vec().unwrap();
    let first = |rotation| match answer(&octets, &zone(), rotation, Transport::Udp) {
        Answer::Reply(reply) => data(&Message::from_vec(&reply).unwrap()),
        other => panic!("{other:?}"),
    };
    assert_eq!(first(0), ["10.0.1.3", "10.0.1.4", "10.0.1.5"]);
    assert_eq!(first(1), ["10.0.1.4", "10.0.1.5", "10.0.1.3"]);
    assert_eq!(first(u32::MAX).len(), 3);
}

#[test]
fn addresses_have_names() {
    assert_eq!(data(&ask("3.1.0.10.in-addr.arpa", RecordType::PTR)), ["whoami.1.abc.demo."]);
    let v6 = Name::from("fd00::3".parse::<std::net::Ipv6Addr>().unwrap()).to_ascii();
    assert_eq!(data(&ask(v6.trim_end_matches('.'), RecordType::PTR)), ["whoami.2.abc.demo."]);
    let unknown = query("9.1.0.10.in-addr.arpa", RecordType::PTR);
    assert_eq!(ask_in(&zone(), &unknown, Transport::Udp), None);
    let network = query("1.0.10.in-addr.arpa", RecordType::PTR);
    assert_eq!(ask_in(&zone(), &network, Transport::Udp), None);
}

#[test]
fn other_names_are_forwarded_or_do_not_exist() {
    let message = query("example.org", RecordType::A);
    assert_eq!(ask_in(&zone(), &message, Transport::Udp), None);
    let inside = Zone { forwards: false, ..zone() };
    let (reply, _) = ask_in(&inside, &message, Transport::Udp).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert!(reply.metadata.recursion_available);
}

#[test]
fn a_long_answer_is_truncated_to_what_the_client_takes() {
    let plain = query("many", RecordType::A);
    let (reply, length) = ask_in(&zone(), &plain, Transport::Udp).unwrap();
    assert!(reply.metadata.truncation && length <= 512);
    assert_eq!(reply.answers.len(), (512 - 12 - 10) / 16, "as many as fit");

    let mut extended = plain.clone();
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    extended.set_edns(edns);
    let (reply, length) = ask_in(&zone(), &extended, Transport::Udp).unwrap();
    assert!(reply.metadata.truncation && length > 512 && length <= 1232);
    assert!(reply.edns.is_some(), "room is left for the extension");

    let (reply, _) = ask_in(&zone(), &plain, Transport::Tcp).unwrap();
    assert!(!reply.metadata.truncation);
    assert_eq!(reply.answers.len(), 500);
}

#[test]
fn extensions_of_a_later_version_are_refused() {
    let mut message = query("whoami", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    message.set_edns(edns);
    let (reply, _) = ask_in(&zone(), &message, Transport::Udp).unwrap();
    assert_eq!(reply.edns.unwrap().rcode_high(), 1, "BADVERS is 16");
    assert!(reply.answers.is_empty());
}

#[test]
fn what_is_no_plain_question_gets_an_error() {
    let mut update = query("whoami", RecordType::A);
    update.metadata.op_code = OpCode::Status;
    let (reply, _) = ask_in(&zone(), &update, Transport::Udp).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::NotImp);

    let mut two = query("whoami", RecordType::A);
    two.add_query(two.queries[0].clone());
    let (reply, _) = ask_in(&zone(), &two, Transport::Udp).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);

    let mut cut = query("whoami", RecordType::A).to_vec().unwrap();
    cut.truncate(18);
    let Answer::Reply(reply) = answer(&cut, &zone(), 0, Transport::Udp) else { panic!("an error is said") };
    assert_eq!((reply[..2].to_vec(), reply[2] & 0x80, reply[3] & 0x0f), (vec![0, 77], 0x80, 1));
}

#[test]
fn responses_and_scraps_are_dropped() {
    let mut response = query("whoami", RecordType::A).to_vec().unwrap();
    response[2] |= 0x80;
    for octets in [&response[..], b"", b"\0\x01\x01\0\0\x01\0\0\0\0\0"] {
        assert_eq!(answer(octets, &zone(), 0, Transport::Udp), Answer::Drop);
    }
}

/// Good queries with a few octets changed reach deeper than noise does.
fn nearly_good() -> impl Strategy<Value = Vec<u8>> {
    let good = query("tasks.whoami", RecordType::A).to_vec().unwrap();
    let length = good.len();
    proptest::collection::vec((0..length, any::<u8>()), 0..6).prop_map(move |changes| {
        let mut octets = good.clone();
        for (at, octet) in changes {
            octets[at] = octet;
        }
        octets
    })
}

proptest! {
    #[test]
    fn no_octets_can_upset_it(
        octets in prop_oneof![nearly_good(), proptest::collection::vec(any::<u8>(), 0..600)],
        rotation in any::<u32>(),
        forwards in any::<bool>(),
    ) {
        let zone = Zone { forwards, ..zone() };
        for transport in [Transport::Udp, Transport::Tcp] {
            let _ = udp_limit(&octets);
            if let Answer::Reply(reply) = answer(&octets, &zone, rotation, transport) {
                prop_assert!(Message::from_vec(&reply).is_ok());
                prop_assert_eq!(&reply[..2], &octets[..2]);
            }
        }
    }
}
