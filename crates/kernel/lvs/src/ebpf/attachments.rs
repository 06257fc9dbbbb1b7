//! Programs where they belong: on the links of the mesh and on the sockets of the machine.
//!
//! What is attached is pinned under a name that tells where, so that it is found again by the next process and, when
//! nobody declares it any more, removed. A link whose interface vanished stays pinned as an empty shell; it is noticed
//! by what the kernel tells about it, never by what we remember.

use super::bpffs::{self, PinRoot};
use super::clsact;
use super::entries::Mode;
use super::namespace::{Places, Survey};
use super::object::Programs;
use super::program::{LinkHook, Program, SocketHook};
use super::syscall;
use crate::Error;
use crate::difference::{Difference, Found, Subject};
use shoal_model::lvs::Mesh;
use shoal_model::netns::NamespaceName;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long a released link may take to be gone.
const RELEASE_DEADLINE: Duration = Duration::from_millis(500);

/// A place for a link program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) hook: LinkHook,
    pub(crate) namespace: NamespaceName,
    pub(crate) link: String,
}

/// By which of the kernel's means link programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    Tcx,
    Clsact,
}

/// What attaching needs.
pub(crate) struct Attacher<'a> {
    pub(crate) pins: &'a PinRoot,
    pub(crate) places: &'a Places,
    pub(crate) programs: &'a Programs,
    pub(crate) means: Means,
    pub(crate) mode: Mode,
}

/// All places that the mesh needs.
pub(crate) fn spots(mesh: Option<&Mesh>) -> BTreeSet<Spot> {
    let mut spots = BTreeSet::new();
    let Some(mesh) = mesh else { return spots };
    let mut add = |hook, namespace: &NamespaceName, link: &String| {
        spots.insert(Spot { hook, namespace: namespace.clone(), link: link.clone() });
    };
    for uplink in &mesh.uplinks {
        add(LinkHook::EntryIn, &NamespaceName::Host, uplink);
    }
    add(LinkHook::EntryOut, &NamespaceName::Host, &mesh.host_gateway_port);
    add(LinkHook::EntryOver, &mesh.sandbox, &mesh.sandbox_gateway_link);
    add(LinkHook::EntryBack, &mesh.sandbox, &mesh.sandbox_ingress_link);
    for task in mesh.tasks.values() {
        add(LinkHook::TaskIn, &mesh.overlay, &task.port_link);
        add(LinkHook::TaskOut, &mesh.overlay, &task.port_link);
    }
    spots
}

/// The kernel refuses dots in names of pins, and `@` parts ours.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('@', "%40").replace('.', "%2e")
}

fn unescaped(text: &str) -> String {
    text.replace("%2e", ".").replace("%40", "@").replace("%25", "%")
}

impl Spot {
    fn pin_name(&self, means: Means) -> String {
        let kind = match means {
            Means::Tcx => "link",
            Means::Clsact => "filter",
        };
        let namespace = escaped(&String::from(self.namespace.clone()));
        format!("{kind}@{}@{namespace}@{}", self.hook.name(), escaped(&self.link))
    }

    fn subject(&self) -> Subject {
        Subject::Program {
            program: self.hook.name().to_owned(),
            namespace: self.namespace.clone(),
            link: self.link.clone(),
        }
    }
}

/// What a pin's name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pinned {
    Link(Spot),
    Filter(Spot),
    Socket(SocketHook),
    Unknown(String),
}

impl Pinned {
    fn parse(name: &str) -> Self {
        let parts: Vec<&str> = name.split('@').collect();
        let known = match parts.as_slice() {
            ["socket", program] => match Program::of_name(program) {
                Some(Program::Socket(hook)) => Some(Self::Socket(hook)),
                _ => None,
            },
            [kind @ ("link" | "filter"), program, namespace, link] => match Program::of_name(program) {
                Some(Program::Link(hook)) => {
                    let namespace = NamespaceName::from(unescaped(namespace));
                    let spot = Spot { hook, namespace, link: unescaped(link) };
                    Some(if *kind == "link" { Self::Link(spot) } else { Self::Filter(spot) })
                }
                _ => None,
            },
            _ => None,
        };
        known.unwrap_or_else(|| Self::Unknown(name.to_owned()))
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Link(spot) | Self::Filter(spot) => spot.subject(),
            Self::Socket(hook) => Subject::SocketProgram(hook.name().to_owned()),
            Self::Unknown(name) => Subject::SocketProgram(name.clone()),
        }
    }
}

