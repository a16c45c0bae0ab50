//! Objects as messages.
//!
//! ```text
//! tag       bytes
//! PICKLE    a pickle
//! NONE TRUE FALSE   nothing
//! INT FLOAT         8 bytes
//! BYTES STR         its bytes, in UTF-8
//! BUFFERS   buffers: u64 | bytes of the pickle: u64 | a u64 a buffer: its bytes, bit 63 read-only | pickle | buffers,
//!           each on a multiple of 64
//! ```
//! Only objects of exactly these types go without a pickle; what arrives is the same either way.

use super::sink::{Pickler, Written};
use crate::py::{Object, PyResult};
use pyo3_ffi as ffi;

pub const PICKLE: u8 = 0;
pub const NONE: u8 = 1;
pub const TRUE: u8 = 2;
pub const FALSE: u8 = 3;
pub const INT: u8 = 4;
pub const FLOAT: u8 = 5;
pub const BYTES: u8 = 6;
pub const STR: u8 = 7;
pub const BUFFERS: u8 = 8;

/// Bit of a buffer's length: it may not be written.
pub const READONLY: u64 = 1 << 63;
/// Buffers lie on multiples of this.
pub const ALIGN: usize = 64;

/// A message that is about to be written. Borrows from the object, which the caller keeps alive.
pub enum Encoded {
    /// A number, or nothing.
    Small(u8, [u8; 8], usize),
    /// The object's own bytes.
    Whole(u8, *const u8, usize),
    /// A pickle with its buffers.
    Pickled(Pickler),
}

/// Turns an object into a message; whatever is wrong with it shows here.
#[inline]
pub fn encode(object: Object) -> PyResult<Encoded> {
    // SAFETY: the GIL is held; the object is alive while the caller uses the result.
    unsafe {
        if ffi::PyLong_CheckExact(object) != 0 {
            let mut overflow = 0;
            let value = ffi::PyLong_AsLongLongAndOverflow(object, &raw mut overflow);
            if overflow == 0 {
                return Ok(Encoded::Small(INT, value.to_ne_bytes(), 8));
            }
        } else if ffi::PyBytes_CheckExact(object) != 0 {
            let len = ffi::PyBytes_Size(object) as usize;
            return Ok(Encoded::Whole(BYTES, ffi::PyBytes_AsString(object).cast(), len));
        } else if ffi::PyUnicode_CheckExact(object) != 0 {
            let mut len = 0;
            let at = ffi::PyUnicode_AsUTF8AndSize(object, &raw mut len);
            if !at.is_null() {
                return Ok(Encoded::Whole(STR, at.cast(), len as usize));
            }
            ffi::PyErr_Clear(); // a lone surrogate: pickle knows how
        } else if ffi::PyFloat_CheckExact(object) != 0 {
            return Ok(Encoded::Small(FLOAT, ffi::PyFloat_AsDouble(object).to_ne_bytes(), 8));
        } else if object == ffi::Py_None() {
            return Ok(Encoded::Small(NONE, [0; 8], 0));
        } else if object == ffi::Py_True() {
            return Ok(Encoded::Small(TRUE, [0; 8], 0));
        } else if object == ffi::Py_False() {
            return Ok(Encoded::Small(FALSE, [0; 8], 0));
        }
    }
    let mut pickler = Pickler::get()?;
    pickler.dump(object)?;
    Ok(Encoded::Pickled(pickler))
}

/// Where the buffers of a message begin, and its whole length.
fn layout(written: &Written) -> (Vec<usize>, usize) {
    let mut at = 16 + 8 * written.buffers.len() + written.len;
    let starts = written
        .buffers
        .iter()
        .map(|held| {
            let start = at.next_multiple_of(ALIGN);
            at = start + held.bytes().len();
            start
        })
        .collect();
    (starts, at)
}

impl Encoded {
    /// What the reader needs to know about the bytes.
    pub fn tag(&self) -> u8 {
        match self {
            Self::Small(tag, ..) | Self::Whole(tag, ..) => *tag,
            Self::Pickled(pickler) if pickler.written().buffers.is_empty() => PICKLE,
            Self::Pickled(_) => BUFFERS,
        }
    }

    /// Bytes of the message.
    pub fn len(&self) -> usize {
        match self {
            Self::Small(_, _, len) | Self::Whole(_, _, len) => *len,
            Self::Pickled(pickler) if pickler.written().buffers.is_empty() => pickler.written().len,
            Self::Pickled(pickler) => layout(pickler.written()).1,
        }
    }

    /// The message in one piece, if it is in one.
    pub fn whole(&self) -> Option<&[u8]> {
        match self {
            Self::Small(_, bytes, len) => Some(&bytes[..*len]),
            // SAFETY: pointer and length of an immutable object that the caller keeps alive.
            Self::Whole(_, at, len) => Some(unsafe { core::slice::from_raw_parts(*at, *len) }),
            Self::Pickled(pickler) => {
                let written = pickler.written();
                (written.buffers.is_empty() && written.parts.is_empty()).then_some(&written.own)
            }
        }
    }

    /// Writes the message piece by piece through `put(offset, bytes)`. Needs no GIL.
    pub fn write(&self, mut put: impl FnMut(usize, &[u8])) {
        let Self::Pickled(pickler) = self else {
            return put(0, self.whole().unwrap_or(&[]));
        };
        let written = pickler.written();
        let mut at = 0;
        if !written.buffers.is_empty() {
            put(0, &(written.buffers.len() as u64).to_ne_bytes());
            put(8, &(written.len as u64).to_ne_bytes());
            at = 16;
            for held in &written.buffers {
                let readonly = if held.is_readonly() { READONLY } else { 0 };
                put(at, &(held.bytes().len() as u64 | readonly).to_ne_bytes());
                at += 8;
            }
        }
        for piece in written.pieces() {
            put(at, piece);
            at += piece.len();
        }
        for (held, start) in written.buffers.iter().zip(layout(written).0) {
            put(start, held.bytes());
        }
    }
}
