//! Where the pickler writes: small pieces into one buffer, big ones only as a note of where they are.
//!
//! A pickler is made once and used again (its memo is cleared after each object): making one costs more than most objects.

use crate::base::allocate;
use crate::py::{self, Lookup, Object, PyResult};
use holdfast_core::os::local::Local;
use pyo3_ffi as ffi;
use std::ffi::c_int;

/// Out-of-band buffers under this many bytes are pickled with the rest.
const LEAST_BUFFER: usize = 4096;
/// Pieces of at least so many bytes are not copied on their way to shared memory.
const LEAST_HELD: usize = 32 << 10;

/// A buffer that somebody exports, held until dropped.
pub struct Held(Box<ffi::Py_buffer>);

impl Held {
    fn of(object: Object, flags: c_int) -> PyResult<Self> {
        let mut view = Box::new(ffi::Py_buffer::new());
        // SAFETY: the view is valid for writes and stays where it is; the GIL is held.
        if unsafe { ffi::PyObject_GetBuffer(object, &raw mut *view, flags) } != 0 {
            return Err(py::Raised);
        }
        Ok(Self(view))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        if self.0.len == 0 {
            return &[];
        }
        // SAFETY: the exporter keeps the (contiguous) memory in place while the view is held.
        unsafe { core::slice::from_raw_parts(self.0.buf.cast::<u8>(), self.0.len as usize) }
    }

    /// Whether it may not be written.
    pub fn is_readonly(&self) -> bool {
        self.0.readonly != 0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: filled by `PyObject_GetBuffer`, released once; dropped with the GIL held.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.0) };
    }
}

/// A part of a pickle.
pub enum Part {
    /// Bytes of the sink's own buffer, up to this offset.
    Own(usize),
    /// Somebody's bytes.
    Held(Held),
}

/// What was written since it was last emptied.
#[derive(Default)]
pub struct Written {
    /// Small pieces, one behind the other.
    pub own: Vec<u8>,
    /// The order of the pieces, if there are big ones.
    pub parts: Vec<Part>,
    /// Out-of-band buffers.
    pub buffers: Vec<Held>,
    /// Bytes of the pickle itself.
    pub len: usize,
}

impl Written {
    fn add(&mut self, piece: Object) -> PyResult<()> {
        let held = Held::of(piece, ffi::PyBUF_SIMPLE)?;
        let bytes = held.bytes();
        self.len += bytes.len();
        if bytes.len() < LEAST_HELD {
            self.own.extend_from_slice(bytes);
        } else {
            self.parts.push(Part::Own(self.own.len()));
            self.parts.push(Part::Held(held));
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.own.clear();
        if self.own.capacity() > 1 << 20 {
            self.own = Vec::new();
        }
        self.parts.clear();
        self.buffers.clear();
        self.len = 0;
    }

    /// The pickle's pieces in order.
    pub fn pieces(&self) -> Vec<&[u8]> {
        let mut found = Vec::with_capacity(self.parts.len() + 1);
        let mut from = 0;
        for part in &self.parts {
            match part {
                Part::Own(upto) => {
                    found.push(&self.own[from..*upto]);
                    from = *upto;
                }
                Part::Held(held) => found.push(held.bytes()),
            }
        }
        found.push(&self.own[from..]);
        found
    }
}

#[repr(C)]
struct Sink {
    ob_base: ffi::PyObject,
    written: *mut Written,
}

/// A pickler with its sink, and the two methods of it that are called.
pub struct Pickler {
    sink: Object,
    dump: Object,
    clear_memo: Object,
    is_sound: bool,
}

// SAFETY: the references are only used with the GIL held.
unsafe impl Send for Pickler {}

/// Idle picklers are kept up to this number.
const MOST_IDLE: usize = 8;

/// Picklers that nobody uses now.
static IDLE: Local<Vec<Pickler>> = Local::new(Vec::new());
static CLASS: Lookup = Lookup::new(c"holdfast._core", c"_Sink");
static MAKE: Lookup = Lookup::new(c"holdfast._pickling", c"pickler");

impl Pickler {
    /// One that is idle, or a new one.
    pub fn get() -> PyResult<Self> {
        if let Some(idle) = IDLE.lock().pop() {
            return Ok(idle);
        }
        let (class, make) = (CLASS.get()?, MAKE.get()?);
        // SAFETY: the class is our own; the GIL is held; each reference made here is kept in the result or released.
        unsafe {
            let sink = allocate(class.cast())?;
            (*sink.cast::<Sink>()).written = Box::into_raw(Box::default());
            let pickler = ffi::PyObject_CallFunctionObjArgs(make, sink, core::ptr::null_mut::<ffi::PyObject>());
            let pickler = py::checked(pickler).inspect_err(|_| py::drop_ref(sink))?;
            let dump = ffi::PyObject_GetAttrString(pickler, c"dump".as_ptr());
            let clear_memo = ffi::PyObject_GetAttrString(pickler, c"clear_memo".as_ptr());
            py::drop_ref(pickler);
            Ok(Self { sink, dump: py::checked(dump)?, clear_memo: py::checked(clear_memo)?, is_sound: true })
        }
    }

