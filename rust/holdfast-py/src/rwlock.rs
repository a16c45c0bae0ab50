//! `RWLock`: the four calls its Python class is made of.

use crate::base::{self, base, Base};
use crate::lock::{patience, report_death};
use crate::py::{self, Object, PyResult};
use crate::waiting::{self, Limit};
use holdfast_core::arena::{Me, OWNER_MASK};
use holdfast_core::lock::rwlock::RwLock;
use holdfast_core::lock::{mutex, Released, Taken};
use holdfast_core::os::futex::Watch;
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
    end(this, &lock, &me, got, undo)
}

/// The end of an acquire: notes who has the lock now, tells of a dead writer.
fn end(
    this: &Base,
    lock: &RwLock<'_>,
    me: &Me<'_>,
    got: Option<Taken>,
    undo: impl Fn(&RwLock<'_>, &Me<'_>),
) -> PyResult<Object> {
    this.arena().check().map_err(|e| py::raise_core(&e))?;
    let Some(taken) = got else { return Ok(py::boolean(false)) };
    if let Err(closed) = this.slot() {
        undo(lock, me); // another thread closed the object while this one waited
        return Err(closed);
    }
    let place = lock.slot.site.load(SC);
    me.took();
    this.note_taken(me, lock.slot);
    if let Taken::FromDead(owner) = taken {
        report_death(this, lock.slot, owner, place, || {
            me.gave();
            undo(lock, me);
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
        acquire(this, limit, |l, me| l.try_read(me), |l, me, p| l.read_slow(me, p), stop_reading, nobody_writes)
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
            stop_writing,
            // Relaxed: only a hint when to try.
            |l| nobody_writes(l) && l.cells.iter().all(|c| c.load(Ordering::Relaxed) == 0),
        )
    }))
}

fn stop_reading(lock: &RwLock<'_>, me: &Me<'_>) {
    let _ = lock.release_read(me);
}

fn stop_writing(lock: &RwLock<'_>, me: &Me<'_>) {
    let _ = mutex::release(me.id, &lock.slot.word);
}

/// `_attempt_read(again)`: one try of a task; it passes a waiting writer only if it reads already.
unsafe extern "C-unwind" fn attempt_read(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method, with `count` arguments in the array.
    let (this, again) = unsafe { (base(object), (count > 0).then(|| *args)) };
    let act = || {
        let again = again.is_some_and(|a| py::truth(a).unwrap_or(false));
        let (lock, me) = (rwlock(this)?, this.me()?);
        let got = if again { lock.try_read(&me) } else { lock.try_read_as_newcomer(&me) };
        this.forget_place();
        let done = end(this, &lock, &me, got, stop_reading);
        this.forget_place();
        done
    };
    py::give(act())
}

/// `_attempt_word()`: first half of writing: from whom the word came (0: it was free), None if it is not to be had.
unsafe extern "C-unwind" fn attempt_word(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = || {
        let (lock, me) = (rwlock(this)?, this.me()?);
        this.arena().check().map_err(|e| py::raise_core(&e))?;
        Ok(match mutex::try_deep(&me, &lock.slot.word, true) {
            None => py::none(),
            Some(Taken::Free) => py::integer(0),
            Some(Taken::FromDead(owner)) => py::integer(u64::from(owner)),
        })
    };
    py::give(act())
}

fn taken_from(args: *const Object, count: ffi::Py_ssize_t) -> PyResult<Taken> {
    if count != 1 {
        return Err(py::type_error(c"takes what _attempt_word gave"));
    }
    // SAFETY: one argument is in the array.
    Ok(match py::as_u32(unsafe { *args })? {
        0 => Taken::Free,
        owner => Taken::FromDead(owner),
    })
}

/// `_attempt_write(word)`: second half: whether no reader is left.
unsafe extern "C-unwind" fn attempt_write(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = || {
        let (lock, me, taken) = (rwlock(this)?, this.me()?, taken_from(args, count)?);
        let empty = lock.observe_readers(&me, &mut Watch::default(), true);
        this.forget_place();
        let done = end(this, &lock, &me, empty.then_some(taken), stop_writing);
        this.forget_place();
        done
    };
    py::give(act())
}

/// `_abandon_write(word)`: gives the word up.
unsafe extern "C-unwind" fn abandon_write(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = || {
        rwlock(this)?.step_back(&this.me()?, taken_from(args, count)?);
        Ok(py::none())
    };
    py::give(act())
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
        py::fast(c"_attempt_read", attempt_read),
        py::no_args(c"_attempt_word", attempt_word),
        py::fast(c"_attempt_write", attempt_write),
        py::fast(c"_abandon_write", abandon_write),
    ];
    base::add_class(module, c"holdfast._core.RWLock", own, Vec::new())
}
