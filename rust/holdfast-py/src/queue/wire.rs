//! Big messages of pipes: packed into a block that the parcel of the pipe has, unpacked by whoever reads the pipe.
//!
//! The slot's `value` counts the bytes under way: over a limit they go through the pipe, so that a sender who is far ahead
//! waits there, as pipes make senders wait.

use super::decode::{self, Raw};
use super::encode::{Encoded, BUFFERS, PICKLE};
use super::sink::Pickler;
use crate::base::base;
use crate::py::{self, Object, PyResult};
use crate::waiting;
use holdfast_core::arena::layout::kind;
use holdfast_core::arena::{Arena, Handle};
use holdfast_core::ring::queue::Message;
use holdfast_core::ring::store::Block;
use holdfast_core::sync::SC;
use holdfast_core::Error;
use pyo3_ffi as ffi;

/// `parcel._pack(obj, least, most)`: the pickle, if it has under `least` bytes; what `_unpack` takes, if it went into a
/// block; None, if it must be pickled in another way: `most` bytes are under way, or it has small buffers.
pub unsafe extern "C-unwind" fn pack(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        if count != 3 {
            return Err(py::type_error(c"_pack takes an object and two numbers of bytes"));
        }
        // SAFETY: called as a method with three arguments.
        let (this, item) = unsafe { (base(object), *args) };
        // SAFETY: as above.
        let (least, most) = unsafe { (py::as_u64(*args.add(1))? as usize, py::as_u64(*args.add(2))?) };
        let slot = this.slot()?;
        let mut pickler = Pickler::get()?;
        pickler.dump(item)?;
        let message = Encoded::Pickled(pickler);
        let (tag, len) = (message.tag(), message.len());
        if len < least {
            return if tag == PICKLE { in_one_piece(&message) } else { Ok(py::none()) };
        }
        if slot.value.load(SC) + len as u64 > most {
            return Ok(py::none());
        }
        let me = this.me()?;
        let (block, _) = super::puts::into_block(&me, &message)?;
        slot.value.fetch_add(len as u64, SC);
        let handle = this.handle.get();
        me.arena.store().map_err(|e| py::raise_core(&e))?.put_in(block, handle.slot);
        py::tuple(&[
            py::text(&me.arena.name),
            py::integer(u64::from(handle.slot)),
            py::integer(u64::from(handle.generation)),
            py::integer(block.word()),
            py::integer(u64::from(tag)),
            py::integer(len as u64),
        ])
    };
    py::give(act())
}

fn in_one_piece(message: &Encoded) -> PyResult<Object> {
    // SAFETY: the GIL is held; the new bytes are filled before anybody sees them, and have room for all pieces.
    unsafe {
        let made = py::checked(ffi::PyBytes_FromStringAndSize(core::ptr::null(), message.len() as ffi::Py_ssize_t))?;
        let to = ffi::PyBytes_AsString(made).cast::<u8>();
        message.write(|offset, bytes| core::ptr::copy_nonoverlapping(bytes.as_ptr(), to.add(offset), bytes.len()));
        Ok(made)
    }
}

/// `_unpack(arena, slot, generation, block, tag, len)`: the object; its block is free then.
pub unsafe extern "C-unwind" fn unpack(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        if count != 6 {
            return Err(py::type_error(c"_unpack takes what _pack returned"));
        }
        // SAFETY: six arguments are in the array.
        let args = unsafe { core::slice::from_raw_parts(args, 6) };
        let handle = Handle { slot: py::as_u32(args[1])?, generation: py::as_u32(args[2])? };
        let (word, tag, len) = (py::as_u64(args[3])?, py::as_u32(args[4])? as u8, py::as_u64(args[5])? as usize);
        let arena = Arena::attach(&py::as_text(args[0])?).map_err(|e| py::raise_core(&e))?;
        arena.take_hold(handle, kind::PARCEL).map_err(|e| py::raise_core(&e))?;
        let raw = take(arena, handle, word, tag, len);
        arena.let_go(handle.slot);
        raw?.load()
    };
    py::give(act())
}

fn take(arena: &'static Arena, handle: Handle, word: u64, tag: u8, len: usize) -> PyResult<Raw> {
    waiting::me(arena)?; // a thread that uses the arena has a seat in it
    let store = arena.store().map_err(|e| py::raise_core(&e))?;
    let block = Block::of(word).filter(|b| store.is_in(*b, handle.slot));
    let block = block.ok_or_else(|| py::raise_core(&Error::gone()))?;
    let (at, size) = store.data(block.id).map_err(|e| py::raise_core(&e))?;
    if len > size || tag != BUFFERS && tag != PICKLE {
        return Err(py::raise_core(&Error::corrupt("message of a pipe")));
    }
    let message = Message::of_bytes(tag, at, len);
    let mut copies = Vec::new();
    let raw = decode::long(&message, &mut copies, core::ptr::null_mut())?;
    py::detached(|| super::takes::make(&copies));
    if !store.free_from(block, handle.slot) {
        return Err(py::raise_core(&Error::gone())); // two read the same message
    }
    if let Some(slot) = arena.slot(handle.slot) {
        slot.value.fetch_sub(len as u64, SC);
    }
    Ok(raw)
}
