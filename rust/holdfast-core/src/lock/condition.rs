//! The condition: a list of waiters, each sleeping on a word of its own.
//!
//! ```text
//! cells in pairs   [owner id of the waiter, 0 if unused] [bit 0 WAITING | bit 1 NOTIFIED | bit 2 ASLEEP | bits 3-31 ticket]
//! count            last ticket given        cells   pairs that may be in use
//! gate, signalled  for waiters beyond the pairs: they sleep on the gate and every notify wakes them all
//! ```
//! Everything but the sleep happens under the condition's lock. Nobody waits for a sleeper's answer: a notify marks the
//! longest-waiting living waiters and wakes them; waiters of dead processes are dropped on the way. A waiter killed at any
//! step leaves at most a pair that names the dead.

use crate::arena::layout::Slot;
use crate::arena::{Me, OwnerState};
use crate::os::futex::{self, Watch};
use crate::sync::{broken, AtomicU32, SC};
use crate::wait::{Heart, Patience, Waited};

const WAITING: u32 = 1;
const NOTIFIED: u32 = 2;
const ASLEEP: u32 = 4;
const TICKET: u32 = 3;

/// A condition in place.
#[derive(Debug, Clone, Copy)]
pub struct Condition<'a> {
    /// Its words.
    pub slot: &'a Slot,
    /// Its pairs.
    pub cells: &'a [AtomicU32],
}

/// A waiter's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A pair of its own.
    Pair(usize),
    /// One of many on the gate, which had this value.
    Gate(u32),
}

impl Condition<'_> {
    fn pairs(&self) -> impl Iterator<Item = &[AtomicU32]> {
        self.cells.chunks_exact(2)
    }

    /// Puts the calling thread on the list. The lock is held.
    #[must_use]
    pub fn enlist(&self, me: &Me<'_>) -> Place {
        let ticket = self.slot.count.load(SC).wrapping_add(1) & (u32::MAX >> TICKET);
        self.slot.count.store(ticket, SC);
        for (i, pair) in self.pairs().enumerate() {
            if pair[0].load(SC) == 0 {
                pair[1].store(ticket << TICKET | WAITING, SC);
                if self.slot.cells.load(SC) <= i as u32 {
                    self.slot.cells.store(i as u32 + 1, SC);
                }
                pair[0].store(me.id, SC);
                return Place::Pair(i);
            }
        }
        self.slot.signalled.store(1, SC);
        Place::Gate(self.slot.gate.load(SC))
    }

    /// Sleeps until notified. The lock is not held.
    pub fn sleep(&self, place: Place, patience: &mut Patience<'_>) -> Waited<()> {
        let mut heart = Heart::default();
        loop {
            let (word, value) = match place {
                Place::Pair(i) => (&self.cells[2 * i + 1], self.cells[2 * i + 1].load(SC)),
                Place::Gate(value) => (&self.slot.gate, value),
            };
            let waits = match place {
                Place::Pair(_) => value & WAITING != 0,
                Place::Gate(_) => word.load(SC) == value,
            };
            if !waits {
                return Waited::Done(());
            }
            let mut value = value;
            if matches!(place, Place::Pair(_)) && value & ASLEEP == 0 {
                if word.compare_exchange(value, value | ASLEEP, SC, SC).is_err() {
                    continue;
                }
                value |= ASLEEP;
            }
            let woken = futex::wait(word, value, Some(heart.until(patience)));
            if let Some(end) = heart.after(woken, patience) {
                return end;
            }
        }
    }

    /// Whether the waiter at a place may go on; if not, what to sleep on.
    pub(crate) fn observe(&self, place: Place, watch: &mut Watch) -> bool {
        match place {
            Place::Gate(value) => {
                watch.add(&self.slot.gate, value);
                self.slot.gate.load(SC) != value
            }
            Place::Pair(i) => {
                let word = &self.cells[2 * i + 1];
                let now = word.load(SC);
                if now & WAITING == 0 {
                    return true;
                }
                if now & ASLEEP != 0 || word.compare_exchange(now, now | ASLEEP, SC, SC).is_ok() {
                    watch.add(word, now | ASLEEP);
                }
                false
            }
        }
    }

    /// Whether the waiter at a place was notified.
    #[must_use]
    pub fn was_notified(&self, place: Place) -> bool {
        match place {
            Place::Pair(i) => self.cells[2 * i + 1].load(SC) & NOTIFIED != 0,
            Place::Gate(value) => self.slot.gate.load(SC) != value,
        }
    }

    /// Takes the calling thread off the list. The lock is held. Whether it was notified.
    #[must_use]
    pub fn delist(&self, place: Place) -> bool {
        let notified = self.was_notified(place);
        if let Place::Pair(i) = place {
            self.cells[2 * i].store(0, SC);
        }
        notified
    }

    /// Notifies up to `n` waiters, the longest-waiting first; the number found. The lock is held.
    pub fn notify(&self, me: &Me<'_>, n: u32) -> u32 {
        if self.slot.signalled.load(SC) != 0 {
            self.slot.signalled.store(0, SC);
            self.slot.gate.fetch_add(1, SC);
            futex::wake(&self.slot.gate, u32::MAX);
        }
        let mut done = 0;
        while done < n {
            let Some(i) = self.longest_waiting(me) else { break };
            let word = &self.cells[2 * i + 1];
            // Only the waiter itself writes here meanwhile, and only to say that it sleeps: the swap sees that.
            if word.swap(NOTIFIED, SC) & ASLEEP != 0 {
                futex::wake(word, 1);
            }
            done += 1;
        }
        done
    }

    fn longest_waiting(&self, me: &Me<'_>) -> Option<usize> {
        let newest = self.slot.count.load(SC);
        let age = |state: u32| newest.wrapping_sub(state >> TICKET) & (u32::MAX >> TICKET);
        let mut best: Option<(usize, u32)> = None;
        let used = self.slot.cells.load(SC) as usize;
        for (i, pair) in self.pairs().enumerate().take(used) {
            let (owner, state) = (pair[0].load(SC), pair[1].load(SC));
            if owner == 0 || state & WAITING == 0 || best.is_some_and(|(_, a)| a >= age(state)) {
                continue;
            }
            if matches!(me.arena.owner_state(owner, false), OwnerState::Dead) && !broken("dead-waiter") {
                let _ = pair[0].compare_exchange(owner, 0, SC, SC);
                continue;
            }
            best = Some((i, age(state)));
        }
        if best.is_none() && self.pairs().take(used).all(|p| p[0].load(SC) == 0) {
            self.slot.cells.store(0, SC);
        }
        best.map(|(i, _)| i)
    }

    /// Waiters on the list.
    #[must_use]
    pub fn waiting(&self, me: &Me<'_>) -> u32 {
        let lives = |pair: &&[AtomicU32]| {
            let owner = pair[0].load(SC);
            owner != 0
                && pair[1].load(SC) & WAITING != 0
                && !matches!(me.arena.owner_state(owner, true), OwnerState::Dead)
        };
        self.pairs().filter(lives).count() as u32
    }
}
