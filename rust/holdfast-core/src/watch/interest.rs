//! What can be waited for: how each primitive is looked at without taking anything.

use crate::arena::layout::Slot;
use crate::arena::{Arena, Handle, Me};
use crate::error::Result;
use crate::lock::barrier::Barrier;
use crate::lock::condition::{Condition, Place};
use crate::lock::rwlock::RwLock;
use crate::lock::semaphore::Semaphore;
use crate::lock::{event, mutex};
use crate::os::futex::Watch;
use crate::ring::queue::Queue;
use crate::sync::AtomicU32;

/// Something that tasks wait for.
pub trait Interest: Send {
    /// The seat of the turnstile in which it is waited for; `None`: everybody who waits is woken at once.
    fn seat(&self) -> Option<&AtomicU32>;

    /// Whether it could be had now. If not, puts the word (first) and the beacons to sleep on into the watch; none at all
    /// if it should be looked at again at once. `deep`: look further than beacons, after a heartbeat.
    fn look(&mut self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool;

    /// The loop looked and waits on; `mark` is what it saw last, where that matters.
    fn again(&mut self, mark: u32) {
        let _ = mark;
    }
}

impl std::fmt::Debug for dyn Interest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Interest(seat {:?})", self.seat().map(AtomicU32::as_ptr))
    }
}

/// The word of a lock, or of the writer of a readers-writer lock.
#[derive(Debug)]
pub struct Word(pub &'static Slot);

impl Interest for Word {
    fn seat(&self) -> Option<&AtomicU32> {
        Some(&self.0.seat)
    }
    fn look(&mut self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool {
        mutex::observe(me, &self.0.word, watch, deep)
    }
}

/// A permit of a semaphore.
#[derive(Debug)]
pub struct Permit(pub Semaphore<'static>);

impl Interest for Permit {
    fn seat(&self) -> Option<&AtomicU32> {
        Some(&self.0.slot.seat)
    }
    fn look(&mut self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool {
        self.0.observe(me, watch, deep)
    }
}

/// Reading.
#[derive(Debug)]
pub struct Reading(pub RwLock<'static>);

impl Interest for Reading {
    fn seat(&self) -> Option<&AtomicU32> {
        Some(&self.0.slot.seat)
    }
    fn look(&mut self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool {
        self.0.observe_read(me, watch, deep)
    }
}

/// That the last reader leaves; for the writer who has the word already.
#[derive(Debug)]
pub struct NoReaders(pub RwLock<'static>);

impl Interest for NoReaders {
    fn seat(&self) -> Option<&AtomicU32> {
        None
    }
    fn look(&mut self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool {
        self.0.observe_readers(me, watch, deep)
    }
}

/// An item of a queue.
#[derive(Debug)]
pub struct Item(pub Queue<'static>);

impl Interest for Item {
    fn seat(&self) -> Option<&AtomicU32> {
        Some(self.0.seats()[0])
    }
    fn look(&mut self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool {
        self.0.observe_to_read(me, watch, deep)
    }
}

/// Room in a queue.
#[derive(Debug)]
pub struct Room(pub Queue<'static>);

impl Interest for Room {
    fn seat(&self) -> Option<&AtomicU32> {
        Some(self.0.seats()[1])
    }
    fn look(&mut self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool {
        self.0.observe_to_write(me, watch, deep)
    }
}

/// That an event is set, or was since its word had this value.
#[derive(Debug)]
pub struct Happens(pub &'static Slot, pub u32);

impl Interest for Happens {
    fn seat(&self) -> Option<&AtomicU32> {
        None
    }
    fn look(&mut self, _: &Me<'_>, watch: &mut Watch, _: bool) -> bool {
        event::observe(&self.0.word, self.1, watch)
    }
    fn again(&mut self, mark: u32) {
        self.1 = mark;
    }
}

/// That a condition's waiter is notified.
#[derive(Debug)]
pub struct Notified(pub Condition<'static>, pub Place);

impl Interest for Notified {
    fn seat(&self) -> Option<&AtomicU32> {
        None
    }
    fn look(&mut self, _: &Me<'_>, watch: &mut Watch, _: bool) -> bool {
        self.0.observe(self.1, watch)
    }
}

/// That a barrier's party has its verdict: the barrier, the party's owner id, its pair.
#[derive(Debug)]
pub struct Judged(pub Barrier<'static>, pub u32, pub usize);

impl Interest for Judged {
    fn seat(&self) -> Option<&AtomicU32> {
        None
    }
    fn look(&mut self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool {
        self.0.observe(me, self.1, self.2, watch, deep)
    }
}

/// That a barrier's gate moves from this value.
#[derive(Debug)]
pub struct Gate(pub Barrier<'static>, pub u32);

impl Interest for Gate {
    fn seat(&self) -> Option<&AtomicU32> {
        None
    }
    fn look(&mut self, _: &Me<'_>, watch: &mut Watch, _: bool) -> bool {
        self.0.observe_gate(self.1, watch)
    }
}

/// Holds the slot of an interest: nobody reclaims it before the helper has left its seat.
#[derive(Debug)]
pub struct Kept {
    /// The arena.
    pub arena: &'static Arena,
    slot: u32,
}

impl Kept {
    /// Holds a live slot of that kind.
    ///
    /// # Errors
    /// HF104 if it is gone, HF504, HF505.
    pub fn new(arena: &'static Arena, handle: Handle, kind: u32) -> Result<Self> {
        arena.take_hold(handle, kind)?;
        Ok(Self { arena, slot: handle.slot })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.arena.let_go(self.slot);
    }
}
