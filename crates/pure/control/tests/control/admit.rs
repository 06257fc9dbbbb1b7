//! What is let in, and what is refused in which words.

use crate::bench::{Bench, node_id, on, publish, seconds, spec, version};
use shoal_control::admit::{self, AdmitError, Code};
use shoal_model::cluster::ClusterSpec;
use shoal_model::network::{NetworkSpec, SubnetSpec};
use shoal_model::node::NodeRole;
use shoal_model::object::DataSpec;
use shoal_model::spec::{
    EndpointMode, EndpointSpec, GlobalService, Limits, Mount, MountKind, PortConfig, PublishMode,
    ReplicatedJob, ReplicatedService, ResourceRequirements, RestartPolicy, ServiceMode, ServiceSpec,
    UpdateConfig,
};
use shoal_store::{Change, Object};

fn refused(bench: &mut Bench, spec: ServiceSpec) -> AdmitError {
    let admitted = admit::create_service(&bench.state, spec, bench.now, &mut bench.rng);
    match admitted {
        Ok(service) => panic!("{:?} was let in", service.spec),
        Err(error) => error,
    }
}

fn port(published: u16, mode: PublishMode) -> PortConfig {
    PortConfig {
        target_port: 80,
        published_port: published,
        publish_mode: Some(mode),
        ..PortConfig::default()
    }
}

#[test]
fn absent_modes_and_numbers_are_filled_in_as_clients_expect() {
    let mut bench = Bench::new(1);
    let mut admitted = |mode: ServiceMode| {
        let spec = ServiceSpec { mode, ..spec("web", 1) };
        admit::create_service(&bench.state, spec, bench.now, &mut bench.rng).unwrap().spec.mode
    };
    let replicas = |n| ServiceMode {
        replicated: Some(ReplicatedService { replicas: Some(n) }),
        ..ServiceMode::default()
    };
    assert_eq!(admitted(ServiceMode::default()), replicas(1));
    let empty = ServiceMode { replicated: Some(ReplicatedService::default()), ..ServiceMode::default() };
    assert_eq!(admitted(empty), replicas(1));
    assert_eq!(admitted(replicas(0)), replicas(0));
    let job = |max_concurrent, total_completions| ServiceMode {
        replicated_job: Some(ReplicatedJob { max_concurrent, total_completions }),
        ..ServiceMode::default()
    };
    assert_eq!(admitted(job(None, None)), job(Some(1), Some(1)));
    assert_eq!(admitted(job(Some(3), None)), job(Some(3), Some(3)));
    assert_eq!(admitted(job(None, Some(4))), job(Some(1), Some(4)));
}

#[test]
fn names_of_networks_become_ids() {
    let mut bench = Bench::new(1);
    let net = bench.network(NetworkSpec { name: "net".to_owned(), ..NetworkSpec::default() });
    let web = bench.create(on(spec("web", 1), "net"));
    assert_eq!(bench.service(&web).spec.task_template.networks[0].target, net.as_str());
    let hosted = bench.create(on(spec("hosted", 1), "host"));
    assert_eq!(bench.service(&hosted).spec.task_template.networks[0].target, "host");
    let error = refused(&mut bench, on(spec("x", 1), "nosuch"));
    assert_eq!((error.code(), error.to_string().as_str()), (Code::NotFound, "network nosuch not found"));
}

fn image(spec: &mut ServiceSpec, image: &str) {
    image.clone_into(&mut spec.task_template.container_spec.as_mut().unwrap().image);
}

fn limited(nano_cpus: i64, memory_bytes: i64) -> ServiceSpec {
    let limits = Some(Limits { nano_cpus, memory_bytes, ..Limits::default() });
    let mut spec = spec("web", 1);
    spec.task_template.resources = Some(ResourceRequirements { limits, reservations: None });
    spec
}

fn labelled(label: &str, value: &str) -> ServiceSpec {
    let mut spec = spec("web", 1);
    spec.labels.insert(label.to_owned(), value.to_owned());
    spec
}

