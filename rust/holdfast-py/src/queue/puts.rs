//! Putting.

use super::encode::{encode, Encoded};
use super::{limit, raise_from_queue, shared, How, Shared, Side};
use crate::py::{self, Object, PyResult};
use crate::waiting::Limit;
use holdfast_core::ring::ends::Writer;
use holdfast_core::ring::queue::{Queue, INLINE};
use holdfast_core::ring::store::Block;
use holdfast_core::Me;
use pyo3_ffi as ffi;

/// Messages of a batch are visible to readers after this many at the latest.
const BATCH: usize = 64;

/// A message that is ready to be entered.
enum Ready {
    /// Short: its bytes in the common buffer.
    Short(u8, usize, usize),
    /// Long: its block, which is this process's, and its length.
    Long(u8, Block, usize),
}

/// A long message goes into a block of its own.
pub(super) fn into_block(me: &Me<'static>, message: &Encoded) -> PyResult<(Block, bool)> {
    let len = message.len();
    // Without the GIL: new memory costs a hundred microseconds a megabyte, and the copy as well.
    let done = py::detached(|| {
        let store = me.arena.store()?;
        let (block, grew) = store.take_or_grow(me, len)?;
        let (to, _) = store.data(block.id)?;
        message.write(|offset, bytes| {
            // SAFETY: the block is ours and has `len` bytes, which all pieces fit into.
            unsafe { holdfast_core::sync::copy_in(to.add(offset), bytes) };
        });
        Ok((block, grew))
    });
    done.map_err(|e| py::raise_core(&e))
}

fn give_back(me: &Me<'static>, block: Block) {
    if let Ok(store) = me.arena.store() {
        store.give_back(block);
    }
}

impl Shared {
    /// Puts one object. `Ok(false)`: full.
    fn put_one(&self, object: Object, how: How) -> PyResult<bool> {
        let queue = self.open_queue()?;
        self.used.set(true);
        let me = self.base.me()?;
        let message = encode(object)?;
        let tag = message.tag();
        if let Some(bytes) = message.whole().filter(|b| b.len() <= INLINE) {
            if !self.enter(Side::Write, &queue, &me, how)? {
                return Ok(false);
            }
            let mut writer = queue.writer();
            let done = writer.push(&me, tag, bytes);
            let grew = writer.finish(&me);
            if grew > 0 && how == How::Waiting(Limit::Never) {
                self.pause(&queue, grew);
            }
            return done.map(|()| true).map_err(|e| py::raise_core(&e));
        }
        self.put_long(&queue, &me, &message, how)
    }

    #[cold]
    fn put_long(&self, queue: &Queue<'static>, me: &Me<'static>, message: &Encoded, how: How) -> PyResult<bool> {
        let (tag, len) = (message.tag(), message.len());
        if len <= INLINE {
            let mut bytes = vec![0; len];
            message.write(|offset, piece| bytes[offset..offset + piece.len()].copy_from_slice(piece));
            if !self.enter(Side::Write, queue, me, how)? {
                return Ok(false);
            }
            let mut writer = queue.writer();
            let done = writer.push(me, tag, &bytes);
            writer.finish(me);
            return done.map(|()| true).map_err(|e| py::raise_core(&e));
        }
        let (block, grew) = into_block(me, message)?;
        match self.enter(Side::Write, queue, me, how) {
            Ok(true) => {}
            other => {
                give_back(me, block);
                return other;
            }
        }
        let mut writer = queue.writer();
        let done = writer.push_block(me, tag, block, len);
        writer.finish(me);
        if grew && how == How::Waiting(Limit::Never) {
            self.pause(queue, len);
        }
        done.map(|()| true).map_err(|e| {
            give_back(me, block);
            py::raise_core(&e)
        })
    }

    /// Puts many. The number of those that are in when time was up, if it was. An error that comes later says so, too.
    fn put_all(&self, items: Object, limit: Limit) -> PyResult<Option<usize>> {
        let queue = self.open_queue()?;
        self.used.set(true);
        let me = self.base.me()?;
        let mut all = Many { bytes: Vec::new(), messages: Vec::new(), entered: 0, me };
        all.encode(items)?;
        while all.entered < all.messages.len() {
            match self.enter_some(&queue, &mut all, limit) {
                Ok(true) => {}
                Ok(false) => return Ok(Some(all.entered)),
                Err(_) => return Err(say_accepted(all.entered)),
            }
        }
        Ok(None)
    }

    fn enter_some(&self, queue: &Queue<'static>, all: &mut Many, limit: Limit) -> PyResult<bool> {
        let me = all.me;
        if !self.enter(Side::Write, queue, &me, How::Waiting(limit))? {
            return Ok(false);
        }
        let mut writer = queue.writer();
        let done = all.enter(&mut writer);
        writer.finish(&me);
        done.map(|()| true).map_err(|e| py::raise_core(&e))
    }
}

/// The messages of one call; the blocks of those that were not entered are given back.
struct Many {
    bytes: Vec<u8>,
    messages: Vec<Ready>,
    entered: usize,
    me: Me<'static>,
}

