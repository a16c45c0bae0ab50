//! The function behind log files that many processes write to.

use crate::py::{self, Object};
use core::ffi::{c_char, CStr};
use holdfast_core::os::append::{append, Intent, Target};
use pyo3_ffi as ffi;

const COUNT: ffi::Py_ssize_t = 7;

/// `_append(fd, path, line, inode, device, limit, intent)`: see the stub.
pub unsafe extern "C-unwind" fn append_line(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    if count != COUNT {
        return py::give(Err(py::type_error(c"takes exactly seven arguments")));
    }
    // SAFETY: seven arguments are in the array.
    let args = unsafe { core::slice::from_raw_parts(args, COUNT as usize) };
    py::give(run(args))
}

fn run(args: &[Object]) -> py::PyResult<Object> {
    let intent = py::as_u64(args[6])? as *const Intent;
    let path = content(args[1])?;
    // SAFETY: the content of `bytes` is followed by a zero byte, and lives as long as the caller holds the object.
    let path = unsafe { CStr::from_ptr(path.as_ptr().cast::<c_char>()) };
    let line = content(args[2])?;
    let target = Target {
        fd: py::as_u32(args[0])? as i32,
        path,
        inode: py::as_u64(args[3])?,
        device: py::as_u64(args[4])?,
        limit: py::as_u64(args[5])?,
    };
    // SAFETY: the caller passes the address of three words of shared memory and keeps them alive meanwhile.
    let intent = unsafe { &*intent };
    Ok(py::boolean(py::detached(|| append(&target, line, intent))))
}

/// The bytes of a `bytes`, which nobody changes; the arguments of a call outlive it.
fn content<'a>(object: Object) -> py::PyResult<&'a [u8]> {
    let mut data: *mut c_char = core::ptr::null_mut();
    let mut len: ffi::Py_ssize_t = 0;
    // SAFETY: fails with TypeError for anything that is not `bytes`.
    unsafe {
        if ffi::PyBytes_AsStringAndSize(object, &raw mut data, &raw mut len) != 0 {
            return Err(py::Raised);
        }
        Ok(core::slice::from_raw_parts(data.cast::<u8>(), len as usize))
    }
}
