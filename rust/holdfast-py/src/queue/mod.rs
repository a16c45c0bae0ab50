//! `Queue`: messages through shared memory, put in and taken out by the callers themselves.
//!
//! ```text
//! put   encode (Python may run) | a block for a long one, filled | writers' side: entry, commit | give the GIL away only to wait
//! get   readers' side: copy out, commit | decode (Python may run)
//! ```
//! While a side is held no Python code runs, and nothing waits but for the GIL after a long copy, by when the side is open.

mod decode;
mod encode;
mod pace;
mod parcel;
mod puts;
mod sink;
mod takes;
mod wire;

use crate::base::{self, Base};
use crate::py::{self, Object, PyResult};
use crate::waiting::{self, Limit};
use holdfast_core::arena::OWNER_MASK;
use holdfast_core::os::clock;
use holdfast_core::ring::hands::Lost;
use holdfast_core::ring::queue::{Queue, Turn};
use holdfast_core::sync::SC;
use holdfast_core::wait::{Patience, Waited, Waiting};
use holdfast_core::Me;
use pyo3_ffi as ffi;
use std::cell::Cell;

/// How long a call that does not wait for items or room may wait for a side that is held (nanoseconds): whoever holds it
/// copies one message, unless he was stopped.
const HELD_NS: u64 = 1_000_000_000;

#[repr(C)]
struct Shared {
    base: Base,
    /// No more puts and gets through this object.
    closed: Cell<bool>,
    /// Something was put through this object.
    used: Cell<bool>,
    /// Pauses of a producer that is far ahead.
    pace: Cell<pace::Pace>,
}

/// The queue behind `self`.
///
/// # Safety
/// `object` is an instance of the class.
unsafe fn shared<'a>(object: Object) -> &'a Shared {
    // SAFETY: by the caller's promise.
    unsafe { &*object.cast::<Shared>() }
}

impl Shared {
    fn queue(&self) -> PyResult<Queue<'static>> {
        self.base.slot()?;
        Queue::at(self.base.arena(), self.base.handle.get().slot).map_err(|e| py::raise_core(&e))
    }

    /// The queue for a put or a get.
    fn open_queue(&self) -> PyResult<Queue<'static>> {
        if self.closed.get() {
            return Err(py::raise("HF202", &format!("{} is closed in this process", self.base.title())));
        }
        self.queue()
    }

    /// Gets one side of the queue, with an item or room there. `Ok(false)`: none, in all the time there is.
    #[inline(always)]
    fn enter(&self, side: Side, queue: &Queue<'static>, me: &Me<'static>, how: How) -> PyResult<bool> {
        if side.try_enter(queue, me.id) {
            return Ok(true);
        }
        match how {
            How::Waiting(limit) => self.wait(side, queue, me, limit),
            How::NotAtAll => self.enter_or_go(side, queue, me),
        }
    }

    /// For tasks of an event loop: the side is had now, also from the dead, or not.
    #[cold]
    fn enter_or_go(&self, side: Side, queue: &Queue<'static>, me: &Me<'static>) -> PyResult<bool> {
        self.base.arena().check().map_err(|e| py::raise_core(&e))?;
        let (mine, over) = match side {
            // In this order: what was put before a shutdown is seen, so "shut and nothing" is final.
            Side::Read => (queue.try_read_deep(me), queue.is_shut() && queue.is_empty()),
            Side::Write => (queue.try_write_deep(me), queue.is_closed()),
        };
        if over && !mine {
            return Err(self.was_shut());
        }
        Ok(mine)
    }

    fn was_shut(&self) -> py::Raised {
        py::raise("HF201", &format!("{} was shut down", self.base.title()))
    }

    #[cold]
    fn wait(&self, side: Side, queue: &Queue<'static>, me: &Me<'static>, limit: Limit) -> PyResult<bool> {
        self.base.arena().check().map_err(|e| py::raise_core(&e))?;
        let at_once = limit == Limit::Now;
        let limit = if at_once { Limit::Until(clock::now_ns() + HELD_NS) } else { limit };
        let _busy = self.base.busy();
        let place = self.base.waiting_place(me);
        let got = waiting::block(
            me,
            limit,
            &self.base.spin,
            || side.looks_ready(queue),
            |patience| {
                if side.try_enter(queue, me.id) {
                    return Waited::Done(Turn::Mine);
                }
                if patience.deadline == Some(0) {
                    return Waited::TimedOut;
                }
                let _shown = Waiting::show(me, self.base.handle.get().slot, place);
                side.enter_slowly(queue, me, patience, at_once)
            },
        )?;
        match got {
            Some(Turn::Mine) => Ok(true),
            Some(Turn::Nothing) | None => Ok(false),
            Some(Turn::Shut) => Err(self.was_shut()),
        }
    }
}

