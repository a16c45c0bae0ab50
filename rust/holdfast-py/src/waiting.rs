//! Blocking calls: the GIL is given away, signals are looked at, deadlines are kept.

use crate::py::{self, PyResult, Raised};
use holdfast_core::arena::{current, current_remembered, Arena, Me, Remembered};
use holdfast_core::os::clock;
use holdfast_core::sync::local::{AtomicBool, Ordering};
use holdfast_core::wait::{Patience, Waited};
use pyo3_ffi as ffi;
use std::cell::Cell;

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

/// Runs Python's signal handlers if any are due.
pub fn check_signals() -> PyResult<()> {
    // SAFETY: the GIL is held.
    if unsafe { ffi::PyErr_CheckSignals() } == 0 {
        Ok(())
    } else {
        Err(Raised)
    }
}

/// Waits until `wait` is done, again after each signal whose handler does not raise. `None`: timed out. First it tries for
/// a moment without sleeping, as long as `done` says no: with the GIL if nobody else could want it, else without.
pub fn block<T>(
    me: &Me<'_>,
    limit: Limit,
    spin: &Cell<Spin>,
    done: impl Fn() -> bool,
    mut wait: impl FnMut(&mut Patience<'_>) -> Waited<T>,
) -> PyResult<Option<T>> {
    let arena = me.arena;
    let main = arena.is_main_thread(me);
    let mut trial = spin.get();
    let alone = crate::site::is_single_thread();
    if alone {
        let hit = trial.spin(&done);
        spin.set(trial);
        if hit {
            let mut beat = || false;
            // Zero patience: a caller who was overtaken after all sleeps below.
            if let Waited::Done(value) = wait(&mut Patience { deadline: Some(0), beat: &mut beat }) {
                return Ok(Some(value));
            }
        }
    }
    let mut fresh = !alone;
    loop {
        let mut raised = false;
        let got = py::detached(|| {
            if core::mem::take(&mut fresh) {
                trial.spin(&done);
            }
            let mut beat = || {
                // A signal that another thread received is handled by the main thread: it looks at every heartbeat.
                raised = main && py::attached(|| check_signals().is_err());
                raised || arena.check().is_err()
            };
            wait(&mut Patience { deadline: limit.deadline(), beat: &mut beat })
        });
        if !alone {
            spin.set(trial);
        }
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

/// Naps of one wait for a lock that is fought over.
const NAPS: u32 = 4;
/// Length of a nap; the system's timers add about as much again.
const NAP: std::time::Duration = std::time::Duration::from_micros(50);
/// Turns of the spin that looks for a free moment after a nap.
const TURNS_AFTER_NAP: u32 = 100;

/// A few short sleeps without telling the holder. While several processes take and give a lock without a pause, most work
/// is done when it stays with one of them for a while: a release that has to wake somebody costs fifty that have not.
/// `None`: not taken, wait properly.
pub fn nap<T>(limit: Limit, free: impl Fn() -> bool, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    py::detached(|| {
        for _ in 0..NAPS {
            if limit.deadline().is_some_and(|d| clock::now_ns() + NAP.as_nanos() as u64 >= d) {
                return None;
            }
            std::thread::sleep(NAP);
            for _ in 0..TURNS_AFTER_NAP {
                if free() {
                    if let Some(taken) = attempt() {
                        return Some(taken);
                    }
                }
                core::hint::spin_loop();
            }
        }
        None
    })
}

/// Adaptive waiting without sleep, of one object in one process: first spinning (the other side runs on another processor),
/// then yielding the processor (it waits for this one). What does not help gets rare by itself.
#[derive(Debug, Clone, Copy)]
pub struct Spin {
    turns: u16,
    turns_skipped: u16,
    yields: u8,
    yields_skipped: u8,
}

/// Most turns of a spin: about forty microseconds, what waking a sleeper on an idle processor costs.
const MOST_TURNS: u16 = 2048;
/// Fewer turns than this are not worth it.
const LEAST_TURNS: u16 = 32;
/// Waits between two tries of a spin that did not help.
const TURNS_AGAIN: u16 = 1024;
/// Most yields of one wait.
const MOST_YIELDS: u8 = 4;
/// Waits between two tries of yielding when it did not help.
const YIELDS_AGAIN: u8 = 32;
/// A yield that took longer than this gave the processor to somebody else's work (nanoseconds).
const LONG_YIELD_NS: u64 = 100_000;

impl Spin {
    /// A fresh guess.
    pub const fn new() -> Self {
        Self { turns: MOST_TURNS, turns_skipped: 0, yields: MOST_YIELDS, yields_skipped: 0 }
    }

    /// For waits that nobody can see the end of from outside: no spinning.
    pub const fn never() -> Self {
        Self { turns: 0, turns_skipped: 0, yields: 0, yields_skipped: 0 }
    }

    /// Spins and yields until `done`. Whether it was.
    pub fn spin(&mut self, done: impl Fn() -> bool) -> bool {
        done() || self.turn(&done) || self.give_way(&done)
    }

    fn turn(&mut self, done: &impl Fn() -> bool) -> bool {
        if self.turns < LEAST_TURNS {
            self.turns_skipped += 1;
            if self.turns_skipped < TURNS_AGAIN {
                return false;
            }
            (self.turns_skipped, self.turns) = (0, MOST_TURNS);
        }
        for _ in 0..self.turns {
            core::hint::spin_loop();
            if done() {
                self.turns = (self.turns * 2).min(MOST_TURNS);
                return true;
            }
        }
        self.turns /= 2;
        false
    }

    fn give_way(&mut self, done: &impl Fn() -> bool) -> bool {
        if self.yields == 0 {
            self.yields_skipped += 1;
            if self.yields_skipped < YIELDS_AGAIN {
                return false;
            }
            (self.yields_skipped, self.yields) = (0, 1);
        }
        let mut before = None;
        for _ in 0..self.yields {
            std::thread::yield_now();
            if done() {
                self.yields = (self.yields + 1).min(MOST_YIELDS);
                return true;
            }
            let now = clock::now_ns();
            if before.is_some_and(|b| now - b > LONG_YIELD_NS) {
                break;
            }
            before = Some(now);
        }
        self.yields -= 1;
        false
    }
}
