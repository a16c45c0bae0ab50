//! Blocking calls: the GIL is given away, signals are looked at, deadlines are kept.

use crate::py::{self, PyResult, Raised};
use crate::site;
use holdfast_core::arena::{current, current_remembered, Arena, Me, Remembered};
use holdfast_core::os::clock;
use holdfast_core::wait::{Patience, Waited};
use pyo3_ffi as ffi;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by `install()`: a negative timeout means zero, as multiprocessing documents; otherwise it is an error.
pub static LENIENT: AtomicBool = AtomicBool::new(false);

/// How long a call may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Not at all.
    Now,
    /// Until then (CLOCK_MONOTONIC nanoseconds).
    Until(u64),
    /// For ever.
    Never,
}

impl Limit {
    /// The deadline for the core.
    pub fn deadline(self) -> Option<u64> {
        match self {
            Self::Now => Some(0),
            Self::Until(at) => Some(at),
            Self::Never => None,
        }
    }
}

/// Reads a `timeout` argument in seconds; `None` is for ever.
pub fn limit(timeout: Option<py::Object>) -> PyResult<Limit> {
    if py::is_none(timeout) {
        return Ok(Limit::Never);
    }
    let seconds = py::as_f64(timeout.unwrap_or(core::ptr::null_mut()))?;
    if seconds.is_nan() {
        return Err(py::raise("HF106", "timeout is not a number (NaN); give seconds, or None to wait for ever"));
    }
    // Relaxed: set once by `install()` before the program starts; guards nothing else.
    if seconds < 0.0 && !LENIENT.load(Ordering::Relaxed) {
        let what = format!("timeout is negative ({seconds} s); give 0 to try once, or None to wait for ever");
        return Err(py::raise("HF106", &what));
    }
    if seconds <= 0.0 {
        return Ok(Limit::Now);
    }
    if seconds > 1e9 {
        return Ok(Limit::Never); // over 31 years
    }
    Ok(Limit::Until(clock::now_ns() + (seconds * 1e9) as u64))
}

/// The calling thread in an arena.
pub fn me(arena: &'static Arena) -> PyResult<Me<'static>> {
    current(arena, thread_name).map_err(|e| py::raise_core(&e))
}

/// The calling thread in an arena, for an object that remembers who used it last.
#[inline(always)]
pub fn me_remembered(arena: &'static Arena, last: &Cell<Remembered>) -> PyResult<Me<'static>> {
    current_remembered(arena, last, thread_name).map_err(|e| py::raise_core(&e))
}

/// Python's name of the calling thread, if the threading module knows it.
fn thread_name() -> String {
    // SAFETY: the GIL is held (seats are taken by methods only); all references are released.
    unsafe {
        let modules = ffi::PyImport_GetModuleDict();
        let threading = ffi::PyDict_GetItemString(modules, c"threading".as_ptr());
        if threading.is_null() {
            return "MainThread".into();
        }
        let name = find_name(threading).unwrap_or_default();
        ffi::PyErr_Clear();
        name
    }
}

unsafe fn find_name(threading: py::Object) -> PyResult<String> {
    // SAFETY: plain attribute look-ups on live objects with the GIL held.
    unsafe {
        let active = py::checked(ffi::PyObject_GetAttrString(threading, c"_active".as_ptr()))?;
        let ident = ffi::PyLong_FromUnsignedLong(ffi::PyThread_get_thread_ident() as _);
        let thread = ffi::PyObject_GetItem(active, ident);
        py::drop_ref(active);
        py::drop_ref(ident);
        let name = ffi::PyObject_GetAttrString(py::checked(thread)?, c"name".as_ptr());
        py::drop_ref(thread);
        let text = py::as_text(py::checked(name)?);
        py::drop_ref(name);
        text
    }
}

fn is_main_thread() -> bool {
    holdfast_core::os::identity::thread_id() == std::process::id()
}

/// Runs Python's signal handlers if any are due.
pub fn check_signals() -> PyResult<()> {
    // SAFETY: the GIL is held.
    if unsafe { ffi::PyErr_CheckSignals() } == 0 {
        Ok(())
    } else {
        Err(Raised)
    }
}

/// Waits without the GIL until `wait` is done, again after each signal whose handler does not raise. `None`: timed out.
pub fn block<T>(arena: &Arena, limit: Limit, mut wait: impl FnMut(&mut Patience<'_>) -> Waited<T>) -> PyResult<Option<T>> {
    let main = is_main_thread();
    loop {
        let mut raised = false;
        let got = py::detached(|| {
            let mut beat = || {
                // A signal that another thread received is handled by the main thread: it looks at every heartbeat.
                raised = main && py::attached(|| check_signals().is_err());
                raised || arena.check().is_err()
            };
            wait(&mut Patience { deadline: limit.deadline(), beat: &mut beat })
        });
        if raised {
            return Err(Raised);
        }
        match got {
            Waited::Done(value) => return Ok(Some(value)),
            Waited::TimedOut => return Ok(None),
            Waited::Interrupted => {
                arena.check().map_err(|e| py::raise_core(&e))?;
                check_signals()?;
            }
        }
    }
}

/// Adaptive spinning of one object in one process: as long as spinning helps it goes on, when it does not it gets rare.
#[derive(Debug, Clone, Copy)]
pub struct Spin {
    limit: u16,
    skipped: u16,
}

const MOST: u16 = 2048;
const PROBE_EVERY: u16 = 64;

impl Spin {
    /// A fresh guess.
    pub const fn new() -> Self {
        Self { limit: MOST, skipped: 0 }
    }

    /// Spins until `done`. Whether it was.
    pub fn spin(&mut self, done: impl Fn() -> bool) -> bool {
        let mut turns = self.limit;
        if turns < 64 {
            self.skipped += 1;
            if self.skipped < PROBE_EVERY {
                return false;
            }
            self.skipped = 0;
            turns = MOST;
        }
        for _ in 0..turns {
            if done() {
                self.limit = (self.limit + MOST / 4).min(MOST);
                return true;
            }
            core::hint::spin_loop();
        }
        self.limit /= 2;
        false
    }
}

/// Where the caller is, as a number of the arena's site table.
pub fn here(me: &Me<'_>) -> u32 {
    site::current(me)
}
