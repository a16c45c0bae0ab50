//! A worker's loop over small tasks, each result noted in the worker's ledger before the next task begins; and who does
//! which task of a batch ([`holdfast_core::claim`]), the worker's side and the parent's.
//!
//! The layout of the ledger is that of `holdfast/crew/ledger.py`: sixteen words, one word a note, one byte a note (its kind,
//! stored last), bytes. What cannot be noted here ends the loop: the caller sees to it.

use crate::py::{self, Object, PyResult, Raised};
use holdfast_core::claim::Claim;
use holdfast_core::sync::AtomicU64;
use pyo3_ffi as ffi;
use std::ffi::c_int;
use std::time::{Duration, Instant};

const WORDS: usize = 16;
const BATCH: usize = 0;
const STATE: usize = 1;
const BASE: usize = 2;
const BEGAN: usize = 3;
const LAST: usize = 4;
const USED: usize = 5;
const CLAIM: usize = 6;
const SLOWEST: usize = 7;
/// Bits of a task's position in the word of the slowest one; the rest are its microseconds.
const PLACE: u32 = 24;
const RUNNING: i64 = 1;
const LONGEST_STRIDE: u32 = 64;
const INT: u8 = 1;
const FLOAT: u8 = 2;
const NONE: u8 = 3;
const TRUE: u8 = 4;
const FALSE: u8 = 5;
const TEXT: u8 = 9;
const RAW: u8 = 10;
/// How a round of the loop ended.
const OVER: u64 = 0;
const UNNOTED: u64 = 1;
const SEND: u64 = 2;
/// In `how`, beside the way of calling: when each task begins stands in the ledger.
const STAMPED: u64 = 4;

extern "C-unwind" {
    fn PyObject_CallFunctionObjArgs(callable: Object, ...) -> Object;
    fn PyObject_Call(callable: Object, args: Object, named: Object) -> Object;
}

/// A writable view of a ledger.
struct Ledger {
    view: Box<ffi::Py_buffer>,
    notes: usize,
}

impl Ledger {
    fn open(object: Object, notes: usize) -> PyResult<Ledger> {
        let mut view = Box::new(ffi::Py_buffer::new());
        // SAFETY: the GIL is held; the view is released when this is dropped.
        if unsafe { ffi::PyObject_GetBuffer(object, &raw mut *view, ffi::PyBUF_WRITABLE) } != 0 {
            return Err(Raised);
        }
        let ledger = Ledger { view, notes };
        if ledger.len() < (WORDS + notes) * 8 + notes {
            return Err(py::type_error(c"the ledger is too small"));
        }
        Ok(ledger)
    }

