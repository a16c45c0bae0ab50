//! `Barrier`: arriving and waiting; the action and the exceptions are the Python class's.

use crate::base::{self, base, Base};
use crate::py::{self, Object, PyResult};
use crate::waiting::{self, Spin};
use holdfast_core::lock::barrier::{Arrival, Barrier, Verdict};
use holdfast_core::sync::SC;
use holdfast_core::wait::{Waited, Waiting};
use pyo3_ffi as ffi;
use std::cell::Cell;

/// What `_arrive` returns when the caller is the last party.
const LAST: i64 = -1;
/// What calls return when the barrier broke.
const BROKEN: i64 = -2;
/// What `_arrive` returns when its time was over.
const TIMED_OUT: i64 = -3;

/// What `_come` returns when the last round is still being released.
const BUSY: i64 = -4;

fn barrier(this: &Base) -> PyResult<Barrier<'static>> {
    Ok(Barrier { slot: this.slot()?, cells: this.cells() })
}

fn number(value: i64) -> Object {
    // SAFETY: the GIL is held.
    unsafe { ffi::PyLong_FromLongLong(value) }
}

fn raise(e: &holdfast_core::Error) -> py::Raised {
    py::raise_core(e)
}

/// `_arrive(timeout)`: the party's index (0 and up), or one of the negative marks.
unsafe extern "C-unwind" fn arrive(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = |this: &Base| {
        // SAFETY: `count` arguments are in the array.
        let timeout = (count > 0).then(|| unsafe { *args });
        let limit = waiting::limit(timeout)?;
        let barrier = barrier(this)?;
        let me = this.me()?;
        let _busy = this.busy();
        let site = this.waiting_place(&me);
        let shown = Waiting::show(&me, this.handle.get().slot, site);
        let mut pair = None;
        let got = waiting::block(
            &me,
            limit,
            &Cell::new(Spin::never()),
            || false,
            |patience| loop {
                let step = || -> holdfast_core::Result<Waited<i64>> {
                    let at = match pair {
                        Some(at) => at,
                        None => match barrier.arrive(&me)? {
                            Arrival::Waits(at) => *pair.insert(at),
                            Arrival::Last => return Ok(Waited::Done(LAST)),
                            Arrival::Broken => return Ok(Waited::Done(BROKEN)),
                            Arrival::Busy(gate) => {
                                return Ok(match barrier.sleep_at_gate(gate, patience) {
                                    Waited::Done(()) => Waited::Done(i64::MIN),
                                    Waited::TimedOut => Waited::TimedOut,
                                    Waited::Interrupted => Waited::Interrupted,
                                })
                            }
                        },
                    };
                    Ok(match barrier.wait(&me, at, patience)? {
                        Waited::Done(Verdict::Passed(index)) => Waited::Done(i64::from(index)),
                        Waited::Done(Verdict::Broken) => Waited::Done(BROKEN),
                        Waited::TimedOut => Waited::TimedOut,
                        Waited::Interrupted => Waited::Interrupted,
                    })
                };
                match { step }() {
                    Ok(Waited::Done(i64::MIN)) => {}
                    Ok(other) => return other.into_result(),
                    Err(e) => return Waited::Done(Err(e)),
                }
            },
        );
        drop(shown);
        match got {
            Ok(Some(Ok(value))) => Ok(number(value)),
            Ok(Some(Err(e))) => Err(raise(&e)),
            // Too late, or a signal handler raised: leave, and break the barrier unless all passed at that very moment.
            Ok(None) => Ok(number(match barrier.give_up(&me, pair).map_err(|e| raise(&e))? {
                Verdict::Passed(index) => i64::from(index),
                Verdict::Broken => TIMED_OUT,
            })),
            Err(raised) => {
                let _ = barrier.give_up(&me, pair);
                Err(raised)
            }
        }
    };
    py::give(act(this))
}

trait IntoResult {
    fn into_result(self) -> Waited<holdfast_core::Result<i64>>;
}

impl IntoResult for Waited<i64> {
    fn into_result(self) -> Waited<holdfast_core::Result<i64>> {
        match self {
            Self::Done(value) => Waited::Done(Ok(value)),
            Self::TimedOut => Waited::TimedOut,
            Self::Interrupted => Waited::Interrupted,
        }
    }
}

