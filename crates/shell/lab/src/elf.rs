//! Whether a program needs others to start: what is put alone into an image must not.

use anyhow::{Context, bail};
use std::fs;
use std::path::Path;

const MAGIC: &[u8] = b"\x7fELF\x02\x01";
/// A program header that names a dynamic loader (`PT_INTERP`).
const INTERPRETER: u32 = 3;

/// Whether this is a 64-bit program that names no dynamic loader; `None` if it is no such program at all.
fn is_static(bytes: &[u8]) -> Option<bool> {
    let number = |at: usize, length: usize| {
        let part = bytes.get(at..at.checked_add(length)?)?;
        Some(part.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    // Places in the file's header (elf.h): start, length and number of the program headers.
    let (start, length, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    for index in 0..count {
        let at = usize::try_from(start.checked_add(length * index)?).ok()?;
        if number(at, 4)? == u64::from(INTERPRETER) {
            return Some(false);
        }
    }
    Some(true)
}

/// Reads a program that must be static; `cure` tells how to get one.
pub(crate) fn read_static(path: &Path, cure: &str) -> anyhow::Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}: {cure}", path.display()))?;
    match is_static(&bytes) {
        Some(true) => Ok(bytes),
        Some(false) => bail!("{} is not a static program: {cure}", path.display()),
        None => bail!("{} is not a program: {cure}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(header: u32) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.resize(0x40, 0);
        bytes[0x20] = 0x40;
        bytes[0x36] = 56;
        bytes[0x38] = 1;
        bytes.extend(header.to_le_bytes());
        bytes
    }

    #[test]
    fn a_program_with_a_loader_is_not_static() {
        assert_eq!(is_static(&program(1)), Some(true));
        assert_eq!(is_static(&program(INTERPRETER)), Some(false));
        assert_eq!(is_static(b"#!/bin/sh"), None);
        assert_eq!(is_static(&program(1)[..0x42]), None, "cut short");
    }
}