    /// The parent's or the worker's side of who does which task.
    fn claim(&self) -> Claim<'_> {
        // SAFETY: a word of the ledger, aligned as shared memory is; whoever writes it beside us does so atomically.
        Claim::new(unsafe { &*self.word(CLAIM).cast::<AtomicU64>() })
    }

    fn set(&self, word: usize, value: i64) {
        // SAFETY: one of the sixteen words; volatile, so that the order stays as a reader after our death sees it.
        unsafe { self.word(word).write_volatile(value) }
    }

    fn len(&self) -> usize {
        usize::try_from(self.view.len).unwrap_or(0)
    }

    fn word(&self, index: usize) -> *mut i64 {
        // SAFETY: callers stay below WORDS + notes, which `open` has found room for.
        unsafe { self.view.buf.cast::<i64>().add(index) }
    }

    /// Makes the first notes empty.
    fn clean(&self, count: usize) {
        let count = count.min(self.notes);
        // SAFETY: `open` has found room for all notes.
        unsafe { self.view.buf.cast::<u8>().add((WORDS + self.notes) * 8).write_bytes(0, count) };
        self.set(USED, 0);
    }

    /// The kind of a note, which makes it whole: after everything else.
    fn seal(&self, index: usize, kind: u8) {
        // SAFETY: index < notes; volatile, so that the compiler keeps the order in which a reader after our death sees it.
        unsafe { self.view.buf.cast::<u8>().add((WORDS + self.notes) * 8 + index).write_volatile(kind) }
    }

    fn note_number(&self, index: usize, number: i64, kind: u8) -> bool {
        // SAFETY: index < notes.
        unsafe { self.word(WORDS + index).write_volatile(number) };
        self.seal(index, kind);
        true
    }

    fn note_bytes(&self, index: usize, bytes: &[u8], kind: u8) -> bool {
        // SAFETY: one of the sixteen words; only this process writes it.
        let used = unsafe { self.word(USED).read() } as usize;
        let start = (WORDS + self.notes) * 8 + self.notes + used;
        if bytes.len() > self.len().saturating_sub(start) {
            return false;
        }
        // SAFETY: there is room, as just found; the source is the object's own memory.
        unsafe {
            let to = self.view.buf.cast::<u8>().add(start);
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
            self.word(USED).write_volatile((used + bytes.len()) as i64);
        }
        self.note_number(index, ((used as i64) << 32) | bytes.len() as i64, kind)
    }

    /// Notes a result; false if it is not one of the plain kinds, or there is no room for it.
    fn note(&self, index: usize, result: Object) -> bool {
        // SAFETY: the GIL is held and the object alive; each accessor is used for exactly its type.
        unsafe {
            let kind = ffi::Py_TYPE(result);
            if kind == &raw mut ffi::PyLong_Type {
                let mut overflow: c_int = 0;
                let number = ffi::PyLong_AsLongLongAndOverflow(result, &raw mut overflow);
                return overflow == 0 && self.note_number(index, number, INT);
            }
            if kind == &raw mut ffi::PyFloat_Type {
                let bits = ffi::PyFloat_AsDouble(result).to_bits();
                return self.note_number(index, i64::from_ne_bytes(bits.to_ne_bytes()), FLOAT);
            }
            if result == ffi::Py_None() {
                return self.note_number(index, 0, NONE);
            }
            if result == ffi::Py_True() || result == ffi::Py_False() {
                return self.note_number(index, 0, if result == ffi::Py_True() { TRUE } else { FALSE });
            }
            if kind == &raw mut ffi::PyBytes_Type {
                let at = ffi::PyBytes_AsString(result).cast::<u8>();
                return self.note_bytes(
                    index,
                    core::slice::from_raw_parts(at, ffi::PyBytes_Size(result) as usize),
                    RAW,
                );
            }
            if kind == &raw mut ffi::PyUnicode_Type {
                let mut len: ffi::Py_ssize_t = 0;
                let at = ffi::PyUnicode_AsUTF8AndSize(result, &raw mut len).cast::<u8>();
                if at.is_null() {
                    ffi::PyErr_Clear(); // a lone surrogate
                    return false;
                }
                return self.note_bytes(index, core::slice::from_raw_parts(at, len as usize), TEXT);
            }
        }
        false
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // SAFETY: filled by `open`, released once, with the GIL held.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.view) }
    }
}

/// Calls a function with one argument (0), with several (1), or with a pair of several and named ones (2).
fn call(function: Object, how: u64, value: Object) -> PyResult<Object> {
    // SAFETY: the GIL is held; `value` is kept by the list for as long as the call runs, since only the caller has it.
    let result = unsafe {
        match how {
            0 => PyObject_CallFunctionObjArgs(function, value, core::ptr::null_mut::<ffi::PyObject>()),
            1 => PyObject_Call(function, value, core::ptr::null_mut()),
            _ => {
                let (args, named) = (ffi::PyTuple_GetItem(value, 0), ffi::PyTuple_GetItem(value, 1));
                if args.is_null() || named.is_null() {
                    return Err(Raised);
                }
                PyObject_Call(function, args, named)
            }
        }
    };
    py::checked(result)
}

/// The system's monotonic clock, in nanoseconds, as Python's `time.monotonic_ns`.
fn monotonic() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock always exists, the place is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Ticks of a clock that costs next to nothing, to find the slowest of many small tasks.
#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: every x86-64 has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// As above, where there is no such clock.
#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    monotonic() as u64
}

/// `_begin(ledger, notes, batch, count)`: opens a batch in the ledger: nothing is noted, nothing claimed.
pub unsafe extern "C-unwind" fn begin(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        let [ledger, notes, batch, count] = exactly(args, count)?;
        let (batch, count) = (py::as_u64(batch)?, py::as_u64(count)?);
        let ledger = Ledger::open(ledger, py::as_u32(notes)? as usize)?;
        ledger.clean(count as usize);
        for (word, value) in
            [(BASE, 0), (LAST, 0), (SLOWEST, 0), (BEGAN, monotonic()), (BATCH, batch as i64), (STATE, RUNNING)]
        {
            ledger.set(word, value);
        }
        ledger.claim().begin(batch, count);
        Ok(py::none())
    };
    py::give(act())
}

/// `_claim(ledger, notes)`: the next task, for the worker to begin; -1 if none is left.
pub unsafe extern "C-unwind" fn claim_one(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        let [ledger, notes] = exactly(args, count)?;
        let ledger = Ledger::open(ledger, py::as_u32(notes)? as usize)?;
        let index = ledger.claim().claim().map_or(-1, |index| index as i64);
        // SAFETY: the GIL is held.
        py::checked(unsafe { ffi::PyLong_FromLongLong(index) })
    };
    py::give(act())
}

