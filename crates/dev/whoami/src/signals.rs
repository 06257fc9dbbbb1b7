//! SIGINT and SIGTERM as something that can be waited for together with a listening socket.

use std::ffi::{c_int, c_short, c_ulong, c_void};
use std::io::{self, PipeReader};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::atomic::{AtomicI32, Ordering};

const SIGINT: c_int = 2;
const SIGTERM: c_int = 15;
const POLLIN: c_short = 1;

/// `struct pollfd`.
#[repr(C)]
struct PollFd {
    fd: c_int,
    events: c_short,
    revents: c_short,
}

unsafe extern "C" {
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> *mut c_void;
    fn write(fd: c_int, buffer: *const c_void, length: usize) -> isize;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
}

/// Where the handler writes to; -1 until there is a pipe.
static WAKE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn wake(_number: c_int) {
    let byte = 0_u8;
    // SAFETY: the buffer is one readable byte; `write` may be called from a signal handler. If the pipe is full the stop
    // has been asked for already.
    let _ = unsafe { write(WAKE.load(Ordering::Relaxed), (&raw const byte).cast(), 1) };
}

/// The wish to stop, once somebody has had it.
pub(crate) struct Stop(PipeReader);

/// From now on SIGINT and SIGTERM ask for a stop.
pub(crate) fn catch() -> io::Result<Stop> {
    let (reader, writer) = io::pipe()?;
    // The writing end stays open until the process ends: the handler may run at any time.
    WAKE.store(writer.into_raw_fd(), Ordering::Relaxed);
    for number in [SIGINT, SIGTERM] {
        // SAFETY: `wake` does only what a signal handler may do.
        unsafe { signal(number, wake) };
    }
    Ok(Stop(reader))
}

impl Stop {
    /// Waits until a connection or the wish to stop comes; says whether it is the latter.
    pub(crate) fn comes_before(&self, listener: &TcpListener) -> io::Result<bool> {
        let watch = |fd: c_int| PollFd { fd, events: POLLIN, revents: 0 };
        let mut fds = [watch(self.0.as_raw_fd()), watch(listener.as_raw_fd())];
        loop {
            // SAFETY: the array holds two initialised entries and outlives the call.
            let ready = unsafe { poll(fds.as_mut_ptr(), 2, -1) };
            let error = io::Error::last_os_error();
            if ready >= 0 {
                return Ok(fds[0].revents != 0);
            }
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}
