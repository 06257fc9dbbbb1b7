//! Programs as filters of a `clsact` queueing discipline, for kernels before TCX (6.6).
//!
//! Speaks rtnetlink in the calling thread's namespace; numbers are those of `linux/rtnetlink.h`, `linux/pkt_sched.h`
//! and `linux/pkt_cls.h`.

use super::object::Loaded;
use super::program::Direction;
use crate::difference::Found;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

const NEW_QDISC: u16 = 36;
const NEW_FILTER: u16 = 44;
const DELETE_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;

const REQUEST: u16 = 0x01;
const ACKNOWLEDGE: u16 = 0x04;
const DUMP: u16 = 0x300;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;

const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const CLSACT_INGRESS: u32 = 0xffff_fff2;
const CLSACT_EGRESS: u32 = 0xffff_fff3;
const ALL_PROTOCOLS: u16 = 0x0003;

const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const BPF_DESCRIPTOR: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const BPF_ID: u16 = 11;
const ACT_DIRECT: u32 = 1;

/// Length of `struct nlmsghdr` and of `struct tcmsg` in bytes.
const HEADER: usize = 16;
const TC_MESSAGE: usize = 20;
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Where a filter hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) interface: u32,
    pub(crate) direction: Direction,
}

/// A filter as the kernel lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Filter {
    handle: u32,
    /// Priority in the upper half, protocol in the lower.
    info: u32,
    program: u32,
}

impl Place {
    fn parent(self) -> u32 {
        match self.direction {
            Direction::Ingress => CLSACT_INGRESS,
            Direction::Egress => CLSACT_EGRESS,
        }
    }
}

/// Makes sure that exactly one filter of ours runs `program` there; `before` is the program that ours ran last. Tells
/// how it was found, if not as it should be.
pub(crate) fn attach(
    place: Place,
    program: &Loaded,
    name: &str,
    before: Option<u32>,
) -> io::Result<Option<Found>> {
    let route = Route::open()?;
    let ours = |filter: &Filter| filter.program == program.id || Some(filter.program) == before;
    let mut held = route.filters(place)?;
    held.retain(ours);
    if let [only] = held.as_slice()
        && only.program == program.id
    {
        return Ok(None);
    }
    route.add_qdisc(place)?;
    if !held.iter().any(|filter| filter.program == program.id) {
        route.add_filter(place, program, name)?;
    }
    let mut stays = false;
    for filter in &held {
        if filter.program == program.id && !stays {
            stays = true;
        } else {
            route.remove_filter(place, *filter)?;
        }
    }
    Ok(Some(if held.is_empty() { Found::Missing } else { Found::Different }))
}

/// Takes away every filter that runs `program`. The queueing discipline stays: others may use it, and empty it is free.
pub(crate) fn detach(place: Place, program: u32) -> io::Result<()> {
    let route = Route::open()?;
    for filter in route.filters(place)?.into_iter().filter(|filter| filter.program == program) {
        route.remove_filter(place, filter)?;
    }
    Ok(())
}

struct Route {
    socket: Socket,
}

