//! A small lock for state of this process alone. Unlike the standard one it can be held across `fork` by the fork hook
//! and released on both sides. Sections are short and never wait, so it spins and yields.

use crate::sync::local::{AtomicBool, Ordering};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

/// Lets other threads go on; for loops that wait for somebody who never waits.
pub fn pause() {
    #[cfg(feature = "model")]
    crate::model::yield_now();
    #[cfg(not(feature = "model"))]
    std::thread::yield_now();
}

/// Data of this process behind a lock.
#[derive(Debug, Default)]
pub struct Local<T> {
    held: AtomicBool,
    data: UnsafeCell<T>,
}

// SAFETY: the data is reached only through `lock`, which lets one thread in at a time.
unsafe impl<T: Send> Sync for Local<T> {}

impl<T> Local<T> {
    /// New data.
    pub const fn new(data: T) -> Self {
        Self { held: AtomicBool::new(false), data: UnsafeCell::new(data) }
    }

    /// Takes the lock without a guard: for the hook that runs before `fork`.
    pub fn hold(&self) {
        // Acquire pairs with the Release in `release`; Relaxed on failure, since the loop tries again.
        while self.held.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            pause();
        }
    }

    /// Opens what [`Self::hold`] took, in the parent and in the child.
    pub fn release(&self) {
        // Release pairs with the Acquire in `hold`.
        self.held.store(false, Ordering::Release);
    }

    /// The data, for a caller that has called [`Self::hold`] itself.
    ///
    /// # Safety
    /// The calling thread holds the lock (or is the forked copy of the thread that did), and nobody writes.
    pub unsafe fn peek(&self) -> &T {
        // SAFETY: by the caller's promise.
        unsafe { &*self.data.get() }
    }

    /// Takes the lock.
    pub fn lock(&self) -> Guard<'_, T> {
        self.hold();
        Guard(self)
    }
}

/// Access to the data while it lives.
#[derive(Debug)]
pub struct Guard<'a, T>(&'a Local<T>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while the lock is held.
        unsafe { &*self.0.data.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard exists only while the lock is held, and it is borrowed mutably.
        unsafe { &mut *self.0.data.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.0.release();
    }
}
