//! The one place that chooses between the machine's atomics and the model checker's.
//!
//! Every word that two processes share is one of these types. In a normal build they are the standard atomics and
//! nothing else; with the feature `model` every access is first a scheduling point of [`crate::model`].

use core::sync::atomic as machine;
pub use core::sync::atomic::Ordering;

#[cfg(feature = "model")]
#[inline]
fn reads<T>(word: *mut T) {
    crate::model::reads(word as usize);
}

#[cfg(feature = "model")]
#[inline]
fn writes<T>(word: *mut T) {
    crate::model::writes(word as usize);
}

#[cfg(not(feature = "model"))]
#[inline(always)]
const fn reads<T>(_word: *mut T) {}

#[cfg(not(feature = "model"))]
#[inline(always)]
const fn writes<T>(_word: *mut T) {}

/// Whether a control of the model checks has taken this step out of the protocol; never in normal builds.
#[cfg(feature = "model")]
#[must_use]
pub fn broken(step: &'static str) -> bool {
    crate::model::is_broken(step)
}

/// Whether a control of the model checks has taken this step out of the protocol; never in normal builds.
#[cfg(not(feature = "model"))]
#[inline(always)]
#[must_use]
pub const fn broken(_step: &'static str) -> bool {
    false
}

macro_rules! atomic {
    ($name:ident, $int:ty, $doc:literal) => {
        #[doc = $doc]
        #[repr(transparent)]
        #[derive(Debug, Default)]
        pub struct $name(machine::$name);

        impl $name {
            /// A new word with the value `v`.
            #[must_use]
            pub const fn new(v: $int) -> Self {
                Self(machine::$name::new(v))
            }
            /// Reads the word.
            #[inline(always)]
            pub fn load(&self, order: Ordering) -> $int {
                reads(self.as_ptr());
                self.0.load(order)
            }
            /// Writes the word.
            #[inline(always)]
            pub fn store(&self, v: $int, order: Ordering) {
                writes(self.as_ptr());
                self.0.store(v, order);
            }
            /// Writes the word and returns what was there.
            #[inline(always)]
            pub fn swap(&self, v: $int, order: Ordering) -> $int {
                writes(self.as_ptr());
                self.0.swap(v, order)
            }
            /// Replaces `old` by `new`; otherwise the error holds what was found.
            ///
            /// # Errors
            /// The value found, if it was not `old`.
            #[inline(always)]
            pub fn compare_exchange(&self, old: $int, new: $int, ok: Ordering, no: Ordering) -> Result<$int, $int> {
                writes(self.as_ptr());
                self.0.compare_exchange(old, new, ok, no)
            }
            /// Adds (wrapping) and returns what was there.
            #[inline(always)]
            pub fn fetch_add(&self, v: $int, order: Ordering) -> $int {
                writes(self.as_ptr());
                self.0.fetch_add(v, order)
            }
            /// Subtracts (wrapping) and returns what was there.
            #[inline(always)]
            pub fn fetch_sub(&self, v: $int, order: Ordering) -> $int {
                writes(self.as_ptr());
                self.0.fetch_sub(v, order)
            }
            /// Sets bits and returns what was there.
            #[inline(always)]
            pub fn fetch_or(&self, v: $int, order: Ordering) -> $int {
                writes(self.as_ptr());
                self.0.fetch_or(v, order)
            }
            /// Keeps only the given bits and returns what was there.
            #[inline(always)]
            pub fn fetch_and(&self, v: $int, order: Ordering) -> $int {
                writes(self.as_ptr());
                self.0.fetch_and(v, order)
            }
            /// The address of the word, for the kernel.
            #[must_use]
            pub const fn as_ptr(&self) -> *mut $int {
                self.0.as_ptr()
            }
        }
    };
}

atomic!(AtomicU32, u32, "A 32-bit word shared between processes.");
atomic!(AtomicU64, u64, "A 64-bit word shared between processes.");

/// Copies bytes into shared memory. They are seen by others only after a commit, which is an atomic store; for the model
/// checker every word is a step of its own, so that kills fall between any two.
///
/// # Safety
/// `to` is valid for `from.len()` bytes, which nobody else reads or writes meanwhile; the two do not overlap.
#[inline(always)]
pub unsafe fn copy_in(to: *mut u8, from: &[u8]) {
    copy(to, from.as_ptr(), from.len());
}

/// Copies bytes out of shared memory, as [`copy_in`].
///
/// # Safety
/// `from` and `to` are valid for `len` bytes; nobody writes them meanwhile; they do not overlap.
#[inline(always)]
pub unsafe fn copy_out(to: *mut u8, from: *const u8, len: usize) {
    copy(to, from, len);
}

#[cfg(not(feature = "model"))]
#[inline(always)]
fn copy(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: by the promise of the two callers above.
    unsafe { core::ptr::copy_nonoverlapping(from, to, len) };
}

#[cfg(feature = "model")]
fn copy(to: *mut u8, from: *const u8, len: usize) {
    for at in (0..len).step_by(4) {
        crate::model::step();
        // SAFETY: by the promise of the two callers above.
        unsafe { core::ptr::copy_nonoverlapping(from.add(at), to.add(at), (len - at).min(4)) };
    }
}

/// Sequentially consistent: the order used wherever speed does not matter.
pub const SC: Ordering = Ordering::SeqCst;

/// Words of this process alone (never shared, so never a step of the model).
pub mod local {
    pub use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
}
