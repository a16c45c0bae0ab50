//! `Semaphore` and `BoundedSemaphore` (one class; the bound is a flag of the slot).

use crate::awaiting;
use crate::base::{self, base, Base};
use crate::lock::{patience, report_death};
use crate::py::{self, Object, PyResult};
use crate::waiting::{self, Limit};
use holdfast_core::arena::{gave, took, Me};
use holdfast_core::lock::semaphore::Semaphore;
use holdfast_core::lock::{Released, Taken};
use holdfast_core::os::fault;
use holdfast_core::sync::{Ordering, SC};
use holdfast_core::wait::{Waited, Waiting};
use pyo3_ffi as ffi;

fn semaphore(this: &Base) -> PyResult<Semaphore<'static>> {
    Ok(Semaphore { slot: this.slot()?, cells: this.cells() })
}

/// The path without a spill: same thread and same place as last time, and a permit is free.
#[inline(always)]
fn acquire_quickly(this: &Base) -> bool {
    let Some((slot, id, seat)) = this.quick() else { return false };
    if !(Semaphore { slot, cells: this.cells() }).try_fast(id) {
        return false;
    }
    took(seat);
    if !this.note_quickly(slot) {
        this.note_slowly();
    }
    !fault::lost()
}

#[inline(always)]
fn release_quickly(this: &Base) -> bool {
    let Some((slot, id, seat)) = this.quick() else { return false };
    let done = (Semaphore { slot, cells: this.cells() }).release_fast(id);
    if done {
        gave(seat);
    }
    done
}

#[cold]
#[inline(never)]
fn acquire_or_wait(this: &Base) -> Object {
    let attempt = || if acquire_fast(this)? { Ok(true) } else { acquire_slow(this, Limit::Never) };
    py::give(attempt().map(py::boolean))
}

fn acquire_fast(this: &Base) -> PyResult<bool> {
    let semaphore = semaphore(this)?;
    let me = this.me()?;
    if !semaphore.try_fast(me.id) {
        return Ok(false);
    }
    me.took();
    this.note_taken(&me, semaphore.slot);
    if fault::lost() {
        this.arena().check().map_err(|e| py::raise_core(&e))?;
    }
    Ok(true)
}

#[cold]
fn acquire_slow(this: &Base, limit: Limit) -> PyResult<bool> {
    this.arena().check().map_err(|e| py::raise_core(&e))?;
    let semaphore = semaphore(this)?;
    let slot = semaphore.slot;
    let me = this.me()?;
    let _busy = this.busy();
    let got = match semaphore.try_acquire(&me) {
        Some(taken) => Some(taken),
        None if limit == Limit::Now => None,
        None => {
            slot.contended.fetch_add(1, SC);
            let place = this.waiting_place(&me);
            let free = || {
                // Relaxed: only a hint when to try.
                slot.count.load(Ordering::Relaxed) != 0
                    || semaphore.cells.iter().any(|c| c.load(Ordering::Relaxed) == 0)
            };
            let got = waiting::block(&me, limit, &this.spin, free, |patience| {
                if let Some(taken) = semaphore.try_acquire(&me) {
                    return Waited::Done(taken);
                }
                if patience.deadline == Some(0) {
                    return Waited::TimedOut;
                }
                let _shown = Waiting::show(&me, this.handle.get().slot, place);
                semaphore.acquire_slow(&me, patience)
            })?;
            got
        }
    };
    took_over_or_free(this, &me, semaphore, got)
}

/// The end of an acquire that was not quick: notes where the permit was taken, tells of a dead taker.
fn took_over_or_free(this: &Base, me: &Me<'_>, semaphore: Semaphore<'_>, got: Option<Taken>) -> PyResult<bool> {
    this.arena().check().map_err(|e| py::raise_core(&e))?;
    let Some(taken) = got else { return Ok(false) };
    if let Err(closed) = this.slot() {
        let _ = semaphore.release(me); // another thread closed the object while this one waited
        return Err(closed);
    }
    let slot = semaphore.slot;
    let place = slot.site.load(SC);
    me.took();
    this.note_taken(me, slot);
    if let Taken::FromDead(owner) = taken {
        report_death(this, slot, owner, place, || {
            me.gave();
            let _ = semaphore.release(me);
        })?;
    }
    Ok(true)
}

