//! A run by script: one command a line, each echoed with what it answers, so that a scenario and its recorded output can
//! be read side by side. `scenarios/README.md` lists the commands.

mod objects;
mod service;
mod show;
mod words;

use crate::brain::Brain;
use crate::host::Image;
use crate::invariants;
use crate::world::World;
use anyhow::{Context, Result, anyhow, bail};
use shoal_model::{NodeId, TaskId, TaskState};
use std::time::Duration;
use words::Words;

/// Every scenario is played with this seed.
const SEED: u64 = 7;

/// Plays a script and returns the transcript. Errors are those of the script; what the cluster refuses is part of the
/// transcript.
pub fn play(brain: impl Fn() -> Box<dyn Brain>, script: &str) -> Result<String> {
    let mut player = Player { world: None, transcript: String::new() };
    for (line, number) in script.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            player.say(line);
            continue;
        }
        player.say(&format!("> {line}"));
        let answer = player.command(&brain, line).with_context(|| format!("line {number}: {line}"))?;
        for line in answer.lines() {
            player.say(&format!("  {line}"));
        }
    }
    Ok(player.transcript)
}

struct Player {
    world: Option<World>,
    transcript: String,
}

/// The words of an answer, or nothing.
type Answer = Result<String>;

impl Player {
    fn say(&mut self, line: &str) {
        self.transcript.push_str(line.trim_end());
        self.transcript.push('\n');
    }

    fn command(&mut self, brain: &dyn Fn() -> Box<dyn Brain>, line: &str) -> Answer {
        let mut words = Words::new(line);
        let verb = words.next("a command")?;
        if verb == "nodes" {
            let nodes = words.next("how many")?.parse()?;
            let managers = words.take("managers").map_or(Ok(1), str::parse)?;
            self.world = Some(World::new(brain(), nodes, managers, SEED));
            return words.done();
        }
        let world = self.world.as_mut().ok_or_else(|| anyhow!("begin with `nodes N`"))?;
        let answer = match verb {
            "advance" => {
                let by = words::duration(words.next("a duration")?)?;
                world.advance(by).map(|()| String::new()).map_err(Into::into)
            }
            "rest" => invariants::at_rest(world).map(|()| "at rest".to_owned()).map_err(Into::into),
            "network" => objects::network(world, &mut words),
            "secret" => objects::secret(world, &mut words),
            "node" => objects::node(world, &mut words),
            "service" => service::service(world, &mut words),
            "show" => show::show(world, &mut words),
            "image" => image(world, &mut words),
            "crash" => crash(world, words.next("a task")?),
            _ => fault(world, verb, &mut words),
        }?;
        words.done()?;
        Ok(answer)
    }
}

fn node_named(world: &World, name: &str) -> Result<NodeId> {
    world.node_named(name).ok_or_else(|| anyhow!("no node is called {name}"))
}

fn fault(world: &mut World, verb: &str, words: &mut Words<'_>) -> Answer {
    match verb {
        "kill" => {
            let node = node_named(world, words.next("a node")?)?;
            world.hosts.get_mut(&node).context("no such host")?.kill();
        }
        "start" => {
            let node = node_named(world, words.next("a node")?)?;
            world.hosts.get_mut(&node).context("no such host")?.start();
        }
        "cut" => {
            let a = node_named(world, words.next("a node")?)?;
            let b = node_named(world, words.next("another node")?)?;
            world.links.cut(&a, &b);
        }
        "heal" => world.links.heal(),
        "lead" => {
            let node = node_named(world, words.next("a manager")?)?;
            let nth = world.managers.all.iter().position(|m| m.id == node).context("no manager")?;
            world.take_over(nth);
        }
        _ => bail!("unknown command {verb}"),
    }
    Ok(String::new())
}

fn image(world: &mut World, words: &mut Words<'_>) -> Answer {
    let name = words.next("an image")?.to_owned();
    let image = match words.next("what it does")? {
        "serves" => Image::Serves,
        "missing" => Image::Missing,
        "exits" => Image::Exits {
            after: words.take("after").map_or(Ok(Duration::from_secs(1)), words::duration)?,
            code: words.take("code").map_or(Ok(0), str::parse)?,
        },
        other => bail!("images serve, are missing or exit, not {other}"),
    };
    world.images.insert(name, image);
    Ok(String::new())
}

fn crash(world: &mut World, name: &str) -> Answer {
    let tasks = world.state().tasks().values();
    let running = tasks.filter(|task| task.status.state == TaskState::Running);
    let found = running.into_iter().find(|task| show::task_name(world, task) == name);
    let (task, node): (TaskId, _) = found
        .and_then(|task| Some((task.id.clone(), task.node.clone()?)))
        .ok_or_else(|| anyhow!("no task {name} runs"))?;
    let crashed = world.hosts.get_mut(&node).is_some_and(|host| host.crash(&task));
    if crashed { Ok(String::new()) } else { bail!("no container of {name} runs") }
}
