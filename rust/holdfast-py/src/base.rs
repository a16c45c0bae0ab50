//! What all objects over a slot share: making, finding by handle, letting go, and telling about themselves.

use crate::py::{self, Object, PyResult, Raised};
use crate::waiting::{self, Spin};
use holdfast_core::arena::layout::{kind, read_text, Seat, Slot};
use holdfast_core::arena::{owner_seat, recall, Arena, Handle, Holder, Me, Remembered, OWNER_MASK};
use holdfast_core::os::clock;
use holdfast_core::sync::{AtomicU32, Ordering, SC};
use pyo3_ffi as ffi;
use std::cell::Cell;

/// An object over a slot. All fields are cells: they are used with the GIL held only, and a thread that waits without the
/// GIL does not keep them borrowed.
#[repr(C)]
pub struct Base {
    ob_base: ffi::PyObject,
    /// The slot; null once closed.
    slot: Cell<*const Slot>,
    /// Its arena; null before it was made.
    arena: Cell<*const Arena>,
    /// Its cells.
    cells: Cell<*const AtomicU32>,
    /// Number of cells in use.
    cell_count: Cell<usize>,
    /// What the handle names.
    pub handle: Cell<Handle>,
    /// The place that took it last, as instruction and as number.
    last_site: Cell<(usize, u32)>,
    /// The same for the place that waited last.
    last_wait: Cell<(usize, u32)>,
    /// Spinning before sleeping.
    pub spin: Cell<Spin>,
    /// Pid of the dead holder it was last taken over from, 0 if it was free.
    pub dead_pid: Cell<u32>,
    /// The thread that used it last.
    last_user: Cell<Remembered>,
    /// When it was last got after a conflict (CLOCK_MONOTONIC nanoseconds).
    last_won: Cell<u64>,
    /// Conflicts for which it still counts as fought over.
    fights: Cell<u8>,
    /// Threads of this process that wait here.
    busy: Cell<u32>,
    /// Tasks of event loops that wait here: newcomers queue behind them.
    pub tasks: Cell<u32>,
}

/// While it lives, closing the object does not let go of the slot: a thread waits on its words.
pub struct Busy<'a>(&'a Base);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
        if self.0.busy.get() == 0 && self.0.slot.get().is_null() {
            self.0.arena().let_go(self.0.handle.get().slot);
        }
    }
}

/// A process that meets the next conflict so soon after it got the lock takes and gives it without a pause (nanoseconds).
const NO_PAUSE_NS: u64 = 2_000;
/// Conflicts until that is looked at again.
const FIGHTS: u8 = 16;

/// The object behind `self`.
///
/// # Safety
/// `object` is an instance of one of the classes over [`Base`], kept alive by the caller.
#[inline(always)]
pub unsafe fn base<'a>(object: Object) -> &'a Base {
    // SAFETY: all our classes start with a `Base`, whose fields are cells used under the GIL.
    unsafe { &*object.cast::<Base>() }
}

