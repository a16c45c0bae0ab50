//! `RWLock`: the four calls its Python class is made of.

use crate::base::{self, base, Base};
use crate::lock::{patience, report_death};
use crate::py::{self, Object, PyResult};
use crate::waiting::{self, Limit};
use holdfast_core::arena::{Me, OWNER_MASK};
use holdfast_core::lock::rwlock::RwLock;
use holdfast_core::lock::{mutex, Released, Taken};
use holdfast_core::sync::{Ordering, SC};
use holdfast_core::wait::{Patience, Waited, Waiting};
use pyo3_ffi as ffi;

fn rwlock(this: &Base) -> PyResult<RwLock<'static>> {
    Ok(RwLock { slot: this.slot()?, cells: this.cells() })
}

fn acquire(
    this: &Base,
    limit: Limit,
    now: impl Fn(&RwLock<'_>, &Me<'_>) -> Option<Taken>,
    later: impl Fn(&RwLock<'_>, &Me<'_>, &mut Patience<'_>) -> Waited<Taken>,
    undo: impl Fn(&RwLock<'_>, &Me<'_>),
    free: impl Fn(&RwLock<'_>) -> bool,
) -> PyResult<Object> {
    let lock = rwlock(this)?;
    let me = this.me()?;
    let _busy = this.busy();
    let got = match now(&lock, &me) {
        Some(taken) => Some(taken),
        None if limit == Limit::Now => None,
        None => {
            lock.slot.contended.fetch_add(1, SC);
            let place = this.waiting_place(&me);
            let got = waiting::block(
                &me,
                limit,
                &this.spin,
                || free(&lock),
                |patience| {
                    let _shown = Waiting::show(&me, this.handle.get().slot, place);
                    later(&lock, &me, patience)
                },
            )?;
            got
        }
    };
    this.arena().check().map_err(|e| py::raise_core(&e))?;
    let Some(taken) = got else { return Ok(py::boolean(false)) };
    if let Err(closed) = this.slot() {
        undo(&lock, &me); // another thread closed the object while this one waited
        return Err(closed);
    }
    let place = lock.slot.site.load(SC);
    me.took();
    this.note_taken(&me, lock.slot);
    if let Taken::FromDead(owner) = taken {
        report_death(this, lock.slot, owner, place, || {
            me.gave();
            undo(&lock, &me);
        })?;
    }
    Ok(py::boolean(true))
}

fn nobody_writes(lock: &RwLock<'_>) -> bool {
    // Relaxed, here and in `acquire_write`: only a hint when to try.
    lock.slot.word.load(Ordering::Relaxed) & OWNER_MASK == 0
}

unsafe extern "C-unwind" fn acquire_read(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    py::give(patience(args, count, keywords).and_then(|limit| {
        acquire(
            this,
            limit,
            |l, me| l.try_read(me),
            |l, me, p| l.read_slow(me, p),
            |l, me| {
                let _ = l.release_read(me);
            },
            nobody_writes,
        )
    }))
}

unsafe extern "C-unwind" fn acquire_write(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    py::give(patience(args, count, keywords).and_then(|limit| {
        acquire(
            this,
            limit,
            |l, me| l.try_write(me),
            |l, me, p| l.write_slow(me, p),
            |l, me| {
                let _ = mutex::release(me.id, &l.slot.word);
            },
            // Relaxed: only a hint when to try.
            |l| nobody_writes(l) && l.cells.iter().all(|c| c.load(Ordering::Relaxed) == 0),
        )
    }))
}

fn forked(this: &Base) -> PyResult<Object> {
    let text = format!(
        "this process was forked inside `with` of {}; its parent still holds it, so leaving the block here does not open it",
        this.title()
    );
    py::warn("HF108", &text, &[]).map(|()| py::none())
}

fn not_held(this: &Base) -> py::Raised {
    py::raise("HF103", &format!("lock released too many times: {}", this.title()))
}

unsafe extern "C-unwind" fn release_read(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let release = || {
        let lock = rwlock(this)?;
        let me = this.me()?;
        let inherited = holdfast_core::arena::inherited_seat(this.arena());
        if !lock.reads(me.id) && inherited.is_some_and(|owner| lock.reads(owner)) {
            return forked(this);
        }
        match lock.release_read(&me) {
            Released::ByHolder => me.gave(),
            Released::ForAnother(owner) => me.gave_for(owner),
            Released::NotHeld => return Err(not_held(this)),
        }
        Ok(py::none())
    };
    py::give(release())
}

unsafe extern "C-unwind" fn release_write(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let release = || {
        let lock = rwlock(this)?;
        let me = this.me()?;
        let owner = lock.slot.word.load(SC) & OWNER_MASK;
        if owner == 0 {
            return Err(not_held(this));
        }
        if owner != me.id {
            if this.is_inherited(owner) {
                return forked(this);
            }
            return Err(py::raise(
                "HF107",
                &format!("{} is written by {}, not by this thread", this.title(), this.person(owner)),
            ));
        }
        let _ = mutex::release(me.id, &lock.slot.word);
        me.gave();
        Ok(py::none())
    };
    py::give(release())
}

unsafe extern "C-unwind" fn readers(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let count = || Ok(py::integer(rwlock(this)?.readers(&this.me()?).len() as u64));
    py::give(count())
}

/// Adds the class.
pub fn add_types(module: Object) -> bool {
    let own = vec![
        py::keywords(c"_acquire_read", acquire_read),
        py::keywords(c"_acquire_write", acquire_write),
        py::no_args(c"_release_read", release_read),
        py::no_args(c"_release_write", release_write),
        py::no_args(c"_readers", readers),
    ];
    base::add_class(module, c"holdfast._core.RWLock", own, Vec::new())
}
