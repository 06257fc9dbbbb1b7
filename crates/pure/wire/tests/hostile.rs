//! Whatever arrives, it is read or refused, never more.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use proptest::prelude::*;
use shoal_model::spec::ServiceSpec;
use shoal_wire::certificate::TlsInfo;
use shoal_wire::detach_keys::{Detector, Input};
use shoal_wire::exec::ExecConfig;
use shoal_wire::filters::Filters;
use shoal_wire::logs::StdStream;
use shoal_wire::network_body::CreateRequest;
use shoal_wire::query::Query;
use shoal_wire::routes::{Method, find};
use shoal_wire::swarm::InitRequest;
use shoal_wire::{from_json, query, stdcopy, version};

/// JSON of any shape, with keys that the bodies know.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let key = prop::sample::select(vec![
        "Name",
        "labels",
        "TaskTemplate",
        "containerspec",
        "Mode",
        "replicated",
        "Replicas",
        "Env",
        "Spec",
        "Config",
        "IPAM",
        "Subnet",
        "EndpointSpec",
        "Ports",
        "Protocol",
        "Cmd",
        "ConsoleSize",
        "DefaultAddrPool",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((key.clone(), inner), 0..5).prop_map(|pairs| pairs
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #[test]
    fn bodies_are_read_or_refused(value in json()) {
        let bytes = value.to_string().into_bytes();
        if let Ok(mut spec) = from_json::<ServiceSpec>(&bytes) {
            shoal_wire::service::canonical(&mut spec);
            let once = spec.clone();
            shoal_wire::service::canonical(&mut spec);
            prop_assert_eq!(&once, &spec);
            let again: ServiceSpec = from_json(&serde_json::to_vec(&spec).unwrap()).unwrap();
            prop_assert_eq!(again, spec, "what is shown comes back the same");
        }
        let _ = from_json::<CreateRequest>(&bytes).map(CreateRequest::overlay_spec);
        let _ = from_json::<InitRequest>(&bytes).map(InitRequest::resolve);
        let _ = from_json::<ExecConfig>(&bytes);
    }

    #[test]
    fn any_bytes_are_no_more_than_a_bad_body(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = from_json::<ServiceSpec>(&bytes);
    }

    #[test]
    fn paths_queries_and_filters(text in "[ -~]{0,40}") {
        if let Ok((version, rest)) = version::split_path(&text) {
            let _ = find(Method::Get, rest, version);
            let _ = find(Method::Post, rest, version);
        }
        let parsed = Query::parse(&text);
        let _ = (parsed.time("a"), parsed.flag("a"), parsed.number::<u16>("a"), parsed.strict_flag("a"));
        let _ = query::before(&text, shoal_model::Timestamp(1));
        let _ = shoal_wire::registry_auth::RegistryAuth::from_header(&text);
        if let Ok(filters) = Filters::parse(Some(&text)) {
            let _ = filters.matches("name", ["x"]);
        }
        let as_pattern = serde_json::json!({"name": [text]}).to_string();
        let _ = Filters::parse(Some(&as_pattern)).unwrap().matches("name", ["some name"]);
    }

    #[test]
    fn certificates(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        use base64::Engine;
        let body = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let _ = TlsInfo::of_root(&format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"));
    }

    #[test]
    fn frames_survive_any_cut(parts in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..40)), 0..8),
                              cut in 1_usize..16) {
        let stream = |err: bool| if err { StdStream::Stderr } else { StdStream::Stdout };
        let bytes: Vec<u8> = parts.iter().flat_map(|(err, part)| stdcopy::frame(stream(*err), part)).collect();
        let mut reader = stdcopy::Reader::default();
        let mut frames = Vec::new();
        for chunk in bytes.chunks(cut) {
            frames.extend(reader.push(chunk).unwrap());
        }
        let want: Vec<_> = parts.into_iter().map(|(err, part)| (stream(err), part)).collect();
        prop_assert_eq!(frames, want);
    }

    #[test]
    fn input_without_the_sequence_passes_whole(bytes in prop::collection::vec(0_u8..16, 0..60), cut in 1_usize..8) {
        let mut detector = Detector::new(vec![16, 17]);
        let mut passed = Vec::new();
        for chunk in bytes.chunks(cut) {
            match detector.push(chunk) {
                Input::Pass(part) => passed.extend(part),
                Input::Detach(_) => prop_assert!(false, "there was no sequence"),
            }
        }
        prop_assert_eq!(passed, bytes);
    }
}