impl Base {
    /// The slot, if the object is open.
    #[inline(always)]
    pub fn slot(&self) -> PyResult<&'static Slot> {
        if self.slot.get().is_null() {
            return Err(closed());
        }
        // SAFETY: set from a live reference into the arena's mapping, which is never taken back.
        Ok(unsafe { &*self.slot.get() })
    }

    /// The arena of an open object.
    #[inline(always)]
    pub fn arena(&self) -> &'static Arena {
        // SAFETY: an object with a slot has an arena, and arenas live for ever.
        unsafe { &*self.arena.get() }
    }

    /// The cells.
    #[inline(always)]
    pub fn cells(&self) -> &'static [AtomicU32] {
        // SAFETY: as in `slot`; `cell_count` is at most the number of cells of the slot.
        unsafe { core::slice::from_raw_parts(self.cells.get(), self.cell_count.get()) }
    }

    /// The calling thread.
    #[inline(always)]
    pub fn me(&self) -> PyResult<Me<'static>> {
        waiting::me_remembered(self.arena(), &self.last_user)
    }

    /// Slot, owner id and seat, if the object is open and the calling thread is the one that used it last.
    #[inline(always)]
    pub fn quick(&self) -> Option<(&'static Slot, u32, &'static Seat)> {
        let slot = self.slot.get();
        let (id, seat) = recall(&self.last_user)?;
        // SAFETY: as in `slot`; null was not excluded yet.
        Some((unsafe { slot.as_ref() }?, id, seat))
    }

    /// Notes where and when it was taken, if the place is the one remembered. Whether it was.
    #[inline(always)]
    pub fn note_quickly(&self, slot: &Slot) -> bool {
        let instruction = crate::site::instruction();
        let last = self.last_site.get();
        if instruction != last.0 || instruction == 0 {
            return false;
        }
        self.note_place(slot, last.1);
        true
    }

    /// Whether this process and others take and give the lock without a pause. Called at each conflict.
    pub fn is_fought_over(&self) -> bool {
        if self.fights.get() == 0 {
            if clock::now_ns().wrapping_sub(self.last_won.get()) >= NO_PAUSE_NS {
                return false;
            }
            self.fights.set(FIGHTS);
        }
        self.fights.set(self.fights.get() - 1);
        true
    }

    /// Notes that the lock was got after a conflict.
    pub fn won(&self) {
        self.last_won.set(clock::now_ns());
    }

    /// The place that waits here now, as a number.
    pub fn waiting_place(&self, me: &Me<'_>) -> u32 {
        let instruction = crate::site::instruction();
        let last = self.last_wait.get();
        if instruction == last.0 && instruction != 0 {
            return last.1;
        }
        let place = crate::site::lookup(me, instruction);
        self.last_wait.set((instruction, place));
        place
    }

    #[inline(always)]
    fn note_place(&self, slot: &Slot, place: u32) {
        // Relaxed: written by the holder, read by reports that look at the holder again afterwards.
        slot.site.store(place, Ordering::Relaxed);
        self.dead_pid.set(0);
        // Relaxed: as above.
        slot.since.store(clock::coarse_ms(), Ordering::Relaxed);
    }

    /// Ties a new Python object to a slot.
    pub fn bind(&self, arena: &'static Arena, handle: Handle) -> PyResult<()> {
        let slot = arena.slot(handle.slot).ok_or_else(|| py::raise_core(&holdfast_core::Error::gone()))?;
        let cells = arena.cells(handle.slot);
        self.arena.set(arena);
        self.slot.set(slot);
        self.cells.set(cells.as_ptr());
        self.cell_count.set(match slot.state.load(SC) & 0xff {
            kind::SEMAPHORE => cells.len().min(slot.cells.load(SC) as usize),
            kind::BARRIER => cells.len().min(4 * slot.maximum.load(SC) as usize),
            _ => cells.len(),
        });
        self.handle.set(handle);
        self.spin.set(Spin::new());
        self.last_site.set((0, 0));
        self.last_wait.set((0, 0));
        self.last_user.set(Remembered::default());
        self.last_won.set(0);
        self.fights.set(0);
        self.busy.set(0);
        self.tasks.set(0);
        Ok(())
    }

    /// Keeps the slot while the calling thread waits. Made and dropped with the GIL.
    pub fn busy(&self) -> Busy<'_> {
        self.busy.set(self.busy.get() + 1);
        Busy(self)
    }

    /// Whether it was ever tied to a slot.
    pub fn was_made(&self) -> bool {
        !self.arena.get().is_null()
    }

    /// Lets go of the slot.
    pub fn close(&self) {
        if !self.slot.replace(core::ptr::null()).is_null() && self.busy.get() == 0 {
            self.arena().let_go(self.handle.get().slot);
        }
    }

    /// As [`Self::note_taken`], for a path that has no room for anything but the call.
    #[cold]
    #[inline(never)]
    pub fn note_slowly(&self) {
        if let (Ok(me), Ok(slot)) = (self.me(), self.slot()) {
            self.note_taken(&me, slot);
        }
    }

    /// Notes in the slot where and when it was taken.
    pub fn note_taken(&self, me: &Me<'_>, slot: &Slot) {
        if !self.note_quickly(slot) {
            let instruction = crate::site::instruction();
            let place = crate::site::lookup(me, instruction);
            self.last_site.set((instruction, place));
            self.note_place(slot, place);
        }
    }

    /// Forgets which place took it last: a task's lock is taken at one instruction of holdfast's own for many places.
    pub fn forget_place(&self) {
        self.last_site.set((0, 0));
    }

    /// How the object is called in messages.
    pub fn title(&self) -> String {
        let Ok(slot) = self.slot() else { return "closed object".into() };
        let name = read_text(&slot.name);
        let what = kind::name(slot.state.load(SC) & 0xff);
        if !name.is_empty() {
            return format!("{what} {name:?}");
        }
        match self.arena().site(slot.created.load(SC)) {
            Some(place) => format!("{what} made at {place}"),
            None => format!("{what} #{}", self.handle.get().slot),
        }
    }
}

