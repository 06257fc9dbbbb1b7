//! Programs as filters of a `clsact` queueing discipline, for kernels before TCX (6.6).
//!
//! Speaks rtnetlink in the calling thread's namespace; numbers are those of `linux/rtnetlink.h`, `linux/pkt_sched.h`
//! and `linux/pkt_cls.h`.

use super::entries::Mode;
use super::object::Loaded;
use super::program::Direction;
use crate::difference::Found;
use crate::error::of_netlink;
use shoal_netlink::protocols::NETLINK_ROUTE;
use shoal_netlink::{Attributes, Request, Socket, read_attributes};
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
    let mut route = Route::open()?;
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
    let mut route = Route::open()?;
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
        Ok(Self { socket: Socket::open(NETLINK_ROUTE).map_err(of_netlink)? })
    }

    fn ask(&mut self, request: &Request) -> io::Result<()> {
        self.socket.request(request).map(drop).map_err(of_netlink)
    }

    fn add_qdisc(&mut self, place: Place) -> io::Result<()> {
        let kind = Attributes::new().text(KIND, "clsact");
        let header = [place.interface, CLSACT_HANDLE, CLSACT, 0];
        match self.ask(&request(NEW_QDISC, CREATE | EXCLUSIVE, header, &kind)) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result,
        }
    }

    fn add_filter(&mut self, place: Place, program: &Loaded, name: &str) -> io::Result<()> {
        let options = Attributes::new()
            .bytes(BPF_DESCRIPTOR, &program.as_fd().as_raw_fd().to_ne_bytes())
            .text(BPF_NAME, &format!("shoal:{name}"))
            .bytes(BPF_FLAGS, &ACT_DIRECT.to_ne_bytes());
        let attributes = Attributes::new().text(KIND, "bpf").nested(OPTIONS, &options);
        // Priority 0 lets the kernel pick a free one.
        let header = [place.interface, 0, place.parent(), u32::from(ALL_PROTOCOLS.to_be())];
        self.ask(&request(NEW_FILTER, CREATE | EXCLUSIVE, header, &attributes))
    }

    fn remove_filter(&mut self, place: Place, filter: Filter) -> io::Result<()> {
        let kind = Attributes::new().text(KIND, "bpf");
        let header = [place.interface, filter.handle, place.parent(), filter.info];
        self.ask(&request(DELETE_FILTER, 0, header, &kind))
    }

    fn filters(&mut self, place: Place) -> io::Result<Vec<Filter>> {
        let header = [place.interface, 0, place.parent(), 0];
        let all = request(GET_FILTER, 0, header, &Attributes::new());
        let answers = match self.socket.dump(&all).map_err(of_netlink) {
            Ok(answers) => answers,
            // Without the queueing discipline there are none.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Vec::new(),
            Err(e) => return Err(e),
        };
        Ok(answers.iter().filter_map(|answer| Filter::parse(&answer.body)).collect())
    }
}

/// `struct tcmsg`: a family that does not count, interface, handle, parent and info; then attributes.
fn request(kind: u16, flags: u16, header: [u32; 4], attributes: &Attributes) -> Request {
    let mut body = vec![0; 4];
    body.extend(header.into_iter().flat_map(u32::to_ne_bytes));
    body.extend(attributes.as_bytes());
    Request { kind, flags, body }
}

fn find_attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    read_attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_filter_is_read_back() {
        let options = Attributes::new().text(BPF_NAME, "shoal:x").bytes(BPF_ID, &42_u32.to_ne_bytes());
        let attributes = Attributes::new().text(KIND, "bpf").nested(OPTIONS, &options);
        let body = request(NEW_FILTER, 0, [3, 7, CLSACT_INGRESS, 0xc000_0300], &attributes).body;
        assert_eq!(Filter::parse(&body), Some(Filter { handle: 7, info: 0xc000_0300, program: 42 }));
        assert_eq!(Filter::parse(&body[..20]), None);
    }
}