/// Takes a permit if that is possible at once.
fn try_now(this: &Base) -> PyResult<bool> {
    Ok(acquire_quickly(this) || acquire_fast(this)? || acquire_slow(this, Limit::Now)?)
}

/// `_attempt()`: one try of a task that waits; it looks deeper than a first try, and for the task's own place.
unsafe extern "C-unwind" fn attempt(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = || {
        let (semaphore, me) = (semaphore(this)?, this.me()?);
        this.forget_place();
        let done = took_over_or_free(this, &me, semaphore, semaphore.try_deep(&me, true));
        this.forget_place();
        done
    };
    py::give(act().map(py::boolean))
}

/// `async with semaphore`.
unsafe extern "C-unwind" fn enter_async(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    unsafe { awaiting::enter(object, try_now) }
}

/// `acquire_async(timeout=None)`.
unsafe extern "C-unwind" fn acquire_async(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    // SAFETY: called as a method.
    unsafe { awaiting::acquire(object, args, count, keywords, try_now) }
}

/// Leaves `async with semaphore`.
unsafe extern "C-unwind" fn exit_async(object: Object, _: *const Object, _: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let done = release_quickly(this) || release_one(this, true).is_ok();
    // SAFETY: as above.
    unsafe { awaiting::exit(object, done) }
}

#[cold]
#[inline(never)]
fn release_one(this: &Base, leaving_block: bool) -> PyResult<()> {
    let semaphore = semaphore(this)?;
    let me = this.me()?;
    if semaphore.release_fast(me.id) {
        me.gave();
        return Ok(());
    }
    this.arena().check().map_err(|e| py::raise_core(&e))?;
    if leaving_block {
        let inherited = holdfast_core::arena::inherited_seat(this.arena());
        if inherited.is_some_and(|owner| semaphore.has(owner)) {
            let text = format!(
                "this process was forked inside `with` of {}; its parent still holds the permit, so leaving the block here does not give it back",
                this.title()
            );
            return py::warn("HF108", &text, &[]);
        }
    }
    match semaphore.release(&me) {
        Released::ByHolder => Ok(()),
        Released::ForAnother(owner) => {
            me.gave_for(owner);
            semaphore.slot.foreign.fetch_add(1, SC);
            Ok(())
        }
        Released::NotHeld => {
            Err(py::raise("HF103", &format!("semaphore or lock released too many times: {}", this.title())))
        }
    }
}

unsafe extern "C-unwind" fn acquire(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    if count == 0 && keywords.is_null() {
        return if acquire_quickly(this) { py::boolean(true) } else { acquire_or_wait(this) };
    }
    acquire_with(this, args, count, keywords)
}

#[inline(never)]
fn acquire_with(this: &Base, args: *const Object, count: ffi::Py_ssize_t, keywords: Object) -> Object {
    let attempt = || {
        let limit = patience(args, count, keywords)?;
        if acquire_fast(this)? {
            return Ok(true);
        }
        acquire_slow(this, limit)
    };
    py::give(attempt().map(py::boolean))
}

unsafe extern "C-unwind" fn release(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    if release_quickly(this) {
        return py::none();
    }
    py::give(release_one(this, false).map(|()| py::none()))
}

unsafe extern "C-unwind" fn enter(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    if acquire_quickly(this) {
        py::boolean(true)
    } else {
        acquire_or_wait(this)
    }
}

unsafe extern "C-unwind" fn exit(object: Object, _: *const Object, _: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    if release_quickly(this) {
        return py::none();
    }
    py::give(release_one(this, true).map(|()| py::none()))
}

unsafe extern "C-unwind" fn get_value(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let value = || Ok(py::integer(u64::from(semaphore(this)?.value(&this.me()?))));
    py::give(value())
}

/// Adds the class.
pub fn add_types(module: Object) -> bool {
    let own = vec![
        py::keywords(c"acquire", acquire),
        py::no_args(c"release", release),
        py::no_args(c"__enter__", enter),
        py::fast(c"__exit__", exit),
        py::no_args(c"get_value", get_value),
        py::no_args(c"_attempt", attempt),
        py::no_args(c"__aenter__", enter_async),
        py::keywords(c"acquire_async", acquire_async),
        py::fast(c"__aexit__", exit_async),
    ];
    base::add_class(module, c"holdfast._core.Semaphore", own, Vec::new())
}
