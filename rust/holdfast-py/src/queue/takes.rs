//! Getting.

use super::decode::{self, Copy, Raw, LONG};
use super::{limit, parcel, raise_from_queue, shared, How, Shared, Side};
use crate::py::{self, Object, PyResult};
use crate::waiting::Limit;
use holdfast_core::ring::ends::Reader;
use holdfast_core::ring::queue::{Fate, Message};
use holdfast_core::Me;
use pyo3_ffi as ffi;

impl Shared {
    /// Gets one object. `None`: empty.
    fn get_one(&self, how: How, copy: bool) -> PyResult<Option<Object>> {
        let queue = self.open_queue()?;
        let me = self.base.me()?;
        if !self.enter(Side::Read, &queue, &me, how)? {
            return Ok(None);
        }
        let mut taking = Taking { reader: Some(queue.reader()), me, copy };
        let raw = taking.next();
        taking.finish();
        match raw? {
            Some(raw) => raw.load().map(Some),
            None => Ok(None),
        }
    }

    /// Gets up to `most`, at least one if there is time.
    fn get_some(&self, most: usize, limit: Limit, copy: bool) -> PyResult<Vec<Raw>> {
        let queue = self.open_queue()?;
        let me = self.base.me()?;
        let mut found = Vec::new();
        if most == 0 || !self.enter(Side::Read, &queue, &me, How::Waiting(limit))? {
            return Ok(found);
        }
        let mut taking = Taking { reader: Some(queue.reader()), me, copy };
        while found.len() < most {
            if taking.reader.is_none() {
                // A long message was copied out without the GIL, and the side was opened for that.
                match self.enter(Side::Read, &queue, &me, How::Waiting(Limit::Now)) {
                    Ok(true) => taking.reader = Some(queue.reader()),
                    Ok(false) => break,
                    Err(_) => {
                        // SAFETY: the GIL is held. Shut down meanwhile: the next call says so.
                        unsafe { ffi::PyErr_Clear() };
                        break;
                    }
                }
            }
            match taking.next() {
                Ok(Some(raw)) => found.push(raw),
                Ok(None) => break,
                Err(raised) if found.is_empty() => {
                    taking.finish();
                    return Err(raised);
                }
                Err(_) => {
                    // SAFETY: the GIL is held. What was taken must not be lost; whatever is wrong shows again.
                    unsafe { ffi::PyErr_Clear() };
                    break;
                }
            }
        }
        taking.finish();
        Ok(found)
    }
}

/// The readers' side while this thread has it. Finished when dropped at the latest.
struct Taking {
    reader: Option<Reader<'static>>,
    me: Me<'static>,
    copy: bool,
}

impl Taking {
    /// Takes the next message. On an error it is still there.
    #[inline(always)]
    fn next(&mut self) -> PyResult<Option<Raw>> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let Some(message) = reader.front().map_err(|e| py::raise_core(&e))? else { return Ok(None) };
        if message.block.is_some() {
            return self.next_long(&message).map(Some);
        }
        let raw = decode::short(&message)?;
        reader.take(&message, Fate::Free).map_err(|e| py::raise_core(&e))?;
        Ok(Some(raw))
    }

    #[cold]
    fn next_long(&mut self, message: &Message) -> PyResult<Raw> {
        let Some(reader) = &mut self.reader else { return Err(py::Raised) };
        let raise = |e| py::raise_core(&e);
        if !self.copy {
            let _held = py::NoCollection::begin();
            let block = message.block.ok_or_else(|| raise(holdfast_core::Error::corrupt("message")))?;
            let handle = self.me.arena.make_parcel(block).map_err(raise)?;
            let parcel = parcel::parcel(self.me.arena, handle, message.at, message.len)?;
            let mut copies = Vec::new();
            let raw = decode::long(message, &mut copies, parcel);
            let done = raw.and_then(|raw| {
                make(&copies);
                reader.take(message, Fate::To(handle.slot)).map(|()| raw).map_err(raise)
            });
            py::drop_ref(parcel);
            return done;
        }
        let mut copies = Vec::new();
        let raw = decode::long(message, &mut copies, core::ptr::null_mut())?;
        if message.len < LONG {
            make(&copies);
            reader.take(message, Fate::Free).map_err(raise)?;
            return Ok(raw);
        }
        // The side is opened before the GIL is taken back: a thread that ends there must not keep it.
        let (reader, me) = (self.reader.take(), self.me);
        py::detached(|| {
            let Some(mut reader) = reader else { return Ok(()) };
            make(&copies);
            let done = reader.take(message, Fate::Free);
            reader.finish(&me);
            done
        })
        .map_err(raise)?;
        Ok(raw)
    }

    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.finish(&self.me);
        }
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Makes all copies of one message.
pub(super) fn make(copies: &[Copy]) {
    for copy in copies {
        // SAFETY: the message is in place while the readers' side is held; the objects are new.
        unsafe { copy.make() };
    }
}

