//! Small JSON files, written so that a crash leaves the old or the new one.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces a file by the JSON of `value`, readable by the owner only.
///
/// # Errors
/// Any input/output error, with the path in its text.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let directory = path.parent().unwrap_or(Path::new("/"));
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(named)?;
    file.write_all(&serde_json::to_vec(value)?).and_then(|()| file.sync_all()).map_err(named)?;
    fs::rename(&temporary, path).map_err(named)?;
    File::open(directory).and_then(|d| d.sync_all()).map_err(named)
}

/// Reads a file written by [`write_json`]; `None` if there is none.
///
/// # Errors
/// Any input/output error but absence, and content that does not parse, with the path in its text.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| named(e.into())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(named(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_absence_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), None);
        write_json(&path, &vec![1, 2]).unwrap();
        write_json(&path, &vec![3]).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), Some(vec![3]));
        fs::write(&path, "{").unwrap();
        assert!(read_json::<Vec<u8>>(&path).unwrap_err().to_string().contains("x.json"));
    }
}
