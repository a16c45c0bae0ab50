//! `Bytes`: shared memory with the buffer protocol, found again by its handle.

use crate::base::{self, base, Base};
use crate::py::{self, Object, PyResult};
use crate::waiting;
use holdfast_core::arena::Arena;
use holdfast_core::sync::SC;
use pyo3_ffi as ffi;
use std::ffi::c_int;

#[repr(C)]
struct Bytes {
    base: Base,
    address: *mut u8,
    len: usize,
    mapped: bool,
}

/// Maps what the handle names.
fn map(object: Object) -> PyResult<()> {
    // SAFETY: called with instances of this class only.
    let this = unsafe { &mut *object.cast::<Bytes>() };
    if this.address.is_null() {
        this.base.slot()?;
        let (address, len, mapped) =
            this.base.arena().map_bytes(this.base.handle.get()).map_err(|e| py::raise_core(&e))?;
        (this.address, this.len, this.mapped) = (address, len, mapped);
    }
    Ok(())
}

/// Class method `_new(length, name)`: that many zero bytes, or the named ones.
unsafe extern "C-unwind" fn new(class: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        if count != 2 {
            return Err(py::type_error(c"_new takes a length in bytes and a name or None"));
        }
        // SAFETY: two arguments are in the array.
        let (len, name) = unsafe { (py::as_u64(*args)? as usize, *args.add(1)) };
        let raise = |e| py::raise_core(&e);
        let (arena, handle) = if py::is_none(Some(name)) {
            let arena = Arena::home().map_err(raise)?;
            (arena, arena.make_bytes(len).map_err(raise)?)
        } else {
            let name = py::as_text(name)?;
            let arena = Arena::named().map_err(raise)?;
            let me = waiting::me(arena)?;
            (arena, py::detached(|| arena.find_or_make_bytes(&me, &name, len)).map_err(raise)?)
        };
        // SAFETY: called as a class method of this class.
        unsafe { base::wrap(class.cast(), arena, handle) }
    };
    py::give(act())
}

/// `_first()`: true for exactly one caller of all processes.
unsafe extern "C-unwind" fn first(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    py::give(this.slot().map(|s| py::boolean(s.version.compare_exchange(0, 1, SC, SC).is_ok())))
}

unsafe extern "C-unwind" fn get_buffer(object: Object, view: *mut ffi::Py_buffer, flags: c_int) -> c_int {
    if map(object).is_err() {
        return -1;
    }
    // SAFETY: mapped above and kept until the object goes, which the view's reference prevents.
    unsafe {
        let this = &*object.cast::<Bytes>();
        ffi::PyBuffer_FillInfo(view, object, this.address.cast(), this.len as ffi::Py_ssize_t, 0, flags)
    }
}

unsafe extern "C-unwind" fn dealloc(object: Object) {
    // SAFETY: called once, with the last reference gone.
    unsafe {
        let this = &mut *object.cast::<Bytes>();
        if this.mapped {
            Arena::unmap_bytes(this.address, this.len);
        }
        if this.base.was_made() {
            base(object).close();
        }
        let class = ffi::Py_TYPE(object);
        let free: ffi::freefunc = core::mem::transmute(ffi::PyType_GetSlot(class, ffi::Py_tp_free));
        free(object.cast());
        py::drop_ref(class.cast());
    }
}

/// Adds the class.
pub fn add_types(module: Object) -> bool {
    let mut methods = base::methods();
    let mut new = py::fast(c"_new", new);
    new.ml_flags |= ffi::METH_CLASS;
    methods.extend([new, py::no_args(c"_first", first)]);
    let slots = [
        (ffi::Py_tp_dealloc, dealloc as *const () as *mut _),
        (ffi::Py_bf_getbuffer, get_buffer as *const () as *mut _),
    ];
    py::add_type(module, c"holdfast._core.Bytes", core::mem::size_of::<Bytes>(), methods, Vec::new(), &slots)
}
