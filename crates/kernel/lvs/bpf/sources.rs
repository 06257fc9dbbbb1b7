//! Tells whether a compiled object belongs to the C sources beside this file. Shared by the build script and a test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A digest of the names and contents of all C sources (FNV-1a, 64 bits; it guards against forgetting, not attacks).
pub(crate) fn digest(directory: &Path) -> io::Result<String> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "c" || extension == "h"));
    files.sort();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for path in files {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
        for byte in name.into_iter().chain([0]).chain(fs::read(&path)?) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    Ok(format!("{hash:016x}"))
}
