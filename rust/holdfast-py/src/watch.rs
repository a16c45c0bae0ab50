//! Functions by which `holdfast.aio` talks to the helper thread: desks (one an event loop) and tickets (one an interest).

use crate::base::{base, Base};
use crate::py::{self, Object, PyResult};
use crate::waiting::{self, Limit};
use holdfast_core::arena::layout::kind;
use holdfast_core::lock::barrier::Barrier;
use holdfast_core::lock::condition::{Condition, Place};
use holdfast_core::lock::rwlock::RwLock;
use holdfast_core::lock::semaphore::Semaphore;
use holdfast_core::os::clock;
use holdfast_core::ring::queue::Queue;
use holdfast_core::sync::SC;
use holdfast_core::watch::engine::{Entry, Order};
use holdfast_core::watch::helper;
use holdfast_core::watch::interest::{
    Gate, Happens, Interest, Item, Judged, Kept, NoReaders, Notified, Permit, Reading, Room, Word,
};
use pyo3_ffi as ffi;

/// What of an object is waited for, as `holdfast.aio` counts it.
mod operation {
    /// The lock, a permit, the writer's word.
    pub const TAKE: u32 = 0;
    pub const READ: u32 = 1;
    pub const NO_READERS: u32 = 2;
    pub const HAPPENS: u32 = 3;
    /// Mark: the waiter's pair.
    pub const NOTIFIED: u32 = 4;
    /// Mark: what the gate of a condition or a barrier was.
    pub const GATE: u32 = 5;
    /// Mark: the party's pair.
    pub const JUDGED: u32 = 6;
    /// An item of a queue.
    pub const ITEM: u32 = 7;
    /// Room in a queue.
    pub const ROOM: u32 = 8;
}

fn failed(error: &std::io::Error) -> py::Raised {
    let parts = [
        py::integer(error.raw_os_error().unwrap_or(0) as u64),
        py::text(&format!("this process cannot wait for its tasks: {error}")),
    ];
    if let Ok(args) = py::tuple(&parts) {
        // SAFETY: the GIL is held; an OSError is made of number and text.
        unsafe { ffi::PyErr_SetObject(ffi::PyExc_OSError, args) };
        py::drop_ref(args);
    }
    py::Raised
}

/// `open_desk()`: number and descriptor.
unsafe extern "C-unwind" fn open_desk(_: Object, _: Object) -> Object {
    let open = || {
        let (number, fd) = helper::open_desk().map_err(|e| failed(&e))?;
        py::tuple(&[py::integer(number), py::integer(fd as u64)])
    };
    py::give(open())
}

fn numbers<const N: usize>(args: *const Object, count: ffi::Py_ssize_t) -> PyResult<[u64; N]> {
    if count != N as ffi::Py_ssize_t {
        return Err(py::type_error(c"wrong number of arguments"));
    }
    let mut found = [0; N];
    for (i, number) in found.iter_mut().enumerate() {
        // SAFETY: `count` arguments are in the array.
        *number = py::as_u64(unsafe { *args.add(i) })?;
    }
    Ok(found)
}

unsafe extern "C-unwind" fn close_desk(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    py::give(numbers(args, count).map(|[desk]| {
        helper::close_desk(desk);
        py::none()
    }))
}

/// `desk_news(desk)`: the tickets about which the helper left word.
unsafe extern "C-unwind" fn desk_news(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    py::give(numbers(args, count).and_then(|[desk]| {
        let tickets = helper::desk(desk).map_or_else(Vec::new, |desk| desk.take());
        py::tuple(&tickets.into_iter().map(py::integer).collect::<Vec<_>>())
    }))
}

