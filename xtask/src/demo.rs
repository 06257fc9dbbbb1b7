//! `cargo xtask demo`: a three-host swarm on this machine, driven by the docker command.
//!
//! Plays the session of the article on ingress networks: a service with replicas, any host answering on its published
//! port, the virtual IP between services, and a look at the namespaces and the virtual-server table.

use crate::packages::{self, BUILD, LAB};
use crate::steps;
use anyhow::{Context, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const HOSTS: [&str; 3] = ["swarm-manager", "swarm-worker1", "swarm-worker2"];
const ADDRESSES: [&str; 3] = ["192.168.50.11", "192.168.50.12", "192.168.50.13"];

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct DemoArguments {
    /// Tear everything down at the end, and fail if any step was not as promised
    #[arg(long)]
    once: bool,
    /// Name of the lab, so that several can exist
    #[arg(long, default_value = "demo")]
    name: String,
}

/// Builds, brings the lab up, plays the session.
pub(crate) fn run(arguments: &DemoArguments) -> anyhow::Result<()> {
    if !packages::is_root() {
        bail!(
            "the demo makes network namespaces and loads BPF programs: run it as root (sudo -E cargo xtask demo)"
        );
    }
    packages::ensure(&[BUILD, LAB])?;
    steps::cargo(&["build", "--package=shoal"])?;
    crate::test::build_whoami()?;
    let demo = Demo { shoal: steps::root().join("target/debug/shoal"), name: arguments.name.clone() };
    demo.lab(&["down"])?;
    let played = demo.play();
    if arguments.once || played.is_err() {
        if played.is_err() && !arguments.once {
            println!("\nThe lab is left as it is, to be looked at: {}", demo.shown(&["status"]));
            println!("Tear it down with: {}", demo.shown(&["down"]));
        } else {
            demo.lab(&["down"])?;
        }
        played?;
        println!("\nEvery step was as promised, and everything is torn down.");
        return Ok(());
    }
    demo.how_to_go_on();
    Ok(())
}

struct Demo {
    shoal: PathBuf,
    name: String,
}

impl Demo {
    fn play(&self) -> anyhow::Result<()> {
        let begin = Instant::now();
        say("Three hosts, each with its own network namespace and its own shoal daemon, join one swarm");
        self.lab(&["up", "--nodes", "3"])?;
        self.docker(0, &["version", "--format", "server: {{.Server.Version}}, API {{.Server.APIVersion}}"])?;
        self.docker(0, &["node", "ls"])?;
        self.docker(0, &["images"])?;

        say("A network, a client, and a service with a published port");
        self.docker(0, &["network", "create", "-d", "overlay", "my-demo"])?;
        let sleeper = "while true; do sleep 3600; done";
        self.docker(
            0,
            &[
                "service",
                "create",
                "--detach",
                "--name",
                "client",
                "--network",
                "my-demo",
                "busybox",
                "sh",
                "-c",
                sleeper,
            ],
        )?;
        self.docker(
            0,
            &[
                "service",
                "create",
                "--name",
                "whoami",
                "-p",
                "8000:8000",
                "--network",
                "my-demo",
                "--replicas",
                "3",
                "--update-monitor",
                "1s",
                "whoami",
            ],
        )?;
        self.docker(0, &["service", "scale", "whoami=2"])?;
        self.docker(0, &["service", "ls"])?;
        self.docker(0, &["service", "ps", "--filter", "desired-state=running", "whoami"])?;

        say("Every host answers on port 8000, whether it runs a task or not");
        self.ask_every_host()?;
        self.client_address_is_kept()?;

        say("From a task: names, the virtual IP, and the tasks behind it");
        self.session_in_a_task()?;

        say("What the article shows, on a host");
        self.look_inside()?;
        println!("\nThe whole session took {:.0} s.", begin.elapsed().as_secs_f32());
        Ok(())
    }

    /// Asks each host from the host itself and from a machine outside the swarm.
    fn ask_every_host(&self) -> anyhow::Result<()> {
        let tasks = self.tasks_by_container()?;
        ensure!(tasks.len() == 2, "expected 2 running tasks of whoami, found {tasks:?}");
        for (host, address) in HOSTS.iter().zip(ADDRESSES) {
            for (from, url) in [
                (*host, "http://127.0.0.1:8000/".to_owned()),
                (*host, "http://localhost:8000/".to_owned()),
                (*host, format!("http://{address}:8000/")),
                ("client", format!("http://{address}:8000/")),
            ] {
                let mut answered = BTreeSet::new();
                for _ in 0..4 {
                    let text = self.capture(&["exec", from, "--", "curl", "-sS", "--max-time", "5", &url])?;
                    let container = text.trim().strip_prefix("I'm ").unwrap_or(text.trim()).to_owned();
                    let place = tasks
                        .get(&container)
                        .with_context(|| format!("{from} asked {url}: unknown answer {text:?}"))?;
                    answered.insert(format!("{container} on {place}"));
                }
                println!(
                    "  {from:<14} curl {url:<28} answered by {}",
                    answered.iter().cloned().collect::<Vec<_>>().join(", ")
                );
                ensure!(answered.len() == tasks.len(), "{from} asked {url}: only {answered:?} answered");
            }
        }
        Ok(())
    }

    fn client_address_is_kept(&self) -> anyhow::Result<()> {
        for address in ADDRESSES {
            let url = format!("http://{address}:8000/?verbose");
            let text = self.capture(&["exec", "client", "--", "curl", "-sS", "--max-time", "5", &url])?;
            ensure!(text.contains("192.168.50.100"), "the task did not see the client's address: {text}");
        }
        println!("  through each host the task sees the client's own address, 192.168.50.100");
        Ok(())
    }

    fn session_in_a_task(&self) -> anyhow::Result<()> {
        let (host, container) = self.container_of("client")?;
        let exec = |arguments: &[&str]| {
            let mut all = vec!["exec", container.as_str()];
            all.extend_from_slice(arguments);
            self.docker_output(host, &all)
        };
        print!("{}", exec(&["nslookup", "whoami"])?);
        print!("{}", exec(&["nslookup", "tasks.whoami"])?);
        let mut answered = BTreeSet::new();
        for _ in 0..4 {
            answered.insert(exec(&["wget", "-qO-", "http://whoami:8000"])?.trim().to_owned());
        }
        println!("  wget http://whoami:8000 from a task of `client`: {answered:?}");
        ensure!(answered.len() == 2, "the virtual IP did not spread: {answered:?}");
        Ok(())
    }

    fn look_inside(&self) -> anyhow::Result<()> {
        let netns = self.directory().join(HOSTS[0]).join("exec/netns");
        self.show(0, &["ls", &netns.to_string_lossy()])?;
        let sandbox = format!("--net={}", netns.join("ingress_sbox").display());
        self.show(0, &["nsenter", &sandbox, "ip", "-brief", "address"])?;
        let (host, container) = self.container_of("whoami")?;
        let sandbox = self.directory().join(HOSTS[host]).join("exec/netns").join(&container[..12]);
        let sandbox = format!("--net={}", sandbox.display());
        self.show(host, &["nsenter", &sandbox, "ip", "a"])?;
        let socket = self.socket(1);
        let shoal = self.shoal.to_string_lossy().into_owned();
        self.show(1, &[&shoal, "lvs", "-n", "--host", &socket])
    }

    /// Containers of whoami's running tasks (short id, which is what the tasks answer with) and their hosts.
    fn tasks_by_container(&self) -> anyhow::Result<BTreeMap<String, &'static str>> {
        let mut found = BTreeMap::new();
        for (index, host) in HOSTS.iter().enumerate() {
            let ids = self.docker_output(
                index,
                &["ps", "-q", "--filter", "label=com.docker.swarm.service.name=whoami"],
            )?;
            found.extend(ids.split_whitespace().map(|id| (id.to_owned(), *host)));
        }
        Ok(found)
    }

    /// The host and full id of a running container of a service.
    fn container_of(&self, service: &str) -> anyhow::Result<(usize, String)> {
        let filter = format!("label=com.docker.swarm.service.name={service}");
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            for index in 0..HOSTS.len() {
                let ids = self.docker_output(index, &["ps", "-q", "--no-trunc", "--filter", &filter])?;
                if let Some(id) = ids.split_whitespace().next() {
                    return Ok((index, id.to_owned()));
                }
            }
            ensure!(Instant::now() < deadline, "no host runs a container of {service}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn directory(&self) -> PathBuf {
        PathBuf::from("/run/shoal-lab").join(&self.name)
    }

    fn socket(&self, host: usize) -> String {
        format!("unix://{}", self.directory().join(HOSTS[host]).join("docker.sock").display())
    }

    fn docker_command(&self, host: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(arguments).env("DOCKER_HOST", self.socket(host));
        command
    }

    /// Shows a docker command and runs it, with its output going to the terminal.
    fn docker(&self, host: usize, arguments: &[&str]) -> anyhow::Result<()> {
        println!("\n{}$ docker {}", HOSTS[host], arguments.join(" "));
        steps::run(&mut self.docker_command(host, arguments))
    }

    fn docker_output(&self, host: usize, arguments: &[&str]) -> anyhow::Result<String> {
        output(&mut self.docker_command(host, arguments))
    }

    /// Shows a command and runs it as on a host.
    fn show(&self, host: usize, arguments: &[&str]) -> anyhow::Result<()> {
        println!("\n{}$ {}", HOSTS[host], arguments.join(" "));
        let mut all = vec!["exec", HOSTS[host], "--"];
        all.extend_from_slice(arguments);
        self.lab(&all)
    }

    fn lab_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.shoal);
        command.args(["lab", "--name", &self.name]).args(arguments);
        command.env("SHOAL_WHOAMI", steps::root().join("target/static/debug/whoami"));
        command
    }

    fn lab(&self, arguments: &[&str]) -> anyhow::Result<()> {
        steps::run(&mut self.lab_command(arguments))
    }

    fn capture(&self, arguments: &[&str]) -> anyhow::Result<String> {
        output(&mut self.lab_command(arguments))
    }

    fn shown(&self, arguments: &[&str]) -> String {
        format!("{} lab --name {} {}", self.shoal.display(), self.name, arguments.join(" "))
    }

    fn how_to_go_on(&self) {
        say("The swarm is yours now");
        println!("  eval \"$({})\"", self.shown(&["env", HOSTS[0]]));
        println!("  docker service scale whoami=10");
        println!("  {}", self.shown(&["shell", HOSTS[1]]));
        println!("  {}", self.shown(&["exec", "client", "--", "curl", "192.168.50.12:8000"]));
        println!(
            "  {}      # a power cut; watch `docker node ls` and `docker service ps whoami`",
            self.shown(&["kill", HOSTS[2]])
        );
        println!("\nTear it down with:\n  {}", self.shown(&["down"]));
    }
}

fn say(headline: &str) {
    println!("\n── {headline}");
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let result = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("could not run {command:?}"))?;
    if !result.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&result.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}
