//! Who does which task of a batch: one word that a worker and its parent change.
//!
//! A worker has a batch of tasks, numbered from 0. Before it begins one it claims it, and that one only: what stands behind
//! a task that takes long, or for ever, must be free to go. What it has not claimed its parent may take back and give to
//! somebody else. The word has the batch's tag, the next task to claim, and the end; every change is one compare-and-swap,
//! so that each task is claimed or taken back, never both, whoever dies in between:
//!
//! ```text
//! begin(tag, n)   (0, n)
//! claim()         (next, end) -> (next + 1, end)     the worker
//! revoke(tag)     (next, end) -> (next, next)        the parent
//! ```
//!
//! The tag keeps a parent that looked at one batch from taking back tasks of the next one.

use crate::sync::{broken, AtomicU64, Ordering::SeqCst};
use core::ops::Range;

/// Bits of a position.
const BITS: u32 = 24;
/// The largest number of tasks in a batch.
pub const MOST: u64 = (1 << BITS) - 1;

/// The word, as three numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    tag: u64,
    next: u64,
    end: u64,
}

impl State {
    const fn of(word: u64) -> Self {
        Self { tag: word >> (2 * BITS), next: (word >> BITS) & MOST, end: word & MOST }
    }

    const fn word(self) -> u64 {
        self.tag << (2 * BITS) | self.next << BITS | self.end
    }
}

/// What a tag keeps of a batch's number; one bit less than there is room, so that the word stays positive as a signed one.
const fn tag(batch: u64) -> u64 {
    batch & 0x7fff
}

/// A batch's word.
#[derive(Debug)]
pub struct Claim<'a>(&'a AtomicU64);

impl<'a> Claim<'a> {
    /// The protocol on a word of shared memory.
    #[must_use]
    pub const fn new(word: &'a AtomicU64) -> Self {
        Self(word)
    }

    /// Opens a batch of `count` tasks: the worker's, when it has claimed or lost all of the one before.
    pub fn begin(&self, batch: u64, count: u64) {
        self.0.store(State { tag: tag(batch), next: 0, end: count.min(MOST) }.word(), SeqCst);
    }

    /// Takes the next task for the worker; none if none is left.
    #[must_use]
    pub fn claim(&self) -> Option<u64> {
        let mut word = self.0.load(SeqCst);
        loop {
            let state = State::of(word);
            if state.next >= state.end {
                return None;
            }
            match self.0.compare_exchange(word, State { next: state.next + 1, ..state }.word(), SeqCst, SeqCst) {
                Ok(_) => return Some(state.next),
                Err(now) => word = now,
            }
        }
    }

    /// Takes back, for the parent, what nobody has claimed; nothing if the worker has another batch by now.
    #[must_use]
    pub fn revoke(&self, batch: u64) -> Option<Range<u64>> {
        let mut word = self.0.load(SeqCst);
        loop {
            let state = State::of(word);
            if (state.tag != tag(batch) && !broken("claim-tag")) || state.next >= state.end {
                return None;
            }
            match self.0.compare_exchange(word, State { end: state.next, ..state }.word(), SeqCst, SeqCst) {
                Ok(_) => return Some(state.next..state.end),
                Err(now) => word = now,
            }
        }
    }
}
