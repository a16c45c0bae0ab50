//! `Lock` and `RLock`.

use crate::awaiting;
use crate::base::{self, base, Base};
use crate::py::{self, Object, PyResult};
use crate::waiting::{self, Limit};
use holdfast_core::arena::layout::{flag, kind, Slot};
use holdfast_core::arena::{gave, took, Me, OWNER_MASK};
use holdfast_core::lock::{mutex, rlock, Released, Taken};
use holdfast_core::os::fault;
use holdfast_core::sync::{Ordering, SC};
use holdfast_core::wait::{Waited, Waiting};
use pyo3_ffi as ffi;

/// `block` and `timeout` of an acquire.
pub fn patience(args: *const Object, count: ffi::Py_ssize_t, keywords: Object) -> PyResult<Limit> {
    // `blocking` is what threading's locks and the standard library's proxies call it.
    let [block, timeout, blocking] = py::arguments([c"block", c"timeout", c"blocking"], args, count, keywords)?;
    let blocks = match block.or(blocking) {
        Some(b) => py::truth(b)?,
        None => true,
    };
    let limit = waiting::limit(timeout)?;
    Ok(if blocks { limit } else { Limit::Now })
}

/// Ways of the two kinds of lock.
trait Kind {
    const REENTRANT: bool;
    fn try_fast(slot: &Slot, me: u32) -> bool;
    fn try_acquire(me: &Me<'_>, slot: &Slot) -> Option<Taken>;
    fn release(me: u32, slot: &Slot) -> Released;
}

struct Plain;
struct Reentrant;

impl Kind for Plain {
    const REENTRANT: bool = false;
    #[inline(always)]
    fn try_fast(slot: &Slot, me: u32) -> bool {
        mutex::try_fast(&slot.word, me)
    }
    fn try_acquire(me: &Me<'_>, slot: &Slot) -> Option<Taken> {
        mutex::try_acquire(me, &slot.word)
    }
    fn release(me: u32, slot: &Slot) -> Released {
        mutex::release(me, &slot.word)
    }
}

impl Kind for Reentrant {
    const REENTRANT: bool = true;
    #[inline(always)]
    fn try_fast(slot: &Slot, me: u32) -> bool {
        rlock::try_fast(slot, me)
    }
    fn try_acquire(me: &Me<'_>, slot: &Slot) -> Option<Taken> {
        rlock::try_acquire(me, slot)
    }
    fn release(me: u32, slot: &Slot) -> Released {
        rlock::release(me, slot)
    }
}

/// The path without a spill: same thread and same place as last time, and the lock is free.
#[inline(always)]
fn acquire_quickly<K: Kind>(this: &Base) -> bool {
    let Some((slot, id, seat)) = this.quick() else { return false };
    if !mutex::try_fast(&slot.word, id) {
        return false;
    }
    took(seat);
    if !this.note_quickly(slot) {
        this.note_slowly();
    }
    true
}

#[cold]
#[inline(never)]
fn acquire_or_wait<K: Kind>(this: &Base) -> Object {
    match acquire_fast::<K>(this) {
        Ok(true) => py::boolean(true),
        Ok(false) => py::give(acquire_slow::<K>(this, Limit::Never).map(py::boolean)),
        Err(_) => core::ptr::null_mut(),
    }
}

/// The release that goes with [`acquire_quickly`].
#[inline(always)]
fn release_quickly<K: Kind>(this: &Base) -> bool {
    let Some((slot, id, seat)) = this.quick() else { return false };
    // Relaxed: the depth is ours while the word names us, and the release fails if it does not.
    if K::REENTRANT && slot.count.load(Ordering::Relaxed) != 0 || !mutex::release_fast(&slot.word, id) {
        return false;
    }
    gave(seat);
    true
}

fn acquire_fast<K: Kind>(this: &Base) -> PyResult<bool> {
    let slot = this.slot()?;
    let me = this.me()?;
    if !K::try_fast(slot, me.id) {
        return Ok(false);
    }
    note_level::<K>(this, &me, slot);
    if fault::lost() {
        return Err(lost(this));
    }
    Ok(true)
}

#[inline(always)]
fn note_level<K: Kind>(this: &Base, me: &Me<'_>, slot: &Slot) {
    // Relaxed: only the holder, which is this thread, writes the depth.
    if !K::REENTRANT || slot.count.load(Ordering::Relaxed) == 0 {
        me.took();
        this.note_taken(me, slot);
    }
}

#[cold]
fn lost(this: &Base) -> py::Raised {
    match this.arena().check() {
        Err(e) => py::raise_core(&e),
        Ok(()) => py::raise("HF504", "the shared memory of this program was cut off"),
    }
}

#[cold]
fn acquire_slow<K: Kind>(this: &Base, limit: Limit) -> PyResult<bool> {
    let slot = this.slot()?;
    this.arena().check().map_err(|e| py::raise_core(&e))?;
    let me = this.me()?;
    let _busy = this.busy();
    let got = match K::try_acquire(&me, slot) {
        Some(taken) => Some(taken),
        None if limit == Limit::Now => None,
        None => {
            slot.contended.fetch_add(1, SC);
            let place = this.waiting_place(&me);
            // Relaxed: only a hint when to try.
            let free = || slot.word.load(Ordering::Relaxed) & OWNER_MASK == 0;
            let mut got = None;
            if this.is_fought_over() {
                got = waiting::nap(limit, free, || mutex::try_acquire(&me, &slot.word));
            }
            if got.is_none() {
                got = waiting::block(&me, limit, &this.spin, free, |patience| {
                    if let Some(taken) = mutex::try_acquire(&me, &slot.word) {
                        return Waited::Done(taken);
                    }
                    if patience.deadline == Some(0) {
                        return Waited::TimedOut;
                    }
                    let _shown = Waiting::show(&me, this.handle.get().slot, place);
                    mutex::acquire_slow(&me, &slot.word, &slot.seat, patience)
                })?;
            }
            this.won();
            got
        }
    };
    took_over_or_free::<K>(this, &me, slot, got)
}

/// The end of an acquire that was not quick: notes who holds the lock now, tells of a dead holder.
fn took_over_or_free<K: Kind>(this: &Base, me: &Me<'_>, slot: &Slot, got: Option<Taken>) -> PyResult<bool> {
    this.arena().check().map_err(|e| py::raise_core(&e))?;
    let Some(taken) = got else { return Ok(false) };
    if let Err(closed) = this.slot() {
        let _ = mutex::release(me.id, &slot.word); // another thread closed the object while this one waited
        return Err(closed);
    }
    let place = slot.site.load(SC);
    if K::REENTRANT && matches!(taken, Taken::FromDead(_)) {
        slot.count.store(0, SC);
    }
    note_level::<K>(this, me, slot);
    if let Taken::FromDead(owner) = taken {
        report_death(this, slot, owner, place, || {
            me.gave();
            let _ = mutex::release(me.id, &slot.word);
        })?;
    }
    Ok(true)
}

/// Tells that the holder died; gives the lock back through `undo` if the telling raises.
pub fn report_death(this: &Base, slot: &Slot, owner: u32, place: u32, undo: impl FnOnce()) -> PyResult<()> {
    slot.recoveries.fetch_add(1, SC);
    let (pid, who) = this.the_dead(owner, slot);
    this.dead_pid.set(pid.max(1));
    let site = this.arena().site(place);
    let at = site.as_ref().map_or_else(String::new, |s| format!(", taken at {s}"));
    let text = format!("{who} died holding {}{at}; what it protects may be half done", this.title());
    let fields = [
        ("lock", py::text(&this.title())),
        ("pid", py::integer(u64::from(pid))),
        ("where", site.map_or_else(py::none, |s| py::text(&s))),
    ];
    let told = if slot.flags.load(SC) & flag::RAISE != 0 {
        Err(py::raise_with("HF101", &text, &fields))
    } else {
        py::warn("HF101", &text, &fields)
    };
    if told.is_err() {
        undo();
    }
    told
}

#[cold]
#[inline(never)]
fn release_or_report<K: Kind>(this: &Base, leaving_block: bool) -> Object {
    let act = || {
        let slot = this.slot()?;
        let me = this.me()?;
        release_slow::<K>(this, &me, slot, leaving_block)
    };
    py::give(act().map(|()| py::none()))
}

#[cold]
fn release_slow<K: Kind>(this: &Base, me: &Me<'_>, slot: &Slot, leaving_block: bool) -> PyResult<()> {
    this.arena().check().map_err(|e| py::raise_core(&e))?;
    let owner = slot.word.load(SC) & OWNER_MASK;
    if owner != 0 && owner != me.id {
        if leaving_block && this.is_inherited(owner) {
            let text = format!(
                "this process was forked inside `with` of {}; its parent still holds it, so leaving the block here does not open it",
                this.title()
            );
            return py::warn("HF108", &text, &[]);
        }
        if K::REENTRANT {
            return Err(py::raise(
                "HF107",
                &format!(
                    "attempt to release recursive lock not owned by thread: {} is held by {}",
                    this.title(),
                    this.person(owner)
                ),
            ));
        }
        if slot.flags.load(SC) & flag::STRICT != 0 {
            return Err(py::raise("HF102", &foreign_text(this, me, owner)));
        }
    }
    let depth = if K::REENTRANT && owner == me.id { slot.count.load(SC) } else { 0 };
    match K::release(me.id, slot) {
        Released::ByHolder => {
            if depth == 0 {
                me.gave();
            }
            Ok(())
        }
        Released::NotHeld if K::REENTRANT => Err(py::raise(
            "HF107",
            &format!("attempt to release recursive lock not owned by thread: nobody holds {}", this.title()),
        )),
        Released::NotHeld => Err(py::raise(
            "HF103",
            &format!("semaphore or lock released too many times: nobody holds {}", this.title()),
        )),
        Released::ForAnother(owner) => {
            let text = foreign_text(this, me, owner);
            me.gave_for(owner);
            slot.foreign.fetch_add(1, SC);
            py::warn("HF102", &text, &[("lock", py::text(&this.title()))])
        }
    }
}

impl Base {
    /// A thread in words.
    pub fn person(&self, owner: u32) -> String {
        let who = self.arena().holder(owner);
        if who.pid == 0 {
            return "a process that has ended".into();
        }
        let name = if who.process.is_empty() { String::new() } else { format!(" ({})", who.process) };
        format!("thread {:?} of process {}{name}", who.thread, who.pid)
    }
}

fn foreign_text(this: &Base, me: &Me<'_>, owner: u32) -> String {
    format!("{} released {} although {} holds it", this.person(me.id), this.title(), this.person(owner))
}

unsafe extern "C-unwind" fn acquire<K: Kind>(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    if count == 0 && keywords.is_null() {
        return if acquire_quickly::<K>(this) && !fault::lost() {
            py::boolean(true)
        } else {
            acquire_or_wait::<K>(this)
        };
    }
    acquire_with::<K>(this, args, count, keywords)
}

#[inline(never)]
fn acquire_with<K: Kind>(this: &Base, args: *const Object, count: ffi::Py_ssize_t, keywords: Object) -> Object {
    let attempt = |this: &Base| {
        let limit = patience(args, count, keywords)?;
        if acquire_fast::<K>(this)? {
            return Ok(true);
        }
        acquire_slow::<K>(this, limit)
    };
    py::give(attempt(this).map(py::boolean))
}

unsafe extern "C-unwind" fn release<K: Kind>(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    if release_quickly::<K>(this) {
        py::none()
    } else {
        release_or_report::<K>(this, false)
    }
}

unsafe extern "C-unwind" fn enter<K: Kind>(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    if acquire_quickly::<K>(this) && !fault::lost() {
        py::boolean(true)
    } else {
        acquire_or_wait::<K>(this)
    }
}

unsafe extern "C-unwind" fn exit<K: Kind>(object: Object, _: *const Object, _: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    if release_quickly::<K>(this) {
        py::none()
    } else {
        release_or_report::<K>(this, true)
    }
}

/// Takes the lock if that is possible at once.
fn try_now<K: Kind>(this: &Base) -> PyResult<bool> {
    if acquire_quickly::<K>(this) && !fault::lost() {
        return Ok(true);
    }
    Ok(acquire_fast::<K>(this)? || acquire_slow::<K>(this, Limit::Now)?)
}

/// `_attempt()`: one try of a task that waits; it looks deeper than a first try, and for the task's own place.
unsafe extern "C-unwind" fn attempt<K: Kind>(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = || {
        let (slot, me) = (this.slot()?, this.me()?);
        this.forget_place();
        let got = mutex::try_deep(&me, &slot.word, true);
        let done = took_over_or_free::<K>(this, &me, slot, got);
        this.forget_place();
        done
    };
    py::give(act().map(py::boolean))
}

/// `async with lock`.
unsafe extern "C-unwind" fn enter_async(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    unsafe { awaiting::enter(object, try_now::<Plain>) }
}

/// `acquire_async(timeout=None)`.
unsafe extern "C-unwind" fn acquire_async(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    // SAFETY: called as a method.
    unsafe { awaiting::acquire(object, args, count, keywords, try_now::<Plain>) }
}

/// Leaves `async with lock`.
unsafe extern "C-unwind" fn exit_async(object: Object, _: *const Object, _: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let done = release_quickly::<Plain>(this) || {
        let answer = release_or_report::<Plain>(this, true);
        py::drop_ref(answer);
        !answer.is_null()
    };
    // SAFETY: as above.
    unsafe { awaiting::exit(object, done) }
}

unsafe extern "C-unwind" fn locked(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    py::give(this.slot().map(|s| py::boolean(s.word.load(SC) & OWNER_MASK != 0)))
}

/// `_is_mine()`: whether the calling thread holds it.
unsafe extern "C-unwind" fn is_mine(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    py::give(held_by(unsafe { base(object) }).map(py::boolean))
}

/// `_depth()`: how often the calling thread has taken it.
unsafe extern "C-unwind" fn depth(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let depth = || {
        let slot = this.slot()?;
        let mine = slot.word.load(SC) & OWNER_MASK == this.me()?.id;
        Ok(py::integer(if mine { u64::from(slot.count.load(SC)) + 1 } else { 0 }))
    };
    py::give(depth())
}

fn methods<K: Kind>() -> Vec<ffi::PyMethodDef> {
    vec![
        py::keywords(c"acquire", acquire::<K>),
        py::no_args(c"release", release::<K>),
        py::no_args(c"__enter__", enter::<K>),
        py::fast(c"__exit__", exit::<K>),
        py::no_args(c"locked", locked),
        py::no_args(c"_is_mine", is_mine),
        py::no_args(c"_depth", depth),
        py::no_args(c"_attempt", attempt::<K>),
    ]
}

/// Adds the classes.
pub fn add_types(module: Object) -> bool {
    let mut plain = methods::<Plain>();
    plain.extend([
        py::no_args(c"__aenter__", enter_async),
        py::keywords(c"acquire_async", acquire_async),
        py::fast(c"__aexit__", exit_async),
    ]);
    base::add_class(module, c"holdfast._core.Lock", plain, Vec::new())
        && base::add_class(module, c"holdfast._core.RLock", methods::<Reentrant>(), Vec::new())
}

/// Whether the object is a re-entrant lock.
fn is_reentrant(this: &Base) -> bool {
    this.slot().is_ok_and(|s| s.state.load(SC) & 0xff != kind::LOCK)
}

/// Takes a lock of either kind, as `with` does.
pub fn enter_either(this: &Base) -> Object {
    if acquire_quickly::<Plain>(this) && !fault::lost() {
        return py::boolean(true);
    }
    if is_reentrant(this) {
        acquire_or_wait::<Reentrant>(this)
    } else {
        acquire_or_wait::<Plain>(this)
    }
}

/// Releases a lock of either kind, as leaving `with` does.
pub fn exit_either(this: &Base, leaving_block: bool) -> Object {
    if release_quickly::<Reentrant>(this) {
        return py::none();
    }
    if is_reentrant(this) {
        release_or_report::<Reentrant>(this, leaving_block)
    } else {
        release_or_report::<Plain>(this, leaving_block)
    }
}

/// `acquire(block, timeout)` of a lock of either kind.
pub fn acquire_either(this: &Base, args: *const Object, count: ffi::Py_ssize_t, keywords: Object) -> Object {
    if is_reentrant(this) {
        acquire_with::<Reentrant>(this, args, count, keywords)
    } else {
        acquire_with::<Plain>(this, args, count, keywords)
    }
}

/// Whether the calling thread holds the lock.
pub fn held_by(this: &Base) -> PyResult<bool> {
    Ok(this.slot()?.word.load(SC) & OWNER_MASK == this.me()?.id)
}

/// Releases a held lock whatever its depth; the depth less one, for [`take_again`].
pub fn release_all(this: &Base) -> PyResult<u32> {
    let slot = this.slot()?;
    // Relaxed: the lock is held by this thread, which alone writes the depth.
    let depth = slot.count.load(Ordering::Relaxed);
    // Relaxed: as above; the release below publishes it.
    slot.count.store(0, Ordering::Relaxed);
    if !release_quickly::<Plain>(this) {
        let me = this.me()?;
        release_slow::<Plain>(this, &me, slot, false)?;
    }
    Ok(depth)
}

/// Takes the lock again as deep as it was.
pub fn take_again(this: &Base, depth: u32) -> PyResult<()> {
    if !acquire_quickly::<Plain>(this) && !acquire_fast::<Plain>(this)? {
        acquire_slow::<Plain>(this, Limit::Never)?;
    }
    set_depth(this, depth)
}

/// Makes a held lock as deep as it was.
pub fn set_depth(this: &Base, depth: u32) -> PyResult<()> {
    // Relaxed: the lock is held by this thread, which alone writes the depth.
    this.slot()?.count.store(depth, Ordering::Relaxed);
    Ok(())
}

/// Takes the lock of a slot for a short native section; for values. Whether it must be released again.
pub fn hold(this: &Base) -> PyResult<bool> {
    let slot = this.slot()?;
    let me = this.me()?;
    if mutex::try_fast(&slot.word, me.id) {
        return Ok(true);
    }
    // Relaxed: the word names us only if we wrote it.
    if slot.word.load(Ordering::Relaxed) & OWNER_MASK == me.id {
        return Ok(false);
    }
    acquire_slow::<Plain>(this, Limit::Never)
}
