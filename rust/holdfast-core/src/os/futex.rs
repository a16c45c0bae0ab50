//! Sleeping on words of shared memory.
//!
//! Source: Linux `futex(2)` (`FUTEX_WAIT_BITSET`, absolute CLOCK_MONOTONIC time) and `futex_waitv(2)` (since 5.16).

use crate::sync::AtomicU32;

/// Why a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Somebody woke us, or the kernel did so for no reason.
    Yes,
    /// A word no longer had the expected value.
    Changed,
    /// The deadline passed.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

/// The most words one sleep can watch (a limit of `futex_waitv`).
pub const MAX_WORDS: usize = 128;

/// The words a sleeper watches, each with the value at which it may sleep. Kept on the stack: no allocation.
#[derive(Debug)]
pub struct Watch {
    words: [(*const AtomicU32, u32); MAX_WORDS],
    len: usize,
    /// Somebody else is the sentry: marks that are meant for him stay.
    pub beside_sentry: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self { words: [(core::ptr::null(), 0); MAX_WORDS], len: 0, beside_sentry: false }
    }
}

impl Watch {
    /// Forgets all words.
    pub fn clear(&mut self) {
        self.len = 0;
    }
    /// Watches `word` for any change from `value`. Words over the limit are left to the heartbeat.
    pub fn add(&mut self, word: &AtomicU32, value: u32) {
        if self.len < MAX_WORDS {
            self.words[self.len] = (core::ptr::from_ref(word), value);
            self.len += 1;
        }
    }
    /// The words.
    #[must_use]
    pub fn words(&self) -> &[(*const AtomicU32, u32)] {
        &self.words[..self.len]
    }
}

#[cfg(not(feature = "model"))]
mod real {
    use super::Woken;
    use crate::sync::local::{AtomicU32 as LocalWord, Ordering};
    use crate::sync::AtomicU32;

    /// 0: not known yet, 1: the kernel has `futex_waitv`, 2: it has not (or `HOLDFAST_NO_WAITV` is set).
    static WAITV: LocalWord = LocalWord::new(0);

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Waiter {
        val: u64,
        uaddr: u64,
        flags: u32,
        reserved: u32,
    }

    const FUTEX_32: u32 = 2;

    pub fn has_waitv() -> bool {
        // Relaxed: the word guards nothing but itself and every process finds the same answer.
        match WAITV.load(Ordering::Relaxed) {
            0 => {
                let yes = std::env::var_os("HOLDFAST_NO_WAITV").is_none() && probe();
                // Relaxed: pairs with nothing, see above.
                WAITV.store(if yes { 1 } else { 2 }, Ordering::Relaxed);
                yes
            }
            known => known == 1,
        }
    }

    fn probe() -> bool {
        // SAFETY: zero waiters are never valid (EINVAL), so the kernel touches nothing; ENOSYS or EPERM say "no".
        unsafe { libc::syscall(libc::SYS_futex_waitv, 0usize, 0u32, 0u32, 0usize, 0) };
        errno() == libc::EINVAL
    }

    fn errno() -> i32 {
        // SAFETY: errno's address is valid for the calling thread.
        unsafe { *libc::__errno_location() }
    }

    fn timespec(at_ns: u64) -> libc::timespec {
        libc::timespec { tv_sec: (at_ns / 1_000_000_000) as _, tv_nsec: (at_ns % 1_000_000_000) as _ }
    }

    fn verdict(result: libc::c_long) -> Woken {
        if result >= 0 {
            return Woken::Yes;
        }
        match errno() {
            libc::EAGAIN => Woken::Changed,
            libc::ETIMEDOUT => Woken::TimedOut,
            libc::EINTR => Woken::Interrupted,
            _ => Woken::Yes, // ENOSYS, EFAULT: the caller looks again and its heartbeat bounds the rate
        }
    }

    pub fn wait_any(words: &[(*const AtomicU32, u32)], deadline_ns: Option<u64>) -> Woken {
        if words.len() > 1 && has_waitv() {
            return wait_many(words, deadline_ns);
        }
        let (word, value) = words[0];
        let until = deadline_ns.map(timespec);
        let until_ptr = until.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        // SAFETY: `word` points into a live mapping (the caller holds a reference), `until` outlives the call.
        verdict(unsafe {
            libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT_BITSET, value, until_ptr, 0usize, u32::MAX)
        })
    }

    fn wait_many(words: &[(*const AtomicU32, u32)], deadline_ns: Option<u64>) -> Woken {
        let mut list = [Waiter { val: 0, uaddr: 0, flags: 0, reserved: 0 }; super::MAX_WORDS];
        for (entry, (word, value)) in list.iter_mut().zip(words) {
            *entry = Waiter { val: u64::from(*value), uaddr: *word as u64, flags: FUTEX_32, reserved: 0 };
        }
        let until = deadline_ns.map(timespec);
        let until_ptr = until.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        // SAFETY: the first `words.len()` entries of `list` are filled and name live words; `until` outlives the call.
        verdict(unsafe {
            libc::syscall(
                libc::SYS_futex_waitv,
                list.as_ptr(),
                words.len() as u32,
                0u32,
                until_ptr,
                libc::CLOCK_MONOTONIC,
            )
        })
    }

    pub fn wake(word: &AtomicU32, n: u32) -> bool {
        let n = n.min(i32::MAX as u32);
        // SAFETY: FUTEX_WAKE only uses the address as a key.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, n, 0usize, 0usize, 0u32) > 0 }
    }
}

/// Whether a sleeper can watch several words at once here.
#[must_use]
pub fn has_waitv() -> bool {
    #[cfg(feature = "model")]
    return true;
    #[cfg(not(feature = "model"))]
    real::has_waitv()
}

/// Sleeps until one of the words changes or is woken, or until the deadline (CLOCK_MONOTONIC, nanoseconds). Where the
/// kernel cannot watch several words, only the first is watched: callers keep a heartbeat.
#[must_use]
pub fn wait_any(words: &[(*const AtomicU32, u32)], deadline_ns: Option<u64>) -> Woken {
    #[cfg(feature = "model")]
    return crate::model::futex_wait_any(words, deadline_ns);
    #[cfg(not(feature = "model"))]
    real::wait_any(words, deadline_ns)
}

/// Sleeps while `word` has `value`.
#[must_use]
pub fn wait(word: &AtomicU32, value: u32, deadline_ns: Option<u64>) -> Woken {
    wait_any(&[(core::ptr::from_ref(word), value)], deadline_ns)
}

/// Wakes at most `n` sleepers of `word`; whether there was one.
pub fn wake(word: &AtomicU32, n: u32) -> bool {
    #[cfg(feature = "model")]
    return crate::model::futex_wake(core::ptr::from_ref(word), n);
    #[cfg(not(feature = "model"))]
    real::wake(word, n)
}