/// Raises "closed".
#[cold]
pub fn closed() -> Raised {
    py::raise("HF105", "this object was closed and can no longer be used in this process")
}

/// Allocates a Python object of a class.
///
/// # Safety
/// `class` is one of our types or a subclass.
pub unsafe fn allocate(class: *mut ffi::PyTypeObject) -> PyResult<Object> {
    // SAFETY: every heap type has tp_alloc; the memory comes zeroed.
    unsafe {
        let alloc = ffi::PyType_GetSlot(class, ffi::Py_tp_alloc);
        let alloc: ffi::allocfunc = core::mem::transmute(alloc);
        py::checked(alloc(class, 0))
    }
}

/// Class method `_make(kind, name, flags, maximum, cells)`: a new object, or the named one.
unsafe extern "C-unwind" fn make(class: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    if count != 6 {
        py::type_error(c"_make takes kind, class, name, flags, maximum, cells");
        return core::ptr::null_mut();
    }
    // SAFETY: six arguments are in the array; the class is one of ours.
    py::give(unsafe { make_object(class, core::slice::from_raw_parts(args, 6)) })
}

unsafe fn make_object(class: Object, args: &[Object]) -> PyResult<Object> {
    let (of, size) = (py::as_u32(args[0])?, py::as_u64(args[1])? as usize);
    let name = if py::is_none(Some(args[2])) { None } else { Some(py::as_text(args[2])?) };
    let (flags, maximum, cells) = (py::as_u32(args[3])?, py::as_u32(args[4])?, py::as_u32(args[5])?);
    let fill = |slot: &Slot| {
        slot.flags.store(flags, SC);
        slot.maximum.store(maximum, SC);
        slot.cells.store(cells, SC);
        if of == kind::SEMAPHORE {
            slot.count.store(maximum - cells, SC);
        }
    };
    let arena = if name.is_some() { Arena::named() } else { Arena::home() }.map_err(|e| py::raise_core(&e))?;
    arena.check().map_err(|e| py::raise_core(&e))?;
    let me = waiting::me(arena)?;
    let handle = match &name {
        Some(name) => {
            let (handle, _) = py::detached(|| arena.find_or_make(&me, name, of, size.min(2), fill))
                .map_err(|e| py::raise_core(&e))?;
            handle
        }
        None => arena.make(of, size.min(2), fill).map_err(|e| py::raise_core(&e))?,
    };
    let created = crate::site::maker(&me);
    if let Some(slot) = arena.slot(handle.slot) {
        if slot.created.load(SC) == 0 {
            slot.created.store(created, SC);
        }
    }
    // SAFETY: `class` is a type object of ours.
    unsafe { wrap(class.cast(), arena, handle) }
}

