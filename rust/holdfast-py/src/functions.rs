//! Functions of the module.

use crate::py::{self, Object};
use crate::waiting;
use holdfast_core::arena::layout::kind;
use holdfast_core::sync::local::Ordering;
use holdfast_core::Arena;
use pyo3_ffi as ffi;

unsafe extern "C-unwind" fn arena_name(_: Object, _: Object) -> Object {
    py::give(Arena::home().map(|a| py::text(&a.name)).map_err(|e| py::raise_core(&e)))
}

unsafe extern "C-unwind" fn home_arena(_: Object, _: Object) -> Object {
    Arena::home_if_any().map_or_else(py::none, |a| py::text(&a.name))
}

unsafe extern "C-unwind" fn join_arena(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: `count` arguments are in the array.
    py::give(one(args, count).and_then(py::as_text).and_then(|name| {
        Arena::join(&name).map_err(|e| py::raise_core(&e))?;
        Ok(py::none())
    }))
}

unsafe extern "C-unwind" fn directory(_: Object, _: Object) -> Object {
    py::text(&holdfast_core::os::memory::directory().to_string_lossy())
}

unsafe extern "C-unwind" fn set_directory(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    py::give(one(args, count).and_then(py::as_text).map(|dir| {
        holdfast_core::os::memory::set_directory(std::path::Path::new(&dir));
        py::none()
    }))
}

unsafe extern "C-unwind" fn set_process_name(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    py::give(one(args, count).and_then(py::as_text).map(|name| {
        Arena::name_this_process(&name);
        py::none()
    }))
}

fn one(args: *const Object, count: ffi::Py_ssize_t) -> py::PyResult<Object> {
    if count != 1 {
        return Err(py::type_error(c"takes exactly one argument"));
    }
    // SAFETY: one argument is in the array.
    Ok(unsafe { *args })
}

unsafe extern "C-unwind" fn mark_exiting(_: Object, _: Object) -> Object {
    py::detached(Arena::leave_all);
    py::none()
}

unsafe extern "C-unwind" fn set_lenient(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    py::give(one(args, count).and_then(py::truth).map(|on| {
        // Relaxed: read by the same process, after the call that set it returned.
        waiting::LENIENT.store(on, Ordering::Relaxed);
        py::none()
    }))
}

unsafe extern "C-unwind" fn sweep(_: Object, _: Object) -> Object {
    let freed: usize = py::detached(|| Arena::all().iter().map(|a| a.sweep()).sum());
    py::integer(freed as u64)
}

unsafe extern "C-unwind" fn arena_stats(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        // SAFETY: `count` arguments are in the array.
        let name = (count > 0).then(|| unsafe { *args });
        let arena = if py::is_none(name) {
            Arena::home()
        } else {
            Arena::attach(&py::as_text(name.unwrap_or(core::ptr::null_mut()))?)
        }
        .map_err(|e| py::raise_core(&e))?;
        let (processes, used, free) = arena.census();
        // SAFETY: the GIL is held.
        let dict = py::checked(unsafe { ffi::PyDict_New() })?;
        py::put(dict, "name", py::text(&arena.name))?;
        py::put(dict, "path", py::text(&arena.path.to_string_lossy()))?;
        py::put(dict, "bytes", py::integer(arena.bytes() as u64))?;
        py::put(dict, "slots_used", py::integer(used as u64))?;
        py::put(dict, "slots_free", py::integer(free as u64))?;
        py::put(dict, "processes", py::integer(processes as u64))?;
        Ok(dict)
    };
    py::give(act())
}

unsafe extern "C-unwind" fn kinds(_: Object, _: Object) -> Object {
    let names: Vec<Object> = kind::NAMES.iter().map(|n| py::text(n)).collect();
    py::give(py::tuple(&names))
}

unsafe extern "C-unwind" fn libraries(_: Object, _: Object) -> Object {
    let paths: Vec<Object> = holdfast_core::os::objects::loaded().iter().map(|path| py::text(path)).collect();
    py::give(py::tuple(&paths))
}

/// The table of functions.
pub fn methods() -> *mut ffi::PyMethodDef {
    let mut list = crate::watch::methods();
    list.extend([
        py::no_args(c"arena_name", arena_name),
        py::no_args(c"home_arena", home_arena),
        py::fast(c"join_arena", join_arena),
        py::no_args(c"directory", directory),
        py::fast(c"set_directory", set_directory),
        py::fast(c"set_process_name", set_process_name),
        py::no_args(c"mark_exiting", mark_exiting),
        py::fast(c"set_lenient", set_lenient),
        py::no_args(c"sweep", sweep),
        py::fast(c"arena_stats", arena_stats),
        py::no_args(c"kinds", kinds),
        py::fast(c"_unpack", crate::queue::unpack),
        py::fast(c"_run_batch", crate::batch::run_batch),
        py::fast(c"_are_plain", crate::batch::are_plain),
        py::fast(c"_pack", crate::batch::pack),
        py::fast(c"_begin", crate::batch::begin),
        py::fast(c"_claim", crate::batch::claim_one),
        py::fast(c"_revoke", crate::batch::revoke),
        py::fast(c"_append", crate::append::append_line),
        py::no_args(c"_libraries", libraries),
        py::fast(c"_rescue_interrupts", crate::rescue::rescue_interrupts),
        py::no_args(c"release_cache", crate::queue::release_cache),
        ffi::PyMethodDef::zeroed(),
    ]);
    Box::leak(list.into_boxed_slice()).as_mut_ptr()
}
