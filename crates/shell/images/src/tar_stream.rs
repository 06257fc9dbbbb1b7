//! Reads a tar archive, entry by entry, with every length bounded: ustar, GNU long names, PAX.
//!
//! The formats are those of POSIX.1-2024 `pax` and of the GNU tar manual. Extended attributes are `SCHILY.xattr.*`
//! records, as Go's `archive/tar` (and so every image) has them; they may hold any bytes.

use crate::error::LayerError;
use std::io::{self, Read};

const BLOCK: usize = 512;
/// Most bytes of one extended header. Names are at most 4096 long, attributes 64 KiB.
const LONGEST_EXTENSION: u64 = 1 << 20;
/// Longest name or link (`PATH_MAX`).
const LONGEST_NAME: usize = 4096;
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry, its extensions already applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    /// Target of a link.
    pub(crate) link: Vec<u8>,
    /// Bytes of data that follow.
    pub(crate) size: u64,
    /// Permission bits with set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(crate) mtime: (i64, u32),
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// The name for people.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

/// A tar archive on a stream. Reading from it reads the data of the entry last returned.
pub(crate) struct TarReader<R> {
    stream: R,
    /// Data of the current entry not yet read, and what fills its last block.
    data_left: u64,
    padding: u64,
}

/// What extended headers say about the next entry.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, data_left: 0, padding: 0 }
    }

    /// The next entry; what is left of the current one is passed over. `None` at the end of the archive.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        let mut extensions = Extensions::default();
        loop {
            self.pass_over_data()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = number(&header[124..136]).and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or_else(|| LayerError::Header("size".into()))?;
            match header[156] {
                b'x' => extensions.read_pax(&self.extension(size)?)?,
                b'L' => extensions.name = Some(until_nul(&self.extension(size)?).to_vec()),
                b'K' => extensions.link = Some(until_nul(&self.extension(size)?).to_vec()),
                // Global headers carry comments in practice (git archive); Go does not apply them either.
                b'g' => drop(self.extension(size)?),
                _ => {
                    let entry = entry(&header, extensions, size)?;
                    self.expect_data(entry.size)?;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Reads the stream to its end, beyond the end of the archive.
    pub(crate) fn drain(mut self) -> Result<(), LayerError> {
        io::copy(&mut self.stream, &mut io::sink()).map(drop).map_err(LayerError::Archive)
    }

    /// The next header; `None` where zeros or the stream end the archive.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, LayerError> {
        let mut header = [0; BLOCK];
        let mut length = 0;
        while length < BLOCK {
            match self.stream.read(&mut header[length..]).map_err(LayerError::Archive)? {
                0 if length == 0 => return Ok(None),
                0 => return Err(LayerError::Archive(io::ErrorKind::UnexpectedEof.into())),
                read => length += read,
            }
        }
        if header.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let sum = |range: &[u8]| range.iter().map(|&byte| i64::from(byte)).sum::<i64>();
        let computed = sum(&header[..148]) + 8 * i64::from(b' ') + sum(&header[156..]);
        if number(&header[148..156]) != Some(computed) {
            return Err(LayerError::Header("checksum; this is no tar archive".into()));
        }
        Ok(Some(header))
    }

    fn expect_data(&mut self, size: u64) -> Result<(), LayerError> {
        if size > i64::MAX as u64 {
            return Err(LayerError::Header("size".into()));
        }
        self.data_left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn pass_over_data(&mut self) -> Result<(), LayerError> {
        let left = self.data_left + self.padding;
        let passed =
            io::copy(&mut (&mut self.stream).take(left), &mut io::sink()).map_err(LayerError::Archive)?;
        if passed < left {
            return Err(LayerError::Archive(io::ErrorKind::UnexpectedEof.into()));
        }
        (self.data_left, self.padding) = (0, 0);
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, LayerError> {
        if size > LONGEST_EXTENSION {
            return Err(LayerError::Header(format!("extended header of {size} bytes")));
        }
        self.expect_data(size)?;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(LayerError::Archive)?;
        Ok(bytes)
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (&mut self.stream).take(self.data_left).read(buffer)?;
        if length == 0 && self.data_left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.data_left -= length as u64;
        Ok(length)
    }
}

impl Extensions {
    /// Records are `<length of all> <key>=<value>\n`.
    fn read_pax(&mut self, mut bytes: &[u8]) -> Result<(), LayerError> {
        let broken = || LayerError::Header("extended header".into());
        while !bytes.is_empty() {
            let space = bytes.iter().position(|&byte| byte == b' ').ok_or_else(broken)?;
            let length: usize = decimal(&bytes[..space]).ok_or_else(broken)?;
            let record = bytes.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n"));
            let record = record.ok_or_else(broken)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(broken)?;
            self.apply(&record[..equals], &record[equals + 1..]).ok_or_else(broken)?;
            bytes = &bytes[length..];
        }
        Ok(())
    }

    fn apply(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.name = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            _ if key.starts_with(b"GNU.sparse.") => return None,
            _ => {
                if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Some(())
    }
}

fn entry(header: &[u8; BLOCK], extensions: Extensions, size: u64) -> Result<Entry, LayerError> {
    let name = extensions.name.unwrap_or_else(|| header_name(header));
    let shown = || String::from_utf8_lossy(&name).into_owned();
    let kind = match header[156] {
        b'0' | b'7' | 0 if name.ends_with(b"/") => Kind::Directory,
        b'0' | b'7' | 0 => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'S' => return Err(LayerError::Refused { name: shown(), why: "is a sparse file of GNU tar".into() }),
        other => {
            let why = format!("has the unknown type {:?}", char::from(other));
            return Err(LayerError::Refused { name: shown(), why });
        }
    };
    let link = extensions.link.unwrap_or_else(|| until_nul(&header[157..257]).to_vec());
    if [&name, &link].iter().any(|text| text.len() > LONGEST_NAME || text.contains(&0)) {
        return Err(LayerError::Refused { name: shown(), why: "has an impossible name".into() });
    }
    let broken = |field: &str| LayerError::Header(format!("{field} of {:?}", shown()));
    let field = |range: &[u8], field: &str| number(range).ok_or_else(|| broken(field));
    let id = |own: i64, extended: Option<u64>, field: &str| {
        // The highest id means "no change" to chown(2).
        let id = extended.or(u64::try_from(own).ok()).and_then(|id| u32::try_from(id).ok());
        id.filter(|&id| id != u32::MAX).ok_or_else(|| broken(field))
    };
    let device = |range: &[u8], name: &str| u32::try_from(field(range, name)?).map_err(|_| broken(name));
    Ok(Entry {
        kind,
        size: if kind == Kind::File { extensions.size.unwrap_or(size) } else { 0 },
        mode: u32::try_from(field(&header[100..108], "mode")? & 0o7777).unwrap_or_default(),
        uid: id(field(&header[108..116], "uid")?, extensions.uid, "uid")?,
        gid: id(field(&header[116..124], "gid")?, extensions.gid, "gid")?,
        mtime: extensions
            .mtime
            .map_or_else(|| field(&header[136..148], "mtime").map(|seconds| (seconds, 0)), Ok)?,
        device: match kind {
            Kind::CharDevice | Kind::BlockDevice => {
                (device(&header[329..337], "device")?, device(&header[337..345], "device")?)
            }
            _ => (0, 0),
        },
        xattrs: extensions.xattrs,
        name,
        link,
    })
}

/// The name of a header; POSIX splits long ones in two.
fn header_name(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&header[..100]);
    let prefix = until_nul(&header[345..500]);
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        [prefix, b"/", name].concat()
    } else {
        name.to_vec()
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A number of a header: octal digits, or binary where the highest bit is set (GNU).
fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Two's complement in the 95 bits that follow the mark.
        let start = i128::from(first & 0x3f) - i128::from(first & 0x40);
        return i64::try_from(rest.iter().fold(start, |sum, &byte| (sum << 8) | i128::from(byte))).ok();
    }
    let text = until_nul(field).trim_ascii();
    if text.is_empty() {
        return Some(0);
    }
    i64::from_str_radix(std::str::from_utf8(text).ok()?, 8).ok()
}

fn decimal<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

/// `[-]seconds[.fraction]`
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if text.starts_with('-') && nanos > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}

#[cfg(test)]
#[path = "tar_stream_tests.rs"]
mod tests;
