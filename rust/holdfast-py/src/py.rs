//! The little of Python's C interface that the classes need, in safe-looking clothes.

use holdfast_core::os::local::Local;
use holdfast_core::sync::local::{AtomicBool, Ordering};
use holdfast_core::Error;
use pyo3_ffi as ffi;
use std::ffi::{c_char, c_int, c_void, CStr, CString};

/// A new reference, or null with an exception set.
pub type Object = *mut ffi::PyObject;

/// Method without arguments.
pub type NoArgs = unsafe extern "C-unwind" fn(Object, Object) -> Object;
/// Method with positional arguments in an array.
pub type Fast = unsafe extern "C-unwind" fn(Object, *const Object, ffi::Py_ssize_t) -> Object;
/// Method with positional and keyword arguments in an array.
pub type FastKeywords = unsafe extern "C-unwind" fn(Object, *const Object, ffi::Py_ssize_t, Object) -> Object;

/// An exception is set.
#[derive(Debug, Clone, Copy)]
pub struct Raised;
/// Result with the exception in the interpreter.
pub type PyResult<T> = Result<T, Raised>;

// Declared here rather than taken from the bindings, because these may end the calling thread by unwinding it.
extern "C-unwind" {
    fn PyEval_RestoreThread(state: *mut ffi::PyThreadState);
}

/// Runs `f` without the GIL.
pub fn detached<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: the calling thread holds the GIL (all methods do); it takes it back before anything else.
    let state = unsafe { ffi::PyEval_SaveThread() };
    let got = f();
    // SAFETY: the state saved just now by this thread.
    unsafe { PyEval_RestoreThread(state) };
    got
}

/// Runs `f` with the GIL, inside [`detached`].
pub fn attached<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: the thread is known to the interpreter, it only gave the GIL away.
    let state = unsafe { ffi::PyGILState_Ensure() };
    let got = f();
    // SAFETY: as above.
    unsafe { ffi::PyGILState_Release(state) };
    got
}

/// Something in a Python module, looked up at its first use and kept for ever.
pub struct Lookup {
    module: &'static CStr,
    name: &'static CStr,
    found: Local<Option<usize>>,
}

impl Lookup {
    /// The attribute `name` of `module`.
    pub const fn new(module: &'static CStr, name: &'static CStr) -> Self {
        Self { module, name, found: Local::new(None) }
    }

    /// A borrowed reference to it.
    #[inline]
    pub fn get(&self) -> PyResult<Object> {
        if let Some(found) = *self.found.lock() {
            return Ok(found as Object);
        }
        // SAFETY: the GIL is held; the reference is kept for ever. The lock is not held: importing runs Python code.
        let found = unsafe {
            let module = checked(ffi::PyImport_ImportModule(self.module.as_ptr()))?;
            let found = ffi::PyObject_GetAttrString(module, self.name.as_ptr());
            drop_ref(module);
            checked(found)?
        };
        *self.found.lock() = Some(found as usize);
        Ok(found)
    }
}

/// No garbage collection while it lives: it would run finalizers, which may use what the caller holds. Needed where objects
/// that the collector knows are made (CPython 3.11 collects there; later ones only between instructions).
pub struct NoCollection(bool);

impl NoCollection {
    /// Stops it.
    pub fn begin() -> Self {
        // SAFETY: the GIL is held.
        Self(unsafe { ffi::PyGC_Disable() } != 0)
    }
}

impl Drop for NoCollection {
    fn drop(&mut self) {
        if self.0 {
            // SAFETY: the GIL is held.
            unsafe { ffi::PyGC_Enable() };
        }
    }
}

/// Gives an object to Python, or null.
pub fn give(result: PyResult<Object>) -> Object {
    result.unwrap_or(core::ptr::null_mut())
}

/// Whether `None`, `True` and `False` are immortal (CPython 3.12 and later), so that a reference to them is free.
static IMMORTAL: AtomicBool = AtomicBool::new(false);

/// Finds out what the running interpreter does.
pub fn learn_version() {
    // Relaxed: written at import, before any object exists. SAFETY: a constant of the interpreter.
    IMMORTAL.store(unsafe { ffi::Py_Version } >= 0x030c_0000, Ordering::Relaxed);
}

