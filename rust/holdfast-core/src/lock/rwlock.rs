//! The readers-writer lock: one writer or many readers; a waiting writer keeps new readers out, so it does not starve.
//!
//! ```text
//! word     the writer, as in `mutex.rs`; readers wait for it in the same turnstile
//! cells    one word a reader: 0 free, else its owner id
//! gate     bit 31 WAITING: a writer (or a reader without a cell) may sleep here | lower bits: counts wakes
//!
//! read     word free: CAS a cell 0 -> me, look at the word again, and step back if a writer came meanwhile
//! write    take the word (new readers stay out), then wait until every cell is empty or its reader dead
//! ```
//! The reader writes its cell and then reads the word, the writer writes the word and then reads the cells, all SeqCst: at
//! least one of them sees the other. Dead readers are counted out by the writer, a dead writer is taken over like a mutex.

use super::{mutex, Released, Taken};
use crate::arena::layout::Slot;
use crate::arena::{Me, OwnerState, ORPHAN, OWNER_MASK};
use crate::os::futex::{self, Watch};
use crate::sync::{broken, AtomicU32, SC};
use crate::wait::{relay, turn, Heart, Patience, Waited};

const WAITING: u32 = 0x8000_0000;

/// A readers-writer lock in place.
#[derive(Debug, Clone, Copy)]
pub struct RwLock<'a> {
    /// Its words.
    pub slot: &'a Slot,
    /// Its readers.
    pub cells: &'a [AtomicU32],
}

/// Opens the gate.
pub(crate) fn wake(slot: &Slot) {
    let now = slot.gate.load(SC);
    if now & WAITING != 0 {
        let _ = slot.gate.compare_exchange(now, (now & !WAITING).wrapping_add(1) & !WAITING, SC, SC);
        futex::wake(&slot.gate, u32::MAX);
    }
}

