//! Non-blocking pipes and terminals as async streams.

use crate::readiness;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, ready};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Bytes read at once.
const CHUNK: usize = 32 * 1024;

/// The reading end of a pipe, or a terminal's master.
pub(crate) struct PipeReader(AsyncFd<File>);

/// The writing end of a pipe, or a terminal's master. Shutting it down closes it.
pub(crate) struct PipeWriter(Option<AsyncFd<File>>);

impl PipeReader {
    /// Takes a non-blocking descriptor.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        Ok(Self(readiness::watch(descriptor, Interest::READABLE)?))
    }

    async fn read(&self) -> io::Result<Bytes> {
        let mut buffer = vec![0_u8; CHUNK];
        loop {
            let mut guard = self.0.readable().await?;
            match guard.try_io(|inner| inner.get_ref().read(&mut buffer)) {
                Ok(Ok(read)) => {
                    buffer.truncate(read);
                    return Ok(Bytes::from(buffer));
                }
                // A terminal's master says EIO once nobody has the other side open.
                Ok(Err(error)) if error.raw_os_error() == Some(nix::libc::EIO) => return Ok(Bytes::new()),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_not_ready) => {}
            }
        }
    }
}

/// What is read until the end, piece by piece.
pub(crate) fn chunks(reader: PipeReader) -> BoxStream<'static, io::Result<Bytes>> {
    let read = |reader: Option<PipeReader>| async {
        let reader = reader?;
        match reader.read().await {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some((Ok(bytes), Some(reader))),
            Err(error) => Some((Err(error), None)),
        }
    };
    stream::unfold(Some(reader), read).boxed()
}

impl PipeWriter {
    /// Takes a non-blocking descriptor.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        Ok(Self(Some(readiness::watch(descriptor, Interest::WRITABLE)?)))
    }
}

impl AsyncWrite for PipeWriter {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(descriptor) = &self.0 else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        loop {
            let mut guard = ready!(descriptor.poll_write_ready(context))?;
            if let Ok(written) = guard.try_io(|inner| inner.get_ref().write(bytes)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn what_is_written_is_read_and_shutdown_is_the_end() {
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
        let mut writer = PipeWriter::new(writer).unwrap();
        writer.write_all(b"hello").await.unwrap();
        writer.shutdown().await.unwrap();
        let read: Vec<_> = chunks(PipeReader::new(reader).unwrap()).collect().await;
        let bytes: Vec<u8> = read.into_iter().flat_map(|c| c.unwrap().to_vec()).collect();
        assert_eq!(bytes, b"hello");
    }
}
