//! What the awaitable methods share: an answer that is there already, and the way to `holdfast.aio` when it is not.

use crate::base::{base, Base};
use crate::py::{self, Object, PyResult};
use crate::waiting;
use pyo3_ffi as ffi;
use std::cell::Cell;
use std::ffi::{c_int, c_void, CStr};

/// An awaitable that gives its value at once: there is no coroutine to make when nobody has to wait.
#[repr(C)]
struct Ready {
    ob_base: ffi::PyObject,
    value: Cell<Object>,
}

/// The two answers there are: `True` (taken) and `None` (given back).
struct Answers(Cell<Object>, Cell<Object>);

// SAFETY: written once at import, read with the GIL held.
unsafe impl Sync for Answers {}

static ANSWERS: Answers = Answers(Cell::new(core::ptr::null_mut()), Cell::new(core::ptr::null_mut()));

unsafe extern "C-unwind" fn itself(object: Object) -> Object {
    // SAFETY: called as a slot with a live object.
    unsafe { ffi::Py_IncRef(object) };
    object
}

unsafe extern "C-unwind" fn finish(object: Object) -> Object {
    // SAFETY: called as a slot; the GIL is held. StopIteration carries the value of an `await`.
    unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, (*object.cast::<Ready>()).value.get()) };
    core::ptr::null_mut()
}

fn answer(which: &Cell<Object>) -> Object {
    let object = which.get();
    // SAFETY: made at import, never freed.
    unsafe { ffi::Py_IncRef(object) };
    object
}

/// Calls a function of `holdfast.aio` with new references, which are released.
fn call(function: &CStr, args: PyResult<Object>) -> Object {
    let run = || {
        let args = args?;
        // SAFETY: the GIL is held; every reference made here is released or handed on.
        unsafe {
            let module = py::checked(ffi::PyImport_ImportModule(c"holdfast.aio".as_ptr()))?;
            let callable = ffi::PyObject_GetAttrString(module, function.as_ptr());
            py::drop_ref(module);
            let callable = py::checked(callable)?;
            let made = ffi::PyObject_Call(callable, args, core::ptr::null_mut());
            py::drop_ref(callable);
            py::drop_ref(args);
            py::checked(made)
        }
    };
    py::give(run())
}

/// A new reference to a borrowed object.
fn own(object: Object) -> Object {
    // SAFETY: the caller has it alive.
    unsafe { ffi::Py_IncRef(object) };
    object
}

/// `async with`: takes it at once, or gives the coroutine that waits.
///
/// # Safety
/// Called as a method of an object over [`Base`].
pub unsafe fn enter(object: Object, now: fn(&Base) -> PyResult<bool>) -> Object {
    // SAFETY: by the caller's promise.
    let this = unsafe { base(object) };
    if this.tasks.get() == 0 {
        match now(this) {
            Ok(true) => return answer(&ANSWERS.0),
            Ok(false) => {}
            Err(_) => return core::ptr::null_mut(),
        }
    }
    call(c"acquire", py::tuple(&[own(object), py::none()]))
}

/// `acquire_async(timeout=None)`: as [`enter`].
///
/// # Safety
/// Called as a method of an object over [`Base`], with the arguments of such a call.
pub unsafe fn acquire(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
    now: fn(&Base) -> PyResult<bool>,
) -> Object {
    // SAFETY: by the caller's promise.
    let this = unsafe { base(object) };
    let run = || {
        let [timeout] = py::arguments([c"timeout"], args, count, keywords)?;
        waiting::limit(timeout)?;
        if this.tasks.get() == 0 && now(this)? {
            return Ok(answer(&ANSWERS.0));
        }
        py::checked(call(c"acquire", py::tuple(&[own(object), timeout.map_or_else(py::none, own)])))
    };
    py::give(run())
}

/// The end of `async with`, after the release; the next task of the loop is told without a detour.
///
/// # Safety
/// Called as a method of an object over [`Base`].
pub unsafe fn exit(object: Object, released: bool) -> Object {
    if !released {
        return core::ptr::null_mut();
    }
    // SAFETY: by the caller's promise.
    if unsafe { base(object) }.tasks.get() != 0 {
        let told = call(c"released", py::tuple(&[own(object)]));
        if told.is_null() {
            return told;
        }
        py::drop_ref(told);
    }
    answer(&ANSWERS.1)
}

/// Adds the class of answers, and makes them.
pub fn add_types(module: Object) -> bool {
    let slots: [(c_int, *mut c_void); 3] = [
        (ffi::Py_am_await, itself as *const () as *mut _),
        (ffi::Py_tp_iter, itself as *const () as *mut _),
        (ffi::Py_tp_iternext, finish as *const () as *mut _),
    ];
    let size = core::mem::size_of::<Ready>();
    if !py::add_type(module, c"holdfast._core._Ready", size, Vec::new(), Vec::new(), &slots) {
        return false;
    }
    // SAFETY: the type was just added; instances are made once and live as long as the process.
    unsafe {
        let class = ffi::PyObject_GetAttrString(module, c"_Ready".as_ptr());
        for (which, value) in [(&ANSWERS.0, py::boolean(true)), (&ANSWERS.1, py::none())] {
            let Ok(made) = crate::base::allocate(class.cast()) else { return false };
            (*made.cast::<Ready>()).value.set(value);
            which.set(made);
        }
        py::drop_ref(class);
    }
    true
}