fn get_or_empty(this: &Shared, limit: Limit, copy: bool) -> PyResult<Object> {
    this.get_one(How::Waiting(limit), copy)?.ok_or_else(|| raise_from_queue(c"Empty"))
}

fn as_copy(copy: Option<Object>) -> PyResult<bool> {
    copy.map_or(Ok(true), py::truth)
}

/// `get(block=True, timeout=None, *, copy=True)`.
pub unsafe extern "C-unwind" fn get(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { shared(object) };
    if count == 0 && keywords.is_null() {
        return py::give(get_or_empty(this, Limit::Never, true));
    }
    let act = || {
        let [block, timeout, copy] = py::arguments([c"block", c"timeout", c"copy"], args, count, keywords)?;
        get_or_empty(this, limit(block, timeout)?, as_copy(copy)?)
    };
    py::give(act())
}

/// `get_nowait(*, copy=True)`.
pub unsafe extern "C-unwind" fn get_nowait(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    let act = || {
        let [copy] = py::arguments([c"copy"], args, count, keywords)?;
        // SAFETY: called as a method.
        get_or_empty(unsafe { shared(object) }, Limit::Now, as_copy(copy)?)
    };
    py::give(act())
}

/// `_get_now(copy)`: an object, or `NotImplemented` if that needs waiting for anything.
pub unsafe extern "C-unwind" fn get_now(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        // SAFETY: called as a method; `count` arguments are in the array.
        let (this, copy) = unsafe { (shared(object), (count > 0).then(|| *args)) };
        let got = this.get_one(How::NotAtAll, as_copy(copy)?)?;
        Ok(got.unwrap_or_else(|| {
            // SAFETY: a singleton that always exists.
            unsafe {
                ffi::Py_IncRef(ffi::Py_NotImplemented());
                ffi::Py_NotImplemented()
            }
        }))
    };
    py::give(act())
}

/// `get_many(n=100, block=True, timeout=None, *, copy=True)`.
pub unsafe extern "C-unwind" fn get_many(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    let act = || {
        let [n, block, timeout, copy] = py::arguments([c"n", c"block", c"timeout", c"copy"], args, count, keywords)?;
        let most = n.map_or(Ok(100), number)?;
        // SAFETY: called as a method.
        let found = unsafe { shared(object) }.get_some(most, limit(block, timeout)?, as_copy(copy)?)?;
        if found.is_empty() && most > 0 {
            return Err(raise_from_queue(c"Empty"));
        }
        load_all(found)
    };
    py::give(act())
}

/// How many a caller wants.
fn number(n: Object) -> PyResult<usize> {
    // SAFETY: the GIL is held; anything but an integer sets TypeError, one out of range OverflowError.
    let n = unsafe { ffi::PyNumber_AsSsize_t(n, ffi::PyExc_OverflowError) };
    match usize::try_from(n) {
        Ok(n) => Ok(n),
        Err(_) if py::is_raised() => Err(py::Raised),
        Err(_) => Err(py::raise("HF112", &format!("get_many() takes a number of items, not {n}"))),
    }
}

/// All objects as a list. Those that cannot be rebuilt do not take the others with them.
fn load_all(found: Vec<Raw>) -> PyResult<Object> {
    // SAFETY: the GIL is held; references move into the lists or are released.
    unsafe {
        let list = py::checked(ffi::PyList_New(0))?;
        let mut broken: Object = core::ptr::null_mut();
        for raw in found {
            let (into, object) = match raw.load() {
                Ok(object) => (list, object),
                Err(_) => {
                    if broken.is_null() {
                        broken = ffi::PyList_New(0);
                    }
                    (broken, taken_error())
                }
            };
            ffi::PyList_Append(into, object);
            py::drop_ref(object);
        }
        if broken.is_null() {
            return Ok(list);
        }
        let text = format!("{} of the items could not be rebuilt here", ffi::PyList_Size(broken));
        Err(py::raise_with("HF203", &text, &[("items", list), ("errors", broken)]))
    }
}

/// The exception that is set, as an object.
fn taken_error() -> Object {
    let mut parts = py::take_error();
    let [class, value, trace] = &mut parts;
    // SAFETY: the references are ours; the value is given away.
    unsafe {
        ffi::PyErr_NormalizeException(class, value, trace);
        if !trace.is_null() {
            ffi::PyException_SetTraceback(*value, *trace);
        }
    }
    py::drop_ref(parts[0]);
    py::drop_ref(parts[2]);
    parts[1]
}
