//! A Ctrl-C that hits a finalizer, `__del__` or the callback of a weak reference is not lost.
//!
//! CPython cannot raise what such code raises: it hands it to `sys.unraisablehook`, which prints it, and the program goes
//! on. This hook raises a `KeyboardInterrupt` of the main thread again, in what the finalizer has interrupted. It is
//! native, because the exception would be raised within a hook of Python code, and be lost there.

use crate::py::{self, Object, PyResult};
use holdfast_core::os::identity;
use pyo3_ffi as ffi;
use std::ffi::c_long;

/// `_rescue_interrupts(previous)`: a hook, which hands everything else on to the previous one.
pub unsafe extern "C-unwind" fn rescue_interrupts(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    if count != 1 {
        return py::give(Err(py::type_error(c"takes exactly one argument")));
    }
    let definition = Box::leak(Box::new(py::fast(c"unraisablehook", hook)));
    // SAFETY: the definition lives for ever; the function holds a reference to `previous`, which it gets as `self`.
    unsafe { ffi::PyCFunction_NewEx(definition, *args, core::ptr::null_mut()) }
}

unsafe extern "C-unwind" fn hook(previous: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    if count != 1 {
        return py::give(Err(py::type_error(c"takes exactly one argument")));
    }
    // SAFETY: one argument is in the array.
    let told = unsafe { *args };
    py::give(see_to(previous, told))
}

fn see_to(previous: Object, told: Object) -> PyResult<Object> {
    // SAFETY: the GIL is held; `told` and `previous` live during the call.
    unsafe {
        let kind = py::checked(ffi::PyObject_GetAttrString(told, c"exc_type".as_ptr()))?;
        let is_interrupt = ffi::PyErr_GivenExceptionMatches(kind, ffi::PyExc_KeyboardInterrupt) != 0;
        // Without a frame there is nothing to raise it in: the interpreter ends and calls what `atexit` was given.
        let in_main_thread = identity::thread_id() == std::process::id();
        let rescued = is_interrupt && in_main_thread && !ffi::PyEval_GetFrame().is_null();
        if rescued {
            ffi::PyThreadState_SetAsyncExc(ffi::PyThread_get_thread_ident() as c_long, kind);
        }
        py::drop_ref(kind);
        if rescued {
            return Ok(py::none());
        }
        py::checked(ffi::PyObject_CallFunctionObjArgs(previous, told, core::ptr::null_mut::<ffi::PyObject>()))
    }
}
