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
use crate::arena::{Me, OwnerState, OWNER_MASK};
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
        let again = self.reads(me.id);
        let mut taken = Taken::Free;
        loop {
            let now = self.slot.word.load(SC);
            let writer = now & OWNER_MASK;
            if writer != 0 && !again {
                if !matches!(me.arena.owner_state(writer, false), OwnerState::Dead) {
                    return None;
                }
                if self.slot.word.compare_exchange(now, now & !OWNER_MASK, SC, SC).is_ok() {
                    taken = Taken::FromDead(writer);
                }
                continue;
            }
            let cell = self.claim_cell(me.id)?;
            if again || self.slot.word.load(SC) & OWNER_MASK == 0 || broken("reader-rechecks") {
                return Some(taken);
            }
            cell.store(0, SC);
            wake(self.slot);
        }
    }

    /// Waits until it can read.
    pub fn read_slow(&self, me: &Me<'_>, patience: &mut Patience<'_>) -> Waited<Taken> {
        let mut watch = Watch::default();
        let slot = self.slot;
        turn(me, &slot.seat, &mut watch, patience, &mut |watch, deep| {
            if let Some(taken) = self.try_read(me) {
                return Some(taken);
            }
            let now = slot.word.load(SC);
            let writer = now & OWNER_MASK;
            if writer == 0 {
                // No writer: all cells are taken. Sleep until a reader leaves.
                let gate = slot.gate.load(SC);
                if gate & WAITING != 0 || slot.gate.compare_exchange(gate, gate | WAITING, SC, SC).is_ok() {
                    watch.add(&slot.gate, gate | WAITING);
                    self.drop_dead_readers(me, watch, deep);
                }
                return None;
            }
            if let OwnerState::Alive(beacon) = me.arena.owner_state(writer, deep) {
                if now & WAITING == 0 && slot.word.compare_exchange(now, now | WAITING, SC, SC).is_err() {
                    return None;
                }
                watch.add(&slot.word, now | WAITING);
                if let Some((beacon, value)) = beacon {
                    watch.add(beacon, value);
                }
            } else {
                let _ = slot.word.compare_exchange(now, now & !OWNER_MASK, SC, SC);
            }
            None
        })
    }

    /// Clears the cells of dead readers and watches the beacons of living ones. Whether nobody reads any more.
    fn drop_dead_readers(&self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool {
        let mut empty = true;
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
                    empty = false;
                    if let Some((beacon, value)) = beacon {
                        watch.add(beacon, value);
                    }
                }
            }
        }
        empty
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
        if self.drop_dead_readers(me, &mut watch, false) {
            return Some(taken);
        }
        let _ = mutex::release(me.id, &self.slot.word);
        None
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
                let _ = mutex::release(me.id, &self.slot.word);
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
            let gate = self.slot.gate.load(SC);
            if gate & WAITING == 0 && self.slot.gate.compare_exchange(gate, gate | WAITING, SC, SC).is_err() {
                continue;
            }
            watch.add(&self.slot.gate, gate | WAITING);
            if self.drop_dead_readers(me, &mut watch, deep) {
                return Waited::Done(());
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