/// A Python object of `class` for a slot this process holds.
///
/// # Safety
/// `class` is one of our types or a subclass.
pub unsafe fn wrap(class: *mut ffi::PyTypeObject, arena: &'static Arena, handle: Handle) -> PyResult<Object> {
    // SAFETY: by the caller's promise.
    let made = unsafe { allocate(class) };
    match made {
        Ok(object) => {
            // SAFETY: new, of our layout.
            unsafe { base(object) }.bind(arena, handle)?;
            Ok(object)
        }
        Err(e) => {
            arena.let_go(handle.slot);
            Err(e)
        }
    }
}

/// Class method `_find(arena, slot, generation, kind)`: the object a handle names; counts a pickle as loaded.
unsafe extern "C-unwind" fn find(class: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    if count != 4 {
        py::type_error(c"_find takes arena, slot, generation, kind");
        return core::ptr::null_mut();
    }
    // SAFETY: four arguments are in the array; the class is one of ours.
    py::give(unsafe { find_object(class, core::slice::from_raw_parts(args, 4)) })
}

unsafe fn find_object(class: Object, args: &[Object]) -> PyResult<Object> {
    let name = py::as_text(args[0])?;
    let handle = Handle { slot: py::as_u32(args[1])?, generation: py::as_u32(args[2])? };
    let of = py::as_u32(args[3])?;
    let arena = Arena::attach(&name).map_err(|e| py::raise_core(&e))?;
    arena.take_hold(handle, of).map_err(|e| py::raise_core(&e))?;
    arena.note_received(handle.slot);
    // SAFETY: `class` is a type object of ours.
    unsafe { wrap(class.cast(), arena, handle) }
}

/// Class method `_like(other)`: another object over the same slot.
unsafe extern "C-unwind" fn like(class: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    let act = || {
        if count != 1 {
            return Err(py::type_error(c"_like takes an object"));
        }
        // SAFETY: one argument is in the array; the Python class passes objects of this module only.
        let other = unsafe { base(*args) };
        let of = other.slot()?.state.load(SC) & 0xff;
        other.arena().take_hold(other.handle.get(), of).map_err(|e| py::raise_core(&e))?;
        // SAFETY: `class` is a type object of ours.
        unsafe { wrap(class.cast(), other.arena(), other.handle.get()) }
    };
    py::give(act())
}

/// `owner_died`: whether the lock was taken over from a dead holder; true while it is held after that.
unsafe extern "C-unwind" fn owner_died(object: Object, _: *mut std::ffi::c_void) -> Object {
    // SAFETY: called as a getter.
    let this = unsafe { base(object) };
    let act = || {
        let slot = this.slot()?;
        let me = this.me()?.id;
        Ok(py::boolean(this.dead_pid.get() != 0 && this.owners(slot).contains(&me)))
    };
    py::give(act())
}

/// `_handle()`: what a pickle holds; counts it as on its way.
unsafe extern "C-unwind" fn handle(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    let this = unsafe { base(object) };
    let give = || {
        let slot = this.slot()?;
        this.arena().note_sent(this.handle.get().slot);
        let of = slot.state.load(SC) & 0xff;
        py::tuple(&[
            py::text(&this.arena().name),
            py::integer(u64::from(this.handle.get().slot)),
            py::integer(u64::from(this.handle.get().generation)),
            py::integer(u64::from(of)),
        ])
    };
    py::give(give())
}

unsafe extern "C-unwind" fn close(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    unsafe { base(object) }.close();
    py::none()
}

unsafe extern "C-unwind" fn title(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    py::text(&unsafe { base(object) }.title())
}

/// `_address()`: a number that the slot has in this process as long as anybody here has it.
unsafe extern "C-unwind" fn address(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    py::give(unsafe { base(object) }.slot().map(|slot| py::integer(core::ptr::from_ref(slot) as u64)))
}