/// `_revoke(ledger, notes, batch)`: takes back what the worker has not claimed of a batch: from where, up to where; or None.
pub unsafe extern "C-unwind" fn revoke(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        let [ledger, notes, batch] = exactly(args, count)?;
        let ledger = Ledger::open(ledger, py::as_u32(notes)? as usize)?;
        match ledger.claim().revoke(py::as_u64(batch)?) {
            Some(range) => py::tuple(&[py::integer(range.start), py::integer(range.end)]),
            None => Ok(py::none()),
        }
    };
    py::give(act())
}

/// `_are_plain(values, how)`: whether no value of a list can do harm on its way: exact numbers, texts, None, flat tuples of
/// those; where they are calls with named arguments (`how` 2), such a tuple and a dictionary of such values.
pub unsafe extern "C-unwind" fn are_plain(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        let [values, how] = exactly(args, count)?;
        let calls = py::as_u64(how)? == 2;
        // SAFETY: the GIL is held; an error is raised if it is not a list.
        let count = unsafe { ffi::PyList_Size(values) };
        if count < 0 {
            return Err(Raised);
        }
        let all = (0..count).all(|index| {
            // SAFETY: a borrowed reference within the list's bounds; nothing runs in between.
            let value = unsafe { ffi::PyList_GetItem(values, index) };
            if calls {
                is_plain_call(value)
            } else {
                is_plain(value) || is_flat(value)
            }
        });
        Ok(py::boolean(all))
    };
    py::give(act())
}

/// `_pack(values)`: a list of exact ints as the bytes of 64-bit numbers; None if a value is anything else, or too big.
///
/// Twenty thousand numbers are packed in a quarter of the time that they are pickled in.
pub unsafe extern "C-unwind" fn pack(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        let [values] = exactly(args, count)?;
        // SAFETY: the GIL is held; an error is raised if it is not a list.
        let count = unsafe { ffi::PyList_Size(values) };
        if count < 0 {
            return Err(Raised);
        }
        // SAFETY: a list of `count` items; the bytes are new, and nobody else sees them before they are filled.
        unsafe {
            if count == 0 || ffi::Py_TYPE(ffi::PyList_GetItem(values, 0)) != &raw mut ffi::PyLong_Type {
                return Ok(py::none());
            }
            let packed = py::checked(ffi::PyBytes_FromStringAndSize(core::ptr::null(), count * 8))?;
            let to = ffi::PyBytes_AsString(packed).cast::<i64>();
            for index in 0..count {
                let value = ffi::PyList_GetItem(values, index);
                let mut overflow: c_int = 1;
                let mut number = 0;
                if ffi::Py_TYPE(value) == &raw mut ffi::PyLong_Type {
                    number = ffi::PyLong_AsLongLongAndOverflow(value, &raw mut overflow);
                }
                if overflow != 0 {
                    py::drop_ref(packed);
                    return Ok(py::none());
                }
                to.offset(index).write_unaligned(number);
            }
            Ok(packed)
        }
    };
    py::give(act())
}

/// An exact number, text, or None: what can be pickled and unpickled without running anybody's code.
fn is_plain(value: Object) -> bool {
    // SAFETY: the GIL is held and the object alive; the types are static.
    unsafe {
        let kind = ffi::Py_TYPE(value);
        kind == &raw mut ffi::PyLong_Type
            || kind == &raw mut ffi::PyFloat_Type
            || kind == &raw mut ffi::PyUnicode_Type
            || value == ffi::Py_None()
            || kind == &raw mut ffi::PyBytes_Type
            || kind == &raw mut ffi::PyBool_Type
            || kind == &raw mut ffi::PyComplex_Type
    }
}

fn is_flat(value: Object) -> bool {
    // SAFETY: as above; items are borrowed within the tuple's bounds.
    unsafe {
        ffi::Py_TYPE(value) == &raw mut ffi::PyTuple_Type
            && (0..ffi::PyTuple_Size(value)).all(|index| is_plain(ffi::PyTuple_GetItem(value, index)))
    }
}

fn is_plain_call(value: Object) -> bool {
    // SAFETY: as above; the dictionary is not changed while it is walked.
    unsafe {
        if ffi::Py_TYPE(value) != &raw mut ffi::PyTuple_Type || ffi::PyTuple_Size(value) != 2 {
            return false;
        }
        let named = ffi::PyTuple_GetItem(value, 1);
        if !is_flat(ffi::PyTuple_GetItem(value, 0)) || ffi::Py_TYPE(named) != &raw mut ffi::PyDict_Type {
            return false;
        }
        let (mut at, mut key, mut item) = (0, core::ptr::null_mut(), core::ptr::null_mut());
        while ffi::PyDict_Next(named, &raw mut at, &raw mut key, &raw mut item) != 0 {
            if !is_plain(key) || !is_plain(item) {
                return false;
            }
        }
        true
    }
}