#[inline(always)]
fn refer_to(singleton: Object) -> Object {
    // Relaxed: see `learn_version`.
    if !IMMORTAL.load(Ordering::Relaxed) {
        // SAFETY: in CPython 3.11 the reference count is the first word of every object, as the stable ABI of that version
        // fixes it (its `Py_INCREF` is this very increment); the GIL is held.
        unsafe { *singleton.cast::<ffi::Py_ssize_t>() += 1 };
    }
    singleton
}

/// New reference to `None`.
#[inline(always)]
pub fn none() -> Object {
    // SAFETY: `None` always exists.
    refer_to(unsafe { ffi::Py_None() })
}

/// New reference to `True` or `False`.
#[inline(always)]
pub fn boolean(value: bool) -> Object {
    // SAFETY: both always exist.
    refer_to(unsafe {
        if value {
            ffi::Py_True()
        } else {
            ffi::Py_False()
        }
    })
}

/// New `int`.
pub fn integer(value: u64) -> Object {
    // SAFETY: the GIL is held.
    unsafe { ffi::PyLong_FromUnsignedLongLong(value) }
}

/// New `str`.
pub fn text(value: &str) -> Object {
    // SAFETY: pointer and length of a valid string; the GIL is held.
    unsafe { ffi::PyUnicode_FromStringAndSize(value.as_ptr().cast(), value.len() as ffi::Py_ssize_t) }
}

/// Checks a pointer that is null when an exception is set.
pub fn checked(object: Object) -> PyResult<Object> {
    if object.is_null() {
        Err(Raised)
    } else {
        Ok(object)
    }
}

/// Releases a reference.
pub fn drop_ref(object: Object) {
    // SAFETY: the caller owns the reference; null is allowed here.
    unsafe { ffi::Py_DecRef(object) }
}

/// Builds a tuple out of new references.
pub fn tuple(items: &[Object]) -> PyResult<Object> {
    // SAFETY: the tuple is new and not shared; each item's reference moves into it.
    unsafe {
        let made = checked(ffi::PyTuple_New(items.len() as ffi::Py_ssize_t))?;
        for (i, item) in items.iter().enumerate() {
            checked(*item)?;
            ffi::PyTuple_SetItem(made, i as ffi::Py_ssize_t, *item);
        }
        Ok(made)
    }
}

/// Puts a new reference into a dict.
pub fn put(dict: Object, key: &str, value: Object) -> PyResult<()> {
    let value = checked(value)?;
    let key = CString::new(key).map_err(|_| Raised)?;
    // SAFETY: both objects are alive; the dict takes a reference of its own.
    let done = unsafe { ffi::PyDict_SetItemString(dict, key.as_ptr(), value) };
    drop_ref(value);
    if done == 0 {
        Ok(())
    } else {
        Err(Raised)
    }
}

