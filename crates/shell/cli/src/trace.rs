//! `shoal trace`.

use crate::socket::Daemon;
use clap::Args;
use shoal_model::trace::Trace;
use std::process::ExitCode;

/// Asks a manager. The exit status is 0 if the connection arrives whichever real server it is given to, otherwise 1.
#[derive(Args)]
pub(crate) struct TraceArguments {
    /// Who connects: a task, a container's id, a node, or the address of a client
    source: String,
    /// Where to: a service, a virtual address, a task, or a node; with the port
    #[arg(value_name = "DESTINATION[:PORT]")]
    destination: String,
    #[command(flatten)]
    daemon: Daemon,
    /// UDP instead of TCP
    #[arg(long)]
    udp: bool,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &TraceArguments) -> anyhow::Result<ExitCode> {
    let (from, to) = (escaped(&arguments.source), escaped(&arguments.destination));
    let path = format!("/shoal/trace?from={from}&to={to}&udp={}", u8::from(arguments.udp));
    let answer = arguments.daemon.get(&path)?;
    let trace: Trace = serde_json::from_value(answer.clone())?;
    if arguments.json {
        println!("{answer:#}");
    } else {
        print!("{}", shoal_wire::trace::text(&trace));
    }
    Ok(if trace.arrives() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whatever is not plain in a query is escaped.
fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}