fn socket_pin(hook: SocketHook) -> String {
    format!("socket@{}", hook.name())
}

impl Attacher<'_> {
    /// Compares, and repairs.
    pub(crate) fn settle(
        &self,
        spots: &BTreeSet<Spot>,
        survey: &Survey,
        found: &mut Vec<Difference>,
    ) -> Result<(), Error> {
        self.sockets(found)?;
        let directory = self.pins.attached();
        let mut pinned: BTreeSet<String> = bpffs::names(&directory)?.into_iter().collect();
        for hook in SocketHook::ALL {
            pinned.remove(&socket_pin(hook));
        }
        for spot in spots {
            let name = spot.pin_name(self.means);
            pinned.remove(&name);
            let state = survey.link(&spot.namespace, &spot.link).and_then(|interface| {
                self.spot(spot, &directory.join(name), interface).map_err(|e| e.reason())
            });
            let (how, unrepaired) = match state {
                Ok(None) => continue,
                Ok(Some(how)) => (how, None),
                Err(reason) => (Found::Missing, Some(reason)),
            };
            found.push(Difference { subject: spot.subject(), found: how, unrepaired });
        }
        for name in pinned {
            let unrepaired = match self.mode {
                Mode::Check => None,
                Mode::Repair => self.detach(&directory, &name).err().map(|e| e.reason()),
            };
            let subject = Pinned::parse(&name).subject();
            found.push(Difference { subject, found: Found::Unexpected, unrepaired });
        }
        Ok(())
    }

    /// Takes over what daemons of another version attached, and lets it run this process' programs: one after the other,
    /// in one step each, so that no packet and no socket meets neither.
    pub(crate) fn succeed(&self, outdated: &Path) -> Result<(), Error> {
        let own = self.pins.attached();
        let theirs = outdated.join("attached");
        for name in bpffs::names(&theirs)? {
            let to = own.join(&name);
            if matches!(Pinned::parse(&name), Pinned::Unknown(_)) || to.exists() {
                continue;
            }
            fs::rename(theirs.join(&name), &to)
                .map_err(|e| Error::system(format!("taking over {name}"), e))?;
        }
        self.take_over()
    }

    /// Lets everything that an earlier process attached run this process' programs.
    pub(crate) fn take_over(&self) -> Result<(), Error> {
        let directory = self.pins.attached();
        for name in bpffs::names(&directory)? {
            let program = match Pinned::parse(&name) {
                Pinned::Link(spot) => Program::Link(spot.hook),
                Pinned::Socket(hook) => Program::Socket(hook),
                // Filters are replaced one by one by the first sync, which knows where they are.
                Pinned::Filter(_) | Pinned::Unknown(_) => continue,
            };
            let program = self.programs.get(program)?;
            let link = syscall::open_pinned(&directory.join(&name))
                .map_err(|e| Error::system(format!("opening the link {name}"), e))?;
            match syscall::update_link(link.as_fd(), program.as_fd()) {
                Ok(()) => {}
                // Its interface is gone; the sync will see to it.
                Err(e) if e.raw_os_error() == Some(libc::ENOLINK) => {}
                Err(e) => return Err(Error::system(format!("updating the link {name}"), e)),
            }
        }
        Ok(())
    }

    fn sockets(&self, found: &mut Vec<Difference>) -> Result<(), Error> {
        let directory = self.pins.attached();
        let mut root = None;
        for hook in SocketHook::ALL {
            let path = directory.join(socket_pin(hook));
            let program = self.programs.get(Program::Socket(hook))?;
            let failed = |e| Error::system(format!("attaching {}", hook.name()), e);
            let held = observe(&path).filter(|(_, state)| state.target != 0);
            let how = match &held {
                Some((_, state)) if state.program == program.id => continue,
                Some(_) => Found::Different,
                None => Found::Missing,
            };
            match held {
                _ if self.mode == Mode::Check => {}
                Some((link, _)) => syscall::update_link(link.as_fd(), program.as_fd()).map_err(failed)?,
                None => {
                    let root = match &root {
                        Some(root) => root,
                        None => root.insert(root_cgroup()?),
                    };
                    let link = syscall::create_cgroup_link(program.as_fd(), root.as_fd(), hook.attach_type());
                    replace_pin(&link.map_err(failed)?, &path).map_err(failed)?;
                }
            }
            let subject = Subject::SocketProgram(hook.name().to_owned());
            found.push(Difference { subject, found: how, unrepaired: None });
        }
        Ok(())
    }

    /// Compares, and makes sure that the program runs there; tells how it was found.
    fn spot(&self, spot: &Spot, pin: &Path, interface: u32) -> Result<Option<Found>, Error> {
        match self.means {
            Means::Tcx => self.link(spot, pin, interface),
            Means::Clsact => self.filter(spot, pin, interface),
        }
    }

    fn link(&self, spot: &Spot, pin: &Path, interface: u32) -> Result<Option<Found>, Error> {
        let program = self.programs.get(Program::Link(spot.hook))?;
        let failed = |e| Error::system(format!("attaching {} to {}", spot.hook.name(), spot.link), e);
        let held = observe(pin).filter(|(_, state)| state.target == interface);
        let how = match &held {
            Some((_, state)) if state.program == program.id => return Ok(None),
            Some(_) => Found::Different,
            None => Found::Missing,
        };
        if self.mode == Mode::Check {
            return Ok(Some(how));
        }
        if let Some((link, _)) = held {
            syscall::update_link(link.as_fd(), program.as_fd()).map_err(failed)?;
            return Ok(Some(how));
        }
        let attach_type = spot.hook.direction().attach_type();
        let link = self
            .places
            .within(&spot.namespace, || {
                once_free(|| syscall::create_link(program.as_fd(), interface, attach_type))
            })
            .map_err(failed)?;
        replace_pin(&link, pin).map_err(failed)?;
        Ok(Some(how))
    }

    fn filter(&self, spot: &Spot, pin: &Path, interface: u32) -> Result<Option<Found>, Error> {
        let program = self.programs.get(Program::Link(spot.hook))?;
        let failed = |e| Error::system(format!("attaching {} to {}", spot.hook.name(), spot.link), e);
        let before = syscall::open_pinned(pin).and_then(|fd| syscall::program_id(fd.as_fd())).ok();
        let place = clsact::Place { interface, direction: spot.hook.direction() };
        let how = self
            .places
            .within(&spot.namespace, || clsact::settle(place, program, spot.hook.name(), before, self.mode))
            .map_err(failed)?;
        if before != Some(program.id) && self.mode == Mode::Repair {
            replace_pin(program, pin).map_err(failed)?;
        }
        Ok(how)
    }

    /// Takes away what a pin stands for.
    fn detach(&self, directory: &Path, name: &str) -> Result<(), Error> {
        detach(self.places, directory, name)
    }
}

