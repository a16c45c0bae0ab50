//! `Parcel`: blocks of the store for as long as somebody has the object.
//!
//! The blocks belong to a slot of its own, and the slot to every process that has the object: a forked child keeps it as
//! well, and after a kill it goes with the last one. Two uses: the view of a message, with its one block; and the two ends
//! of a pipe, whose big messages lie in blocks while the pipe itself carries their numbers.

use crate::base::{self, Base};
use crate::py::{self, Lookup, Object, PyResult};
use holdfast_core::arena::{Arena, Handle};
use pyo3_ffi as ffi;
use std::ffi::c_int;

#[repr(C)]
struct Parcel {
    base: Base,
    at: *mut u8,
    len: usize,
}

/// The class, for objects made here.
static CLASS: Lookup = Lookup::new(c"holdfast._core", c"Parcel");

/// A parcel over a slot of this process, which has or will have the block with these bytes.
pub fn parcel(arena: &'static Arena, handle: Handle, at: *const u8, len: usize) -> PyResult<Object> {
    // SAFETY: the class is that of parcels; the object is new.
    unsafe {
        let made = base::wrap(CLASS.get()?.cast(), arena, handle)?;
        let this = &mut *made.cast::<Parcel>();
        (this.at, this.len) = (at.cast_mut(), len);
        Ok(made)
    }
}

/// A read-only memoryview of a part of a parcel, which keeps it.
pub fn view(parcel: Object, start: usize, len: usize) -> PyResult<Object> {
    // SAFETY: the GIL is held; all references made here are released or given away.
    unsafe {
        let whole = py::checked(ffi::PyMemoryView_FromObject(parcel))?;
        let (from, to) = (py::integer(start as u64), py::integer((start + len) as u64));
        let slice = ffi::PySlice_New(from, to, core::ptr::null_mut());
        let part = if slice.is_null() { core::ptr::null_mut() } else { ffi::PyObject_GetItem(whole, slice) };
        [whole, from, to, slice].into_iter().for_each(py::drop_ref);
        py::checked(part)
    }
}

unsafe extern "C-unwind" fn get_buffer(object: Object, view: *mut ffi::Py_buffer, flags: c_int) -> c_int {
    // SAFETY: the block stays where it is while the object lives, which the view's reference prevents from going.
    unsafe {
        let this = &*object.cast::<Parcel>();
        if this.base.slot().is_err() {
            return -1;
        }
        ffi::PyBuffer_FillInfo(view, object, this.at.cast(), this.len as ffi::Py_ssize_t, 1, flags)
    }
}

/// Adds the class.
pub fn add_types(module: Object) -> bool {
    let slots = [base::dealloc_slot(), (ffi::Py_bf_getbuffer, get_buffer as *const () as *mut _)];
    let size = core::mem::size_of::<Parcel>();
    let mut methods = base::methods_but_close(); // closing under a view is not offered
    methods.push(py::fast(c"_pack", super::wire::pack));
    py::add_type(module, c"holdfast._core.Parcel", size, methods, Vec::new(), &slots)
}