impl Route {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let deadline = nix::sys::time::TimeVal::new(ANSWER_DEADLINE.as_secs().cast_signed(), 0);
        nix::sys::socket::setsockopt(&socket.as_fd(), nix::sys::socket::sockopt::ReceiveTimeout, &deadline)?;
        Ok(Self { socket })
    }

    fn add_qdisc(&self, place: Place) -> io::Result<()> {
        let mut message = Message::new(NEW_QDISC, REQUEST | ACKNOWLEDGE | CREATE | EXCLUSIVE);
        message.tc(place.interface, CLSACT_HANDLE, CLSACT, 0);
        message.attribute(KIND, b"clsact\0");
        match self.ask(message) {
            Ok(_) => Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn add_filter(&self, place: Place, program: &Loaded, name: &str) -> io::Result<()> {
        // Priority 0 lets the kernel pick a free one.
        let mut message = Message::new(NEW_FILTER, REQUEST | ACKNOWLEDGE | CREATE | EXCLUSIVE);
        message.tc(place.interface, 0, place.parent(), u32::from(ALL_PROTOCOLS.to_be()));
        message.attribute(KIND, b"bpf\0");
        let mut options = Vec::new();
        put_attribute(&mut options, BPF_DESCRIPTOR, &program.as_fd().as_raw_fd().to_ne_bytes());
        put_attribute(&mut options, BPF_NAME, format!("shoal:{name}\0").as_bytes());
        put_attribute(&mut options, BPF_FLAGS, &ACT_DIRECT.to_ne_bytes());
        message.attribute(OPTIONS, &options);
        self.ask(message).map(drop)
    }

    fn remove_filter(&self, place: Place, filter: Filter) -> io::Result<()> {
        let mut message = Message::new(DELETE_FILTER, REQUEST | ACKNOWLEDGE);
        message.tc(place.interface, filter.handle, place.parent(), filter.info);
        message.attribute(KIND, b"bpf\0");
        self.ask(message).map(drop)
    }

    fn filters(&self, place: Place) -> io::Result<Vec<Filter>> {
        let mut message = Message::new(GET_FILTER, REQUEST | DUMP);
        message.tc(place.interface, 0, place.parent(), 0);
        let answers = match self.ask(message) {
            Ok(answers) => answers,
            // Without the queueing discipline there are none.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Vec::new(),
            Err(e) => return Err(e),
        };
        Ok(answers.iter().filter_map(|answer| Filter::parse(answer)).collect())
    }

    /// Sends, and collects the answers up to the acknowledgement or the end of the dump.
    fn ask(&self, message: Message) -> io::Result<Vec<Vec<u8>>> {
        self.socket.send(&message.finish()?, 0)?;
        let mut answers = Vec::new();
        loop {
            let (bytes, _from) = self.socket.recv_from_full()?;
            let mut rest = bytes.as_slice();
            while let Some((kind, body, next)) = split_message(rest) {
                match kind {
                    MESSAGE_DONE => return Ok(answers),
                    MESSAGE_ERROR => {
                        return match body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
                            Some(0) => Ok(answers),
                            Some(code) => Err(io::Error::from_raw_os_error(-code)),
                            None => Err(io::ErrorKind::InvalidData.into()),
                        };
                    }
                    _ => answers.push(body.to_vec()),
                }
                rest = next;
            }
        }
    }
}

fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes([*bytes.get(4)?, *bytes.get(5)?]);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The attribute's content.
fn find_attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]);
        let content = bytes.get(4..length)?;
        // The upper two bits are flags.
        if kind & 0x3fff == wanted {
            return Some(content);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

fn put_attribute(bytes: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let length = u16::try_from(content.len() + 4).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

impl Filter {
    /// From a `RTM_NEWTFILTER`'s body, if it is a BPF filter with a program.
    fn parse(body: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(*body.get(at..)?.first_chunk()?));
        let options = find_attribute(body.get(TC_MESSAGE..)?, OPTIONS)?;
        let program = u32::from_ne_bytes(*find_attribute(options, BPF_ID)?.first_chunk()?);
        Some(Self { handle: word(8)?, info: word(16)?, program })
    }
}

/// A request.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.resize(HEADER, 0);
        Self(bytes)
    }

    /// `struct tcmsg`.
    fn tc(&mut self, interface: u32, handle: u32, parent: u32, info: u32) {
        self.0.extend([0; 4]);
        for word in [interface, handle, parent, info] {
            self.0.extend(word.to_ne_bytes());
        }
    }

    fn attribute(&mut self, kind: u16, content: &[u8]) {
        put_attribute(&mut self.0, kind, content);
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        let length = u32::try_from(self.0.len()).map_err(io::Error::other)?;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_filter_is_read_back() {
        let mut body = vec![0; 8];
        for word in [7_u32, CLSACT_INGRESS, 0xc000_0300] {
            body.extend(word.to_ne_bytes());
        }
        put_attribute(&mut body, KIND, b"bpf\0");
        let mut options = Vec::new();
        put_attribute(&mut options, BPF_NAME, b"shoal:x\0");
        put_attribute(&mut options, BPF_ID, &42_u32.to_ne_bytes());
        put_attribute(&mut body, OPTIONS, &options);
        assert_eq!(Filter::parse(&body), Some(Filter { handle: 7, info: 0xc000_0300, program: 42 }));
        assert_eq!(Filter::parse(&body[..20]), None);
    }
}
