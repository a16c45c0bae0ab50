//! Where in the user's source a call came from, for a few nanoseconds.
//!
//! The address of the instruction being executed names the place; it is read from the interpreter's current frame, whose
//! layout is known for CPython 3.11 to 3.13 and is checked once against the official interface. Elsewhere the official
//! interface is used every time (slower, same result). Text is made once per instruction and kept in the arena's site table.

use crate::py;
use holdfast_core::arena::{Arena, Me};
use holdfast_core::os::local::Local;
use holdfast_core::sync::local::{AtomicUsize, Ordering};
use pyo3_ffi as ffi;
use std::collections::HashMap;

/// Offsets: thread state to frame (through one more pointer if `through` is not `NONE`), frame to code, to instruction.
#[derive(Clone, Copy)]
struct Layout {
    frame: usize,
    through: usize,
    code: usize,
    instruction: usize,
}

const NONE: usize = usize::MAX;
const LAYOUTS: [(u64, Layout); 3] = [
    (11, Layout { frame: 56, through: 8, code: 32, instruction: 56 }),
    (12, Layout { frame: 56, through: 0, code: 0, instruction: 56 }),
    (13, Layout { frame: 72, through: NONE, code: 0, instruction: 56 }),
];

/// Index into `LAYOUTS` plus one; 0: the official interface.
static KNOWN: AtomicUsize = AtomicUsize::new(0);

/// Most places a process remembers; beyond that they are looked up every time.
const MOST: usize = 8192;

static SITES: Local<Option<HashMap<(usize, usize), u32>>> = Local::new(None);

/// Checks the known layout of the running interpreter against the official interface.
///
/// # Safety
/// The GIL is held and a Python frame is running (the import of this module).
pub unsafe fn probe() {
    // SAFETY: the version is a constant of the interpreter; the frame is borrowed.
    unsafe {
        let minor = ffi::Py_Version >> 16 & 0xff;
        let major = ffi::Py_Version >> 24;
        let Some(at) = LAYOUTS.iter().position(|(m, _)| *m == minor && major == 3) else { return };
        let frame = ffi::PyEval_GetFrame();
        if frame.is_null() {
            return;
        }
        let code = ffi::PyFrame_GetCode(frame);
        if read(LAYOUTS[at].1).is_some_and(|(found, _)| found == code as usize) {
            KNOWN.store(at + 1, Ordering::SeqCst);
        }
        py::drop_ref(code.cast());
    }
}

/// Code object and instruction of the frame that called us.
#[inline(always)]
unsafe fn read(layout: Layout) -> Option<(usize, usize)> {
    // SAFETY: the offsets were checked by `probe` for this interpreter, or this is `probe` checking them on a version whose
    // layout they are; the GIL is held, so the frame does not change.
    unsafe {
        let state = ffi::PyThreadState_Get().cast::<u8>();
        let mut frame = *state.add(layout.frame).cast::<*const u8>();
        if layout.through != NONE {
            frame = *frame.add(layout.through).cast::<*const u8>();
        }
        if frame.is_null() {
            return None;
        }
        Some((*frame.add(layout.code).cast::<usize>(), *frame.add(layout.instruction).cast::<usize>()))
    }
}

/// Whether the calling thread is the only one of its interpreter; false if that is not known.
pub fn is_single_thread() -> bool {
    // Relaxed: written once at import.
    if KNOWN.load(Ordering::Relaxed) == 0 {
        return false;
    }
    // SAFETY: in all versions of `LAYOUTS` a thread state starts with the links to the previous and the next one, and the
    // GIL, which is held, guards the list well enough: a new thread starts only through a thread that holds the GIL.
    unsafe {
        let links = ffi::PyThreadState_Get().cast::<[usize; 2]>();
        (*links)[0] == 0 && (*links)[1] == 0
    }
}