/// The text of a `str`.
pub fn as_text(object: Object) -> PyResult<String> {
    let mut len: ffi::Py_ssize_t = 0;
    // SAFETY: a null result has set TypeError; the buffer lives as long as the object and is copied here.
    unsafe {
        let data = ffi::PyUnicode_AsUTF8AndSize(object, &raw mut len);
        if data.is_null() {
            return Err(Raised);
        }
        let bytes = core::slice::from_raw_parts(data.cast::<u8>(), len as usize);
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// An unsigned number.
pub fn as_u64(object: Object) -> PyResult<u64> {
    // SAFETY: sets an exception for anything that is not a fitting `int`.
    let value = unsafe { ffi::PyLong_AsUnsignedLongLong(object) };
    if value == u64::MAX && is_raised() {
        return Err(Raised);
    }
    Ok(value)
}

/// An unsigned number of 32 bits.
pub fn as_u32(object: Object) -> PyResult<u32> {
    u32::try_from(as_u64(object)?).map_err(|_| raise("HF112", "a number of a handle or size is out of range"))
}

/// A float or an int as float.
pub fn as_f64(object: Object) -> PyResult<f64> {
    // SAFETY: sets an exception for anything that is not a number.
    let value = unsafe { ffi::PyFloat_AsDouble(object) };
    #[allow(clippy::float_cmp)] // -1.0 is the exact mark for "an exception may be set"
    if value == -1.0 && is_raised() {
        return Err(Raised);
    }
    Ok(value)
}

/// Truth of an object.
pub fn truth(object: Object) -> PyResult<bool> {
    // SAFETY: -1 says that an exception is set.
    match unsafe { ffi::PyObject_IsTrue(object) } {
        -1 => Err(Raised),
        value => Ok(value != 0),
    }
}

/// Whether an exception is set.
pub fn is_raised() -> bool {
    // SAFETY: the GIL is held.
    unsafe { !ffi::PyErr_Occurred().is_null() }
}

fn call_errors(function: &CStr, code: &str, message: &str, fields: &[(&str, Object)]) -> PyResult<Object> {
    // SAFETY: the GIL is held; every reference made here is released or handed on.
    unsafe {
        let module = checked(ffi::PyImport_ImportModule(c"holdfast.errors".as_ptr()))?;
        let callable = checked(ffi::PyObject_GetAttrString(module, function.as_ptr()));
        drop_ref(module);
        let callable = callable?;
        let args = tuple(&[text(code), text(message)])?;
        let keywords = checked(ffi::PyDict_New())?;
        for (key, value) in fields {
            put(keywords, key, *value)?;
        }
        let made = ffi::PyObject_Call(callable, args, keywords);
        drop_ref(callable);
        drop_ref(args);
        drop_ref(keywords);
        checked(made)
    }
}

/// Raises the error of that code.
pub fn raise_with(code: &str, message: &str, fields: &[(&str, Object)]) -> Raised {
    if let Ok(error) = call_errors(c"make", code, message, fields) {
        // SAFETY: `error` is an exception instance; its type is a borrowed pointer that stays alive with it.
        unsafe { ffi::PyErr_SetObject(ffi::Py_TYPE(error).cast(), error) };
        drop_ref(error);
    }
    Raised
}

/// Raises the error of that code.
pub fn raise(code: &str, message: &str) -> Raised {
    raise_with(code, message, &[])
}

/// Raises an error of the core.
pub fn raise_core(error: &Error) -> Raised {
    raise(error.code, &error.text)
}

/// Takes the exception that is set, as an owned triple.
pub fn take_error() -> [Object; 3] {
    let mut parts = [core::ptr::null_mut(); 3];
    let [class, value, trace] = &mut parts;
    // SAFETY: the GIL is held; the three pointers are valid for writes.
    unsafe { ffi::PyErr_Fetch(class, value, trace) };
    parts
}

/// Sets an exception taken by [`take_error`] again, in place of any other.
pub fn raise_again(parts: [Object; 3]) -> Raised {
    // SAFETY: the references move back into the interpreter.
    unsafe { ffi::PyErr_Restore(parts[0], parts[1], parts[2]) };
    Raised
}

/// Issues the warning of that code; an error if the user turned it into one.
pub fn warn(code: &str, message: &str, fields: &[(&str, Object)]) -> PyResult<()> {
    drop_ref(call_errors(c"warn", code, message, fields)?);
    Ok(())
}

/// Raises a plain `TypeError`.
pub fn type_error(message: &CStr) -> Raised {
    // SAFETY: the GIL is held; the message is copied.
    unsafe { ffi::PyErr_SetString(ffi::PyExc_TypeError, message.as_ptr()) };
    Raised
}

/// Positional and keyword arguments of a fast call, by name.
pub fn arguments<const N: usize>(
    names: [&CStr; N],
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> PyResult<[Option<Object>; N]> {
    let mut found = [None; N];
    let count = count as usize;
    if count > N {
        return Err(type_error(c"too many positional arguments"));
    }
    // SAFETY: the array holds `count` positional values, then one for each name in the tuple `keywords`.
    unsafe {
        for (i, slot) in found.iter_mut().enumerate().take(count) {
            *slot = Some(*args.add(i));
        }
        let extra = if keywords.is_null() { 0 } else { ffi::PyTuple_Size(keywords) };
        for k in 0..extra {
            let key = ffi::PyTuple_GetItem(keywords, k);
            let at = names.iter().position(|n| ffi::PyUnicode_CompareWithASCIIString(key, n.as_ptr()) == 0);
            match at {
                Some(i) if found[i].is_none() => found[i] = Some(*args.add(count + k as usize)),
                Some(_) => return Err(type_error(c"argument given twice")),
                None => return Err(type_error(c"unexpected keyword argument")),
            }
        }
    }
    Ok(found)
}

/// Whether an optional argument is missing or `None`.
pub fn is_none(argument: Option<Object>) -> bool {
    // SAFETY: `None` always exists.
    argument.is_none_or(|o| o == unsafe { ffi::Py_None() })
}

/// A method without arguments.
pub fn no_args(name: &'static CStr, f: NoArgs) -> ffi::PyMethodDef {
    // SAFETY: the calling convention matches METH_NOARGS; "C" and "C-unwind" functions are called alike.
    let meth = ffi::PyMethodDefPointer { PyCFunction: unsafe { core::mem::transmute::<NoArgs, ffi::PyCFunction>(f) } };
    method(name, meth, ffi::METH_NOARGS)
}

/// A method with positional arguments.
pub fn fast(name: &'static CStr, f: Fast) -> ffi::PyMethodDef {
    // SAFETY: the calling convention matches METH_FASTCALL; "C" and "C-unwind" functions are called alike.
    let function = unsafe { core::mem::transmute::<Fast, ffi::PyCFunctionFast>(f) };
    method(name, ffi::PyMethodDefPointer { PyCFunctionFast: function }, ffi::METH_FASTCALL)
}

/// A method with positional and keyword arguments.
pub fn keywords(name: &'static CStr, f: FastKeywords) -> ffi::PyMethodDef {
    // SAFETY: the calling convention matches METH_FASTCALL | METH_KEYWORDS; see above.
    let function = unsafe { core::mem::transmute::<FastKeywords, ffi::PyCFunctionFastWithKeywords>(f) };
    let meth = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function };
    method(name, meth, ffi::METH_FASTCALL | ffi::METH_KEYWORDS)
}

fn method(name: &'static CStr, meth: ffi::PyMethodDefPointer, flags: c_int) -> ffi::PyMethodDef {
    ffi::PyMethodDef { ml_name: name.as_ptr(), ml_meth: meth, ml_flags: flags, ml_doc: core::ptr::null() }
}

/// A class: its name, size, methods and further slots. Leaks what the type refers to, as static types do.
pub fn add_type(
    module: Object,
    name: &'static CStr,
    size: usize,
    methods: Vec<ffi::PyMethodDef>,
    getset: Vec<ffi::PyGetSetDef>,
    more: &[(c_int, *mut c_void)],
) -> bool {
    let end = ffi::PyMethodDef::zeroed();
    let methods = Box::leak(methods.into_iter().chain([end]).collect::<Vec<_>>().into_boxed_slice());
    let getset =
        Box::leak(getset.into_iter().chain([ffi::PyGetSetDef::default()]).collect::<Vec<_>>().into_boxed_slice());
    let mut slots: Vec<ffi::PyType_Slot> =
        more.iter().map(|(slot, pfunc)| ffi::PyType_Slot { slot: *slot, pfunc: *pfunc }).collect();
    slots.push(ffi::PyType_Slot { slot: ffi::Py_tp_methods, pfunc: methods.as_mut_ptr().cast() });
    slots.push(ffi::PyType_Slot { slot: ffi::Py_tp_getset, pfunc: getset.as_mut_ptr().cast() });
    slots.push(ffi::PyType_Slot { slot: 0, pfunc: core::ptr::null_mut() });
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size as c_int,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE) as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the spec is complete and zero-terminated; the short name is the part behind the last dot.
    unsafe {
        let made = ffi::PyType_FromSpec(&raw mut spec);
        if made.is_null() {
            return false;
        }
        let full: *const c_char = name.as_ptr();
        let dot = name.to_bytes().iter().rposition(|b| *b == b'.').map_or(0, |i| i + 1);
        ffi::PyModule_AddObject(module, full.add(dot), made) == 0
    }
}
