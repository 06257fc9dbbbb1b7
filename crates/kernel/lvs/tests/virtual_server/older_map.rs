//! A map of real servers as an earlier version laid it out, made by hand: without a second address.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Commands of bpf(2) (`enum bpf_cmd`).
const MAP_CREATE: i64 = 0;
const OBJECT_PIN: i64 = 6;
const BTF_LOAD: i64 = 18;

/// Bytes of an old value.
pub(crate) const OLD_BYTES: u32 = 60;

/// Kinds of types in BTF.
const INTEGER: u32 = 1 << 24;
const ARRAY: u32 = 3 << 24;
const STRUCT: u32 = 4 << 24;

/// Strings, and where each begins.
#[derive(Default)]
struct Strings(Vec<u8>);

impl Strings {
    fn at(&mut self, text: &str) -> u32 {
        if self.0.is_empty() {
            self.0.push(0);
        }
        let at = self.0.len();
        self.0.extend(text.bytes().chain([0]));
        u32::try_from(at).unwrap()
    }
}

/// `__u32` as type 1, the old `struct server` as type 9.
fn btf() -> Vec<u8> {
    let mut text = Strings::default();
    let mut types: Vec<u32> = Vec::new();
    types.extend([text.at("unsigned int"), INTEGER, 4, 32]);
    types.extend([text.at("unsigned char"), INTEGER, 1, 8]);
    types.extend([text.at("unsigned short"), INTEGER, 2, 16]);
    types.extend([0, ARRAY, 0, 1, 1, 4]);
    types.extend([text.at("address"), STRUCT | 1, 16, text.at("word"), 4, 0]);
    types.extend([0, ARRAY, 0, 2, 1, 6]);
    types.extend([text.at("char"), INTEGER, 1, 8]);
    types.extend([0, ARRAY, 0, 7, 1, 28]);
    types.extend([text.at("server"), STRUCT | 6, OLD_BYTES]);
    for (name, kind, bits) in [
        ("address", 5, 0),
        ("mac", 6, 128),
        ("port", 3, 176),
        ("service", 1, 192),
        ("weight", 1, 224),
        ("task", 8, 256),
    ] {
        types.extend([text.at(name), kind, bits]);
    }
    let length = u32::try_from(types.len() * 4).unwrap();
    let mut btf = vec![0x9f, 0xeb, 1, 0];
    let sections = [24, 0, length, length, u32::try_from(text.0.len()).unwrap()];
    btf.extend(sections.into_iter().chain(types).flat_map(u32::to_le_bytes));
    btf.extend(text.0);
    btf
}

fn bpf(command: i64, attributes: &[u64]) -> RawFd {
    let length = attributes.len() * 8;
    // SAFETY: every pointer within is to something that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), length) };
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
    RawFd::try_from(result).unwrap()
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made it, for us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Two 32-bit words as they lie in memory on a machine whose low byte comes first.
fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

/// Makes the empty map and pins it.
pub(crate) fn pin_old_servers(path: &Path) {
    let types = btf();
    let length = u32::try_from(types.len()).unwrap();
    let btf = owned(bpf(BTF_LOAD, &[types.as_ptr().expose_provenance() as u64, 0, pair(length, 0), 0]));
    // A hash of 131072 entries that are not allocated beforehand, with its types; no name.
    let map = owned(bpf(
        MAP_CREATE,
        &[pair(1, 4), pair(OLD_BYTES, 131_072), pair(1, 0), 0, 0, 0, pair(number(&btf), 1), pair(9, 0)],
    ));
    let path = CString::new(path.to_str().unwrap()).unwrap();
    bpf(OBJECT_PIN, &[path.as_ptr().expose_provenance() as u64, pair(number(&map), 0)]);
}