/// Takes away what a pin stands for: the link at once, or the filter.
fn detach(places: &Places, directory: &Path, name: &str) -> Result<(), Error> {
    let path = directory.join(name);
    let failed = |e| Error::system(format!("detaching {name}"), e);
    match Pinned::parse(name) {
        Pinned::Filter(spot) => {
            let program = syscall::open_pinned(&path).and_then(|fd| syscall::program_id(fd.as_fd()));
            let program = program.map_err(failed)?;
            // When the namespace or the link is gone, so is the filter.
            let _gone = places.within(&spot.namespace, || {
                let interface = nix::net::if_::if_nametoindex(spot.link.as_str())?;
                clsact::detach(clsact::Place { interface, direction: spot.hook.direction() }, program)
            });
        }
        Pinned::Link(_) | Pinned::Socket(_) => {
            let link = syscall::open_pinned(&path).map_err(failed)?;
            match syscall::detach_link(link.as_fd()) {
                Ok(()) => {}
                // Its interface is gone already.
                Err(e) if e.raw_os_error() == Some(libc::ENOLINK) => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Pinned::Unknown(_) => {}
    }
    fs::remove_file(&path).map_err(failed)
}

/// Takes away everything that is pinned in a directory of attached things.
pub(crate) fn detach_all(places: &Places, directory: &Path) -> Result<(), Error> {
    for name in bpffs::names(directory)? {
        detach(places, directory, &name)?;
    }
    Ok(())
}

fn observe(pin: &Path) -> Option<(OwnedFd, syscall::LinkState)> {
    let link = syscall::open_pinned(pin).ok()?;
    let state = syscall::link_state(link.as_fd()).ok()?;
    Some((link, state))
}

/// Attaches, patiently: a program runs at one place only once, and the kernel takes its time to let go of a link that
/// nobody holds any more (somebody deleted its pin).
fn once_free<T>(attach: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + RELEASE_DEADLINE;
    loop {
        match attach() {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) && Instant::now() < deadline => {
                thread::sleep(RELEASE_DEADLINE / 50);
            }
            result => return result,
        }
    }
}

/// Pins in place of whatever is pinned there.
fn replace_pin(object: &impl AsFd, path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    syscall::pin(object.as_fd(), path)
}

/// The root of the cgroup2 hierarchy, wherever it is mounted.
pub(crate) fn root_cgroup() -> Result<File, Error> {
    let table = Path::new("/proc/self/mounts");
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { what, path, source }
    };
    let mounts = fs::read_to_string(table).map_err(failed("reading", table))?;
    let mounted = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    let Some(path) = mounted else {
        return Err(Error::Unsupported { what: "no cgroup2 is mounted".to_owned(), source: None });
    };
    File::open(&path).map_err(failed("opening", &path))
}

