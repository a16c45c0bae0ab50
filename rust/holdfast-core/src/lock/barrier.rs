//! The barrier: parties wait until all have come; it breaks when one of them dies.
//!
//! ```text
//! word, seat   a mutex over the rest, as in `mutex.rs`
//! cells        pairs: [owner id, 0 if unused] [state: WAITING | PASSED | BROKEN, index << 2]
//! count        bit 0: broken | bit 1: opening     maximum   parties     gate   counts releases; all sleepers sleep on it
//! signalled    owner id of the last party while it runs the action, else 0
//! ```
//! Opening and breaking are decided by one write, the bit in `count`; handing out the verdicts follows from it. Whoever
//! takes the mutex first finishes what a dead party had decided, so a kill half way never divides a round.
//! Each waiter finds its verdict in its own pair, so rounds cannot be confused. Waiters look at every heartbeat whether
//! one of the others is dead, and then break the barrier for all.

use super::mutex;
use crate::arena::layout::Slot;
use crate::arena::{Me, OwnerState};
use crate::error::Result;
use crate::os::futex::{self, Watch};
use crate::sync::{broken, AtomicU32, SC};
use crate::wait::{Heart, Patience, Waited};

const WAITING: u32 = 1;
const PASSED: u32 = 2;
const BROKEN: u32 = 3;
const BROKEN_FLAG: u32 = 1;
const OPENING_FLAG: u32 = 2;
/// Bits of a state that are not the index.
const STATE: u32 = 3;

/// A barrier in place.
#[derive(Debug, Clone, Copy)]
pub struct Barrier<'a> {
    /// Its words.
    pub slot: &'a Slot,
    /// Its pairs.
    pub cells: &'a [AtomicU32],
}

/// What an arriving party finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It waits in this pair.
    Waits(usize),
    /// It is the last one: it runs the action and then calls `open` (or `abort`).
    Last,
    /// The barrier is broken.
    Broken,
    /// The last round is still being released; come again after the gate moves from this value.
    Busy(u32),
}

/// A party's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All came; the party's index.
    Passed(u32),
    /// The barrier broke.
    Broken,
}

