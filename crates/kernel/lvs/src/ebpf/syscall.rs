//! The bpf(2) calls that the engine makes itself: maps, pins and links. (Loading the object is left to the loader.)
//!
//! Layouts and numbers are those of `union bpf_attr` and `enum bpf_cmd` in `linux/bpf.h`.

use super::abi::Plain;
use std::ffi::{CString, c_long};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAP_LOOKUP: c_long = 1;
const MAP_UPDATE: c_long = 2;
const MAP_DELETE: c_long = 3;
const MAP_NEXT_KEY: c_long = 4;
const OBJECT_PIN: c_long = 6;
const OBJECT_GET: c_long = 7;
const OBJECT_INFO: c_long = 15;
const BTF_BY_ID: c_long = 19;
const MAP_LOOKUP_BATCH: c_long = 24;
const LINK_CREATE: c_long = 28;
const LINK_UPDATE: c_long = 29;
const LINK_DETACH: c_long = 34;

/// `BPF_NOEXIST`: only where nothing is.
const NOT_YET: u64 = 1;

/// Makes the call; `A` is the part of `union bpf_attr` that the command reads.
///
/// # Safety
/// Every pointer within `attributes` is valid for what `command` reads from and writes to it.
unsafe fn bpf<A>(command: c_long, attributes: &mut A) -> io::Result<c_long> {
    let at: *mut A = attributes;
    // SAFETY: `at` is valid for the given size; the caller vouches for the pointers within.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, at, size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn descriptor(result: c_long) -> io::Result<OwnedFd> {
    let raw = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

fn pointer<T: ?Sized>(value: &T) -> u64 {
    std::ptr::from_ref(value).cast::<u8>().addr() as u64
}

fn pointer_mut<T: ?Sized>(value: &mut T) -> u64 {
    std::ptr::from_mut(value).cast::<u8>().expose_provenance() as u64
}

#[repr(C)]
struct Element {
    map: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The value under `key`.
pub(crate) fn lookup<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = V::default();
    let mut element =
        Element { map: number(map), zero: 0, key: pointer(key), value: pointer_mut(&mut value), flags: 0 };
    // SAFETY: key and value have the map's sizes, which `Map` checked, and outlive the call.
    match unsafe { bpf(MAP_LOOKUP, &mut element) } {
        Ok(_) => Ok(Some(value)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Each processor's own value under `key`; `processors` is how many this machine could have. Nothing when it is not there.
///
/// The size of `V` is a multiple of eight bytes, as all that the programs count in are.
pub(crate) fn lookup_of_each<V: Plain>(
    map: BorrowedFd<'_>,
    key: u32,
    processors: usize,
) -> io::Result<Vec<V>> {
    const { assert!(size_of::<V>().is_multiple_of(8)) }
    let mut values = vec![V::default(); processors];
    let value = pointer_mut(values.as_mut_slice());
    let mut element = Element { map: number(map), zero: 0, key: pointer(&key), value, flags: 0 };
    // SAFETY: the kernel writes the value's size, rounded up to eight, for every possible processor; all outlive the call.
    match unsafe { bpf(MAP_LOOKUP, &mut element) } {
        Ok(_) => Ok(values),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// The key after `key`, or the first one.
pub(crate) fn next_key<K: Plain>(map: BorrowedFd<'_>, key: Option<&K>) -> io::Result<Option<K>> {
    let mut next = K::default();
    let from = key.map_or(0, pointer);
    let mut element =
        Element { map: number(map), zero: 0, key: from, value: pointer_mut(&mut next), flags: 0 };
    // SAFETY: both keys have the map's key size, which `Map` checked, and outlive the call; no key asks for the first.
    match unsafe { bpf(MAP_NEXT_KEY, &mut element) } {
        Ok(_) => Ok(Some(next)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Adds or replaces the value under `key`.
pub(crate) fn update<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut element =
        Element { map: number(map), zero: 0, key: pointer(key), value: pointer(value), flags: 0 };
    // SAFETY: key and value have the map's sizes, which `Map` checked, and outlive the call.
    unsafe { bpf(MAP_UPDATE, &mut element) }.map(drop)
}

/// Removes `key`; false when it was not there.
pub(crate) fn delete<K: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<bool> {
    let mut element = Element { map: number(map), zero: 0, key: pointer(key), value: 0, flags: 0 };
    // SAFETY: the key has the map's key size, which `Map` checked, and outlives the call.
    match unsafe { bpf(MAP_DELETE, &mut element) } {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

#[repr(C)]
struct Batch {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Entries that the first call of a dump asks for; more when one hash bucket alone holds more.
const BATCH_ENTRIES: usize = 4096;

/// Everything in a hash map. Entries that come or go meanwhile may be in it or not.
pub(crate) fn dump<K: Plain, V: Plain>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let mut entries = Vec::new();
    let mut room = BATCH_ENTRIES;
    let mut position: Option<u32> = None;
    loop {
        let mut keys = vec![K::default(); room];
        let mut values = vec![V::default(); room];
        let from = position.unwrap_or_default();
        let mut next = 0_u32;
        let mut batch = Batch {
            from: if position.is_some() { pointer(&from) } else { 0 },
            next: pointer_mut(&mut next),
            keys: pointer_mut(keys.as_mut_slice()),
            values: pointer_mut(values.as_mut_slice()),
            count: u32::try_from(room).map_err(io::Error::other)?,
            map: number(map),
            element_flags: 0,
            flags: 0,
        };
        // SAFETY: both arrays hold `count` elements of the map's sizes; a hash map's position is a u32.
        let result = unsafe { bpf(MAP_LOOKUP_BATCH, &mut batch) };
        let done = match result {
            Ok(_) => false,
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => true,
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => {
                room *= 2;
                continue;
            }
            Err(e) => return Err(e),
        };
        let count = usize::try_from(batch.count).map_err(io::Error::other)?;
        entries.extend(keys.into_iter().zip(values).take(count));
        if done {
            return Ok(entries);
        }
        position = Some(next);
    }
}

#[repr(C)]
struct Pin {
    path: u64,
    fd: u32,
    flags: u32,
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Pins an object in a bpffs.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attributes = Pin { path: pointer(path.to_bytes_with_nul()), fd: number(object), flags: 0 };
    // SAFETY: the path is terminated by zero and outlives the call.
    unsafe { bpf(OBJECT_PIN, &mut attributes) }.map(drop)
}

/// Opens a pinned object.
pub(crate) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attributes = Pin { path: pointer(path.to_bytes_with_nul()), fd: 0, flags: 0 };
    // SAFETY: the path is terminated by zero and outlives the call.
    descriptor(unsafe { bpf(OBJECT_GET, &mut attributes) }?)
}

#[repr(C)]
struct Info {
    fd: u32,
    length: u32,
    at: u64,
}

fn info<const WORDS: usize>(object: BorrowedFd<'_>) -> io::Result<[u32; WORDS]> {
    let mut words = [0_u32; WORDS];
    let length = u32::try_from(size_of_val(&words)).map_err(io::Error::other)?;
    let mut attributes = Info { fd: number(object), length, at: pointer_mut(&mut words) };
    // SAFETY: the kernel writes `length` bytes at most.
    unsafe { bpf(OBJECT_INFO, &mut attributes) }?;
    Ok(words)
}

/// The number that the kernel gave a program.
pub(crate) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    info::<2>(program).map(|[_type, id]| id)
}

/// What the kernel tells about a map: `struct bpf_map_info` up to the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MapLayout {
    kind: u32,
    key: u32,
    value: u32,
    flags: u32,
}

/// A map's number in the kernel, and its layout.
pub(crate) fn map_layout(map: BorrowedFd<'_>) -> io::Result<(u32, MapLayout)> {
    info::<6>(map).map(|[kind, id, key, value, _entries, flags]| (id, MapLayout { kind, key, value, flags }))
}

impl MapLayout {
    /// Bytes of a key and of a value.
    pub(crate) fn sizes(self) -> (usize, usize) {
        (self.key as usize, self.value as usize)
    }

    /// Whether its entries are plain bytes that can be read and written one by one: a hash (of recent ones or all), an
    /// array, or a trie of prefixes (`enum bpf_map_type`).
    pub(crate) fn has_plain_entries(self) -> bool {
        matches!(self.kind, 1 | 2 | 9 | 11)
    }

    /// The same but for keys' and values' layout.
    pub(crate) fn is_alike(self, other: Self) -> bool {
        (self.kind, self.flags) == (other.kind, other.flags)
    }
}

/// BTF of a map's object, and the numbers of its keys' and its values' types in it; `None` where the map has none.
pub(crate) fn map_types(map: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, [u32; 2])>> {
    // `struct bpf_map_info`: the sixteen words before are its number, layout, name and namespace.
    let words = info::<19>(map)?;
    let [mut id, key, value] = [words[16], words[17], words[18]];
    if id == 0 {
        return Ok(None);
    }
    // SAFETY: there are no pointers within.
    let btf = descriptor(unsafe { bpf(BTF_BY_ID, &mut id) }?)?;
    Ok(Some((btf_bytes(btf.as_fd())?, [key, value])))
}

/// `struct bpf_btf_info` up to the number.
#[repr(C)]
#[derive(Default)]
struct BtfInfo {
    bytes: u64,
    length: u32,
    id: u32,
}

fn btf_bytes(btf: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Asked twice: for the length, and for all of it.
    for _ in 0..2 {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut told = BtfInfo { bytes: pointer_mut(bytes.as_mut_slice()), length, id: 0 };
        let size = u32::try_from(size_of::<BtfInfo>()).map_err(io::Error::other)?;
        let mut attributes = Info { fd: number(btf), length: size, at: pointer_mut(&mut told) };
        // SAFETY: the kernel writes the struct, and as many bytes as it says there is room for.
        unsafe { bpf(OBJECT_INFO, &mut attributes) }?;
        bytes.resize(told.length as usize, 0);
    }
    Ok(bytes)
}

/// All entries of a map of this layout, as bytes.
pub(crate) fn entries(map: BorrowedFd<'_>, layout: MapLayout) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let (key_bytes, value_bytes) = layout.sizes();
    let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut before: Option<Vec<u8>> = None;
    loop {
        let mut key = vec![0; key_bytes];
        let from = before.as_ref().map_or(0, |key| pointer(key.as_slice()));
        let to = pointer_mut(key.as_mut_slice());
        let mut element = Element { map: number(map), zero: 0, key: from, value: to, flags: 0 };
        // SAFETY: both keys have the size that the kernel told, and outlive the call.
        match unsafe { bpf(MAP_NEXT_KEY, &mut element) } {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(entries),
            Err(e) => return Err(e),
        }
        let mut value = vec![0; value_bytes];
        let (at, to) = (pointer(key.as_slice()), pointer_mut(value.as_mut_slice()));
        let mut element = Element { map: number(map), zero: 0, key: at, value: to, flags: 0 };
        // SAFETY: key and value have the sizes that the kernel told, and outlive the call.
        if unsafe { bpf(MAP_LOOKUP, &mut element) }.is_ok() {
            entries.push((key.clone(), value));
        }
        before = Some(key);
    }
}

/// Writes an entry as bytes. Where the layout is a hash's, only if it is not there yet and there is room; an array has
/// all there are.
pub(crate) fn add_entry(map: BorrowedFd<'_>, layout: MapLayout, key: &[u8], value: &[u8]) -> io::Result<()> {
    if (key.len(), value.len()) != layout.sizes() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = if layout.kind == 2 { 0 } else { NOT_YET };
    let mut element = Element { map: number(map), zero: 0, key: pointer(key), value: pointer(value), flags };
    // SAFETY: key and value have the sizes that the kernel told, and outlive the call.
    match unsafe { bpf(MAP_UPDATE, &mut element) } {
        Ok(_) => Ok(()),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EEXIST | libc::E2BIG)) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Sizes of a map's keys and values in bytes.
pub(crate) fn map_sizes(map: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    info::<4>(map).map(|[_type, _id, key, value]| (key, value))
}

/// What the kernel tells about a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkState {
    /// The program that it runs.
    pub(crate) program: u32,
    /// For TCX links the interface, for cgroup links the low half of the cgroup's id; 0 when it is detached.
    pub(crate) target: u32,
}

/// Observes a link. `struct bpf_link_info`: type, id, program, padding, then the kind's own fields.
pub(crate) fn link_state(link: BorrowedFd<'_>) -> io::Result<LinkState> {
    let [_type, _id, program, _padding, target, _attach_type] = info::<6>(link)?;
    Ok(LinkState { program, target })
}

#[repr(C)]
struct CreateLink {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches a program to `target`: an interface number of the calling thread's namespace, or a cgroup's descriptor.
pub(crate) fn create_link(program: BorrowedFd<'_>, target: u32, attach_type: u32) -> io::Result<OwnedFd> {
    let mut attributes = CreateLink { program: number(program), target, attach_type, flags: 0 };
    // SAFETY: there are no pointers within.
    descriptor(unsafe { bpf(LINK_CREATE, &mut attributes) }?)
}

/// Attaches a program to a cgroup.
pub(crate) fn create_cgroup_link(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    create_link(program, number(cgroup), attach_type)
}

#[repr(C)]
struct UpdateLink {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// Lets a link run another program, in one step: no packet meets neither.
pub(crate) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes =
        UpdateLink { link: number(link), program: number(program), flags: 0, old_program: 0 };
    // SAFETY: there are no pointers within.
    unsafe { bpf(LINK_UPDATE, &mut attributes) }.map(drop)
}

/// Detaches a link at once, whoever else still holds it.
pub(crate) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut fd = number(link);
    // SAFETY: there are no pointers within.
    unsafe { bpf(LINK_DETACH, &mut fd) }.map(drop)
}
