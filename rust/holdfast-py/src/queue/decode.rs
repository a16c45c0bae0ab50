//! Messages as objects: first everything is copied out while the readers' side is held, then it is unpickled.

use super::encode::{ALIGN, BUFFERS, BYTES, FALSE, FLOAT, INT, NONE, READONLY, STR, TRUE};
use super::parcel;
use crate::py::{self, Lookup, Object, PyResult};
use holdfast_core::ring::queue::Message;
use holdfast_core::sync::copy_out;
use holdfast_core::Error;
use pyo3_ffi as ffi;

/// Copies of so many bytes are made without the GIL.
pub const LONG: usize = 128 << 10;

/// A message that was taken out, before it is an object.
pub enum Raw {
    /// It is one already.
    Done(Object),
    /// A pickle, and its buffers (a list, or null).
    Pickle(Object, Object),
}

/// Memory that waits for a part of a message.
pub struct Copy {
    to: *mut u8,
    from: *const u8,
    len: usize,
}

impl Copy {
    /// Makes it.
    ///
    /// # Safety
    /// The message it belongs to is still in place, and nobody else has seen the new object.
    pub unsafe fn make(&self) {
        // SAFETY: by the caller's promise.
        unsafe { copy_out(self.to, self.from, self.len) };
    }
}

fn read(at: *const u8, offset: usize) -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: callers check the length of the message.
    unsafe { copy_out(bytes.as_mut_ptr(), at.add(offset), 8) };
    u64::from_ne_bytes(bytes)
}

/// New bytes of that length, and where they lie.
fn new_bytes(from: *const u8, len: usize, copies: &mut Vec<Copy>) -> PyResult<Object> {
    // SAFETY: the GIL is held; bytes may be written until somebody else sees them.
    unsafe {
        let made = py::checked(ffi::PyBytes_FromStringAndSize(core::ptr::null(), len as ffi::Py_ssize_t))?;
        copies.push(Copy { to: ffi::PyBytes_AsString(made).cast(), from, len });
        Ok(made)
    }
}

fn new_bytearray(from: *const u8, len: usize, copies: &mut Vec<Copy>) -> PyResult<Object> {
    // SAFETY: the GIL is held.
    unsafe {
        let made = py::checked(ffi::PyByteArray_FromStringAndSize(core::ptr::null(), len as ffi::Py_ssize_t))?;
        copies.push(Copy { to: ffi::PyByteArray_AsString(made).cast(), from, len });
        Ok(made)
    }
}

/// A short message becomes an object, or a pickle to be loaded, at once.
#[inline]
pub fn short(message: &Message) -> PyResult<Raw> {
    let Message { tag, at, len, .. } = *message;
    // SAFETY: the GIL is held; pointer and length were checked by the core.
    let made = unsafe {
        match tag {
            INT if len == 8 => ffi::PyLong_FromLongLong(read(at, 0) as i64),
            FLOAT if len == 8 => ffi::PyFloat_FromDouble(f64::from_bits(read(at, 0))),
            NONE => py::none(),
            TRUE | FALSE => py::boolean(tag == TRUE),
            STR => ffi::PyUnicode_FromStringAndSize(at.cast(), len as ffi::Py_ssize_t),
            _ => ffi::PyBytes_FromStringAndSize(at.cast(), len as ffi::Py_ssize_t),
        }
    };
    let made = py::checked(made)?;
    match tag {
        super::encode::PICKLE => Ok(Raw::Pickle(made, core::ptr::null_mut())),
        BUFFERS => {
            py::drop_ref(made);
            let mut copies = Vec::new();
            let raw = long(message, &mut copies, core::ptr::null_mut())?;
            for copy in &copies {
                // SAFETY: the message is in place; the objects are new.
                unsafe { copy.make() };
            }
            Ok(raw)
        }
        _ => Ok(Raw::Done(made)),
    }
}

/// Prepares a message in a block: new objects, and the copies that fill them. With a parcel its buffers are views of that.
pub fn long(message: &Message, copies: &mut Vec<Copy>, parcel: Object) -> PyResult<Raw> {
    let Message { tag, at, len, .. } = *message;
    let _held = py::NoCollection::begin();
    match tag {
        BYTES if !parcel.is_null() => parcel::view(parcel, 0, len).map(Raw::Done),
        BYTES => new_bytes(at, len, copies).map(Raw::Done),
        STR => short(message),
        BUFFERS => with_buffers(at, len, copies, parcel),
        _ => Ok(Raw::Pickle(new_bytes(at, len, copies)?, core::ptr::null_mut())),
    }
}

fn with_buffers(at: *const u8, len: usize, copies: &mut Vec<Copy>, parcel: Object) -> PyResult<Raw> {
    let damaged = || py::raise_core(&Error::corrupt("message"));
    if len < 16 {
        return Err(damaged());
    }
    let (count, pickle) = (read(at, 0) as usize, read(at, 8) as usize);
    let begin = count.checked_mul(8).and_then(|n| n.checked_add(16)).filter(|n| *n <= len).ok_or_else(damaged)?;
    let mut end = begin.checked_add(pickle).filter(|n| *n <= len).ok_or_else(damaged)?;
    // SAFETY: the GIL is held; references are kept in the list or released with it.
    unsafe {
        let list = py::checked(ffi::PyList_New(0))?;
        for i in 0..count {
            let word = read(at, 16 + 8 * i);
            let size = (word & !READONLY) as usize;
            let start = end.next_multiple_of(ALIGN);
            end = start.checked_add(size).filter(|n| *n <= len).ok_or_else(damaged)?;
            let made = match (parcel.is_null(), word & READONLY != 0) {
                (false, _) => parcel::view(parcel, start, size),
                (true, true) => new_bytes(at.add(start), size, copies),
                (true, false) => new_bytearray(at.add(start), size, copies),
            };
            let done = made.map(|made| {
                let done = ffi::PyList_Append(list, made);
                py::drop_ref(made);
                done
            });
            if !matches!(done, Ok(0)) {
                py::drop_ref(list);
                return Err(py::Raised);
            }
        }
        match new_bytes(at.add(begin), pickle, copies) {
            Ok(data) => Ok(Raw::Pickle(data, list)),
            Err(raised) => {
                py::drop_ref(list);
                Err(raised)
            }
        }
    }
}

static LOADS: Lookup = Lookup::new(c"_pickle", c"loads");

impl Raw {
    /// The object.
    #[inline]
    pub fn load(self) -> PyResult<Object> {
        let (data, buffers) = match self {
            Self::Done(object) => return Ok(object),
            Self::Pickle(data, buffers) => (data, buffers),
        };
        let made = LOADS.get().and_then(|loads| {
            // SAFETY: the GIL is held; all references made here are released.
            unsafe {
                if buffers.is_null() {
                    let end = core::ptr::null_mut::<ffi::PyObject>();
                    return py::checked(ffi::PyObject_CallFunctionObjArgs(loads, data, end));
                }
                ffi::Py_IncRef(data);
                let args = py::tuple(&[data])?;
                let keywords = py::checked(ffi::PyDict_New())?;
                let made = if ffi::PyDict_SetItemString(keywords, c"buffers".as_ptr(), buffers) == 0 {
                    ffi::PyObject_Call(loads, args, keywords)
                } else {
                    core::ptr::null_mut()
                };
                py::drop_ref(args);
                py::drop_ref(keywords);
                py::checked(made)
            }
        });
        py::drop_ref(data);
        py::drop_ref(buffers);
        made
    }
}
