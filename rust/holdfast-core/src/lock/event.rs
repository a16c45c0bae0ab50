//! The event: one word, so that a signal handler may set it whatever the interrupted code was doing.
//!
//! ```text
//! word   bit 0 set | bits 1-30 counts how often it was set | bit 31 SLEEPERS: somebody may sleep on the word
//! ```
//! A sleeper that finds the count changed was woken by a `set` even if a `clear` followed at once. A setter killed before
//! its wake leaves the word set: the heartbeat of the sleepers finds it.

use crate::os::futex::{self, Watch};
use crate::sync::{broken, AtomicU32, SC};
use crate::wait::{Heart, Patience, Waited};

/// The event is set.
pub const SET: u32 = 1;
/// Somebody may sleep on the word.
pub const SLEEPERS: u32 = 0x8000_0000;
const COUNT: u32 = 0x7fff_fffe;

/// Sets the event and wakes all.
pub fn set(word: &AtomicU32) {
    loop {
        let now = word.load(SC);
        if now & SET != 0 {
            return;
        }
        let next = (now & COUNT).wrapping_add(2) & COUNT | SET;
        if word.compare_exchange(now, next, SC, SC).is_ok() {
            if now & SLEEPERS != 0 {
                futex::wake(word, u32::MAX);
            }
            return;
        }
    }
}

/// Clears the event.
pub fn clear(word: &AtomicU32) {
    word.fetch_and(!SET, SC);
}

/// Whether the event is set, or was set since its word had the value `first`.
#[must_use]
pub fn happened(word: &AtomicU32, first: u32) -> bool {
    let now = word.load(SC);
    now & SET != 0 || (now ^ first) & COUNT != 0
}

/// As [`happened`]; if not, what to sleep on.
pub(crate) fn observe(word: &AtomicU32, first: u32, watch: &mut Watch) -> bool {
    if happened(word, first) {
        return true;
    }
    let now = word.load(SC);
    if now & SLEEPERS != 0 || word.compare_exchange(now, now | SLEEPERS, SC, SC).is_ok() {
        watch.add(word, now | SLEEPERS);
        if happened(word, first) {
            return true;
        }
    }
    false
}

/// Waits until the event is set.
pub fn wait(word: &AtomicU32, patience: &mut Patience<'_>) -> Waited<()> {
    wait_since(word, word.load(SC), patience)
}

/// Waits until the event is set, or was set since its word had the value `first`.
pub fn wait_since(word: &AtomicU32, first: u32, patience: &mut Patience<'_>) -> Waited<()> {
    let mut heart = Heart::default();
    loop {
        let mut now = word.load(SC);
        if now & SET != 0 || (now ^ first) & COUNT != 0 && !broken("event-count") {
            return Waited::Done(());
        }
        if now & SLEEPERS == 0 {
            if word.compare_exchange(now, now | SLEEPERS, SC, SC).is_err() {
                continue;
            }
            now |= SLEEPERS;
        }
        let woken = futex::wait(word, now, Some(heart.until(patience)));
        if let Some(end) = heart.after(woken, patience) {
            let late = word.load(SC);
            return if late & SET != 0 || (late ^ first) & COUNT != 0 { Waited::Done(()) } else { end };
        }
    }
}