fn call(
    object: Object,
    act: impl FnOnce(&Barrier<'_>, &holdfast_core::Me<'_>) -> holdfast_core::Result<Object>,
) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let run = || {
        let (barrier, me) = (barrier(this)?, this.me()?);
        act(&barrier, &me).map_err(|e| raise(&e))
    };
    py::give(run())
}

/// `_come()`: the first step of an arriving task: its pair, or [`LAST`], or [`BROKEN`]; with [`BUSY`] the gate's value.
unsafe extern "C-unwind" fn come(object: Object, _: Object) -> Object {
    call(object, |b, me| {
        let (what, gate) = match b.arrive(me)? {
            Arrival::Waits(pair) => (pair as i64, 0),
            Arrival::Last => (LAST, 0),
            Arrival::Broken => (BROKEN, 0),
            Arrival::Busy(gate) => (BUSY, gate),
        };
        Ok(py::give(py::tuple(&[number(what), number(i64::from(gate))])))
    })
}

fn with_number(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    act: impl FnOnce(&Barrier<'_>, &holdfast_core::Me<'_>, u32) -> holdfast_core::Result<Object>,
) -> Object {
    // SAFETY: `count` arguments are in the array.
    match (count > 0).then(|| py::as_u32(unsafe { *args })) {
        Some(Ok(given)) => call(object, |b, me| act(b, me, given)),
        Some(Err(_)) => core::ptr::null_mut(),
        None => {
            py::type_error(c"takes a number");
            core::ptr::null_mut()
        }
    }
}

/// `_verdict(pair)`: the party's index, [`BROKEN`], or None while it has to wait.
unsafe extern "C-unwind" fn verdict(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    with_number(object, args, count, |b, me, pair| {
        me.arena.check()?;
        Ok(match b.verdict(me, pair as usize) {
            None => py::none(),
            Some(Verdict::Passed(index)) => number(i64::from(index)),
            Some(Verdict::Broken) => number(BROKEN),
        })
    })
}

/// `_opened(gate)`: whether the gate has moved from that value.
unsafe extern "C-unwind" fn opened(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    with_number(object, args, count, |b, _, gate| Ok(py::boolean(b.slot.gate.load(SC) != gate)))
}

/// `_give_up(pair)`: a party's time is over: the index if all passed at that very moment, else [`TIMED_OUT`].
unsafe extern "C-unwind" fn give_up(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    with_number(object, args, count, |b, me, pair| {
        Ok(number(match b.give_up(me, Some(pair as usize))? {
            Verdict::Passed(index) => i64::from(index),
            Verdict::Broken => TIMED_OUT,
        }))
    })
}

/// `_open()`: the last party lets all go; its index or the mark for "broken".
unsafe extern "C-unwind" fn open(object: Object, _: Object) -> Object {
    call(object, |b, me| {
        Ok(number(match b.open(me)? {
            Verdict::Passed(index) => i64::from(index),
            Verdict::Broken => BROKEN,
        }))
    })
}

unsafe extern "C-unwind" fn abort(object: Object, _: Object) -> Object {
    call(object, |b, me| b.abort(me).map(|()| py::none()))
}

unsafe extern "C-unwind" fn reset(object: Object, _: Object) -> Object {
    call(object, |b, me| b.reset(me).map(|()| py::none()))
}

unsafe extern "C-unwind" fn waiting_parties(object: Object, _: Object) -> Object {
    call(object, |b, me| b.waiting(me).map(|n| number(i64::from(n))))
}

unsafe extern "C-unwind" fn is_broken(object: Object, _: Object) -> Object {
    call(object, |b, _| Ok(py::boolean(b.is_broken())))
}

/// Adds the class.
pub fn add_types(module: Object) -> bool {
    let own = vec![
        py::fast(c"_arrive", arrive),
        py::no_args(c"_open", open),
        py::no_args(c"_come", come),
        py::fast(c"_verdict", verdict),
        py::fast(c"_opened", opened),
        py::fast(c"_give_up", give_up),
        py::no_args(c"_abort", abort),
        py::no_args(c"_reset", reset),
        py::no_args(c"_waiting", waiting_parties),
        py::no_args(c"_is_broken", is_broken),
    ];
    base::add_class(module, c"holdfast._core.Barrier", own, Vec::new())
}
