//! `Event`.

use crate::base::{self, base, Base};
use crate::py::{self, Object, PyResult};
use crate::waiting::{self, Limit};
use holdfast_core::lock::event;
use holdfast_core::sync::{Ordering, SC};
use holdfast_core::wait::Waiting;
use pyo3_ffi as ffi;

unsafe extern "C-unwind" fn is_set(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    match unsafe { base(object) }.slot() {
        // Acquire pairs with the SeqCst write in `event::set`.
        Ok(slot) => py::boolean(slot.word.load(Ordering::Acquire) & event::SET != 0),
        Err(_) => core::ptr::null_mut(),
    }
}

unsafe extern "C-unwind" fn set(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = || {
        let slot = this.slot()?;
        event::set(&slot.word);
        this.arena().check().map_err(|e| py::raise_core(&e))?;
        Ok(py::none())
    };
    py::give(act())
}

unsafe extern "C-unwind" fn clear(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = || {
        event::clear(&this.slot()?.word);
        this.arena().check().map_err(|e| py::raise_core(&e))?;
        Ok(py::none())
    };
    py::give(act())
}

fn wait_for(this: &Base, limit: Limit) -> PyResult<bool> {
    let slot = this.slot()?;
    if slot.word.load(SC) & event::SET != 0 {
        return Ok(true);
    }
    if limit == Limit::Now {
        return Ok(false);
    }
    let me = this.me()?;
    let _busy = this.busy();
    let place = this.waiting_place(&me);
    // Relaxed: only a hint; `event::wait` looks again.
    let done = || slot.word.load(Ordering::Relaxed) & event::SET != 0;
    let first = slot.word.load(SC);
    let got = waiting::block(&me, limit, &this.spin, done, |patience| {
        let _shown = (patience.deadline != Some(0)).then(|| Waiting::show(&me, this.handle.get().slot, place));
        event::wait_since(&slot.word, first, patience)
    })?;
    this.slot()?; // another thread may have closed it meanwhile
    Ok(got.is_some())
}

unsafe extern "C-unwind" fn wait(
    object: Object,
    args: *const Object,
    count: ffi::Py_ssize_t,
    keywords: Object,
) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let act = |this: &Base| {
        let [timeout] = py::arguments([c"timeout"], args, count, keywords)?;
        wait_for(this, waiting::limit(timeout)?)
    };
    py::give(act(this).map(py::boolean))
}

/// `_mark()`: what to compare with later.
unsafe extern "C-unwind" fn mark(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    py::give(unsafe { base(object) }.slot().map(|slot| py::integer(u64::from(slot.word.load(SC)))))
}

/// `_happened(mark)`: whether it is set, or was since then.
unsafe extern "C-unwind" fn happened(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method, with `count` arguments in the array.
    let (this, mark) = unsafe { (base(object), (count > 0).then(|| *args)) };
    let act = || {
        let mark = py::as_u32(mark.ok_or_else(|| py::type_error(c"_happened takes a mark"))?)?;
        this.arena().check().map_err(|e| py::raise_core(&e))?;
        Ok(py::boolean(event::happened(&this.slot()?.word, mark)))
    };
    py::give(act())
}

/// Adds the class.
pub fn add_types(module: Object) -> bool {
    let own = vec![
        py::no_args(c"is_set", is_set),
        py::no_args(c"set", set),
        py::no_args(c"clear", clear),
        py::keywords(c"wait", wait),
        py::no_args(c"_mark", mark),
        py::fast(c"_happened", happened),
    ];
    base::add_class(module, c"holdfast._core.Event", own, Vec::new())
}
