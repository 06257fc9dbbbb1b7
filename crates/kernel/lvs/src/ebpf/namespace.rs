//! Looking into, and acting in, the node's network namespaces.

use crate::Error;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use shoal_model::netns::NamespaceName;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

/// Where the node's namespaces are found.
#[derive(Debug)]
pub(crate) struct Places {
    host: OwnedFd,
    netns_root: PathBuf,
}

impl Places {
    /// `host` is the host's namespace as a file, or the calling thread's.
    pub(crate) fn new(host: Option<&Path>, netns_root: &Path) -> Result<Self, Error> {
        let host = host.unwrap_or(Path::new("/proc/thread-self/ns/net"));
        let file = File::open(host).map_err(|source| Error::File {
            what: "opening the host's namespace",
            path: host.to_owned(),
            source,
        })?;
        Ok(Self { host: file.into(), netns_root: netns_root.to_owned() })
    }

    fn open(&self, name: &NamespaceName) -> io::Result<OwnedFd> {
        match name {
            NamespaceName::Host => self.host.try_clone(),
            NamespaceName::Named(name) => Ok(File::open(self.netns_root.join(name))?.into()),
        }
    }

    /// Runs `act` in a namespace, on a thread of its own: a thread cannot be trusted to find its way back.
    pub(crate) fn within<T: Send>(
        &self,
        name: &NamespaceName,
        act: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let namespace = self.open(name)?;
        on_own_thread(move || {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
            act()
        })
    }

    /// Runs `act` in those of the node's namespaces that have one of these cookies; its results by cookie. Namespaces that
    /// go away meanwhile are left out.
    pub(crate) fn within_those<T: Send>(
        &self,
        cookies: &BTreeSet<u64>,
        act: impl Fn(u64) -> io::Result<T> + Send,
    ) -> Result<Vec<(u64, T)>, Error> {
        let failed = |e| Error::system("looking into the namespaces", e);
        let mut names = vec![NamespaceName::Host];
        match fs::read_dir(&self.netns_root) {
            Ok(entries) => {
                let named = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
                names.extend(named.map(NamespaceName::Named));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
        on_own_thread(move || {
            let mut results = BTreeMap::new();
            for name in names {
                let entered = self.open(&name).and_then(|namespace| {
                    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
                    own_cookie()
                });
                // A file without a namespace bound to it, any more.
                let Ok(cookie) = entered else { continue };
                if cookies.contains(&cookie) && !results.contains_key(&cookie) {
                    results.insert(cookie, act(cookie)?);
                }
            }
            Ok(results.into_iter().collect())
        })
        .map_err(failed)
    }

    /// Looks into many namespaces for the cookie and the numbers and MTUs of the named links.
    pub(crate) fn survey(&self, wanted: BTreeMap<NamespaceName, BTreeSet<String>>) -> io::Result<Survey> {
        on_own_thread(move || {
            let looked = wanted.into_iter().map(|(name, links)| {
                let seen = self.open(&name).and_then(|namespace| {
                    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
                    look(links)
                });
                (name, seen.map_err(|e| e.to_string()))
            });
            Ok(Survey(looked.collect()))
        })
    }
}

fn on_own_thread<T: Send>(act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("shoal-lvs-netns".to_owned()).spawn_scoped(scope, act)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the namespace's thread panicked")))
    })
}

fn look(links: BTreeSet<String>) -> io::Result<Seen> {
    let cookie = own_cookie()?;
    let found = links.into_iter().filter_map(|name| {
        let number = nix::net::if_::if_nametoindex(name.as_str()).ok()?;
        let mtu = link_mtu(&name).ok()?;
        Some((name, Link { number, mtu }))
    });
    Ok(Seen { cookie, links: found.collect() })
}

/// The MTU of a link of the calling thread's namespace, in bytes (`netdevice(7)`).
fn link_mtu(name: &str) -> io::Result<u32> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut request =
        libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_mtu: 0 } };
    // The last byte stays zero; the kernel has no longer names.
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // SAFETY: the kernel reads and writes one `ifreq`, which `request` is.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: on success the kernel has written this member; any bits are an integer.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).map_err(io::Error::other)
}

/// The cookie of the calling thread's namespace (`SO_NETNS_COOKIE`, Linux 5.14).
pub(crate) fn own_cookie() -> io::Result<u64> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut cookie = MaybeUninit::<u64>::uninit();
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    let fd = socket.as_raw_fd();
    // SAFETY: the kernel writes `length` bytes at most, which is the size of `cookie`.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            cookie.as_mut_ptr().cast::<libc::c_void>(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: on success the kernel has written all eight bytes.
    Ok(unsafe { cookie.assume_init() })
}

/// What was seen in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) cookie: u64,
    pub(crate) links: BTreeMap<String, Link>,
}

/// What was seen of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its interface number.
    pub(crate) number: u32,
    /// In bytes.
    pub(crate) mtu: u32,
}

/// What was seen in all of them; for those that could not be entered, why.
#[derive(Debug)]
pub(crate) struct Survey(BTreeMap<NamespaceName, Result<Seen, String>>);

impl Survey {
    /// The namespace's cookie.
    pub(crate) fn cookie(&self, name: &NamespaceName) -> Result<u64, String> {
        Ok(self.seen(name)?.cookie)
    }

    /// A link's number.
    pub(crate) fn link(&self, name: &NamespaceName, link: &str) -> Result<u32, String> {
        Ok(self.seen_link(name, link)?.number)
    }

    /// A link's MTU in bytes.
    pub(crate) fn mtu(&self, name: &NamespaceName, link: &str) -> Result<u32, String> {
        Ok(self.seen_link(name, link)?.mtu)
    }

    fn seen_link(&self, name: &NamespaceName, link: &str) -> Result<Link, String> {
        let seen = self.seen(name)?.links.get(link);
        seen.copied().ok_or_else(|| format!("there is no link {link} in {name}"))
    }

    fn seen(&self, name: &NamespaceName) -> Result<&Seen, String> {
        match self.0.get(name) {
            Some(Ok(seen)) => Ok(seen),
            Some(Err(reason)) => Err(format!("namespace {name}: {reason}")),
            None => Err(format!("namespace {name} was not looked into")),
        }
    }
}
