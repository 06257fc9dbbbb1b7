//! Names of a layer's entries: which place they mean, and what they mean by their spelling. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Prefix of a name that deletes the name without it (OCI image specification, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// The name that hides everything which lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of the notes that AUFS made for itself.
const AUFS_NOTE: &[u8] = b".wh..wh.";

/// What a name asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// The root of the layer.
    Root,
    /// An entry of this name in this directory.
    Place { parent: Vec<&'a OsStr>, name: &'a OsStr },
    /// Lower layers' entry of this name in this directory is gone.
    Whiteout { parent: Vec<&'a OsStr>, name: &'a OsStr },
    /// Everything that lower layers have in this directory is gone.
    Opaque { directory: Vec<&'a OsStr> },
    /// Nothing that concerns us.
    Nothing,
}

/// The components of a name below the root of the layer. A leading slash means the same root, as for every reader of
/// images (`ko` writes such names).
pub(crate) fn components(name: &[u8]) -> Result<Vec<&OsStr>, String> {
    let parts = name.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let parts: Vec<&OsStr> = parts.map(OsStr::from_bytes).collect();
    if parts.iter().any(|part| *part == "..") {
        return Err("leads out of the layer".into());
    }
    Ok(parts)
}

/// What an entry of this name asks for.
pub(crate) fn meaning(name: &[u8]) -> Result<Meaning<'_>, String> {
    let mut parent = components(name)?;
    let Some(name) = parent.pop() else { return Ok(Meaning::Root) };
    if parent.iter().any(|part| part.as_bytes().starts_with(WHITEOUT)) {
        return Err("lies below a whiteout".into());
    }
    let bytes = name.as_bytes();
    if bytes == OPAQUE {
        return Ok(Meaning::Opaque { directory: parent });
    }
    if bytes.starts_with(AUFS_NOTE) {
        return Ok(Meaning::Nothing);
    }
    match bytes.strip_prefix(WHITEOUT) {
        None => Ok(Meaning::Place { parent, name }),
        Some(b"" | b"." | b"..") => Err("is a whiteout of nothing".into()),
        Some(hidden) => Ok(Meaning::Whiteout { parent, name: OsStr::from_bytes(hidden) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place<'a>(parent: &'a [&'a str], name: &'a str) -> Meaning<'a> {
        Meaning::Place { parent: parent.iter().map(OsStr::new).collect(), name: OsStr::new(name) }
    }

    #[test]
    fn names_are_places_below_the_root() {
        for name in ["a/b", "./a/b", "/a/b", "//a/./b/", "a//b"] {
            assert_eq!(meaning(name.as_bytes()), Ok(place(&["a"], "b")), "{name}");
        }
        for name in ["", ".", "/", "./"] {
            assert_eq!(meaning(name.as_bytes()), Ok(Meaning::Root), "{name}");
        }
        assert_eq!(meaning(b"..."), Ok(place(&[], "...")));
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for name in ["..", "../x", "a/../../x", "/../x", "a/.."] {
            assert!(meaning(name.as_bytes()).is_err(), "{name}");
        }
    }

    #[test]
    fn whiteouts_are_told_by_their_spelling() {
        let hidden = Meaning::Whiteout { parent: vec![OsStr::new("a")], name: OsStr::new("b") };
        assert_eq!(meaning(b"a/.wh.b"), Ok(hidden));
        assert_eq!(meaning(b"a/.wh..wh..opq"), Ok(Meaning::Opaque { directory: vec![OsStr::new("a")] }));
        assert_eq!(meaning(b".wh..wh.plnk"), Ok(Meaning::Nothing));
        for name in [".wh.", "a/.wh..", ".wh...", ".wh.a/b"] {
            assert!(meaning(name.as_bytes()).is_err(), "{name}");
        }
    }
}