/// Address of the instruction that called us; 0 if unknown.
#[inline(always)]
pub fn instruction() -> usize {
    // Relaxed: written once at import, before any object exists.
    let known = KNOWN.load(Ordering::Relaxed);
    if known == 0 {
        return 0;
    }
    // SAFETY: the layout was checked at import; the GIL is held.
    unsafe { read(LAYOUTS[known - 1].1) }.map_or(0, |(_, instruction)| instruction)
}

/// The number of a place, by its instruction if that is known.
#[cold]
pub fn lookup(me: &Me<'_>, instruction: usize) -> u32 {
    let key = (core::ptr::from_ref::<Arena>(me.arena) as usize, instruction);
    if instruction != 0 {
        if let Some(id) = SITES.lock().as_ref().and_then(|m| m.get(&key)) {
            return *id;
        }
    }
    // SAFETY: the GIL is held; the frame is borrowed, all other references are released.
    let (text, direct, code) = unsafe { describe(&["holdfast"]) };
    let Some(text) = text else { return 0 };
    let id = py::detached(|| me.arena.intern_site(me, &text));
    let mut sites = SITES.lock();
    let sites = sites.get_or_insert_with(HashMap::new);
    if instruction != 0 && direct && sites.len() < MOST {
        // The code object is kept alive, so that its instruction's address cannot become another place's.
        sites.insert(key, id);
    } else {
        py::drop_ref(code);
    }
    id
}

/// The place that makes an object: the innermost frame outside holdfast and multiprocessing.
pub fn maker(me: &Me<'_>) -> u32 {
    // SAFETY: the GIL is held.
    let (text, _, code) = unsafe { describe(&["holdfast", "multiprocessing"]) };
    py::drop_ref(code);
    text.map_or(0, |text| py::detached(|| me.arena.intern_site(me, &text)))
}

/// Folders of the named packages, as far as they are loaded.
unsafe fn folders(packages: &[&str]) -> Vec<String> {
    // SAFETY: by the caller's promise; dict and module are borrowed, the attribute is released.
    unsafe {
        let modules = ffi::PyImport_GetModuleDict();
        let folder = |package: &&str| {
            let name = std::ffi::CString::new(*package).ok()?;
            let module = ffi::PyDict_GetItemString(modules, name.as_ptr());
            if module.is_null() {
                return None;
            }
            let file = ffi::PyObject_GetAttrString(module, c"__file__".as_ptr());
            let text = py::checked(file).and_then(py::as_text).ok();
            py::drop_ref(file);
            ffi::PyErr_Clear();
            text.and_then(|t| t.strip_suffix("__init__.py").map(str::to_owned))
        };
        packages.iter().filter_map(folder).collect()
    }
}

/// "file:line" of the innermost frame outside some packages; whether that is the calling frame itself; its code object.
unsafe fn describe(packages: &[&str]) -> (Option<String>, bool, py::Object) {
    // SAFETY: by the caller's promise.
    unsafe {
        let skipped = folders(packages);
        let mut frame: py::Object = ffi::PyEval_GetFrame().cast();
        let mut direct = true;
        ffi::Py_IncRef(frame);
        while !frame.is_null() {
            let code: py::Object = ffi::PyFrame_GetCode(frame.cast()).cast();
            let file = ffi::PyObject_GetAttrString(code, c"co_filename".as_ptr());
            let name = py::checked(file).and_then(py::as_text).unwrap_or_default();
            py::drop_ref(file);
            if !skipped.iter().any(|folder| name.starts_with(folder.as_str())) {
                let line = ffi::PyFrame_GetLineNumber(frame.cast());
                py::drop_ref(frame);
                return (Some(format!("{name}:{line}")), direct, code);
            }
            py::drop_ref(code);
            direct = false;
            let back = ffi::PyObject_GetAttrString(frame, c"f_back".as_ptr());
            py::drop_ref(frame);
            frame = if back == ffi::Py_None() { core::ptr::null_mut() } else { back };
        }
        ffi::PyErr_Clear();
        (None, false, core::ptr::null_mut())
    }
}