/// A spec and what it is refused with.
fn bad_specs() -> Vec<(ServiceSpec, &'static str)> {
    let with = |change: &dyn Fn(&mut ServiceSpec)| {
        let mut spec = spec("web", 1);
        change(&mut spec);
        spec
    };
    let mount = |kind, source: &str, target: &str| Mount {
        kind,
        source: source.to_owned(),
        target: target.to_owned(),
        ..Mount::default()
    };
    let mounted = |mounts: Vec<Mount>| {
        with(&|s| s.task_template.container_spec.as_mut().unwrap().mounts.clone_from(&mounts))
    };
    vec![
        (with(&|s| s.name = String::new()), "meta: name must be provided"),
        (with(&|s| "bad_name!".clone_into(&mut s.name)), "name must be valid as a DNS name component"),
        (with(&|s| s.task_template.container_spec = None), "TaskSpec: missing runtime"),
        (with(&|s| image(s, "")), "ContainerSpec: image reference must be provided"),
        (with(&|s| image(s, "Up:Per")), "ContainerSpec: \"Up:Per\" is not a valid repository/tag"),
        (limited(10_000, 0), "invalid cpu value 1e-05: Must be at least 0.001"),
        (limited(0, 1024), "invalid memory value 1024: Must be at least 4MiB"),
        (
            with(&|s| {
                s.task_template.restart_policy =
                    Some(RestartPolicy { delay: Some(-1), ..RestartPolicy::default() });
            }),
            "TaskSpec: restart-delay cannot be negative",
        ),
        (
            with(&|s| {
                s.update_config = Some(UpdateConfig { max_failure_ratio: 1.5, ..UpdateConfig::default() });
            }),
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ),
        (
            mounted(vec![mount(MountKind::Volume, "a", "/x"), mount(MountKind::Volume, "b", "/x")]),
            "ContainerSpec: duplicate mount point: /x",
        ),
        (
            mounted(vec![mount(MountKind::Bind, "rel", "/x")]),
            "invalid bind mount source, must be an absolute path: rel",
        ),
        (
            with(&|s| {
                let ports = vec![port(80, PublishMode::Ingress), port(80, PublishMode::Ingress)];
                s.endpoint_spec = Some(EndpointSpec { mode: None, ports });
            }),
            "EndpointSpec: duplicate published ports provided",
        ),
        (
            with(&|s| {
                let ports = vec![port(80, PublishMode::Ingress)];
                s.endpoint_spec = Some(EndpointSpec { mode: Some(EndpointMode::Dnsrr), ports });
            }),
            "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
        ),
        (
            labelled("shoal.publish.allow", "10.0.0.0/8;everyone"),
            r#"label shoal.publish.allow: "everyone" is not a network such as 10.0.0.0/8 or an address"#,
        ),
        (
            labelled("shoal.publish.on", "8080=eth0"),
            "label shoal.publish.on: port 8080/tcp is not published by the service",
        ),
    ]
}

/// Labels of the balancer, and what they are refused with.
fn bad_balancing() -> Vec<(ServiceSpec, &'static str)> {
    let mut heavy_container = spec("web", 1);
    let labels = &mut heavy_container.task_template.container_spec.as_mut().unwrap().labels;
    labels.insert("shoal.lb.weight".to_owned(), "heavy".to_owned());
    vec![
        (
            labelled("shoal.lb.scheduler", "wlc"),
            r#"label shoal.lb.scheduler: "wlc" is not a scheduler (rr, wrr, lc, sh, maglev or p2c)"#,
        ),
        (
            labelled("shoal.lb.affinity", "2d"),
            r#"label shoal.lb.affinity: "2d" is not a time between 1s and 24h, such as 30s, 10m or 3h"#,
        ),
        (
            labelled("shoal.lb.weight", "0"),
            r#"label shoal.lb.weight: "0" is not a weight from 1 to 256 or node.labels.KEY"#,
        ),
        (
            heavy_container,
            r#"container label shoal.lb.weight: "heavy" is not a weight from 1 to 256 or node.labels.KEY"#,
        ),
    ]
}

#[test]
fn bad_specs_are_refused_in_dockers_words() {
    let mut bench = Bench::new(1);
    for (spec, words) in bad_specs().into_iter().chain(bad_balancing()) {
        let error = refused(&mut bench, spec);
        assert_eq!(error.to_string(), format!("rpc error: code = InvalidArgument desc = {words}"));
        assert_eq!(error.code().http_status(), 400);
    }
}

