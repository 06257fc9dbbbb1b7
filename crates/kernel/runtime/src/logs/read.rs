//! Reading a log as it is now.

use super::line::decode;
use super::{LogLine, LogQuery};
use crate::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes read at a time when looking for the start of the last lines.
const BLOCK: u64 = 64 * 1024;

/// The lines of a log as it is now, oldest first. No file is no lines; a spoilt line is left out.
pub fn read(path: &Path, query: &LogQuery) -> Result<Vec<LogLine>, Error> {
    let mut reader = Reader::open(path, query.tail)?;
    let mut lines = Vec::new();
    while let Some(line) = reader.next()? {
        if query.wants(&line) {
            lines.push(line);
        }
    }
    Ok(lines)
}

/// Reads lines up to the file's end, and further when it has grown.
pub(super) struct Reader<'a> {
    path: &'a Path,
    file: Option<BufReader<File>>,
    open_line: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// Starts at the last `tail` lines. The file may come later.
    pub(super) fn open(path: &'a Path, tail: Option<u64>) -> Result<Self, Error> {
        let mut reader = Self { path, file: None, open_line: Vec::new() };
        if let Some(mut file) = reader.find()? {
            let start = match tail {
                None => 0,
                Some(lines) => start_of_last(&mut file, lines).map_err(|e| reader.error("search", e))?,
            };
            file.seek(SeekFrom::Start(start)).map_err(|e| reader.error("seek in", e))?;
            reader.file = Some(BufReader::new(file));
        }
        Ok(reader)
    }

    /// The next whole line, if there is one now.
    pub(super) fn next(&mut self) -> Result<Option<LogLine>, Error> {
        if self.file.is_none() {
            self.file = self.find()?.map(BufReader::new);
        }
        let Some(file) = &mut self.file else { return Ok(None) };
        loop {
            let taken = file.read_until(b'\n', &mut self.open_line);
            taken.map_err(|source| Error::Io { action: "read", path: self.path.to_owned(), source })?;
            if self.open_line.last() != Some(&b'\n') {
                return Ok(None);
            }
            let line = decode(&self.open_line);
            self.open_line.clear();
            if line.is_some() {
                return Ok(line);
            }
        }
    }

    fn find(&self) -> Result<Option<File>, Error> {
        match File::open(self.path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.error("open", e)),
        }
    }

    fn error(&self, action: &'static str, source: std::io::Error) -> Error {
        Error::Io { action, path: self.path.to_owned(), source }
    }
}

/// The offset at which the last `lines` lines start.
fn start_of_last(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut newlines = 0;
    let mut end = length;
    while end > 0 && lines > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        file.take(end - start).read_to_end(&mut block)?;
        let mut at = start + block.len() as u64;
        for byte in block.iter().rev() {
            at -= 1;
            // The file's last newline ends its last line.
            if *byte == b'\n' && at + 1 != length {
                newlines += 1;
                if newlines == lines {
                    return Ok(at + 1);
                }
            }
        }
        end = start;
    }
    Ok(if lines == 0 { length } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::super::Stream;
    use super::super::line::encode;
    use super::*;
    use shoal_model::Timestamp;

    fn log_of(lines: u64) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut text = Vec::new();
        for n in 0..lines {
            let stream = if n % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
            let time = Timestamp(i64::try_from(n + 1).unwrap() * 1_000_000_000);
            encode(time, stream, format!("line {n}\n").as_bytes(), &mut text);
        }
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    fn texts(path: &Path, query: &LogQuery) -> Vec<String> {
        let lines = read(path, query).unwrap();
        lines.into_iter().map(|l| String::from_utf8(l.bytes).unwrap()).collect()
    }

    const BOTH: LogQuery = LogQuery { since: None, until: None, tail: None, stdout: true, stderr: true };

    #[test]
    fn all_lines_come_in_order() {
        let (_directory, path) = log_of(3);
        assert_eq!(texts(&path, &BOTH), ["line 0\n", "line 1\n", "line 2\n"]);
        assert_eq!(texts(Path::new("/nonexistent"), &BOTH), [""; 0]);
    }

    #[test]
    fn streams_and_times_are_chosen() {
        let (_directory, path) = log_of(6);
        assert_eq!(texts(&path, &LogQuery { stdout: false, ..BOTH }), ["line 1\n", "line 3\n", "line 5\n"]);
        let at = |s: i64| Some(Timestamp(s * 1_000_000_000));
        assert_eq!(texts(&path, &LogQuery { since: at(3), until: at(4), ..BOTH }), ["line 2\n", "line 3\n"]);
    }

    #[test]
    fn the_last_lines_are_found_in_long_logs_too() {
        let (_directory, path) = log_of(5000);
        for tail in [0, 1, 2, 1500, 4999, 5000, 9000] {
            let found = texts(&path, &LogQuery { tail: Some(tail), ..BOTH });
            let first = 5000_u64.saturating_sub(tail);
            let expected: Vec<String> = (first..5000).map(|n| format!("line {n}\n")).collect();
            assert_eq!(found, expected, "tail {tail}");
        }
    }

    #[test]
    fn spoilt_lines_are_left_out() {
        let (_directory, path) = log_of(2);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.splice(0..0, *b"\0\0{broken\n");
        bytes.extend_from_slice(b"{\"log\":\"half");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(texts(&path, &BOTH), ["line 0\n", "line 1\n"]);
    }
}