/// `_tasks(more)`: one task more, or one less, waits here.
unsafe extern "C-unwind" fn count_tasks(object: Object, args: *const Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: called as a method, with `count` arguments in the array.
    let (this, more) = unsafe { (base(object), (count > 0).then(|| *args)) };
    let act = || {
        let more = py::truth(more.ok_or_else(|| py::type_error(c"_tasks takes a truth value"))?)?;
        let now = this.tasks.get();
        this.tasks.set(if more { now + 1 } else { now.saturating_sub(1) });
        Ok(py::none())
    };
    py::give(act())
}

/// `_waited_for()`: whether tasks wait here.
unsafe extern "C-unwind" fn is_waited_for(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    py::boolean(unsafe { base(object) }.tasks.get() != 0)
}

fn describe(who: &Holder) -> PyResult<Object> {
    py::tuple(&[
        py::integer(u64::from(who.pid)),
        py::integer(u64::from(who.tid)),
        py::text(&who.process),
        py::text(&who.thread),
        py::boolean(who.alive),
        py::boolean(who.thread_gone),
    ])
}

fn people(all: &[Holder]) -> PyResult<Object> {
    let items: Vec<Object> = all.iter().map(|w| py::give(describe(w))).collect();
    py::tuple(&items)
}

/// `_info()`: everything reports want to know, as a dict.
unsafe extern "C-unwind" fn info(object: Object, _: Object) -> Object {
    // SAFETY: called as a method.
    py::give(unsafe { base(object) }.info())
}

impl Base {
    fn owners(&self, slot: &Slot) -> Vec<u32> {
        let word = slot.word.load(SC) & OWNER_MASK;
        match slot.state.load(SC) & 0xff {
            kind::LOCK | kind::RLOCK | kind::VALUE => [word].into_iter().filter(|o| *o != 0).collect(),
            kind::SEMAPHORE => self.cells().iter().map(|c| c.load(SC)).filter(|o| *o != 0).collect(),
            kind::RWLOCK => {
                let readers = self.cells().iter().map(|c| c.load(SC));
                readers.chain([word]).filter(|o| *o != 0).collect()
            }
            kind::CONDITION | kind::BARRIER => {
                self.cells().chunks_exact(2).map(|p| p[0].load(SC)).filter(|o| *o != 0).collect()
            }
            _ => Vec::new(),
        }
    }

    fn info(&self) -> PyResult<Object> {
        let slot = self.slot()?;
        let arena = self.arena();
        let owners: Vec<Holder> = self.owners(slot).into_iter().map(|o| arena.holder(o)).collect();
        let waiters = arena.waiters(self.handle.get().slot);
        // SAFETY: the GIL is held.
        let dict = py::checked(unsafe { ffi::PyDict_New() })?;
        let place = |id: u32| arena.site(id).map_or_else(py::none, |t| py::text(&t));
        let since = clock::coarse_ms().wrapping_sub(slot.since.load(SC));
        py::put(dict, "name", py::text(&read_text(&slot.name)))?;
        py::put(dict, "kind", py::text(kind::name(slot.state.load(SC) & 0xff)))?;
        py::put(dict, "holders", people(&owners)?)?;
        py::put(dict, "waiters", people(&waiters)?)?;
        py::put(dict, "held_ms", py::integer(u64::from(since)))?;
        py::put(dict, "where", place(slot.site.load(SC)))?;
        py::put(dict, "created", place(slot.created.load(SC)))?;
        py::put(dict, "contended", py::integer(u64::from(slot.contended.load(SC))))?;
        py::put(dict, "recoveries", py::integer(u64::from(slot.recoveries.load(SC))))?;
        py::put(dict, "foreign", py::integer(u64::from(slot.foreign.load(SC))))?;
        py::put(dict, "count", py::integer(u64::from(slot.count.load(SC))))?;
        py::put(dict, "flags", py::integer(u64::from(slot.flags.load(SC))))?;
        py::put(dict, "version", py::integer(u64::from(slot.version.load(SC))))?;
        py::put(dict, "maximum", py::integer(u64::from(slot.maximum.load(SC))))?;
        py::put(dict, "signalled", py::boolean(slot.signalled.load(SC) != 0))?;
        py::put(dict, "arena", py::text(&arena.name))?;
        py::put(dict, "slot", py::integer(u64::from(self.handle.get().slot)))?;
        let own = self.me().map(|me| self.owners(slot).contains(&me.id))?;
        py::put(dict, "mine", py::boolean(own))?;
        Ok(dict)
    }