/// Whether a caller may block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// So long.
    Waiting(Limit),
    /// Not for a microsecond: it is a task of an event loop.
    NotAtAll,
}

/// One side of a queue.
#[derive(Clone, Copy)]
enum Side {
    Read,
    Write,
}

impl Side {
    #[inline(always)]
    fn try_enter(self, queue: &Queue<'static>, me: u32) -> bool {
        match self {
            Self::Read => queue.try_read(me),
            Self::Write => queue.try_write(me),
        }
    }

    fn looks_ready(self, queue: &Queue<'static>) -> bool {
        match self {
            Self::Read => queue.looks_ready_to_read(),
            Self::Write => queue.looks_ready_to_write(),
        }
    }

    fn enter_slowly(
        self,
        queue: &Queue<'static>,
        me: &Me<'_>,
        patience: &mut Patience<'_>,
        at_once: bool,
    ) -> Waited<Turn> {
        match self {
            Self::Read => queue.wait_to_read(me, patience, at_once),
            Self::Write => queue.wait_to_write(me, patience, at_once),
        }
    }
}

/// Raises `queue.Full` or `queue.Empty`.
fn raise_from_queue(name: &std::ffi::CStr) -> py::Raised {
    // The same `Empty` is where less has to be loaded with it.
    let home = if name == c"Empty" { c"_queue" } else { c"queue" };
    // SAFETY: the GIL is held; references are released; the exception holds its own.
    unsafe {
        let module = ffi::PyImport_ImportModule(home.as_ptr());
        if !module.is_null() {
            let class = ffi::PyObject_GetAttrString(module, name.as_ptr());
            py::drop_ref(module);
            if !class.is_null() {
                ffi::PyErr_SetNone(class);
                py::drop_ref(class);
            }
        }
    }
    py::Raised
}

/// `block` and `timeout` as a limit.
fn limit(block: Option<Object>, timeout: Option<Object>) -> PyResult<Limit> {
    let blocks = block.map_or(Ok(true), py::truth)?;
    if !blocks {
        return Ok(Limit::Now);
    }
    waiting::limit(timeout)
}

unsafe extern "C-unwind" fn qsize(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    py::give(unsafe { shared(object) }.queue().map(|q| py::integer(q.len())))
}

unsafe extern "C-unwind" fn empty(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { shared(object) };
    // As the standard library has it: closing takes effect once the queue was used.
    let queue = if this.used.get() { this.open_queue() } else { this.queue() };
    py::give(queue.map(|q| py::boolean(q.is_empty())))
}

unsafe extern "C-unwind" fn full(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    py::give(unsafe { shared(object) }.queue().map(|q| py::boolean(q.room() == 0)))
}

unsafe extern "C-unwind" fn close(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    unsafe { shared(object) }.closed.set(true);
    py::none()
}

unsafe extern "C-unwind" fn is_closed(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    py::boolean(unsafe { shared(object) }.closed.get())
}

/// `_shut(at_once)`: no more puts; the number of messages dropped.
unsafe extern "C-unwind" fn shut(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        if count != 1 {
            return Err(py::type_error(c"_shut takes exactly one argument"));
        }
        // SAFETY: called as a method with one argument.
        let (this, at_once) = unsafe { (shared(object), py::truth(*args)?) };
        let (queue, me) = (this.queue()?, this.base.me()?);
        let _busy = this.base.busy();
        let never = Cell::new(waiting::Spin::never());
        let got = waiting::block(
            &me,
            Limit::Never,
            &never,
            || false,
            // Without time there is nothing to try: the first look of `block` is of no use here.
            |patience| match patience.deadline {
                Some(_) => Waited::TimedOut,
                None => match queue.shut(&me, at_once, patience) {
                    Ok(Waited::Done(dropped)) => Waited::Done(Ok(dropped)),
                    Ok(Waited::TimedOut) => Waited::TimedOut,
                    Ok(Waited::Interrupted) => Waited::Interrupted,
                    Err(e) => Waited::Done(Err(e)),
                },
            },
        )?;
        let dropped = got.unwrap_or(Ok(0)).map_err(|e| py::raise_core(&e))?;
        Ok(py::integer(dropped))
    };
    py::give(act())
}

/// `_counts()`: put, taken, bytes in blocks, unfinished, whether it was shut down.
unsafe extern "C-unwind" fn counts(object: Object, _: Object) -> Object {
    let act = || {
        // SAFETY: called as a method.
        let queue = unsafe { shared(object) }.queue()?;
        let (put, taken) = queue.counts();
        py::tuple(&[
            py::integer(put),
            py::integer(taken),
            py::integer(queue.block_bytes()),
            py::integer(queue.unfinished()),
            py::boolean(queue.is_shut()),
        ])
    };
    py::give(act())
}