impl RwLock<'_> {
    /// Whether a thread reads.
    #[must_use]
    pub fn reads(&self, owner: u32) -> bool {
        self.cells.iter().any(|c| c.load(SC) == owner)
    }

    /// Living readers.
    #[must_use]
    pub fn readers(&self, me: &Me<'_>) -> Vec<u32> {
        let alive = |o: &u32| *o != 0 && !matches!(me.arena.owner_state(*o, true), OwnerState::Dead);
        self.cells.iter().map(|c| c.load(SC)).filter(alive).collect()
    }

    fn claim_cell(&self, me: u32) -> Option<&AtomicU32> {
        self.cells.iter().find(|c| c.load(SC) == 0 && c.compare_exchange(0, me, SC, SC).is_ok())
    }

    /// Starts to read if no living writer has the word.
    #[must_use]
    pub fn try_read(&self, me: &Me<'_>) -> Option<Taken> {
        self.look(me, false)
    }

    /// As [`Self::try_read`], asking /proc for a writer without a beacon; but that the thread reads already is no reason to
    /// pass a waiting writer: for tasks, of which one thread has many.
    #[must_use]
    pub fn try_read_as_newcomer(&self, me: &Me<'_>) -> Option<Taken> {
        self.read_once(me, true, false)
    }

    fn look(&self, me: &Me<'_>, deep: bool) -> Option<Taken> {
        self.read_once(me, deep, self.reads(me.id))
    }

    fn read_once(&self, me: &Me<'_>, deep: bool, again: bool) -> Option<Taken> {
        if !again && self.is_written(me, self.slot.word.load(SC), deep) {
            return None;
        }
        let cell = self.claim_cell(me.id)?;
        loop {
            let now = self.slot.word.load(SC);
            if again || now & OWNER_MASK == 0 || broken("reader-rechecks") {
                return Some(Taken::Free);
            }
            if self.is_written(me, now, deep) {
                let _ = cell.compare_exchange(me.id, 0, SC, SC);
                wake(self.slot);
                return None;
            }
            // With the cell already taken: whoever clears a dead writer out reads, and so is sure to tell of the death.
            if self.slot.word.compare_exchange(now, now & !OWNER_MASK, SC, SC).is_ok() {
                return Some(Taken::FromDead(now & OWNER_MASK));
            }
        }
    }

    fn is_written(&self, me: &Me<'_>, word: u32, deep: bool) -> bool {
        let writer = word & OWNER_MASK;
        writer != 0 && !matches!(me.arena.owner_state(writer, deep), OwnerState::Dead)
    }

    /// Waits until it can read.
    pub fn read_slow(&self, me: &Me<'_>, patience: &mut Patience<'_>) -> Waited<Taken> {
        let mut watch = Watch::default();
        turn(me, &self.slot.seat, &mut watch, patience, &mut |watch, deep| {
            self.look(me, deep).or_else(|| {
                self.watch_what_is_in_the_way(me, watch, deep);
                None
            })
        })
    }

    /// Whether a newcomer could read; otherwise what to sleep on.
    pub(crate) fn observe_read(&self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool {
        if !self.is_written(me, self.slot.word.load(SC), deep) && self.cells.iter().any(|c| c.load(SC) == 0) {
            return true;
        }
        self.watch_what_is_in_the_way(me, watch, deep);
        false
    }

    /// Whether no living reader is left; otherwise what to sleep on. For the one who has the word.
    pub fn observe_readers(&self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool {
        let gate = self.slot.gate.load(SC);
        if gate & WAITING == 0 && self.slot.gate.compare_exchange(gate, gate | WAITING, SC, SC).is_err() {
            return false;
        }
        watch.add(&self.slot.gate, gate | WAITING);
        self.drop_dead_readers(me, watch, deep) == 0
    }

    /// What a reader sleeps on; nothing if it should look again at once.
    fn watch_what_is_in_the_way(&self, me: &Me<'_>, watch: &mut Watch, deep: bool) {
        let slot = self.slot;
        let now = slot.word.load(SC);
        if !self.is_written(me, now, deep) {
            // No living writer: all cells are taken. Sleep until a reader leaves, unless one left before the gate was marked.
            let gate = slot.gate.load(SC);
            if gate & WAITING != 0 || slot.gate.compare_exchange(gate, gate | WAITING, SC, SC).is_ok() {
                watch.add(&slot.gate, gate | WAITING);
                if self.drop_dead_readers(me, watch, deep) < self.cells.len() {
                    watch.clear();
                }
            }
            return;
        }
        if let OwnerState::Alive(beacon) = me.arena.owner_state(now & OWNER_MASK, deep) {
            if now & WAITING == 0 && slot.word.compare_exchange(now, now | WAITING, SC, SC).is_err() {
                return;
            }
            watch.add(&slot.word, now | WAITING);
            if let Some((beacon, value)) = beacon {
                watch.add(beacon, value);
            }
        }
    }

    /// Clears the cells of dead readers and watches the beacons of living ones; the number of living ones.
    fn drop_dead_readers(&self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> usize {
        let mut living = 0;
        for cell in self.cells {
            let reader = cell.load(SC);
            if reader == 0 {
                continue;
            }
            match me.arena.owner_state(reader, deep) {
                OwnerState::Dead => {
                    if cell.compare_exchange(reader, 0, SC, SC).is_ok() {
                        self.slot.recoveries.fetch_add(1, SC);
                    }
                }
                OwnerState::Alive(beacon) => {
                    living += 1;
                    if let Some((beacon, value)) = beacon {
                        watch.add(beacon, value);
                    }
                }
            }
        }
        living
    }

    /// Ends one reading of the calling thread, or of one of its process's threads.
    #[must_use]
    pub fn release_read(&self, me: &Me<'_>) -> Released {
        let free = |which: &dyn Fn(u32) -> bool| {
            self.cells.iter().find_map(|c| {
                let owner = c.load(SC);
                (owner != 0 && which(owner) && c.compare_exchange(owner, 0, SC, SC).is_ok()).then_some(owner)
            })
        };
        let freed = free(&|o| o == me.id).or_else(|| free(&|o| me.arena.is_mine(o)));
        wake(self.slot);
        match freed {
            Some(owner) if owner == me.id => Released::ByHolder,
            Some(owner) => Released::ForAnother(owner),
            None => Released::NotHeld,
        }
    }

    /// Takes the lock for writing if that is possible at once.
    #[must_use]
    pub fn try_write(&self, me: &Me<'_>) -> Option<Taken> {
        let taken = mutex::try_acquire(me, &self.slot.word)?;
        let mut watch = Watch::default();
        if self.drop_dead_readers(me, &mut watch, false) == 0 {
            return Some(taken);
        }
        self.step_back(me, taken);
        None
    }

    /// Gives up the word before having written. If it came from a dead writer, the next one must still be told.
    pub fn step_back(&self, me: &Me<'_>, taken: Taken) {
        if let (Taken::FromDead(dead), false) = (taken, broken("orphan-again")) {
            if dead != ORPHAN {
                self.slot.orphan_pid.store(me.arena.holder(dead).pid, SC);
            }
            mutex::leave_orphaned(me.id, &self.slot.word);
        } else {
            let _ = mutex::release(me.id, &self.slot.word);
        }
    }

    /// Waits until it can write.
    pub fn write_slow(&self, me: &Me<'_>, patience: &mut Patience<'_>) -> Waited<Taken> {
        let taken = match mutex::acquire_slow(me, &self.slot.word, &self.slot.seat, patience) {
            Waited::Done(taken) => taken,
            end => return end,
        };
        match self.wait_for_readers(me, patience) {
            Waited::Done(()) => Waited::Done(taken),
            end => {
                self.step_back(me, taken);
                if matches!(end, Waited::TimedOut) {
                    Waited::TimedOut
                } else {
                    Waited::Interrupted
                }
            }
        }
    }

    /// Second half of writing: the word is ours, so nobody else sleeps on the gate for it.
    fn wait_for_readers(&self, me: &Me<'_>, patience: &mut Patience<'_>) -> Waited<()> {
        let mut heart = Heart::default();
        let mut watch = Watch::default();
        let mut deep = false;
        loop {
            watch.clear();
            if self.observe_readers(me, &mut watch, deep) {
                return Waited::Done(());
            }
            if watch.words().is_empty() {
                continue;
            }
            let woken = futex::wait_any(watch.words(), Some(heart.until(patience)));
            relay(&watch);
            deep = woken == futex::Woken::TimedOut;
            if let Some(end) = heart.after(woken, patience) {
                return end;
            }
        }
    }
}
