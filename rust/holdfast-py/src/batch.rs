//! `run_batch`: a worker's loop over small tasks, each result noted in the worker's ledger before the next task begins.
//!
//! The layout of the ledger is that of `holdfast/crew/ledger.py`: sixteen words (the sixth counts the bytes in use), one word
//! a note, one byte a note (its kind, stored last), bytes. What cannot be noted here ends the loop: the caller sees to it.

use crate::py::{self, Object, PyResult, Raised};
use pyo3_ffi as ffi;
use std::ffi::c_int;
use std::time::{Duration, Instant};

const WORDS: usize = 16;
const USED: usize = 5;
const PATIENCE: Duration = Duration::from_millis(10);
const LONGEST_STRIDE: u32 = 64;
const INT: u8 = 1;
const FLOAT: u8 = 2;
const NONE: u8 = 3;
const TRUE: u8 = 4;
const FALSE: u8 = 5;
const TEXT: u8 = 9;
const RAW: u8 = 10;

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

    fn len(&self) -> usize {
        usize::try_from(self.view.len).unwrap_or(0)
    }

    fn word(&self, index: usize) -> *mut i64 {
        // SAFETY: callers stay below WORDS + notes, which `open` has found room for.
        unsafe { self.view.buf.cast::<i64>().add(index) }
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

/// `run_batch(function, how, values, start, results, ledger, notes, noted)`: runs `values[start:]`, appends to `results`,
/// notes them from note `noted` on. Ends at the last one, when a result could not be noted, when the notes are full, or
/// when the results have waited long enough to be sent. Returns whether the last result was noted; raises what a task
/// raised, after the results of those before it are appended.
pub unsafe extern "C-unwind" fn run_batch(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        if count != 8 {
            return Err(py::type_error(c"run_batch takes eight arguments"));
        }
        // SAFETY: eight arguments are in the array.
        let args = unsafe { core::slice::from_raw_parts(args, 8) };
        let (function, how, values, results) = (args[0], py::as_u64(args[1])?, args[2], args[4]);
        let start = py::as_u32(args[3])? as ffi::Py_ssize_t;
        let ledger = Ledger::open(args[5], py::as_u32(args[6])? as usize)?;
        run(function, how, values, start, results, &ledger, py::as_u32(args[7])? as usize).map(py::boolean)
    };
    py::give(act())
}

fn run(
    function: Object,
    how: u64,
    values: Object,
    start: ffi::Py_ssize_t,
    results: Object,
    ledger: &Ledger,
    mut noted: usize,
) -> PyResult<bool> {
    let began = Instant::now();
    let (mut stride, mut look) = (1, 1);
    // SAFETY: the GIL is held; both lists are the caller's alone.
    let count = unsafe { ffi::PyList_Size(values) };
    for index in start..count {
        if noted >= ledger.notes {
            return Ok(false);
        }
        // SAFETY: a borrowed reference, or null with an exception set.
        let value = py::checked(unsafe { ffi::PyList_GetItem(values, index) })?;
        let result = call(function, how, value)?;
        let fits = ledger.note(noted, result);
        noted += 1;
        // SAFETY: the list takes a reference of its own.
        let done = unsafe { ffi::PyList_Append(results, result) };
        py::drop_ref(result);
        if done != 0 {
            return Err(Raised);
        }
        if !fits {
            return Ok(false);
        }
        look -= 1;
        if look == 0 {
            let since = began.elapsed();
            if since > PATIENCE {
                return Ok(false);
            }
            stride = if since * 4 < PATIENCE { (stride * 2).min(LONGEST_STRIDE) } else { 1 };
            look = stride;
        }
    }
    Ok(true)
}
