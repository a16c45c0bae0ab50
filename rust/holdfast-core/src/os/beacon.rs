//! The beacon: a robust, process-shared pthread mutex that a process's main thread holds for life.
//!
//! When the process ends in any way (SIGKILL, exit, exec) the kernel sets OWNER_DIED in its word and wakes one sleeper,
//! before the memory is torn down. The waiters bit is set from the start, so that the kernel always wakes. Nobody but the
//! owner and the kernel writes the word.
//!
//! ```text
//! word   bits 0-29 thread id of the owner, 0 when dead | bit 30 OWNER_DIED | bit 31 waiters
//! ```
//! Source: `set_robust_list(2)`; glibc nptl (lock word at offset 0 of `pthread_mutex_t`, checked when it is lit).

use crate::sync::{AtomicU32, SC};

/// Bits of the word that name the owner.
pub const OWNER: u32 = 0x3fff_ffff;
/// The waiters bit.
pub const WAITERS: u32 = 0x8000_0000;
/// Bytes a beacon takes in shared memory.
pub const SIZE: usize = 40;

/// Whether the value of a lit beacon's word says that its process is gone.
#[must_use]
pub const fn is_dead(value: u32) -> bool {
    value & OWNER == 0
}

/// Lights the beacon at `at` for the calling thread. `false`: not possible here (the caller marks the process as one
/// whose death is found by heartbeat).
///
/// # Safety
/// `at` points to [`SIZE`] bytes of a mapping that stays for the life of this process and that nobody else uses.
#[cfg(not(feature = "model"))]
#[must_use]
pub unsafe fn light(at: *mut u8) -> bool {
    const _: () = assert!(core::mem::size_of::<libc::pthread_mutex_t>() <= SIZE);
    let mutex = at.cast::<libc::pthread_mutex_t>();
    let mut attributes = core::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    // SAFETY: `attributes` is initialised by the first call; `mutex` is ours alone by the caller's promise.
    let locked = unsafe {
        libc::pthread_mutexattr_init(attributes.as_mut_ptr());
        libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
        libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
        let made = libc::pthread_mutex_init(mutex, attributes.as_ptr());
        libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
        made == 0 && libc::pthread_mutex_lock(mutex) == 0
    };
    // SAFETY: the word is the first member of glibc's mutex, aligned to 4, and inside the caller's memory.
    let word = unsafe { &*at.cast::<AtomicU32>() };
    locked && word.fetch_or(WAITERS, SC) & OWNER == super::identity::thread_id()
}

/// The model's beacon: the checker itself plays the kernel.
///
/// # Safety
/// `at` points to a word of the model's memory.
#[cfg(feature = "model")]
#[must_use]
pub unsafe fn light(at: *mut u8) -> bool {
    // SAFETY: by the caller's promise.
    let word = unsafe { &*at.cast::<AtomicU32>() };
    word.store(super::identity::thread_id() | WAITERS, SC);
    true
}