impl Barrier<'_> {
    fn locked<T>(&self, me: &Me<'_>, act: impl FnOnce() -> T) -> Result<T> {
        let mut watch = Watch::default();
        mutex::acquire_words(me, &self.slot.word, &self.slot.seat, &mut watch)?;
        if !broken("roll-forward") {
            self.finish();
        }
        let done = act();
        mutex::release_words(me, &self.slot.word);
        Ok(done)
    }

    fn pairs(&self) -> impl Iterator<Item = &[AtomicU32]> {
        self.cells.chunks_exact(2)
    }

    fn is_dead(me: &Me<'_>, owner: u32) -> bool {
        owner != 0 && matches!(me.arena.owner_state(owner, true), OwnerState::Dead)
    }

    /// Under the mutex: frees the pairs of dead parties; breaks the barrier if one of them was waiting.
    fn look_for_dead(&self, me: &Me<'_>) {
        let mut broke = Self::is_dead(me, self.slot.signalled.load(SC));
        for pair in self.pairs() {
            let owner = pair[0].load(SC);
            if Self::is_dead(me, owner) {
                broke |= pair[1].load(SC) & STATE == WAITING;
                let _ = pair[0].compare_exchange(owner, 0, SC, SC);
            }
        }
        if broke {
            self.slot.recoveries.fetch_add(1, SC);
            self.break_now();
        }
    }

    /// Does the rest of what was decided before.
    fn finish(&self) {
        let decided = self.slot.count.load(SC);
        if decided & OPENING_FLAG != 0 {
            self.open_now();
        } else if decided & BROKEN_FLAG != 0 && self.count_waiting() > 0 {
            self.break_now();
        }
    }

    fn open_now(&self) {
        self.slot.count.fetch_or(OPENING_FLAG, SC);
        self.verdict_for_all(PASSED);
        self.slot.signalled.store(0, SC);
        self.slot.count.fetch_and(!OPENING_FLAG, SC);
    }

    fn break_now(&self) {
        self.slot.count.fetch_or(BROKEN_FLAG, SC);
        self.slot.signalled.store(0, SC);
        self.verdict_for_all(BROKEN);
    }

    fn waiting_pairs(&self) -> impl Iterator<Item = &[AtomicU32]> {
        self.pairs().filter(|p| p[0].load(SC) != 0 && p[1].load(SC) & STATE == WAITING)
    }

    fn verdict_for_all(&self, verdict: u32) {
        for pair in self.waiting_pairs() {
            pair[1].store(pair[1].load(SC) & !STATE | verdict, SC);
        }
        self.slot.gate.fetch_add(1, SC);
        futex::wake(&self.slot.gate, u32::MAX);
    }

    fn count_waiting(&self) -> u32 {
        self.waiting_pairs().count() as u32
    }

    /// A party arrives.
    ///
    /// # Errors
    /// HF504 if the arena is damaged.
    pub fn arrive(&self, me: &Me<'_>) -> Result<Arrival> {
        self.locked(me, || {
            self.look_for_dead(me);
            if self.slot.count.load(SC) & BROKEN_FLAG != 0 {
                return Arrival::Broken;
            }
            if self.slot.signalled.load(SC) != 0 {
                return Arrival::Busy(self.slot.gate.load(SC));
            }
            let index = self.count_waiting();
            if index + 1 == self.slot.maximum.load(SC) {
                self.slot.signalled.store(me.id, SC);
                return Arrival::Last;
            }
            for (i, pair) in self.pairs().enumerate() {
                if pair[0].load(SC) == 0 {
                    pair[1].store(WAITING | index << 2, SC);
                    pair[0].store(me.id, SC);
                    return Arrival::Waits(i);
                }
            }
            Arrival::Busy(self.slot.gate.load(SC)) // parties of the last round have not read their verdicts yet
        })
    }

    /// The last party lets all go; its index, or that the barrier broke meanwhile.
    ///
    /// # Errors
    /// HF504 if the arena is damaged.
    pub fn open(&self, me: &Me<'_>) -> Result<Verdict> {
        self.locked(me, || {
            if self.slot.signalled.load(SC) != me.id {
                return Verdict::Broken;
            }
            self.open_now();
            Verdict::Passed(self.slot.maximum.load(SC) - 1)
        })
    }

    /// Sleeps until the gate moves (a party that found the barrier busy).
    pub fn sleep_at_gate(&self, value: u32, patience: &mut Patience<'_>) -> Waited<()> {
        let mut heart = Heart::default();
        let woken = futex::wait(&self.slot.gate, value, Some(heart.until(patience)));
        heart.after(woken, patience).unwrap_or(Waited::Done(()))
    }

    /// Waits for the verdict of the pair. After `TimedOut` the caller aborts; after `Interrupted` it may wait on.
    ///
    /// # Errors
    /// HF504 if the arena is damaged.
    pub fn wait(&self, me: &Me<'_>, pair: usize, patience: &mut Patience<'_>) -> Result<Waited<Verdict>> {
        let mut heart = Heart::default();
        loop {
            let gate = self.slot.gate.load(SC);
            if let Some(verdict) = self.verdict(me, pair) {
                return Ok(Waited::Done(verdict));
            }
            let woken = futex::wait(&self.slot.gate, gate, Some(heart.until(patience)));
            if woken == futex::Woken::TimedOut {
                me.arena.check()?;
                self.locked(me, || self.look_for_dead(me))?;
            }
            if let Some(end) = heart.after(woken, patience) {
                return Ok(self.verdict(me, pair).map_or(end, Waited::Done));
            }
        }
    }

    /// Whether the party with this owner id has its verdict in this pair; if not, what to sleep on. A deep look also
    /// breaks the barrier if a party is dead.
    pub(crate) fn observe(&self, me: &Me<'_>, party: u32, pair: usize, watch: &mut Watch, deep: bool) -> bool {
        if deep && self.locked(me, || self.look_for_dead(me)).is_err() {
            return true;
        }
        watch.add(&self.slot.gate, self.slot.gate.load(SC));
        self.cells[2 * pair + 1].load(SC) & STATE != WAITING || self.cells[2 * pair].load(SC) != party
    }

    /// Whether the gate has moved from `value`; if not, what to sleep on.
    pub(crate) fn observe_gate(&self, value: u32, watch: &mut Watch) -> bool {
        watch.add(&self.slot.gate, value);
        self.slot.gate.load(SC) != value
    }

    /// The verdict of the calling thread's pair, if it is there.
    #[must_use]
    pub fn verdict(&self, me: &Me<'_>, pair: usize) -> Option<Verdict> {
        let (owner, state) = (&self.cells[2 * pair], &self.cells[2 * pair + 1]);
        let now = state.load(SC);
        if now & STATE == WAITING && owner.load(SC) == me.id {
            return None;
        }
        let _ = owner.compare_exchange(me.id, 0, SC, SC);
        Some(if now & STATE == PASSED { Verdict::Passed(now >> 2) } else { Verdict::Broken })
    }

    /// Breaks the barrier until it is reset.
    ///
    /// # Errors
    /// HF504 if the arena is damaged.
    pub fn abort(&self, me: &Me<'_>) -> Result<()> {
        self.locked(me, || self.break_now())
    }

    /// A party whose time is over (in its pair, if it has one) breaks the barrier, unless it has its verdict already.
    ///
    /// # Errors
    /// HF504 if the arena is damaged.
    pub fn give_up(&self, me: &Me<'_>, pair: Option<usize>) -> Result<Verdict> {
        self.locked(me, || {
            if let Some(verdict) = pair.and_then(|pair| self.verdict(me, pair)) {
                return verdict;
            }
            self.break_now();
            pair.and_then(|pair| self.verdict(me, pair)).unwrap_or(Verdict::Broken)
        })
    }

    /// Makes the barrier new: parties that wait are told that it broke.
    ///
    /// # Errors
    /// HF504 if the arena is damaged.
    pub fn reset(&self, me: &Me<'_>) -> Result<()> {
        self.locked(me, || {
            self.break_now();
            self.slot.count.fetch_and(!BROKEN_FLAG, SC);
        })
    }

    /// Parties that wait.
    ///
    /// # Errors
    /// HF504 if the arena is damaged.
    pub fn waiting(&self, me: &Me<'_>) -> Result<u32> {
        self.locked(me, || {
            self.look_for_dead(me);
            self.count_waiting()
        })
    }

    /// Whether it is broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.slot.count.load(SC) & BROKEN_FLAG != 0
    }
}
