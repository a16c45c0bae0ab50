//! The semaphore: permits that know who took them.
//!
//! ```text
//! cells[0..permits]   one word a permit: 0 free, else the owner id of the taker
//! count               permits beyond the cells (released without having been acquired, or too many for cells)
//! gate                bit 31 WAITING: the sentry may sleep here | lower bits: counts wakes
//! signalled           1 once somebody released what another had taken: then permits of the dead do not come back
//!
//! acquire   CAS count n -> n-1, or CAS a free cell 0 -> me; else the turnstile: the cell of a dead taker, else sleep on
//!           {gate, beacons of the takers}
//! release   my cell -> 0; else one of my process; else anybody's (signalled = 1); else count + 1; then open the gate
//! ```
//! A permit changes hands by one CAS, so after a kill it is either free or names the dead.

use super::{Released, Taken};
use crate::arena::layout::{flag, Slot};
use crate::arena::{Me, OwnerState, OWNER_MASK};
use crate::os::futex::{self, Watch};
use crate::sync::{broken, AtomicU32, Ordering, SC};
use crate::wait::{turn, Patience, Waited};

/// The sentry may sleep on the gate.
pub const WAITING: u32 = 0x8000_0000;
/// Greatest value, as in multiprocessing.
pub const MAX: u32 = 0x7fff_ffff;

/// A semaphore in place.
#[derive(Debug, Clone, Copy)]
pub struct Semaphore<'a> {
    /// Its words.
    pub slot: &'a Slot,
    /// Its permits.
    pub cells: &'a [AtomicU32],
}

/// Opens the gate for the sentry, if one may sleep there.
pub(crate) fn wake(slot: &Slot) {
    let now = slot.gate.load(SC);
    if now & WAITING != 0 {
        let _ = slot.gate.compare_exchange(now, (now & !WAITING).wrapping_add(1) & !WAITING, SC, SC);
        futex::wake(&slot.gate, 1);
    }
}

