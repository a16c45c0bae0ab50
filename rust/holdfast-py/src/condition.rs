//! `Condition`: the list of waiters and the lock around it.

use crate::base::{self, base, Base};
use crate::lock;
use crate::py::{self, Object, PyResult};
use crate::waiting;
use holdfast_core::lock::condition::{Condition, Place};
use holdfast_core::sync::Ordering;
use holdfast_core::wait::Waiting;
use pyo3_ffi as ffi;
use std::cell::Cell;
use std::ffi::{c_int, c_void, CStr};

#[repr(C)]
struct WithLock {
    base: Base,
    /// A strong reference to the lock; null until `_bind`.
    lock: Cell<Object>,
}

/// The condition behind `self` and its lock.
///
/// # Safety
/// `object` is an instance of this class.
unsafe fn parts<'a>(object: Object) -> PyResult<(&'a Base, &'a Base)> {
    // SAFETY: by the caller's promise; the lock is kept alive by the reference in it.
    unsafe {
        let this = &*object.cast::<WithLock>();
        if this.lock.get().is_null() {
            return Err(base::closed());
        }
        Ok((&this.base, base(this.lock.get())))
    }
}

fn condition(this: &Base) -> PyResult<Condition<'static>> {
    Ok(Condition { slot: this.slot()?, cells: this.cells() })
}

/// `_bind(lock)`: ties it to a holdfast lock.
unsafe extern "C-unwind" fn bind(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    if count != 1 {
        py::type_error(c"_bind takes a lock");
        return core::ptr::null_mut();
    }
    // SAFETY: called as a method; the Python class passes a lock of this module.
    unsafe {
        let this = &*object.cast::<WithLock>();
        ffi::Py_IncRef(*args);
        py::drop_ref(this.lock.replace(*args));
    }
    py::none()
}

unsafe extern "C-unwind" fn get_lock(object: Object, _: *mut c_void) -> Object {
    // SAFETY: called as a getter.
    let lock = unsafe { &*object.cast::<WithLock>() }.lock.get();
    if lock.is_null() {
        return py::none();
    }
    // SAFETY: alive as long as the condition.
    unsafe { ffi::Py_IncRef(lock) };
    lock
}

fn check_held(lock: &Base, what: &CStr) -> PyResult<()> {
    if lock::held_by(lock)? {
        return Ok(());
    }
    // SAFETY: the GIL is held; the message is copied.
    unsafe { ffi::PyErr_SetString(ffi::PyExc_AssertionError, what.as_ptr()) };
    Err(py::Raised)
}

unsafe extern "C-unwind" fn acquire(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    // SAFETY: called as a method.
    py::give(unsafe { parts(object) }.and_then(|(_, l)| py::checked(lock::acquire_either(l, args, count, keywords))))
}

unsafe extern "C-unwind" fn release(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    py::give(unsafe { parts(object) }.and_then(|(_, l)| py::checked(lock::exit_either(l, false))))
}

unsafe extern "C-unwind" fn enter(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    py::give(unsafe { parts(object) }.and_then(|(_, l)| py::checked(lock::enter_either(l))))
}

unsafe extern "C-unwind" fn exit(object: Object, _: *const Object, _: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method.
    py::give(unsafe { parts(object) }.and_then(|(_, l)| py::checked(lock::exit_either(l, true))))
}

/// `wait(timeout=None)`: releases the lock, sleeps until notified, takes the lock again; whether it was notified.
unsafe extern "C-unwind" fn wait(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    let act = || {
        let [timeout] = py::arguments([c"timeout"], args, count, keywords)?;
        let limit = waiting::limit(timeout)?;
        // SAFETY: called as a method.
        let (this, lock) = unsafe { parts(object) }?;
        check_held(lock, c"must acquire() condition before using wait()")?;
        let condition = condition(this)?;
        let me = this.me()?;
        let (_busy, _lock_busy) = (this.busy(), lock.busy());
        let site = this.waiting_place(&me);
        let place = condition.enlist(&me);
        let depth = match lock::release_all(lock) {
            Ok(depth) => depth,
            Err(raised) => {
                let _ = condition.delist(place);
                return Err(raised);
            }
        };
        let slept = sleep(this, &me, condition, place, limit, site);
        let error = slept.is_err().then(py::take_error);
        let again = lock::take_again(lock, depth);
        let notified = condition.delist(place);
        match (error, again) {
            (Some(error), _) => Err(py::raise_again(error)),
            (None, Err(raised)) => Err(raised),
            (None, Ok(())) => Ok(py::boolean(notified)),
        }
    };
    py::give(act())
}

fn sleep(
    this: &Base,
    me: &holdfast_core::Me<'_>,
    condition: Condition<'_>,
    place: Place,
    limit: waiting::Limit,
    site: u32,
) -> PyResult<()> {
    let done = || match place {
        // Relaxed: only a hint; `sleep` looks again.
        Place::Pair(i) => condition.cells[2 * i + 1].load(Ordering::Relaxed) & 1 == 0,
        Place::Gate(_) => false,
    };
    waiting::block(me, limit, &this.spin, done, |patience| {
        let _shown = Waiting::show(me, this.handle.get().slot, site);
        condition.sleep(place, patience)
    })
    .map(|_| ())
}

