//! `Value`: a shared number with its own re-entrant lock, read and written without Python code in between.
//!
//! The slot's `value` holds the number's bytes, `version` counts writes. A read takes no lock: it is good if the lock was
//! free (or ours) and the version did not move meanwhile; otherwise it is done under the lock.

use crate::base::{self, base, Base};
use crate::lock;
use crate::py::{self, Object, PyResult, Raised};
use crate::waiting;
use holdfast_core::arena::layout::Slot;
use holdfast_core::arena::OWNER_MASK;
use holdfast_core::lock::mutex;
use holdfast_core::sync::{Ordering, SC};
use pyo3_ffi as ffi;
use std::cell::Cell;
use std::ffi::{c_int, c_void};

thread_local! {
    /// The slot and version this thread read last: tells a lost update from a plain write.
    static LAST_READ: Cell<(*const Slot, u32)> = const { Cell::new((core::ptr::null(), 0)) };
}

/// The format letter of the value lies in the slot's flags.
fn code(slot: &Slot) -> u8 {
    // Relaxed: written before anybody could see the slot.
    slot.flags.load(Ordering::Relaxed) as u8
}

fn to_python(code: u8, bits: u64) -> Object {
    // SAFETY: the GIL is held.
    unsafe {
        match code {
            b'?' => py::boolean(bits as u8 != 0),
            b'b' => ffi::PyLong_FromLong((bits as i8).into()),
            b'B' => ffi::PyLong_FromLong((bits as u8).into()),
            b'h' => ffi::PyLong_FromLong((bits as i16).into()),
            b'H' => ffi::PyLong_FromLong((bits as u16).into()),
            b'i' => ffi::PyLong_FromLong((bits as i32).into()),
            b'I' => ffi::PyLong_FromUnsignedLongLong((bits as u32).into()),
            b'l' | b'q' => ffi::PyLong_FromLongLong(bits as i64),
            b'f' => ffi::PyFloat_FromDouble(f64::from(f32::from_bits(bits as u32))),
            b'd' => ffi::PyFloat_FromDouble(f64::from_bits(bits)),
            _ => ffi::PyLong_FromUnsignedLongLong(bits),
        }
    }
}

/// Bits of a Python number, cut to the type as ctypes does.
fn to_bits(code: u8, value: Object) -> PyResult<u64> {
    match code {
        b'f' => Ok(u64::from((py::as_f64(value)? as f32).to_bits())),
        b'd' => Ok(py::as_f64(value)?.to_bits()),
        b'?' => Ok(u64::from(py::truth(value)?)),
        _ => {
            // SAFETY: floats are refused as by ctypes; the mask takes the low 64 bits of any int.
            let bits = unsafe {
                if ffi::PyLong_Check(value) == 0 {
                    let index = py::checked(ffi::PyNumber_Index(value))?;
                    let bits = ffi::PyLong_AsUnsignedLongLongMask(index);
                    py::drop_ref(index);
                    bits
                } else {
                    ffi::PyLong_AsUnsignedLongLongMask(value)
                }
            };
            if bits == u64::MAX && py::is_raised() {
                return Err(Raised);
            }
            Ok(narrow(code, bits))
        }
    }
}

fn narrow(code: u8, bits: u64) -> u64 {
    match code {
        b'b' | b'B' => bits & 0xff,
        b'h' | b'H' => bits & 0xffff,
        b'i' | b'I' => bits & 0xffff_ffff,
        _ => bits,
    }
}

fn sum(code: u8, bits: u64, more: u64) -> u64 {
    match code {
        b'f' => u64::from((f32::from_bits(bits as u32) + f32::from_bits(more as u32)).to_bits()),
        b'd' => (f64::from_bits(bits) + f64::from_bits(more)).to_bits(),
        b'?' => u64::from(bits != 0 || more != 0),
        _ => narrow(code, bits.wrapping_add(more)),
    }
}

/// Runs `act` under the value's lock; its second argument says whether the thread held the lock before.
#[inline(always)]
fn locked<T>(this: &Base, act: impl FnOnce(&Slot, bool) -> T) -> PyResult<T> {
    if let Some((slot, id, _)) = this.quick() {
        if mutex::try_fast(&slot.word, id) {
            let got = act(slot, false);
            if !mutex::release_fast(&slot.word, id) {
                open_slowly(slot, id);
            }
            return Ok(got);
        }
    }
    locked_slowly(this, act)
}

#[cold]
#[inline(never)]
fn open_slowly(slot: &Slot, id: u32) {
    let _ = mutex::release(id, &slot.word);
}

#[cold]
#[inline(never)]
fn locked_slowly<T>(this: &Base, act: impl FnOnce(&Slot, bool) -> T) -> PyResult<T> {
    let ours = lock::hold(this)?;
    let slot = this.slot()?;
    let got = act(slot, !ours);
    if ours {
        open_slowly(slot, this.me()?.id);
    }
    Ok(got)
}

