//! The mutex under `Lock`: one word that names its holder.
//!
//! ```text
//! word   bits 0-29 owner id (0: free) | bit 30 unused | bit 31 WAITING: the sentry may sleep on the word
//!
//! acquire   CAS 0 -> me; else the turnstile: CAS (free or dead owner) -> me; else set WAITING and sleep on {word, beacon}
//! release   CAS me -> 0; with WAITING: CAS me|WAITING -> 0 and wake one
//! ```
//! Killed at any step: before the acquiring CAS nothing happened; after it the beacon of the dead holder tells the sentry;
//! between a release and its wake, too. Anybody may release for the holder.
//! The two CASes of the fast path are Acquire and Release: they pair with each other, holder after holder. Everything else
//! is SeqCst.

use super::{Released, Taken};
use crate::arena::{Me, OwnerState, ORPHAN, OWNER_MASK};
use crate::error::{Error, Result};
use crate::os::futex::{self, Watch};
use crate::sync::{broken, AtomicU32, Ordering, SC};
use crate::wait::{turn, Patience, Waited};

/// The sentry may sleep on the word.
pub const WAITING: u32 = 0x8000_0000;

/// Takes a free lock; the fast path.
#[inline(always)]
#[must_use]
pub fn try_fast(word: &AtomicU32, me: u32) -> bool {
    // Acquire pairs with the Release in `release_fast`; Relaxed on failure, nothing was taken.
    word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Gives up a lock for which nobody waits; the fast path.
#[inline(always)]
#[must_use]
pub fn release_fast(word: &AtomicU32, me: u32) -> bool {
    // Release pairs with the Acquire in `try_fast`; Relaxed on failure, the slow path looks again.
    word.compare_exchange(me, 0, Ordering::Release, Ordering::Relaxed).is_ok()
}

/// Takes the lock if it is free or its holder is dead.
#[must_use]
pub fn try_acquire(me: &Me<'_>, word: &AtomicU32) -> Option<Taken> {
    try_deep(me, word, false)
}

/// As [`try_acquire`]; `deep` also asks /proc for a holder without a beacon.
#[must_use]
pub fn try_deep(me: &Me<'_>, word: &AtomicU32, deep: bool) -> Option<Taken> {
    loop {
        let now = word.load(SC);
        let owner = now & OWNER_MASK;
        let taken = if owner == 0 {
            Taken::Free
        } else if matches!(me.arena.owner_state(owner, deep), OwnerState::Dead) {
            Taken::FromDead(owner)
        } else {
            return None;
        };
        // WAITING is kept: the sentry, if there is one, still sleeps on the word.
        if word.compare_exchange(now, me.id | (now & WAITING), SC, SC).is_ok() {
            return Some(taken);
        }
    }
}

/// One look of the sentry at the lock.
pub(crate) fn attempt(me: &Me<'_>, word: &AtomicU32, watch: &mut Watch, deep: bool) -> Option<Taken> {
    let mut now = word.load(SC);
    let owner = now & OWNER_MASK;
    let mine = if watch.beside_sentry { me.id | now & WAITING } else { me.id };
    if owner == 0 {
        return word.compare_exchange(now, mine, SC, SC).is_ok().then_some(Taken::Free);
    }
    let beacon = match me.arena.owner_state(owner, deep) {
        OwnerState::Dead => {
            return word.compare_exchange(now, mine, SC, SC).is_ok().then_some(Taken::FromDead(owner));
        }
        OwnerState::Alive(beacon) => beacon,
    };
    if now & WAITING == 0 && !broken("waiters-bit") {
        if word.compare_exchange(now, now | WAITING, SC, SC).is_err() {
            return None;
        }
        now |= WAITING;
    }
    watch.add(word, now);
    if let Some((beacon, value)) = beacon {
        watch.add(beacon, value);
    }
    None
}

/// As [`attempt`], but nothing is taken: whether the lock could be had.
pub(crate) fn observe(me: &Me<'_>, word: &AtomicU32, watch: &mut Watch, deep: bool) -> bool {
    let now = word.load(SC);
    let owner = now & OWNER_MASK;
    if owner == 0 {
        return true;
    }
    let OwnerState::Alive(beacon) = me.arena.owner_state(owner, deep) else { return true };
    if now & WAITING == 0
        && !broken("observer-waiters-bit")
        && word.compare_exchange(now, now | WAITING, SC, SC).is_err()
    {
        return false;
    }
    watch.add(word, if broken("observer-waiters-bit") { now } else { now | WAITING });
    if let Some((beacon, value)) = beacon {
        watch.add(beacon, value);
    }
    false
}

/// Waits for the lock.
pub fn acquire_slow(me: &Me<'_>, word: &AtomicU32, seat: &AtomicU32, patience: &mut Patience<'_>) -> Waited<Taken> {
    let mut watch = Watch::default();
    turn(me, seat, &mut watch, patience, &mut |watch, deep| attempt(me, word, watch, deep))
}

/// Releases the lock for whoever holds it.
#[must_use]
pub fn release(me: u32, word: &AtomicU32) -> Released {
    loop {
        let now = word.load(SC);
        let owner = now & OWNER_MASK;
        if owner == 0 {
            return Released::NotHeld;
        }
        if word.compare_exchange(now, 0, SC, SC).is_err() {
            continue;
        }
        if now & WAITING != 0 {
            futex::wake(word, 1);
        }
        return if owner == me { Released::ByHolder } else { Released::ForAnother(owner) };
    }
}

/// Gives up a lock taken from the dead without having used it: the next taker is told of the death instead.
pub(crate) fn leave_orphaned(me: u32, word: &AtomicU32) {
    loop {
        let now = word.load(SC);
        if now & OWNER_MASK != me {
            return; // released by somebody else meanwhile
        }
        if word.compare_exchange(now, ORPHAN, SC, SC).is_ok() {
            if now & WAITING != 0 {
                futex::wake(word, 1);
            }
            return;
        }
    }
}

/// Takes one of the arena's own locks; a dead holder left nothing half done under it.
pub(crate) fn acquire_words(me: &Me<'_>, word: &AtomicU32, seat: &AtomicU32, watch: &mut Watch) -> Result<()> {
    if try_fast(word, me.id) {
        return Ok(());
    }
    loop {
        let mut patience = Patience { deadline: None, beat: &mut || false };
        let got = turn(me, seat, watch, &mut patience, &mut |watch, deep| attempt(me, word, watch, deep));
        me.arena.check()?;
        match got {
            Waited::Done(_) => return Ok(()),
            Waited::Interrupted => {}
            Waited::TimedOut => return Err(Error::corrupt("lock")),
        }
    }
}

/// Releases one of the arena's own locks.
pub(crate) fn release_words(me: &Me<'_>, word: &AtomicU32) {
    if !release_fast(word, me.id) {
        let _ = release(me.id, word);
    }
}
