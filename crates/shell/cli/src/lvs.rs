//! `shoal lvs`.

use crate::socket::Daemon;
use clap::Args;
use shoal_wire::lvs::ShownService;

#[derive(Args)]
pub(crate) struct LvsArguments {
    #[command(flatten)]
    daemon: Daemon,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &LvsArguments) -> anyhow::Result<()> {
    let answer = arguments.daemon.get("/shoal/lvs")?;
    if arguments.json {
        println!("{answer:#}");
        return Ok(());
    }
    let services: Vec<ShownService> = serde_json::from_value(answer)?;
    print!("{}", shoal_wire::lvs::ipvsadm(&services));
    Ok(())
}