    /// What the last [`Self::dump`] wrote.
    pub fn written(&self) -> &Written {
        // SAFETY: made with the sink, freed with it; only `dump` writes, which needs the exclusive reference.
        unsafe { &*(*self.sink.cast::<Sink>()).written }
    }

    /// Pickles an object.
    pub fn dump(&mut self, object: Object) -> PyResult<()> {
        self.is_sound = false;
        // SAFETY: bound methods of a pickler; the GIL is held.
        unsafe {
            let done = ffi::PyObject_CallFunctionObjArgs(self.dump, object, core::ptr::null_mut::<ffi::PyObject>());
            py::drop_ref(py::checked(done)?);
            py::drop_ref(py::checked(ffi::PyObject_CallNoArgs(self.clear_memo))?);
        }
        self.is_sound = true;
        Ok(())
    }
}

impl Drop for Pickler {
    /// Empties it for the next one to use; throws it away if it failed half way or enough are idle.
    fn drop(&mut self) {
        if self.is_sound {
            // SAFETY: as in `written`; nobody else refers to it now.
            unsafe { (*(*self.sink.cast::<Sink>()).written).clear() };
            let mut idle = IDLE.lock();
            if idle.len() < MOST_IDLE {
                idle.push(Self { sink: self.sink, dump: self.dump, clear_memo: self.clear_memo, is_sound: true });
                return;
            }
        }
        py::drop_ref(self.dump);
        py::drop_ref(self.clear_memo);
        py::drop_ref(self.sink);
    }
}

unsafe extern "C-unwind" fn write(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    if count != 1 {
        py::type_error(c"write takes exactly one argument");
        return core::ptr::null_mut();
    }
    // SAFETY: called as a method, by the pickler, with one argument.
    let done = unsafe { (*(*object.cast::<Sink>()).written).add(*args) };
    py::give(done.map(|()| py::none()))
}

/// `sink(pickle_buffer)`: the pickler's buffer callback; true: pickle it with the rest.
unsafe extern "C-unwind" fn take_buffer(object: Object, args: Object, _: Object) -> Object {
    // SAFETY: called with a tuple of arguments; items are borrowed.
    unsafe {
        if ffi::PyTuple_Size(args) != 1 {
            py::type_error(c"takes exactly one buffer");
            return core::ptr::null_mut();
        }
        let written = &mut *(*object.cast::<Sink>()).written;
        match Held::of(ffi::PyTuple_GetItem(args, 0), ffi::PyBUF_ANY_CONTIGUOUS) {
            Ok(held) if held.bytes().len() >= LEAST_BUFFER => {
                written.buffers.push(held);
                py::boolean(false)
            }
            Ok(_) => py::boolean(true),
            Err(_) => {
                ffi::PyErr_Clear(); // not contiguous: the pickler has its own word for that
                py::boolean(true)
            }
        }
    }
}

unsafe extern "C-unwind" fn dealloc(object: Object) {
    // SAFETY: called once, with the last reference gone; the box was made with the object, or is null if that failed.
    unsafe {
        let written = (*object.cast::<Sink>()).written;
        if !written.is_null() {
            drop(Box::from_raw(written));
        }
        let class = ffi::Py_TYPE(object);
        let free: ffi::freefunc = core::mem::transmute(ffi::PyType_GetSlot(class, ffi::Py_tp_free));
        free(object.cast());
        py::drop_ref(class.cast());
    }
}

/// Adds the class.
pub fn add_types(module: Object) -> bool {
    let slots =
        [(ffi::Py_tp_dealloc, dealloc as *const () as *mut _), (ffi::Py_tp_call, take_buffer as *const () as *mut _)];
    let methods = vec![py::fast(c"write", write)];
    py::add_type(module, c"holdfast._core._Sink", core::mem::size_of::<Sink>(), methods, Vec::new(), &slots)
}