fn interest(this: &Base, what: u32, mark: u32) -> PyResult<Box<dyn Interest>> {
    let (slot, cells) = (this.slot()?, this.cells());
    let of = slot.state.load(SC) & 0xff;
    if of == kind::QUEUE {
        let queue = Queue::at(this.arena(), this.handle.get().slot).map_err(|e| py::raise_core(&e))?;
        return match what {
            operation::ITEM => Ok(Box::new(Item(queue))),
            operation::ROOM => Ok(Box::new(Room(queue))),
            _ => Err(py::type_error(c"nobody can wait for this")),
        };
    }
    let (condition, barrier) = (Condition { slot, cells }, Barrier { slot, cells });
    Ok(match (of, what) {
        (kind::SEMAPHORE, operation::TAKE) => Box::new(Permit(Semaphore { slot, cells })),
        (_, operation::TAKE) => Box::new(Word(slot)),
        (kind::RWLOCK, operation::READ) => Box::new(Reading(RwLock { slot, cells })),
        (kind::RWLOCK, operation::NO_READERS) => Box::new(NoReaders(RwLock { slot, cells })),
        (kind::EVENT, operation::HAPPENS) => Box::new(Happens(slot, mark)),
        (kind::CONDITION, operation::NOTIFIED) => Box::new(Notified(condition, Place::Pair(mark as usize))),
        (kind::CONDITION, operation::GATE) => Box::new(Notified(condition, Place::Gate(mark))),
        (kind::BARRIER, operation::GATE) => Box::new(Gate(barrier, mark)),
        (kind::BARRIER, operation::JUDGED) => Box::new(Judged(barrier, this.me()?.id, mark as usize)),
        _ => return Err(py::type_error(c"nobody can wait for this")),
    })
}

/// `watch(desk, object, operation, mark)`: a ticket.
unsafe extern "C-unwind" fn watch(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        if count != 4 {
            return Err(py::type_error(c"watch takes desk, object, operation, mark"));
        }
        // SAFETY: four arguments are in the array; the second is one of our objects.
        let (args, this) = unsafe { (core::slice::from_raw_parts(args, 4), base(*args.add(1))) };
        let desk = helper::desk(py::as_u64(args[0])?).ok_or_else(|| py::type_error(c"a desk that is closed"))?;
        let what = interest(this, py::as_u32(args[2])?, py::as_u32(args[3])?)?;
        let slot = this.slot()?;
        let kept = Kept::new(this.arena(), this.handle.get(), slot.state.load(SC) & 0xff);
        let kept = kept.map_err(|e| py::raise_core(&e))?;
        slot.contended.fetch_add(1, SC);
        let ticket = helper::new_ticket();
        helper::submit(Order::Add(Entry::new(ticket, what, desk, Some(kept)))).map_err(|e| failed(&e))?;
        Ok(py::integer(ticket))
    };
    py::give(act())
}

/// `watch_again(ticket, got, mark)`: the loop looked; whether it took something.
unsafe extern "C-unwind" fn watch_again(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    py::give(numbers(args, count).and_then(|[ticket, got, mark]| {
        helper::submit(Order::Again(ticket, got != 0, mark as u32)).map_err(|e| failed(&e))?;
        Ok(py::none())
    }))
}

/// `unwatch(ticket)`: nobody waits for it any more.
unsafe extern "C-unwind" fn unwatch(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    py::give(numbers(args, count).and_then(|[ticket]| {
        helper::submit(Order::Remove(ticket)).map_err(|e| failed(&e))?;
        Ok(py::none())
    }))
}

/// `helper_runs()`: whether the helper thread is there.
unsafe extern "C-unwind" fn helper_runs(_: Object, _: Object) -> Object {
    py::boolean(helper::is_running())
}

/// `seconds(timeout)`: a timeout as the blocking calls understand it; None: for ever.
unsafe extern "C-unwind" fn seconds(_: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: `count` arguments are in the array.
    let timeout = (count > 0).then(|| unsafe { *args });
    let read = || {
        let left = match waiting::limit(timeout)? {
            Limit::Never => return Ok(py::none()),
            Limit::Now => 0.0,
            Limit::Until(at) => at.saturating_sub(clock::now_ns()) as f64 / 1e9,
        };
        // SAFETY: the GIL is held.
        py::checked(unsafe { ffi::PyFloat_FromDouble(left) })
    };
    py::give(read())
}

/// The functions.
pub fn methods() -> Vec<ffi::PyMethodDef> {
    vec![
        py::no_args(c"open_desk", open_desk),
        py::fast(c"close_desk", close_desk),
        py::fast(c"desk_news", desk_news),
        py::fast(c"watch", watch),
        py::fast(c"watch_again", watch_again),
        py::fast(c"unwatch", unwatch),
        py::no_args(c"helper_runs", helper_runs),
        py::fast(c"seconds", seconds),
    ]
}