/// Writes the number, with the lock held.
#[inline(always)]
fn put(slot: &Slot, bits: u64) {
    // Release pairs with the Acquire loads in `load`: who sees the new number there sees the new version as well, or the
    // lock word changed. Relaxed: only the holder of the lock writes the version.
    slot.version.store(slot.version.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    // Release: as above.
    slot.value.store(bits, Ordering::Release);
}

#[inline(always)]
fn load(this: &Base) -> PyResult<(u8, u64, u32)> {
    let slot = this.slot()?;
    let version = slot.version.load(SC);
    let word = slot.word.load(SC);
    let bits = slot.value.load(SC);
    let quiet = slot.word.load(SC) == word && slot.version.load(SC) == version;
    if quiet && (word == 0 || word & OWNER_MASK == this.me()?.id) {
        return Ok((code(slot), bits, version));
    }
    locked(this, |slot, _| (code(slot), slot.value.load(SC), slot.version.load(SC)))
}

unsafe extern "C-unwind" fn get(object: Object, _: *mut c_void) -> Object {
    // SAFETY: called as a getter.
    let this = unsafe { base(object) };
    match load(this) {
        Ok((code, bits, version)) => {
            LAST_READ.set((this.slot().map_or(core::ptr::null(), core::ptr::from_ref), version));
            to_python(code, bits)
        }
        Err(_) => core::ptr::null_mut(),
    }
}

unsafe extern "C-unwind" fn set(object: Object, value: Object, _: *mut c_void) -> c_int {
    // SAFETY: called as a setter; a null value is `del`.
    let this = unsafe { base(object) };
    match store(this, value) {
        Ok(()) => 0,
        Err(_) => -1,
    }
}

fn store(this: &Base, value: Object) -> PyResult<()> {
    if value.is_null() {
        return Err(py::type_error(c"value cannot be deleted"));
    }
    let bits = to_bits(code(this.slot()?), value)?;
    let (seen_slot, seen) = LAST_READ.get();
    // Relaxed: set once by `install()`. An unmodified program keeps the standard library's meaning.
    let checked = core::ptr::eq(seen_slot, this.slot()?) && !waiting::LENIENT.load(Ordering::Relaxed);
    let raced = locked(this, |slot, held_before| {
        let version = slot.version.load(SC);
        if checked && !held_before && version != seen {
            return true;
        }
        put(slot, bits);
        false
    })?;
    LAST_READ.set((core::ptr::null(), 0));
    if !raced {
        return Ok(());
    }
    if is_augmented()? {
        return Err(py::raise(
            "HF110",
            "another process changed the value between the read and the write of this statement, so one of the two updates \
             would be lost; use value.add(n), or put `with value.get_lock():` around it",
        ));
    }
    locked(this, |slot, _| {
        put(slot, bits);
    })
}

/// Whether the statement being run is an augmented assignment such as `v.value += 1`.
fn is_augmented() -> PyResult<bool> {
    // SAFETY: the GIL is held; references are released.
    unsafe {
        let module = py::checked(ffi::PyImport_ImportModule(c"holdfast.sharedctypes".as_ptr()))?;
        let function = ffi::PyObject_GetAttrString(module, c"_is_augmented".as_ptr());
        py::drop_ref(module);
        let function = py::checked(function)?;
        let frame: Object = ffi::PyEval_GetFrame().cast();
        let answer = if frame.is_null() {
            Ok(py::boolean(false))
        } else {
            py::checked(ffi::PyObject_CallFunctionObjArgs(function, frame, core::ptr::null_mut::<ffi::PyObject>()))
        };
        py::drop_ref(function);
        let answer = answer?;
        let yes = py::truth(answer);
        py::drop_ref(answer);
        yes
    }
}

/// `add(n)`: adds exactly and returns the new value.
unsafe extern "C-unwind" fn add(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = |this: &Base| {
        let of = code(this.slot()?);
        let more = match count {
            0 => match of {
                b'f' => u64::from(1f32.to_bits()),
                b'd' => 1f64.to_bits(),
                _ => 1,
            },
            // SAFETY: one argument is in the array.
            1 => to_bits(of, unsafe { *args })?,
            _ => return Err(py::type_error(c"add takes one number")),
        };
        let new = locked(this, |slot, _| {
            let bits = sum(of, slot.value.load(SC), more);
            put(slot, bits);
            bits
        })?;
        Ok(to_python(of, new))
    };
    py::give(act(this))
}

/// `_bytes()`: a memory view of the 8 bytes, for ctypes.
unsafe extern "C-unwind" fn view(object: Object, _: Object) -> Object {
    // SAFETY: called as a method; the mapping outlives every view.
    unsafe {
        match base(object).slot() {
            Ok(slot) => ffi::PyMemoryView_FromMemory(slot.value.as_ptr().cast(), 8, ffi::PyBUF_WRITE),
            Err(_) => core::ptr::null_mut(),
        }
    }
}

/// Adds the class.
pub fn add_types(module: Object) -> bool {
    let own = vec![py::fast(c"add", add), py::no_args(c"_bytes", view)];
    let value = ffi::PyGetSetDef {
        name: c"value".as_ptr(),
        // SAFETY: the calling conventions match; "C" and "C-unwind" functions are called alike.
        get: Some(unsafe {
            core::mem::transmute::<unsafe extern "C-unwind" fn(Object, *mut c_void) -> Object, ffi::getter>(get)
        }),
        // SAFETY: as above.
        set: Some(unsafe {
            core::mem::transmute::<unsafe extern "C-unwind" fn(Object, Object, *mut c_void) -> c_int, ffi::setter>(set)
        }),
        doc: c"The number; reading and writing are atomic.".as_ptr(),
        closure: core::ptr::null_mut(),
    };
    base::add_class(module, c"holdfast._core.Value", own, vec![value])
}
