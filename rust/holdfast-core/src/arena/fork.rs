//! What happens around `fork`: the child is a participant of its own from its first instruction.
//!
//! ```text
//! before   for every arena: set a record aside, stop this process's allocations, copy its reach to the child's record
//! parent   allocations go on                       (if the fork failed, the record goes stale and is swept)
//! child    adopt the record, light a beacon, forget the parent's seats
//!          (the file's flock is shared with the parent and lasts until both have closed the descriptor)
//! ```

use super::{me, Arena, NO_PROCESS, REGISTRY};
use crate::os::local::Local;
use crate::sync::local::{AtomicBool, Ordering};

static INSTALLED: AtomicBool = AtomicBool::new(false);
static INHERITED: Local<Vec<(usize, u32)>> = Local::new(Vec::new());

/// Installs the hooks, once per process image.
pub fn install_fork_hook() {
    if !INSTALLED.swap(true, Ordering::SeqCst) {
        // SAFETY: the functions stay loaded for the life of the process.
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    }
}

extern "C" fn before() {
    for arena in Arena::all() {
        // Relaxed: written and read by the forking thread; the child is a copy of it.
        arena.fork_child.store(arena.reserve_child(), Ordering::Relaxed);
    }
    REGISTRY.hold();
    // SAFETY of the loops below: the registry is held by this thread, so reading it through a second reference is sound.
    for arena in registered() {
        arena.private.hold();
        arena.store_file.hold();
        // Relaxed: as above.
        let child = arena.fork_child.load(Ordering::Relaxed);
        if child != NO_PROCESS {
            arena.copy_reach(child);
        }
    }
}

extern "C" fn in_parent() {
    for arena in registered() {
        // Relaxed: read by the next `before`, in whatever thread holds the registry then.
        arena.fork_child.store(NO_PROCESS, Ordering::Relaxed);
        arena.store_file.release();
        arena.private.release();
    }
    REGISTRY.release();
}

extern "C" fn in_child() {
    for arena in registered() {
        arena.store_file.release();
        arena.private.release();
    }
    REGISTRY.release();
    let mine = me::forget_after_fork();
    let mut inherited = INHERITED.lock();
    inherited.clear();
    inherited.extend(mine.iter().map(|(a, id)| (core::ptr::from_ref(*a) as usize, *id)));
    drop(inherited);
    for arena in Arena::all() {
        // Relaxed: the child has one thread.
        arena.adopt(arena.fork_child.load(Ordering::Relaxed));
    }
}

fn registered() -> Vec<&'static Arena> {
    // SAFETY: called only between `REGISTRY.hold()` and `release()` of the same thread (or in its forked copy).
    unsafe { REGISTRY.peek() }.clone()
}

/// Owner id that the forking thread had in the parent, if this process was forked while it had one.
#[must_use]
pub fn inherited_seat(arena: &Arena) -> Option<u32> {
    let key = core::ptr::from_ref(arena) as usize;
    INHERITED.lock().iter().find(|(a, _)| *a == key).map(|(_, id)| *id)
}
