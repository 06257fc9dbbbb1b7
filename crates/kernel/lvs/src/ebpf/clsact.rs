//! Programs as filters of a `clsact` queueing discipline, for kernels before TCX (6.6).
//!
//! Speaks rtnetlink in the calling thread's namespace; numbers are those of `linux/rtnetlink.h`, `linux/pkt_sched.h`
//! and `linux/pkt_cls.h`.

use super::entries::Mode;
use super::netlink::{ACKNOWLEDGE, DUMP, Link, Message, REQUEST, find_attribute, put_attribute};
use super::object::Loaded;
use super::program::Direction;
use crate::difference::Found;
use netlink_sys::protocols::NETLINK_ROUTE;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

const NEW_QDISC: u16 = 36;
const NEW_FILTER: u16 = 44;
const DELETE_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;

const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

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

/// Length of `struct tcmsg` in bytes.
const TC_MESSAGE: usize = 20;

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

/// Makes sure, unless it only looks, that exactly one filter of ours runs `program` there; `before` is the program that
/// ours ran last. Tells how it was found, if not as it should be.
pub(crate) fn settle(
    place: Place,
    program: &Loaded,
    name: &str,
    before: Option<u32>,
    mode: Mode,
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
    let how = if held.is_empty() { Found::Missing } else { Found::Different };
    if mode == Mode::Check {
        return Ok(Some(how));
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
    Ok(Some(how))
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
    link: Link,
}

impl Route {
    fn open() -> io::Result<Self> {
        Ok(Self { link: Link::open(NETLINK_ROUTE)? })
    }

    fn add_qdisc(&self, place: Place) -> io::Result<()> {
        let mut message = tc_message(
            NEW_QDISC,
            REQUEST | ACKNOWLEDGE | CREATE | EXCLUSIVE,
            place.interface,
            CLSACT_HANDLE,
            CLSACT,
            0,
        );
        message.attribute(KIND, b"clsact\0");
        match self.link.ask(message) {
            Ok(_) => Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn add_filter(&self, place: Place, program: &Loaded, name: &str) -> io::Result<()> {
        // Priority 0 lets the kernel pick a free one.
        let mut message = tc_message(
            NEW_FILTER,
            REQUEST | ACKNOWLEDGE | CREATE | EXCLUSIVE,
            place.interface,
            0,
            place.parent(),
            u32::from(ALL_PROTOCOLS.to_be()),
        );
        message.attribute(KIND, b"bpf\0");
        let mut options = Vec::new();
        put_attribute(&mut options, BPF_DESCRIPTOR, &program.as_fd().as_raw_fd().to_ne_bytes());
        put_attribute(&mut options, BPF_NAME, format!("shoal:{name}\0").as_bytes());
        put_attribute(&mut options, BPF_FLAGS, &ACT_DIRECT.to_ne_bytes());
        message.attribute(OPTIONS, &options);
        self.link.ask(message).map(drop)
    }

    fn remove_filter(&self, place: Place, filter: Filter) -> io::Result<()> {
        let mut message = tc_message(
            DELETE_FILTER,
            REQUEST | ACKNOWLEDGE,
            place.interface,
            filter.handle,
            place.parent(),
            filter.info,
        );
        message.attribute(KIND, b"bpf\0");
        self.link.ask(message).map(drop)
    }

    fn filters(&self, place: Place) -> io::Result<Vec<Filter>> {
        let message = tc_message(GET_FILTER, REQUEST | DUMP, place.interface, 0, place.parent(), 0);
        let answers = match self.link.ask(message) {
            Ok(answers) => answers,
            // Without the queueing discipline there are none.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Vec::new(),
            Err(e) => return Err(e),
        };
        Ok(answers.iter().filter_map(|answer| Filter::parse(answer)).collect())
    }
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

/// `struct tcmsg`.
fn tc_message(kind: u16, flags: u16, interface: u32, handle: u32, parent: u32, info: u32) -> Message {
    let mut message = Message::new(kind, flags);
    message.bytes(&[0; 4]);
    for word in [interface, handle, parent, info] {
        message.bytes(&word.to_ne_bytes());
    }
    message
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
