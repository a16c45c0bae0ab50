//! The calling thread in an arena, found in a few nanoseconds.

use super::layout::Seat;
use super::{owner_seat, Arena};
use crate::error::Result;
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

struct Seats(Vec<(&'static Arena, u32)>);

impl Drop for Seats {
    fn drop(&mut self) {
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
        use crate::sync::Ordering::Relaxed;
        // Relaxed: only this thread writes `held`; it is read by others only after the thread has ended.
        self.seat.held.store(self.seat.held.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Notes that the thread released one of its locks itself.
    #[inline]
    pub fn gave(&self) {
        use crate::sync::Ordering::Relaxed;
        // Relaxed: as in `took`.
        self.seat.held.store(self.seat.held.load(Relaxed).wrapping_sub(1), Relaxed);
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