/// Whether this kernel has TCX links: it says that an interface is missing, rather than that it knows no such hook.
pub(crate) fn has_tcx(programs: &Programs) -> Result<bool, Error> {
    let program = programs.get(Program::Link(LinkHook::EntryIn))?;
    let nowhere = i32::MAX.unsigned_abs();
    let result = syscall::create_link(program.as_fd(), nowhere, LinkHook::EntryIn.direction().attach_type());
    Ok(result.is_err_and(|e| e.raw_os_error() == Some(libc::ENODEV)))
}

/// The links that each namespace must be looked into for.
pub(crate) fn links_by_namespace(spots: &BTreeSet<Spot>) -> BTreeMap<NamespaceName, BTreeSet<String>> {
    let mut links: BTreeMap<NamespaceName, BTreeSet<String>> = BTreeMap::new();
    for spot in spots {
        links.entry(spot.namespace.clone()).or_default().insert(spot.link.clone());
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pin_names_tell_where_they_belong_and_hold_no_dot() {
        for (namespace, link) in
            [(NamespaceName::Host, "eth0.100"), (NamespaceName::Named("1-a.b%c".to_owned()), "veth@1%2e")]
        {
            let spot = Spot { hook: LinkHook::TaskIn, namespace, link: link.to_owned() };
            let name = spot.pin_name(Means::Tcx);
            assert!(!name.contains('.'), "{name}");
            assert_eq!(Pinned::parse(&name), Pinned::Link(spot.clone()));
            assert_eq!(Pinned::parse(&spot.pin_name(Means::Clsact)), Pinned::Filter(spot));
        }
        assert_eq!(Pinned::parse("socket@connect4"), Pinned::Socket(SocketHook::Connect4));
        assert_eq!(Pinned::parse("what"), Pinned::Unknown("what".to_owned()));
    }
}
