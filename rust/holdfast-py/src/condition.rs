//! `Condition`: the list of waiters; the lock around it is the Python class's.

use crate::base::{self, base, Base};
use crate::py::{self, Object, PyResult};
use crate::waiting;
use holdfast_core::lock::condition::{Condition, Place};
use holdfast_core::sync::Ordering;
use holdfast_core::wait::{Waited, Waiting};
use pyo3_ffi as ffi;

const AT_GATE: u64 = 1 << 32;

fn condition(this: &Base) -> PyResult<Condition<'static>> {
    Ok(Condition { slot: this.slot()?, cells: this.cells() })
}

fn place_of(this: &Base, number: Object) -> PyResult<Place> {
    let number = py::as_u64(number)?;
    if number >= AT_GATE {
        return Ok(Place::Gate((number - AT_GATE) as u32));
    }
    if number as usize * 2 + 1 >= this.cells().len() {
        return Err(py::type_error(c"not a place in this condition"));
    }
    Ok(Place::Pair(number as usize))
}

/// `_enlist()`: the caller's place in the list.
unsafe extern "C-unwind" fn enlist(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = || {
        Ok(py::integer(match condition(this)?.enlist(&this.me()?) {
            Place::Pair(i) => i as u64,
            Place::Gate(value) => AT_GATE + u64::from(value),
        }))
    };
    py::give(act())
}

/// `_sleep(place, timeout)`: until notified or the time is over.
unsafe extern "C-unwind" fn sleep(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method; `count` arguments are in the array.
    let (this, args) = unsafe { (base(object), core::slice::from_raw_parts(args, count as usize)) };
    let act = |this: &Base| {
        let [number, timeout] = args else { return Err(py::type_error(c"_sleep takes place and timeout")) };
        let condition = condition(this)?;
        let place = place_of(this, *number)?;
        let limit = waiting::limit(Some(*timeout))?;
        let me = this.me()?;
        let site = waiting::here(&me);
        let shown = Waiting::show(&me, this.handle.get().slot, site);
        let mut spin = this.spin.get();
        let got = waiting::block(this.arena(), limit, |patience| {
            let done = match place {
                // Relaxed: only a hint; `sleep` looks again.
                Place::Pair(i) => spin.spin(|| condition.cells[2 * i + 1].load(Ordering::Relaxed) & 1 == 0),
                Place::Gate(_) => false,
            };
            if done {
                return Waited::Done(());
            }
            condition.sleep(place, patience)
        });
        this.spin.set(spin);
        drop(shown);
        got.map(|g| py::boolean(g.is_some()))
    };
    py::give(act(this))
}

/// `_delist(place)`: leaves the list; whether notified.
unsafe extern "C-unwind" fn delist(object: Object, number: *const Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = || {
        if count != 1 {
            return Err(py::type_error(c"_delist takes a place"));
        }
        // SAFETY: one argument is in the array.
        let place = place_of(this, unsafe { *number })?;
        Ok(py::boolean(condition(this)?.delist(place)))
    };
    py::give(act())
}

/// `_notify(n)`: the number of waiters notified.
unsafe extern "C-unwind" fn notify(object: Object, number: *const Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = || {
        if count != 1 {
            return Err(py::type_error(c"_notify takes a number"));
        }
        // SAFETY: one argument is in the array.
        let n = py::as_u64(unsafe { *number })?.min(u64::from(u32::MAX)) as u32;
        Ok(py::integer(u64::from(condition(this)?.notify(&this.me()?, n))))
    };
    py::give(act())
}

unsafe extern "C-unwind" fn waiters(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = || {
        Ok(py::integer(u64::from(condition(this)?.waiting(&this.me()?))))
    };
    py::give(act())
}

/// Adds the class.
pub fn add_types(module: Object) -> bool {
    let own = vec![
        py::no_args(c"_enlist", enlist),
        py::fast(c"_sleep", sleep),
        py::fast(c"_delist", delist),
        py::fast(c"_notify", notify),
        py::no_args(c"_waiting", waiters),
    ];
    base::add_class(module, c"holdfast._core.Condition", own, Vec::new())
}
