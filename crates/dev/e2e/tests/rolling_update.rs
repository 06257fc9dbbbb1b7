//! A load through all three hosts while a service is updated again and again: not one request may fail.
//!
//! `cargo xtask load` runs this with a million requests; continuous integration with fewer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_e2e::{Lab, MANAGER, eventually};

/// How many requests are made unless `SHOAL_LOAD_REQUESTS` says otherwise.
const REQUESTS: u64 = 150_000;

#[test]
fn rolling_updates_under_load_lose_no_request() {
    let asked = std::env::var("SHOAL_LOAD_REQUESTS").ok();
    let requests = asked.map_or(REQUESTS, |text| text.parse().expect("SHOAL_LOAD_REQUESTS is a number"));
    let lab = Lab::swarm();
    let mut create =
        vec!["service", "create", "--detach", "--name", "web", "--replicas", "4", "-p", "8000:8000"];
    create.extend(["--update-monitor", "100ms", "--update-parallelism", "1", "whoami"]);
    lab.docker(MANAGER, &create).ok();
    lab.converged("web", 4);
    eventually("the port answers", || lab.curl(shoal_e2e::CLIENT, "http://192.168.50.13:8000/").code == 0);
    let mut load = lab.load(8000, requests);
    let mut updates = 0;
    while load.goes_on() {
        let order = if updates % 2 == 0 { "start-first" } else { "stop-first" };
        let variable = format!("UPDATE={updates}");
        let update = ["service", "update", "--quiet", "--update-order", order, "--env-add", &variable, "web"];
        lab.docker(MANAGER, &update).ok();
        updates += 1;
    }
    let outcome = load.outcome();
    println!("{updates} updates: {outcome:?}");
    outcome.nothing_lost(requests);
    assert!(updates > 0 && outcome.answers() > 4, "tasks were replaced under the load: {outcome:?}");
}
