//! The primitives, one file each.

pub mod barrier;
pub mod condition;
pub mod event;
pub mod mutex;
pub mod rlock;
pub mod rwlock;
pub mod semaphore;

use crate::arena::layout::{kind, Slot};
use crate::arena::{Arena, ORPHAN, OWNER_MASK};
use crate::os::futex;
use crate::sync::{AtomicU32, SC};

/// How something was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was free.
    Free,
    /// From a dead holder, whose owner id this was.
    FromDead(u32),
}

/// How something was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// By its holder.
    ByHolder,
    /// By somebody else; the holder's owner id.
    ForAnother(u32),
    /// Nothing was held.
    NotHeld,
}

/// Part of a sweep: takes the seats of dead threads out of the words of one slot. `names_dead` gives the pid of a dead
/// owner. Each word is changed by one CAS, so takers and other words are undisturbed.
pub fn orphan(arena: &Arena, id: u32, slot: &Slot, names_dead: &dyn Fn(u32) -> Option<u32>) {
    let replace = |word: &AtomicU32, to: u32| {
        let value = word.load(SC);
        let owner = value & OWNER_MASK;
        if owner == 0 || owner == ORPHAN {
            return false;
        }
        let Some(pid) = names_dead(owner) else { return false };
        slot.orphan_pid.store(pid, SC);
        loop {
            let value = word.load(SC);
            if value & OWNER_MASK != owner {
                return false;
            }
            if word.compare_exchange(value, (value & !OWNER_MASK) | to, SC, SC).is_ok() {
                return true;
            }
        }
    };
    let orphan_word = || {
        if replace(&slot.word, ORPHAN) {
            futex::wake(&slot.word, 1);
        }
    };
    match slot.state.load(SC) & 0xff {
        kind::QUEUE => {
            for lock in crate::ring::queue::Queue::at(arena, id).iter().flat_map(|q| q.locks()) {
                if replace(lock, ORPHAN) {
                    futex::wake(lock, 1);
                }
            }
        }
        kind::LOCK | kind::RLOCK | kind::VALUE => orphan_word(),
        kind::SEMAPHORE => {
            let permits = slot.cells.load(SC) as usize;
            if arena.cells(id).iter().take(permits).filter(|c| replace(c, ORPHAN)).count() > 0 {
                semaphore::wake(slot);
            }
        }
        kind::RWLOCK => {
            orphan_word();
            if arena.cells(id).iter().filter(|c| replace(c, 0)).count() > 0 {
                rwlock::wake(slot);
            }
        }
        kind::CONDITION => {
            for pair in arena.cells(id).chunks_exact(2) {
                replace(&pair[0], 0);
            }
        }
        kind::BARRIER => {
            orphan_word();
            replace(&slot.signalled, ORPHAN);
            for pair in arena.cells(id).chunks_exact(2) {
                replace(&pair[0], ORPHAN);
            }
        }
        _ => {}
    }
}