fn notify_some(object: Object, n: u32) -> PyResult<Object> {
    // SAFETY: called as a method.
    let (this, lock) = unsafe { parts(object) }?;
    check_held(lock, c"must acquire() condition before using notify()")?;
    condition(this)?.notify(&this.me()?, n);
    Ok(py::none())
}

/// `notify(n=1)`: wakes up to `n` waiters.
unsafe extern "C-unwind" fn notify(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    let act = || {
        let [n] = py::arguments([c"n"], args, count, keywords)?;
        let n = n.map_or(Ok(1), py::as_u64)?.min(u64::from(u32::MAX)) as u32;
        notify_some(object, n)
    };
    py::give(act())
}

unsafe extern "C-unwind" fn notify_all(object: Object, _: Object) -> Object {
    py::give(notify_some(object, u32::MAX))
}

unsafe extern "C-unwind" fn waiters(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = || Ok(py::integer(u64::from(condition(this)?.waiting(&this.me()?))));
    py::give(act())
}

/// `_enlist()`: puts the calling thread on the list and releases the lock: whether it has a pair, its mark, the depth.
unsafe extern "C-unwind" fn enlist(object: Object, _: Object) -> Object {
    let act = || {
        // SAFETY: called as a method.
        let (this, lock) = unsafe { parts(object) }?;
        check_held(lock, c"must acquire() condition before using wait_async()")?;
        let condition = condition(this)?;
        let place = condition.enlist(&this.me()?);
        match lock::release_all(lock) {
            Ok(depth) => {
                let (paired, mark) = match place {
                    Place::Pair(i) => (true, i as u64),
                    Place::Gate(value) => (false, u64::from(value)),
                };
                py::tuple(&[py::boolean(paired), py::integer(mark), py::integer(u64::from(depth))])
            }
            Err(raised) => {
                let _ = condition.delist(place);
                Err(raised)
            }
        }
    };
    py::give(act())
}

fn place_of(args: *const Object, count: ffi::Py_ssize_t) -> PyResult<Place> {
    if count < 2 {
        return Err(py::type_error(c"a place and its mark are wanted"));
    }
    // SAFETY: at least two arguments are in the array.
    let (paired, mark) = unsafe { (*args, *args.add(1)) };
    let mark = py::as_u32(mark)?;
    Ok(if py::truth(paired)? { Place::Pair(mark as usize) } else { Place::Gate(mark) })
}

/// `_notified(paired, mark)`: whether the waiter at that place was notified.
unsafe extern "C-unwind" fn notified(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        // SAFETY: called as a method.
        let (this, _) = unsafe { parts(object) }?;
        this.arena().check().map_err(|e| py::raise_core(&e))?;
        Ok(py::boolean(condition(this)?.was_notified(place_of(args, count)?)))
    };
    py::give(act())
}

/// `_delist(paired, mark, depth)`: takes the waiter off the list, with the lock held again; whether it was notified.
unsafe extern "C-unwind" fn delist(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        // SAFETY: called as a method.
        let (this, lock) = unsafe { parts(object) }?;
        let place = place_of(args, count)?;
        if count > 2 {
            // SAFETY: three arguments are in the array.
            lock::set_depth(lock, py::as_u32(unsafe { *args.add(2) })?)?;
        }
        Ok(py::boolean(condition(this)?.delist(place)))
    };
    py::give(act())
}

unsafe extern "C-unwind" fn dealloc(object: Object) {
    // SAFETY: called once, with the last reference gone.
    unsafe {
        py::drop_ref((*object.cast::<WithLock>()).lock.replace(core::ptr::null_mut()));
        base::dealloc(object);
    }
}

/// Adds the class.
pub fn add_types(module: Object) -> bool {
    let mut methods = base::methods();
    methods.extend([
        py::fast(c"_bind", bind),
        py::keywords(c"acquire", acquire),
        py::no_args(c"release", release),
        py::no_args(c"__enter__", enter),
        py::fast(c"__exit__", exit),
        py::keywords(c"wait", wait),
        py::keywords(c"notify", notify),
        py::no_args(c"notify_all", notify_all),
        py::no_args(c"_waiting", waiters),
        py::no_args(c"_enlist", enlist),
        py::fast(c"_notified", notified),
        py::fast(c"_delist", delist),
    ]);
    let lock = ffi::PyGetSetDef {
        name: c"_lock".as_ptr(),
        // SAFETY: the calling conventions match; "C" and "C-unwind" functions are called alike.
        get: Some(unsafe {
            core::mem::transmute::<unsafe extern "C-unwind" fn(Object, *mut c_void) -> Object, ffi::getter>(get_lock)
        }),
        set: None,
        doc: c"The lock.".as_ptr(),
        closure: core::ptr::null_mut(),
    };
    let slots: [(c_int, *mut c_void); 1] = [(ffi::Py_tp_dealloc, dealloc as *const () as *mut _)];
    py::add_type(module, c"holdfast._core.Condition", core::mem::size_of::<WithLock>(), methods, vec![lock], &slots)
}