    /// What is known of a dead holder, for messages: pid and description.
    pub fn the_dead(&self, owner: u32, slot: &Slot) -> (u32, String) {
        let who = self.arena().holder(owner);
        let pid = if who.pid == 0 { slot.orphan_pid.load(SC) } else { who.pid };
        let name = if who.process.is_empty() { String::new() } else { format!(" ({})", who.process) };
        (pid, format!("process {pid}{name}"))
    }

    /// Whether the calling thread is the forked copy of the holder named by `owner`.
    pub fn is_inherited(&self, owner: u32) -> bool {
        owner_seat(owner) != 0 && holdfast_core::arena::inherited_seat(self.arena()) == Some(owner)
    }
}

/// Frees an object over a slot.
///
/// # Safety
/// Called once, with the last reference gone.
pub unsafe extern "C-unwind" fn dealloc(object: Object) {
    // SAFETY: called once, with the last reference gone; a heap type's instances hold a reference to their type.
    unsafe {
        let this = base(object);
        if this.was_made() {
            this.close();
        }
        let class = ffi::Py_TYPE(object);
        let free: ffi::freefunc = core::mem::transmute(ffi::PyType_GetSlot(class, ffi::Py_tp_free));
        free(object.cast());
        py::drop_ref(class.cast());
    }
}

/// The slot for `tp_dealloc`.
pub fn dealloc_slot() -> (i32, *mut std::ffi::c_void) {
    (ffi::Py_tp_dealloc, dealloc as *const () as *mut _)
}

/// Methods of every class over a slot.
pub fn methods() -> Vec<ffi::PyMethodDef> {
    let mut list = vec![
        py::fast(c"_make", make),
        py::fast(c"_find", find),
        py::fast(c"_like", like),
        py::no_args(c"_handle", handle),
        py::no_args(c"_info", info),
        py::no_args(c"_title", title),
        py::no_args(c"close", close),
        py::no_args(c"_address", address),
        py::fast(c"_tasks", count_tasks),
        py::no_args(c"_waited_for", is_waited_for),
    ];
    list[0].ml_flags |= ffi::METH_CLASS;
    list[1].ml_flags |= ffi::METH_CLASS;
    list[2].ml_flags |= ffi::METH_CLASS;
    list
}

/// Methods of classes for which closing means something else.
pub fn methods_but_close() -> Vec<ffi::PyMethodDef> {
    let mut list = methods();
    // SAFETY: method names are static and zero-terminated.
    list.retain(|m| unsafe { std::ffi::CStr::from_ptr(m.ml_name) } != c"close");
    list
}

/// Adds a class over [`Base`].
pub fn add_class(
    module: Object,
    name: &'static std::ffi::CStr,
    own: Vec<ffi::PyMethodDef>,
    getset: Vec<ffi::PyGetSetDef>,
) -> bool {
    let all = methods().into_iter().chain(own).collect();
    let died = ffi::PyGetSetDef {
        name: c"owner_died".as_ptr(),
        // SAFETY: the calling conventions match; "C" and "C-unwind" functions are called alike.
        get: Some(unsafe {
            core::mem::transmute::<unsafe extern "C-unwind" fn(Object, *mut std::ffi::c_void) -> Object, ffi::getter>(
                owner_died,
            )
        }),
        set: None,
        doc: c"Whether it was taken over from a dead holder; true while it is held after that.".as_ptr(),
        closure: core::ptr::null_mut(),
    };
    let getset = getset.into_iter().chain([died]).collect();
    py::add_type(module, name, core::mem::size_of::<Base>(), all, getset, &[dealloc_slot()])
}
