//! `holdfast._core`: the Python classes over the core. No decisions are made here.
//!
//! Written against the C interface itself (`pyo3-ffi`, stable ABI): a lock's acquire and release are a few nanoseconds, so
//! the usual wrapping of methods would be most of their cost. Every method is an `extern "C-unwind"` function, because
//! CPython ends daemon threads of a finished interpreter by unwinding them.

mod append;
mod awaiting;
mod barrier;
mod base;
mod batch;
mod condition;
mod event;
mod functions;
mod lock;
mod memory;
mod py;
mod queue;
mod rescue;
mod rwlock;
mod semaphore;
mod site;
mod value;
mod waiting;
mod watch;

use pyo3_ffi as ffi;
use std::ffi::{c_int, c_void};

unsafe extern "C-unwind" fn execute(module: *mut ffi::PyObject) -> c_int {
    // SAFETY: called by the import machinery with the new module and the GIL held.
    let done = unsafe {
        py::learn_version();
        site::probe();
        [
            lock::add_types,
            semaphore::add_types,
            rwlock::add_types,
            condition::add_types,
            event::add_types,
            barrier::add_types,
            value::add_types,
            memory::add_types,
            queue::add_types,
            awaiting::add_types,
        ]
        .iter()
        .all(|add| add(module))
    };
    if done {
        0
    } else {
        -1
    }
}

/// The module's entry point.
///
/// # Safety
/// Called by the import machinery with the GIL held.
#[no_mangle]
pub unsafe extern "C" fn PyInit__core() -> *mut ffi::PyObject {
    let slots = Box::leak(Box::new([
        ffi::PyModuleDef_Slot { slot: ffi::Py_mod_exec, value: execute as *const () as *mut c_void },
        ffi::PyModuleDef_Slot { slot: 0, value: core::ptr::null_mut() },
    ]));
    let def = Box::leak(Box::new(ffi::PyModuleDef {
        m_base: ffi::PyModuleDef_HEAD_INIT,
        m_name: c"holdfast._core".as_ptr(),
        m_doc: c"Native core of holdfast: locks, values and memory shared between processes.".as_ptr(),
        m_size: 0,
        m_methods: functions::methods(),
        m_slots: slots.as_mut_ptr(),
        m_traverse: None,
        m_clear: None,
        m_free: None,
    }));
    // SAFETY: the definition lives for ever; the GIL is held.
    unsafe { ffi::PyModuleDef_Init(def) }
}