#[test]
fn labels_of_the_balancer_are_kept_as_sent_and_checked_on_update_too() {
    let mut bench = Bench::new(1);
    let mut asked = spec("web", 1);
    let labels = [("shoal.lb.scheduler", "maglev"), ("shoal.lb.affinity", "010m"), ("shoal.lb.weight", "7")];
    asked.labels = labels.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
    let web = bench.create(asked.clone());
    let stored = bench.service(&web);
    assert_eq!(stored.spec.labels, asked.labels);
    asked.labels.insert("shoal.lb.scheduler".to_owned(), "fastest".to_owned());
    let version = stored.meta.version;
    let error = admit::update_service(&bench.state, &web, version, asked, false, bench.now).unwrap_err();
    assert_eq!(
        (error.code().http_status(), error.to_string().as_str()),
        (
            400,
            "rpc error: code = InvalidArgument desc = label shoal.lb.scheduler: \"fastest\" is not a scheduler \
             (rr, wrr, lc, sh, maglev or p2c)"
        )
    );
}

#[test]
fn names_and_ports_that_are_taken_are_refused() {
    let mut bench = Bench::new(1);
    let web = bench.create(publish(spec("web", 1), 8000));
    let error = refused(&mut bench, spec("web", 1));
    assert_eq!(
        error.to_string(),
        "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists"
    );
    assert_eq!(error.code().http_status(), 409);
    let taken = |how: &str| {
        let desc = format!("port '8000' is already in use by service 'web' ({web}) as {how}");
        format!("rpc error: code = InvalidArgument desc = {desc}")
    };
    let error = refused(&mut bench, publish(spec("other", 1), 8000));
    assert_eq!(error.to_string(), taken("an ingress port"));
    bench.update(&web, |spec| {
        spec.endpoint_spec.as_mut().unwrap().ports = vec![port(8000, PublishMode::Host)];
    });
    bench.settle();
    let error = refused(&mut bench, publish(spec("other", 1), 8000));
    assert_eq!(error.to_string(), taken("a host-published port"));
    let mut both_on_hosts = spec("other", 1);
    both_on_hosts.endpoint_spec =
        Some(EndpointSpec { mode: None, ports: vec![port(8000, PublishMode::Host)] });
    bench.create(both_on_hosts);
}

#[test]
fn updates_keep_name_and_mode_and_need_the_version() {
    let mut bench = Bench::new(1);
    let id = bench.create(spec("web", 1));
    let stored = bench.service(&id);
    let attempt = |bench: &Bench, change: &dyn Fn(&mut ServiceSpec)| {
        let mut spec = stored.spec.clone();
        change(&mut spec);
        admit::update_service(&bench.state, &id, stored.meta.version, spec, false, bench.now)
    };
    let error = attempt(&bench, &|s| s.name = "other".to_owned()).unwrap_err();
    assert_eq!(
        (error.code().http_status(), error.to_string().as_str()),
        (501, "rpc error: code = Unimplemented desc = renaming services is not supported")
    );
    let error = attempt(&bench, &|s| {
        s.mode = ServiceMode { global: Some(GlobalService {}), ..ServiceMode::default() };
    });
    assert!(error.unwrap_err().to_string().ends_with("desc = service mode change is not allowed"));
    let changed = attempt(&bench, &|s| s.task_template.force_update = 1).unwrap();
    assert_eq!(changed.previous_spec.as_ref(), Some(&stored.spec));
    let error = bench
        .write(vec![Change::Update(Object::from(changed.clone())), Change::Update(Object::from(changed))]);
    let error = AdmitError::from(error.unwrap_err());
    assert_eq!(error.to_string(), "rpc error: code = Unknown desc = update out of sequence");
    assert_eq!(error.code().http_status(), 500);
}

#[test]
fn an_encrypted_network_is_refused_rather_than_sent_in_the_clear() {
    let mut bench = Bench::new(1);
    let options = [("encrypted".to_owned(), String::new())].into();
    let spec = NetworkSpec { name: "secret".to_owned(), options, ..NetworkSpec::default() };
    let refused =
        admit::create_network(&bench.state, spec, "overlay", bench.now, &mut bench.rng).unwrap_err();
    assert_eq!(refused.code().http_status(), 501);
    assert!(refused.to_string().contains("encrypted overlay networks are not built yet"), "{refused}");
}

