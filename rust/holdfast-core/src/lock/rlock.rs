//! The re-entrant lock: a mutex and a depth that only the holder writes.
//!
//! ```text
//! word    as in `mutex.rs`
//! count   depth less one, 0 while free; after a takeover 0 again
//! ```

use super::{mutex, Released, Taken};
use crate::arena::layout::Slot;
use crate::arena::{Me, OWNER_MASK};
use crate::sync::{Ordering, SC};
use crate::wait::{Patience, Waited};

/// Takes the lock if it is free or already ours. Whether it did.
#[inline(always)]
#[must_use]
pub fn try_fast(slot: &Slot, me: u32) -> bool {
    if mutex::try_fast(&slot.word, me) {
        return true;
    }
    // Relaxed: the word names us only if we wrote it; the depth is ours alone then.
    if slot.word.load(Ordering::Relaxed) & OWNER_MASK != me {
        return false;
    }
    // Relaxed: as above.
    slot.count.store(slot.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    true
}

/// Takes the lock if it is free, ours, or its holder is dead.
#[must_use]
pub fn try_acquire(me: &Me<'_>, slot: &Slot) -> Option<Taken> {
    if try_fast(slot, me.id) {
        return Some(Taken::Free);
    }
    mutex::try_acquire(me, &slot.word).inspect(|_| slot.count.store(0, SC))
}

/// Waits for the lock.
pub fn acquire_slow(me: &Me<'_>, slot: &Slot, patience: &mut Patience<'_>) -> Waited<Taken> {
    let got = mutex::acquire_slow(me, &slot.word, &slot.seat, patience);
    if let Waited::Done(Taken::FromDead(_)) = got {
        slot.count.store(0, SC);
    }
    got
}

/// Releases one level. `NotHeld` and `ForAnother` change nothing.
#[must_use]
pub fn release(me: u32, slot: &Slot) -> Released {
    let owner = slot.word.load(SC) & OWNER_MASK;
    if owner == 0 {
        return Released::NotHeld;
    }
    if owner != me {
        return Released::ForAnother(owner);
    }
    let depth = slot.count.load(SC);
    if depth > 0 {
        slot.count.store(depth - 1, SC);
        return Released::ByHolder;
    }
    mutex::release(me, &slot.word)
}
