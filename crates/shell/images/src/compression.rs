//! Which compression a stream has, by its first bytes.

use crate::error::LayerError;
use std::io::{self, BufReader, Cursor, Read};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Length of the longest mark at the start of a stream.
const MARK_LENGTH: usize = 6;

/// Which compression a stream has that begins with `start`.
fn told_by(start: &[u8]) -> Result<Compression, LayerError> {
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Compression::Gzip);
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Compression::Zstd);
    }
    for (magic, name) in [(&b"BZh"[..], "bzip2"), (b"\xfd7zXZ\0", "xz")] {
        if start.starts_with(magic) {
            return Err(LayerError::Header(format!(
                "compression by {name} is not supported, use gzip or zstd"
            )));
        }
    }
    Ok(Compression::None)
}

/// Which compression a stream has. Reads its first bytes.
pub(crate) fn of(stream: &mut impl Read) -> Result<(Compression, Vec<u8>), LayerError> {
    let mut start = Vec::new();
    stream.take(MARK_LENGTH as u64).read_to_end(&mut start).map_err(LayerError::Archive)?;
    Ok((told_by(&start)?, start))
}

/// A stream without its compression, whatever that was.
pub(crate) fn decompressed<'a>(
    mut stream: impl Read + 'a,
) -> Result<(Box<dyn Read + 'a>, Compression), LayerError> {
    let (compression, start) = of(&mut stream)?;
    let whole = Cursor::new(start).chain(stream);
    let plain: Box<dyn Read + 'a> = match compression {
        Compression::None => Box::new(BufReader::with_capacity(1 << 16, whole)),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(whole).map_err(LayerError::Archive)?),
    };
    Ok((plain, compression))
}

/// Compresses `plain` with gzip; the same bytes for the same input on every machine, since the header holds no time.
pub(crate) fn gzip(plain: impl Read, compressed: impl io::Write) -> io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(compressed, flate2::Compression::default());
    io::copy(&mut BufReader::with_capacity(1 << 16, plain), &mut encoder)?;
    encoder.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (Vec<u8>, Compression) {
        let (mut reader, compression) = decompressed(bytes).unwrap();
        let mut plain = Vec::new();
        reader.read_to_end(&mut plain).unwrap();
        (plain, compression)
    }

    #[test]
    fn every_supported_form_reads_the_same() {
        let plain = b"a layer, or so".repeat(1000);
        let mut gzipped = Vec::new();
        gzip(&plain[..], &mut gzipped).unwrap();
        assert_eq!(read(&plain), (plain.clone(), Compression::None));
        assert_eq!(read(&gzipped), (plain.clone(), Compression::Gzip));
        assert_eq!(read(&zstd::encode_all(&plain[..], 3).unwrap()), (plain, Compression::Zstd));
        assert_eq!(read(b"").0, b"");
        assert_eq!(read(b"abc").0, b"abc");
    }

    #[test]
    fn gzip_members_in_a_row_are_one_stream() {
        let mut two = Vec::new();
        gzip(&b"first "[..], &mut two).unwrap();
        gzip(&b"second"[..], &mut two).unwrap();
        assert_eq!(read(&two).0, b"first second");
    }

    #[test]
    fn other_compressions_are_named_in_the_refusal() {
        let error = decompressed(&b"\xfd7zXZ\0\0\0"[..]).err().unwrap().to_string();
        assert!(error.contains("xz"), "{error}");
    }

    #[test]
    fn a_cut_stream_is_an_error_and_not_an_end() {
        let mut gzipped = Vec::new();
        gzip(&b"x".repeat(5000)[..], &mut gzipped).unwrap();
        let (mut reader, _) = decompressed(&gzipped[..gzipped.len() - 9]).unwrap();
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
    }
}