/// `_holders()`: pids of those who are inside the readers' and the writers' side, 0 for nobody.
unsafe extern "C-unwind" fn holders(object: Object, _: Object) -> Object {
    let act = || {
        // SAFETY: called as a method.
        let this = unsafe { shared(object) };
        let pids = this.queue()?.locks().map(|word| match word.load(SC) & OWNER_MASK {
            0 => 0,
            owner => this.base.arena().holder(owner).pid,
        });
        py::tuple(&pids.map(|pid| py::integer(u64::from(pid))))
    };
    py::give(act())
}

unsafe extern "C-unwind" fn task_done(object: Object, _: Object) -> Object {
    let act = || {
        // SAFETY: called as a method.
        if unsafe { shared(object) }.queue()?.finish_task() {
            return Ok(py::none());
        }
        // SAFETY: the GIL is held; the message is copied.
        unsafe { ffi::PyErr_SetString(ffi::PyExc_ValueError, c"task_done() called too many times".as_ptr()) };
        Err(py::Raised)
    };
    py::give(act())
}

/// `_join(timeout)`: whether all tasks were finished in time.
unsafe extern "C-unwind" fn join(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        // SAFETY: called as a method; `count` arguments are in the array.
        let (this, timeout) = unsafe { (shared(object), (count > 0).then(|| *args)) };
        let limit = waiting::limit(timeout)?;
        let (queue, me) = (this.queue()?, this.base.me()?);
        let _busy = this.base.busy();
        let place = this.base.waiting_place(&me);
        loop {
            let ready = || queue.unfinished() == 0;
            let got = waiting::block(&me, limit, &this.base.spin, ready, |patience| {
                let _shown = Waiting::show(&me, this.base.handle.get().slot, place);
                queue.join(patience)
            })?;
            if got != Some(false) {
                return Ok(py::boolean(got.is_some()));
            }
            let lost = queue.lost();
            if !lost.is_empty() {
                return Err(tasks_lost(&this.base, &lost));
            }
        }
    };
    py::give(act())
}

/// Raises what `join` says of tasks that nobody will finish.
fn tasks_lost(this: &Base, lost: &[Lost]) -> py::Raised {
    let who: Vec<String> = lost.iter().map(|l| format!("process {} with {} of them", l.pid, l.tasks)).collect();
    let text = format!(
        "tasks taken from {} will never be finished: {} died before calling task_done()",
        this.title(),
        who.join(", ")
    );
    let pids: Vec<Object> = lost.iter().map(|l| py::integer(u64::from(l.pid))).collect();
    let tasks = lost.iter().map(|l| u64::from(l.tasks)).sum();
    py::raise_with("HF204", &text, &[("pids", py::give(py::tuple(&pids))), ("tasks", py::integer(tasks))])
}

/// `_unpack(...)` of the module: the object that `Parcel._pack` put into a block.
pub use wire::unpack;

/// `_release_cache()` of the module: memory of free blocks goes back to the system.
pub unsafe extern "C-unwind" fn release_cache(_: Object, _: Object) -> Object {
    let act = || -> Result<(), holdfast_core::Error> {
        holdfast_core::Arena::all().iter().try_for_each(|a| a.release_cache())
    };
    py::give(py::detached(act).map(|()| py::none()).map_err(|e| py::raise_core(&e)))
}

/// Adds the classes.
pub fn add_types(module: Object) -> bool {
    let mut methods = base::methods_but_close();
    methods.extend([
        py::keywords(c"put", puts::put),
        py::keywords(c"put_many", puts::put_many),
        py::fast(c"put_nowait", puts::put_nowait),
        py::fast(c"_put_now", puts::put_now),
        py::keywords(c"get", takes::get),
        py::keywords(c"get_nowait", takes::get_nowait),
        py::keywords(c"get_many", takes::get_many),
        py::fast(c"_get_now", takes::get_now),
        py::no_args(c"qsize", qsize),
        py::no_args(c"empty", empty),
        py::no_args(c"full", full),
        py::no_args(c"close", close),
        py::no_args(c"_is_closed", is_closed),
        py::fast(c"_shut", shut),
        py::no_args(c"_counts", counts),
        py::no_args(c"_holders", holders),
        py::no_args(c"_task_done", task_done),
        py::fast(c"_join", join),
    ]);
    let size = core::mem::size_of::<Shared>();
    py::add_type(module, c"holdfast._core.Queue", size, methods, Vec::new(), &[base::dealloc_slot()])
        && parcel::add_types(module)
        && sink::add_types(module)
}