impl<'a> Semaphore<'a> {
    /// Takes a free permit; never one of the dead.
    #[inline(always)]
    #[must_use]
    pub fn try_fast(&self, me: u32) -> bool {
        for cell in self.cells {
            // Relaxed: only a hint; the CAS decides. Acquire pairs with the Release in `release_fast`.
            if cell.load(Ordering::Relaxed) == 0
                && cell.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return true;
            }
        }
        self.try_surplus()
    }

    #[inline]
    fn try_surplus(&self) -> bool {
        loop {
            let n = self.slot.count.load(SC);
            if n == 0 {
                return false;
            }
            if self.slot.count.compare_exchange(n, n - 1, SC, SC).is_ok() {
                return true;
            }
        }
    }

    /// Takes a permit if one is free or its taker is dead.
    #[must_use]
    pub fn try_acquire(&self, me: &Me<'_>) -> Option<Taken> {
        self.try_deep(me, false)
    }

    /// As [`Self::try_acquire`]; `deep` also asks /proc for takers without a beacon.
    #[must_use]
    pub fn try_deep(&self, me: &Me<'_>, deep: bool) -> Option<Taken> {
        if self.try_fast(me.id) {
            return Some(Taken::Free);
        }
        self.try_dead(me, None, deep)
    }

    /// Takes over a dead taker's permit; on the way puts the beacons of the living into the watch.
    fn try_dead(&self, me: &Me<'_>, mut watch: Option<&mut Watch>, deep: bool) -> Option<Taken> {
        if self.slot.signalled.load(SC) != 0 {
            return None;
        }
        self.cells.iter().find_map(|cell| self.try_cell(cell, me, watch.as_deref_mut(), deep))
    }

    /// Takes a permit that is free or a dead taker's; or else watches the beacon of the taker, whoever that is.
    fn try_cell(&self, cell: &AtomicU32, me: &Me<'_>, watch: Option<&mut Watch>, deep: bool) -> Option<Taken> {
        loop {
            let owner = cell.load(SC);
            // Freed since `try_fast` looked: its taker may have been killed before it could open the gate.
            let taken = if owner == 0 {
                Taken::Free
            } else {
                match me.arena.owner_state(owner, deep) {
                    OwnerState::Dead => Taken::FromDead(owner),
                    OwnerState::Alive(beacon) => {
                        if let (Some((beacon, value)), Some(watch)) = (beacon, watch) {
                            watch.add(beacon, value);
                        }
                        return None;
                    }
                }
            };
            if cell.compare_exchange(owner, me.id, SC, SC).is_ok() {
                return Some(taken);
            }
        }
    }

    /// Waits for a permit.
    pub fn acquire_slow(&self, me: &Me<'_>, patience: &mut Patience<'_>) -> Waited<Taken> {
        let mut watch = Watch::default();
        turn(me, &self.slot.seat, &mut watch, patience, &mut |watch, deep| self.attempt(me, watch, deep))
    }

    fn attempt(&self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> Option<Taken> {
        if broken("gate-first") && self.try_fast(me.id) {
            return Some(Taken::Free);
        }
        let mut gate = self.slot.gate.load(SC);
        if gate & WAITING == 0 {
            if self.slot.gate.compare_exchange(gate, gate | WAITING, SC, SC).is_err() {
                return None;
            }
            gate |= WAITING;
        }
        // Only now, with the gate marked, does "no permit" mean that a release will open the gate.
        if !broken("gate-first") && self.try_fast(me.id) {
            return Some(Taken::Free);
        }
        watch.add(&self.slot.gate, gate);
        self.try_dead(me, Some(watch), deep)
    }

    /// As `attempt`, but nothing is taken: whether a permit could be had.
    pub(crate) fn observe(&self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool {
        let gate = self.slot.gate.load(SC);
        if gate & WAITING == 0 && self.slot.gate.compare_exchange(gate, gate | WAITING, SC, SC).is_err() {
            return false;
        }
        if self.slot.count.load(SC) != 0 {
            return true;
        }
        watch.add(&self.slot.gate, gate | WAITING);
        let comes_back = self.slot.signalled.load(SC) == 0;
        self.cells.iter().any(|cell| match cell.load(SC) {
            0 => true,
            _ if !comes_back => false,
            owner => match me.arena.owner_state(owner, deep) {
                OwnerState::Dead => true,
                OwnerState::Alive(beacon) => {
                    if let Some((beacon, value)) = beacon {
                        watch.add(beacon, value);
                    }
                    false
                }
            },
        })
    }

    /// Gives back the calling thread's own permit, if it has one and nobody waits.
    #[inline(always)]
    #[must_use]
    pub fn release_fast(&self, me: u32) -> bool {
        for cell in self.cells {
            // Relaxed: our own id is only ever written by this thread.
            if cell.load(Ordering::Relaxed) == me {
                // SeqCst: the gate must be read after the permit is free (pairs with `attempt`, which marks the gate and
                // then looks for permits).
                if cell.compare_exchange(me, 0, SC, SC).is_ok() {
                    if self.slot.gate.load(SC) & WAITING != 0 {
                        wake(self.slot);
                    }
                    return true;
                }
            }
        }
        false
    }

    /// Gives back a permit. `NotHeld`: a bounded semaphore is already at its bound, or a plain one at [`MAX`].
    #[must_use]
    pub fn release(&self, me: &Me<'_>) -> Released {
        if self.release_fast(me.id) {
            return Released::ByHolder;
        }
        if let Some(owner) = self.free_one(|owner| me.arena.is_mine(owner)) {
            wake(self.slot);
            return if owner == me.id { Released::ByHolder } else { Released::ForAnother(owner) };
        }
        if self.cells.iter().any(|c| c.load(SC) & OWNER_MASK != 0) {
            self.slot.signalled.store(1, SC);
            if let Some(owner) = self.free_one(|_| true) {
                wake(self.slot);
                return Released::ForAnother(owner);
            }
        }
        let bounded = self.slot.flags.load(SC) & flag::BOUNDED != 0;
        let bound = if bounded { self.slot.maximum.load(SC) } else { MAX };
        loop {
            let n = self.slot.count.load(SC);
            if n as usize + self.cells.len() >= bound as usize {
                return Released::NotHeld;
            }
            if self.slot.count.compare_exchange(n, n + 1, SC, SC).is_ok() {
                break;
            }
        }
        wake(self.slot);
        Released::ByHolder
    }

    fn free_one(&self, which: impl Fn(u32) -> bool) -> Option<u32> {
        self.cells.iter().find_map(|cell| {
            let owner = cell.load(SC);
            (owner != 0 && which(owner) && cell.compare_exchange(owner, 0, SC, SC).is_ok()).then_some(owner)
        })
    }

    /// Whether the calling thread has a permit.
    #[must_use]
    pub fn has(&self, owner: u32) -> bool {
        self.cells.iter().any(|c| c.load(SC) == owner)
    }

    /// Free permits.
    #[must_use]
    pub fn value(&self, me: &Me<'_>) -> u32 {
        let comes_back = self.slot.signalled.load(SC) == 0;
        let free = |cell: &&AtomicU32| {
            let owner = cell.load(SC);
            owner == 0 || comes_back && matches!(me.arena.owner_state(owner, true), OwnerState::Dead)
        };
        self.cells.iter().filter(free).count() as u32 + self.slot.count.load(SC)
    }
}