#[test]
fn networks_are_checked_against_networks_and_hosts() {
    let mut bench = Bench::new(1);
    bench.set_node(0, |node| node.description.routes = vec!["172.16.0.0/12".parse().unwrap()]);
    bench.settle();
    let mut attempt = |name: &str, subnet: &str, driver: &str| {
        let subnet = SubnetSpec { subnet: subnet.parse().unwrap(), gateway: None, range: None };
        let spec = NetworkSpec { name: name.to_owned(), subnets: vec![subnet], ..NetworkSpec::default() };
        let admitted = admit::create_network(&bench.state, spec, driver, bench.now, &mut bench.rng);
        admitted.map(|_| ()).map_err(|error| (error.code().http_status(), error.to_string()))
    };
    attempt("a", "192.168.7.0/24", "overlay").unwrap();
    let (status, text) = attempt("ingress", "192.168.7.0/24", "overlay").unwrap_err();
    assert_eq!((status, text.as_str()), (409, "network with name ingress already exists"));
    let (status, text) = attempt("a", "10.0.0.128/25", "overlay").unwrap_err();
    assert!(status == 400 && text.contains("overlaps with subnet 10.0.0.0/24 of network ingress"), "{text}");
    let (_, text) = attempt("a", "172.18.0.0/16", "overlay").unwrap_err();
    assert!(text.contains("overlaps with route 172.16.0.0/12 of node n0"), "{text}");
    assert!(attempt("a", "192.168.7.0/24", "macvlan").is_err());
}

#[test]
fn the_subnets_of_a_network_are_of_its_families() {
    let mut bench = Bench::new(1);
    bench.set_node(0, |node| node.description.routes = vec!["fd00:5::/48".parse().unwrap()]);
    bench.network(NetworkSpec {
        name: "six".to_owned(),
        enable_ipv4: false,
        enable_ipv6: true,
        subnets: vec![SubnetSpec { subnet: "fd00:6::/64".parse().unwrap(), gateway: None, range: None }],
        ..NetworkSpec::default()
    });
    let mut attempt = |ipv4: bool, ipv6: bool, subnets: &[(&str, Option<&str>)]| {
        let subnets = subnets.iter().map(|(subnet, gateway)| SubnetSpec {
            subnet: subnet.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            range: None,
        });
        let spec = NetworkSpec {
            name: "a".to_owned(),
            enable_ipv4: ipv4,
            enable_ipv6: ipv6,
            subnets: subnets.collect(),
            ..NetworkSpec::default()
        };
        let admitted = admit::create_network(&bench.state, spec, "overlay", bench.now, &mut bench.rng);
        admitted.map(|_| ()).map_err(|error| error.to_string())
    };
    attempt(true, true, &[("192.168.7.0/24", None), ("fd00:7::/64", Some("fd00:7::ff"))]).unwrap();
    attempt(false, true, &[]).unwrap();
    for (ipv4, ipv6, subnets, refused) in [
        (false, false, &[][..], "IPv4 or IPv6 must be enabled"),
        (true, false, &[("fd00:7::/64", None)], "subnet fd00:7::/64 was given, but IPv6 is not enabled"),
        (false, true, &[("192.168.7.0/24", None)], "subnet 192.168.7.0/24 was given, but IPv4 is disabled"),
        (true, true, &[("fd00:7::/64", Some("10.0.0.1"))], "fd00:7::/64 does not contain gateway 10.0.0.1"),
        (true, true, &[("fd00:7::/64", None), ("fd00:7::/48", None)], "fd00:7::/48 overlaps with another"),
        (true, true, &[("fd00:5::/64", None)], "fd00:5::/64 overlaps with route fd00:5::/48 of node n0"),
        (true, true, &[("fd00:6::/80", None)], "overlaps with subnet fd00:6::/64 of network six"),
    ] {
        let text = attempt(ipv4, ipv6, subnets).unwrap_err();
        assert!(text.contains(refused), "{text}");
    }
}

#[test]
fn what_is_in_use_is_not_removed() {
    let mut bench = Bench::new(1);
    let net = bench.network(NetworkSpec { name: "net".to_owned(), ..NetworkSpec::default() });
    let web = bench.create(on(spec("web", 1), "net"));
    let error = admit::remove_network(&bench.state, &net).unwrap_err();
    let desc = format!("network {net} is in use by service {web}");
    assert_eq!(error.to_string(), format!("rpc error: code = FailedPrecondition desc = {desc}"));
    bench.run();
    bench.remove(web);
    assert!(admit::remove_network(&bench.state, &net).unwrap_err().to_string().contains("in use by task"));
    bench.run();
    admit::remove_network(&bench.state, &net).unwrap();
}

