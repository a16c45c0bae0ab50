//! The calling thread in an arena, found in a few nanoseconds.

use super::layout::Seat;
use super::{owner_seat, Arena};
use crate::error::Result;
use crate::sync::local::{AtomicU32 as LocalWord, Ordering};
use crate::sync::SC;
use core::cell::{Cell, RefCell};

/// The calling thread as an arena knows it.
#[derive(Debug, Clone, Copy)]
pub struct Me<'a> {
    /// The arena.
    pub arena: &'a Arena,
    /// Owner id of this thread, what it writes into lock words.
    pub id: u32,
    /// Its seat.
    pub seat: &'a Seat,
}

thread_local! {
    /// Arena and owner id last used by this thread: the fast path.
    static LAST: Cell<(*const Arena, u32, *const Seat)> =
        const { Cell::new((core::ptr::null(), 0, core::ptr::null())) };
    /// All seats of this thread; given up when it ends.
    static SEATS: RefCell<Seats> = const { RefCell::new(Seats(Vec::new())) };
}

/// Counts the ends of threads that had seats, and forks: with it a remembered seat is known to be still this thread's.
static EPOCH: LocalWord = LocalWord::new(0);

/// What an object remembers of the thread that used it last. The address of the thread's control block is read in one
/// instruction; it may come again for a later thread, but only after [`EPOCH`] has moved.
#[derive(Debug, Clone, Copy)]
pub struct Remembered {
    thread: usize,
    epoch: u32,
    id: u32,
    seat: *const Seat,
}

impl Default for Remembered {
    fn default() -> Self {
        Self { thread: 0, epoch: 0, id: 0, seat: core::ptr::null() }
    }
}

/// Address of the calling thread's control block.
#[inline(always)]
fn thread_address() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        let address: usize;
        // SAFETY: fs:0 holds the address of the thread control block itself (x86-64 psABI, TLS variant II).
        unsafe { core::arch::asm!("mov {}, fs:0", out(reg) address, options(nostack, preserves_flags, readonly)) };
        address
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: cannot fail.
    unsafe {
        libc::pthread_self() as usize
    }
}

struct Seats(Vec<(&'static Arena, u32)>);

impl Drop for Seats {
    fn drop(&mut self) {
        EPOCH.fetch_add(1, SC);
        LAST.set((core::ptr::null(), 0, core::ptr::null()));
        for (arena, owner) in self.0.drain(..) {
            arena.give_up_seat(owner);
        }
    }
}

/// The calling thread in `arena`; the first call in a thread takes a seat, with the name that `name` gives.
///
/// # Errors
/// HF501 if there is no memory for a seat, HF505 if this process has no record.
#[inline]
pub fn current(arena: &'static Arena, name: impl FnOnce() -> String) -> Result<Me<'static>> {
    let (known, id, seat) = LAST.get();
    if core::ptr::eq(known, arena) {
        // SAFETY: set by `find` to this thread's seat in this arena; arenas are never unmapped.
        return Ok(Me { arena, id, seat: unsafe { &*seat } });
    }
    find(arena, name)
}

/// The owner id and seat of the calling thread, if it is the one remembered. Nothing else: the fastest path of all.
#[inline(always)]
#[must_use]
pub fn recall(memory: &Cell<Remembered>) -> Option<(u32, &'static Seat)> {
    let last = memory.get();
    // Relaxed: as in `current_remembered`.
    if last.thread != thread_address() || last.epoch != EPOCH.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: remembered by `current_remembered` for this very thread; arenas are never unmapped.
    Some((last.id, unsafe { &*last.seat }))
}

/// As [`current`], for a caller that remembers who used it last.
///
/// # Errors
/// As [`current`].
#[inline(always)]
pub fn current_remembered(
    arena: &'static Arena,
    memory: &Cell<Remembered>,
    name: impl FnOnce() -> String,
) -> Result<Me<'static>> {
    if let Some((id, seat)) = recall(memory) {
        return Ok(Me { arena, id, seat });
    }
    // Relaxed pairs with the SeqCst increments: those of this thread's predecessors at the same address happened before it.
    let (thread, epoch) = (thread_address(), EPOCH.load(Ordering::Relaxed));
    let me = current(arena, name)?;
    memory.set(Remembered { thread, epoch, id: me.id, seat: me.seat });
    Ok(me)
}

#[cold]
fn find(arena: &'static Arena, name: impl FnOnce() -> String) -> Result<Me<'static>> {
    let known = SEATS.try_with(|s| s.borrow().0.iter().find(|(a, _)| core::ptr::eq(*a, arena)).map(|x| x.1));
    let id = match known {
        Ok(Some(id)) => id,
        _ => {
            arena.light_if_possible();
            let id = arena.take_seat(&name())?;
            // A thread that is already past its destructors keeps no list: its seat is freed with the process.
            let _ = SEATS.try_with(|s| s.borrow_mut().0.push((arena, id)));
            id
        }
    };
    let seat = arena.seat(owner_seat(id)).ok_or_else(|| crate::Error::corrupt("seat"))?;
    LAST.set((arena, id, seat));
    Ok(Me { arena, id, seat })
}

/// In a forked child: the seats were the parent's. Returns them, so that the child knows what its parent held.
pub(super) fn forget_after_fork() -> Vec<(&'static Arena, u32)> {
    EPOCH.fetch_add(1, SC);
    LAST.set((core::ptr::null(), 0, core::ptr::null()));
    SEATS.try_with(|s| core::mem::take(&mut s.borrow_mut().0)).unwrap_or_default()
}

impl<'a> Me<'a> {
    /// A seat made by hand, for the model and for tests.
    ///
    /// # Errors
    /// HF501, HF505.
    pub fn seated(arena: &'a Arena, name: &str) -> Result<Self> {
        let id = arena.take_seat(name)?;
        let seat = arena.seat(owner_seat(id)).ok_or_else(|| crate::Error::corrupt("seat"))?;
        Ok(Self { arena, id, seat })
    }

    /// Notes that the thread holds one more lock.
    #[inline]
    pub fn took(&self) {
        took(self.seat);
    }

    /// Notes that the thread released one of its locks itself.
    #[inline]
    pub fn gave(&self) {
        gave(self.seat);
    }

    /// Tells the holder's seat that its lock was released by this thread.
    pub fn gave_for(&self, owner: u32) {
        if let Some(seat) = self.arena.seat_of(owner) {
            let before = seat.released_by_others.fetch_add(1, SC);
            if seat.gone.load(SC) != 0 && seat.held.load(SC) == before.wrapping_add(1) {
                self.arena.free_slot(owner_seat(owner));
            }
        }
    }
}

/// Notes in the calling thread's seat that it holds one more lock.
#[inline(always)]
pub fn took(seat: &Seat) {
    // Relaxed: only this thread writes `held`; it is read by others only after the thread has ended.
    seat.held.store(seat.held.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Notes in the calling thread's seat that it released one of its locks itself.
#[inline(always)]
pub fn gave(seat: &Seat) {
    // Relaxed: as in `took`.
    seat.held.store(seat.held.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
}
