//! `shoal lvs`.

use crate::socket::Daemon;
use clap::Args;
use shoal_wire::lvs::{self, Shown};
use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time between two samples, and between two pictures.
const PERIOD: Duration = Duration::from_secs(1);
/// Puts the cursor home and clears what follows (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[J";

#[derive(Args)]
pub(crate) struct LvsArguments {
    #[command(flatten)]
    daemon: Daemon,
    /// Addresses instead of names
    #[arg(short, long)]
    numeric: bool,
    /// Connections, packets and bytes so far, and what was dropped
    #[arg(long, group = "what")]
    stats: bool,
    /// Connections, packets and bytes a second
    #[arg(long, group = "what")]
    rate: bool,
    /// The connections known now
    #[arg(short, long, group = "what")]
    connections: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Show it anew every second until interrupted
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

/// One reading and when it was taken.
type Sample = (Instant, Shown);

pub(crate) fn run(arguments: &LvsArguments) -> anyhow::Result<()> {
    let mut before = None;
    if arguments.rate {
        before = Some(sample(arguments)?);
        sleep(PERIOD);
    }
    loop {
        let now = sample(arguments)?;
        let shown = picture(arguments, before.as_ref(), &now)?;
        let mut out = std::io::stdout().lock();
        if !arguments.watch {
            return Ok(out.write_all(shown.as_bytes())?);
        }
        out.write_all(format!("{CLEAR}{shown}").as_bytes())?;
        out.flush()?;
        drop(out);
        before = Some(now);
        sleep(PERIOD);
    }
}

fn sample(arguments: &LvsArguments) -> anyhow::Result<Sample> {
    let path = if arguments.connections { "/shoal/lvs?connections=1" } else { "/shoal/lvs" };
    let answer = arguments.daemon.get(path)?;
    Ok((Instant::now(), serde_json::from_value(answer)?))
}

fn picture(arguments: &LvsArguments, before: Option<&Sample>, now: &Sample) -> anyhow::Result<String> {
    let mut shown = now.1.clone();
    if let (true, Some((at, before))) = (arguments.rate, before) {
        let millis = u64::try_from(now.0.duration_since(*at).as_millis()).unwrap_or(u64::MAX);
        shown = lvs::rates(before, shown, millis);
    }
    if arguments.json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(&shown)?));
    }
    let show = match arguments {
        LvsArguments { stats: true, .. } => lvs::stats,
        LvsArguments { rate: true, .. } => lvs::per_second,
        LvsArguments { connections: true, .. } => lvs::connections,
        _ => lvs::table,
    };
    Ok(show(&shown, arguments.numeric))
}