impl Many {
    fn encode(&mut self, items: Object) -> PyResult<()> {
        // SAFETY: the GIL is held; each item's reference is released after its message was made.
        unsafe {
            let iterator = py::checked(ffi::PyObject_GetIter(items))?;
            loop {
                let item = ffi::PyIter_Next(iterator);
                if item.is_null() {
                    py::drop_ref(iterator);
                    return if py::is_raised() { Err(py::Raised) } else { Ok(()) };
                }
                let done = self.add(item);
                py::drop_ref(item);
                if done.is_err() {
                    py::drop_ref(iterator);
                    return done;
                }
            }
        }
    }

    fn add(&mut self, item: Object) -> PyResult<()> {
        let message = encode(item)?;
        let (tag, len) = (message.tag(), message.len());
        if len > INLINE {
            let (block, _) = into_block(&self.me, &message)?;
            self.messages.push(Ready::Long(tag, block, len));
            return Ok(());
        }
        let from = self.bytes.len();
        match message.whole() {
            Some(bytes) => self.bytes.extend_from_slice(bytes),
            None => {
                self.bytes.resize(from + len, 0);
                message.write(|at, piece| self.bytes[from + at..from + at + piece.len()].copy_from_slice(piece));
            }
        }
        self.messages.push(Ready::Short(tag, from, len));
        Ok(())
    }

    /// Enters as many as there is room for.
    fn enter(&mut self, writer: &mut Writer<'static>) -> holdfast_core::Result<()> {
        while self.entered < self.messages.len() && writer.room() > 0 {
            match &self.messages[self.entered] {
                Ready::Short(tag, from, len) => writer.push(&self.me, *tag, &self.bytes[*from..from + len])?,
                Ready::Long(tag, block, len) => writer.push_block(&self.me, *tag, *block, *len)?,
            }
            self.entered += 1;
            if self.entered % BATCH == 0 {
                writer.publish();
            }
        }
        Ok(())
    }
}

impl Drop for Many {
    fn drop(&mut self) {
        for message in &self.messages[self.entered..] {
            if let Ready::Long(_, block, _) = message {
                give_back(&self.me, *block);
            }
        }
    }
}

fn put_or_full(this: &Shared, object: Object, limit: Limit) -> PyResult<Object> {
    if this.put_one(object, How::Waiting(limit))? {
        Ok(py::none())
    } else {
        Err(raise_from_queue(c"Full"))
    }
}

/// `put(obj, block=True, timeout=None)`.
pub unsafe extern "C-unwind" fn put(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    // SAFETY: called as a method; one positional argument is in the array if `count` says so.
    let this = unsafe { shared(object) };
    if count == 1 && keywords.is_null() {
        // SAFETY: as above.
        return py::give(put_or_full(this, unsafe { *args }, Limit::Never));
    }
    let act = || {
        let [item, block, timeout] = py::arguments([c"obj", c"block", c"timeout"], args, count, keywords)?;
        let item = item.ok_or_else(|| py::type_error(c"put() misses its argument 'obj'"))?;
        put_or_full(this, item, limit(block, timeout)?)
    };
    py::give(act())
}

/// `put_nowait(obj)`.
pub unsafe extern "C-unwind" fn put_nowait(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    if count != 1 {
        py::type_error(c"put_nowait() takes exactly one argument");
        return core::ptr::null_mut();
    }
    // SAFETY: called as a method with one argument.
    py::give(unsafe { put_or_full(shared(object), *args, Limit::Now) })
}

/// `_put_now(obj)`: whether it could be done without waiting for anything.
pub unsafe extern "C-unwind" fn put_now(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        if count != 1 {
            return Err(py::type_error(c"_put_now() takes exactly one argument"));
        }
        // SAFETY: called as a method with one argument.
        let (this, item) = unsafe { (shared(object), *args) };
        this.put_one(item, How::NotAtAll).map(py::boolean)
    };
    py::give(act())
}

/// `put_many(items, block=True, timeout=None)`.
pub unsafe extern "C-unwind" fn put_many(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    let act = || {
        let [items, block, timeout] = py::arguments([c"items", c"block", c"timeout"], args, count, keywords)?;
        let items = items.ok_or_else(|| py::type_error(c"put_many() misses its argument 'items'"))?;
        // SAFETY: called as a method.
        match unsafe { shared(object) }.put_all(items, limit(block, timeout)?)? {
            None => Ok(py::none()),
            Some(accepted) => Err(full_after(accepted)),
        }
    };
    py::give(act())
}

/// Raises `queue.Full` that says how many are in.
fn full_after(accepted: usize) -> py::Raised {
    let _ = raise_from_queue(c"Full");
    say_accepted(accepted)
}

/// The exception that is set gets an attribute: how many items are in.
fn say_accepted(accepted: usize) -> py::Raised {
    let mut parts = py::take_error();
    // SAFETY: the references are ours; a normalized exception is an object that takes attributes, or refuses.
    unsafe {
        let [class, value, trace] = &mut parts;
        ffi::PyErr_NormalizeException(class, value, trace);
        let number = py::integer(accepted as u64);
        if ffi::PyObject_SetAttrString(*value, c"accepted".as_ptr(), number) != 0 {
            ffi::PyErr_Clear();
        }
        py::drop_ref(number);
    }
    py::raise_again(parts)
}
