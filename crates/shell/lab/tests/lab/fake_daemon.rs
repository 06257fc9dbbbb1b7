//! What the lab sees of a daemon: its arguments, its API, and that it leaves processes, mounts and cgroups behind. Hosts
//! join over the LAN, as they do in truth.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    if std::env::var("FAKE_FAILS").is_ok() {
        println!("the fake daemon fails as told");
        return ExitCode::FAILURE;
    }
    let given: BTreeMap<String, String> =
        arguments.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    fs::write(&given["--pidfile"], std::process::id().to_string()).unwrap();
    let data = PathBuf::from(&given["--data-root"]);
    leave_traces(&data, Path::new(&given["--exec-root"]), &given["--cgroup-parent"]);
    let socket = PathBuf::from(given["--host"].strip_prefix("unix://").unwrap());
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let nodes = Arc::new(Mutex::new(vec![hostname()]));
    println!("the fake daemon of {} listens", hostname());
    for stream in listener.incoming() {
        let (nodes, data) = (Arc::clone(&nodes), data.clone());
        std::thread::spawn(move || answer(stream.unwrap(), &nodes, &data));
    }
    ExitCode::SUCCESS
}

fn hostname() -> String {
    nix::unistd::gethostname().unwrap().into_string().unwrap()
}

/// A "container" that outlives the daemon, with its cgroup, its mount and its namespace.
#[expect(clippy::zombie_processes, reason = "it outlives this process, as a container does")]
fn leave_traces(data: &Path, exec: &Path, cgroup: &str) {
    fs::write(data.join("disk"), "kept").unwrap();
    let merged = data.join("merged");
    if merged.exists() {
        return;
    }
    fs::create_dir(&merged).unwrap();
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), &merged, Some("tmpfs"), flags, None::<&str>).unwrap();
    shoal_host::create_namespace(&exec.join("netns/container")).unwrap();
    let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).process_group(0).spawn().unwrap();
    for hierarchy in ["pids", "freezer"].map(|name| Path::new("/sys/fs/cgroup").join(name)) {
        if hierarchy.is_dir() {
            let directory = hierarchy.join(cgroup.trim_start_matches('/')).join("container");
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
    }
    fs::write(data.join("container.pid"), child.id().to_string()).unwrap();
}

fn answer(stream: UnixStream, nodes: &Arc<Mutex<Vec<String>>>, data: &Path) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut length = 0;
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).unwrap();
        if let Some(value) = field.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
        if field.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (status, text) = match line.rsplit_once(' ').unwrap().0 {
        "GET /_ping" => (200, "OK".to_owned()),
        "POST /swarm/init" => (200, init(nodes)),
        "GET /swarm" => (200, r#"{"JoinTokens":{"Worker":"token-w","Manager":"token-m"}}"#.to_owned()),
        "POST /swarm/join" => join(&body),
        "GET /nodes" => {
            let node = |name: &String| {
                format!(r#"{{"Description":{{"Hostname":"{name}"}},"Status":{{"State":"ready"}}}}"#)
            };
            let all: Vec<String> = nodes.lock().unwrap().iter().map(node).collect();
            (200, format!("[{}]", all.join(",")))
        }
        "POST /images/load?quiet=1" => {
            let number = fs::read_dir(data).unwrap().count();
            fs::write(data.join(format!("image{number}.tar")), &body).unwrap();
            (200, r#"{"stream":"Loaded image"}"#.to_owned())
        }
        other => (404, format!(r#"{{"message":"page not found: {other}"}}"#)),
    };
    let mut stream = stream;
    let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{text}", text.len());
}

fn init(nodes: &Arc<Mutex<Vec<String>>>) -> String {
    let listener = TcpListener::bind("0.0.0.0:2377").unwrap();
    let nodes = Arc::clone(nodes);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut name = String::new();
            stream.unwrap().read_to_string(&mut name).unwrap();
            nodes.lock().unwrap().push(name);
        }
    });
    r#""node-id""#.to_owned()
}

fn join(body: &[u8]) -> (u16, String) {
    let request: serde_json::Value = serde_json::from_slice(body).unwrap();
    let remote = request["RemoteAddrs"][0].as_str().unwrap();
    match TcpStream::connect(remote).and_then(|mut stream| stream.write_all(hostname().as_bytes())) {
        Ok(()) => (200, String::new()),
        Err(error) => (503, format!(r#"{{"message":"{remote}: {error}"}}"#)),
    }
}