fn exactly<const N: usize>(args: *const Object, count: ffi::Py_ssize_t) -> PyResult<[Object; N]> {
    if count != N as ffi::Py_ssize_t {
        return Err(py::type_error(c"wrong number of arguments"));
    }
    // SAFETY: so many arguments are in the array.
    Ok(unsafe { *args.cast::<[Object; N]>() })
}

/// `_run_batch(function, how, values, results, ledger, notes, noted, patience)`: runs what it can claim of `values`,
/// appends to `results`, and notes them from note `noted` on.
///
/// Returns 0 when all is claimed, 1 when the last result could not be noted, 2 when the notes are full or the results have
/// waited for `patience` seconds; raises what a task raised, after the results of those before it are appended.
pub unsafe extern "C-unwind" fn run_batch(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        let [function, how, values, results, ledger, notes, noted, patience] = exactly(args, count)?;
        let ledger = Ledger::open(ledger, py::as_u32(notes)? as usize)?;
        let patience = Duration::from_secs_f64(py::as_f64(patience)?);
        let (how, noted) = (py::as_u64(how)?, py::as_u32(noted)? as usize);
        let began = (Instant::now(), ticks());
        let mut round =
            Round { function, how, values, results, ledger: &ledger, noted, last: began.1, slowest: (0, 0) };
        let ended = round.run(patience);
        round.tell_slowest(began);
        ended.map(py::integer)
    };
    py::give(act())
}

struct Round<'a> {
    function: Object,
    how: u64,
    values: Object,
    results: Object,
    ledger: &'a Ledger,
    noted: usize,
    /// Ticks when the last task ended.
    last: u64,
    /// Ticks and position.
    slowest: (u64, u64),
}

impl Round<'_> {
    /// Runs tasks one by one; the clock is looked at the more seldom the smaller they are.
    fn run(&mut self, patience: Duration) -> PyResult<u64> {
        let claim = self.ledger.claim();
        let began = Instant::now();
        let (mut stride, mut look) = (1, 1);
        while self.noted < self.ledger.notes {
            if self.how & STAMPED != 0 {
                self.ledger.set(BEGAN, monotonic()); // first: whoever sees the claim sees when it began
            }
            let Some(index) = claim.claim() else {
                return Ok(OVER);
            };
            if !self.one(index)? {
                return Ok(UNNOTED);
            }
            look -= 1;
            if look == 0 {
                let since = began.elapsed();
                if since > patience {
                    return Ok(SEND);
                }
                stride = if since * 4 < patience { (stride * 2).min(LONGEST_STRIDE) } else { 1 };
                look = stride;
            }
        }
        Ok(SEND)
    }

    /// Runs a task; whether its result is noted.
    fn one(&mut self, index: u64) -> PyResult<bool> {
        // SAFETY: a borrowed reference, or null with an exception set; the list is the caller's alone.
        let value = py::checked(unsafe { ffi::PyList_GetItem(self.values, index as ffi::Py_ssize_t) })?;
        let result = call(self.function, self.how & !STAMPED, value);
        let now = ticks();
        let spent = now.wrapping_sub(self.last);
        self.last = now;
        if spent > self.slowest.0 {
            self.slowest = (spent, index);
        }
        let result = result?;
        let fits = self.ledger.note(self.noted, result);
        self.noted += 1;
        // SAFETY: the list takes a reference of its own.
        let done = unsafe { ffi::PyList_Append(self.results, result) };
        py::drop_ref(result);
        if done != 0 {
            return Err(Raised);
        }
        Ok(fits)
    }

    /// Says in the ledger which was the slowest task since results were sent. Ticks become time by what they were in all.
    fn tell_slowest(&self, began: (Instant, u64)) {
        let all = ticks().wrapping_sub(began.1).max(1);
        let share = self.slowest.0 as f64 / all as f64;
        let micros = (began.0.elapsed().as_secs_f64() * share * 1e6) as i64;
        // SAFETY: one of the sixteen words; only this process writes it.
        let known = unsafe { self.ledger.word(SLOWEST).read() };
        if micros > known >> PLACE {
            self.ledger.set(SLOWEST, micros << PLACE | self.slowest.1 as i64);
        }
    }
}
