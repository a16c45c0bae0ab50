//! Waiting for tasks: one native thread a process looks after everything its event loops wait for.
//!
//! ```text
//!  event loop --- add / again / remove (a list, a control word) ---> helper thread ---> one futex_waitv over the control
//!      ^                                                                |              word and the words of all interests
//!      |          eventfd: "look again", tickets in a list              |
//!      +----------------------------------------------------------------+        other processes: release, kill, leave
//! ```
//! Whatever is waited for is taken by the task itself, without blocking, so that a cancelled task can lose nothing. The
//! helper only says when to try: it takes part in the turnstile of each thing like any waiter ([`engine`]), but where
//! another would take the lock it tells the loop. It runs while something is waited for and a moment longer
//! ([`helper`]); it knows nothing of Python.

pub mod engine;
pub mod helper;
pub mod interest;

use crate::os::local::Local;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};

/// Where the helper leaves word for one event loop.
#[derive(Debug)]
pub struct Desk {
    /// Becomes readable when there is word; `None` in the model, where the loop looks by itself.
    signal: Option<File>,
    ready: Local<Vec<u64>>,
}

impl Desk {
    /// A new desk.
    ///
    /// # Errors
    /// As `eventfd(2)`: no descriptors left.
    pub fn new() -> std::io::Result<Self> {
        // SAFETY: eventfd takes two numbers; a negative result is an error.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else owns.
        Ok(Self { signal: Some(unsafe { File::from_raw_fd(fd) }), ready: Local::new(Vec::new()) })
    }

    /// A desk without a descriptor, for the model.
    #[must_use]
    pub const fn silent() -> Self {
        Self { signal: None, ready: Local::new(Vec::new()) }
    }

    /// The descriptor to watch for reading. It lives as long as the desk.
    #[must_use]
    pub fn descriptor(&self) -> i32 {
        self.signal.as_ref().map_or(-1, File::as_raw_fd)
    }

    /// Leaves word about one ticket.
    pub fn tell(&self, ticket: u64) {
        let mut ready = self.ready.lock();
        ready.push(ticket);
        if let (1, Some(mut signal)) = (ready.len(), self.signal.as_ref()) {
            // The counter cannot be full: it is emptied together with the list.
            let _ = signal.write(&1u64.to_ne_bytes());
        }
    }

    /// Takes all tickets about which word was left.
    #[must_use]
    pub fn take(&self) -> Vec<u64> {
        let mut ready = self.ready.lock();
        if let Some(mut signal) = self.signal.as_ref() {
            let _ = signal.read(&mut [0u8; 8]);
        }
        core::mem::take(&mut *ready)
    }
}
