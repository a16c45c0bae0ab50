//! What need not be explored: words that stay as they are. And what is broken on purpose.
//!
//! ```text
//! freeze(base, len)   every 4-byte word of the range is still: reading it is no step, writing it fails
//! thaw(word, n)       but these words are live
//! ```
//! Seats and process records are still in the check of a lock, and make up most of what its code reads.

use core::cell::{Cell, RefCell};

#[derive(Default)]
struct Still {
    base: usize,
    words: usize,
    /// One bit a word, set if it is still.
    bits: Vec<u64>,
}

impl Still {
    #[inline]
    fn holds(&self, address: usize) -> bool {
        let word = address.wrapping_sub(self.base) / 4;
        word < self.words && self.bits[word / 64] >> (word % 64) & 1 != 0
    }
}

thread_local! {
    static STILL: RefCell<Still> = const { RefCell::new(Still { base: 0, words: 0, bits: Vec::new() }) };
    static BROKEN: Cell<&'static str> = const { Cell::new("") };
}

/// Declares that nobody writes these bytes while tasks run. Replaces what was declared before; call it where the world
/// is made, as its memory is another one each time.
pub fn freeze(base: *const u8, bytes: usize) {
    STILL.with_borrow_mut(|still| {
        still.base = base as usize;
        still.words = bytes / 4;
        still.bits.clear();
        still.bits.resize(still.words.div_ceil(64), u64::MAX);
    });
}

/// Takes `words` words of 4 bytes out of what `freeze` declared.
pub fn thaw<T>(first: *const T, words: usize) {
    STILL.with_borrow_mut(|still| {
        let at = (first as usize).wrapping_sub(still.base) / 4;
        for word in at..at + words {
            still.bits[word / 64] &= !(1 << (word % 64));
        }
    });
}

/// Forgets what was declared.
pub(super) fn forget() {
    STILL.with_borrow_mut(|still| still.words = 0);
}

/// An atomic read: a scheduling point, unless the word is still.
#[inline]
pub(crate) fn reads(address: usize) {
    if super::KERNEL.get().is_null() || STILL.with_borrow(|still| still.holds(address)) {
        return;
    }
    super::step();
}

/// An atomic write: a scheduling point.
#[inline]
pub(crate) fn writes(address: usize) {
    if super::KERNEL.get().is_null() {
        return;
    }
    let still = STILL.with_borrow(|still| still.holds(address).then_some(address.wrapping_sub(still.base)));
    assert!(still.is_none(), "a frozen word is written, at {still:?}");
    super::step();
}

/// Takes one step out of the protocol in this thread until the guard is dropped, so that a test can show that the
/// checker would notice. The names are the arguments of `sync::broken` in the product code.
#[must_use]
pub fn break_protocol(step: &'static str) -> impl Drop {
    struct Mend;
    impl Drop for Mend {
        fn drop(&mut self) {
            BROKEN.set("");
        }
    }
    BROKEN.set(step);
    Mend
}

/// Whether this step is taken out.
pub(crate) fn is_broken(step: &'static str) -> bool {
    BROKEN.get() == step
}