#[test]
fn secrets_change_their_labels_only() {
    let mut bench = Bench::new(1);
    let data = |name: &str, data: &[u8]| DataSpec {
        name: name.to_owned(),
        data: data.to_vec(),
        ..DataSpec::default()
    };
    let now = bench.now;
    let create = |bench: &Bench, spec| admit::create_secret(&bench.state, spec, now, &mut rand_dice());
    for bad in [data("", b"x"), data("a b", b"x"), data("a", b""), data("a", &vec![0; 512_000])] {
        assert_eq!(create(&bench, bad).unwrap_err().code(), Code::InvalidArgument);
    }
    let secret = create(&bench, data("key", b"x")).unwrap();
    bench.write(vec![Change::Create(Object::from(secret.clone()))]).unwrap();
    assert_eq!(
        create(&bench, data("key", b"y")).unwrap_err().to_string(),
        "rpc error: code = AlreadyExists desc = secret key already exists"
    );
    let update = |spec| admit::update_secret(&bench.state, &secret.id, version(1), spec);
    for same in [data("key", b"x"), data("key", b"")] {
        let labels = [("a".to_owned(), "b".to_owned())].into();
        let updated = update(DataSpec { labels, ..same }).unwrap();
        assert_eq!((updated.spec.data.as_slice(), updated.spec.labels.len()), (b"x".as_slice(), 1));
    }
    for other in [data("key", b"y"), data("other", b"x")] {
        let error = update(other).unwrap_err();
        assert!(error.to_string().ends_with("desc = only updates to Labels are allowed"));
    }
}

fn rand_dice() -> rand_chacha::ChaCha12Rng {
    rand::SeedableRng::seed_from_u64(9)
}

#[test]
fn a_node_leaves_the_list_when_it_is_down_or_by_force() {
    let mut bench = Bench::new(2);
    bench.settle();
    let id = node_id(1);
    let error = admit::remove_node(&bench.state, &id, false).unwrap_err();
    let desc = format!("node {id} is not down and can't be removed");
    assert_eq!(error.to_string(), format!("rpc error: code = FailedPrecondition desc = {desc}"));
    admit::remove_node(&bench.state, &id, true).unwrap();
    bench.lose(1);
    bench.settle();
    admit::remove_node(&bench.state, &id, false).unwrap();
    assert!(admit::remove_node(&bench.state, &node_id(0), true).unwrap_err().to_string().contains("demoted"));
}

#[test]
fn the_last_managers_are_not_demoted() {
    let mut bench = Bench::new(3);
    bench.settle();
    let demote = |bench: &Bench, n| {
        let mut spec = bench.state.nodes()[&node_id(n)].spec.clone();
        spec.role = NodeRole::Worker;
        admit::update_node(&bench.state, &node_id(n), version(0), spec).map(drop).map_err(|e| e.to_string())
    };
    let error = demote(&bench, 0).unwrap_err();
    assert!(error.ends_with("desc = attempting to demote the last manager of the swarm"), "{error}");
    for n in [1, 2] {
        bench.set_node(n, |node| node.spec.role = NodeRole::Manager);
    }
    demote(&bench, 0).unwrap();
    bench.lose(2);
    bench.settle();
    let error = demote(&bench, 0).unwrap_err();
    assert!(
        error.ends_with("desc = can't remove member from the raft: this would result in a loss of quorum")
    );
}

#[test]
fn the_swarms_parameters_are_checked() {
    let bench = Bench::new(1);
    let attempt = |change: &dyn Fn(&mut ClusterSpec)| {
        let mut spec = bench.state.cluster().unwrap().spec.clone();
        change(&mut spec);
        admit::update_cluster(&bench.state, version(1), spec).map(drop).map_err(|e| e.to_string())
    };
    attempt(&|spec| spec.orchestration.task_history_retention_limit = Some(9)).unwrap();
    let error = attempt(&|spec| spec.ca_config.node_cert_expiry = 1).unwrap_err();
    assert!(error.ends_with("desc = minimum certificate expiry time is: 1h0m0s"), "{error}");
    let error = attempt(&|spec| spec.name = "other".to_owned()).unwrap_err();
    assert!(error.ends_with("desc = modification of cluster name is not allowed"), "{error}");
    assert_eq!(seconds(5), shoal_control::heartbeat_period(&bench.state));
}
