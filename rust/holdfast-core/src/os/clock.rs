//! Clocks. Deadlines are CLOCK_MONOTONIC nanoseconds; "since when" is coarse milliseconds (a few ns to read).

/// CLOCK_MONOTONIC in nanoseconds.
#[must_use]
pub fn now_ns() -> u64 {
    #[cfg(feature = "model")]
    return crate::model::now_ns();
    #[cfg(not(feature = "model"))]
    read(libc::CLOCK_MONOTONIC, 1)
}

/// CLOCK_MONOTONIC_COARSE in milliseconds, cut to 32 bits (compare with wrapping subtraction; wraps after 49 days).
#[inline]
#[must_use]
pub fn coarse_ms() -> u32 {
    #[cfg(feature = "model")]
    return crate::model::coarse_ms();
    #[cfg(not(feature = "model"))]
    {
        read(libc::CLOCK_MONOTONIC_COARSE, 1_000_000) as u32
    }
}

#[cfg(not(feature = "model"))]
#[inline]
fn read(clock: libc::clockid_t, unit_ns: u64) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writes; both clocks exist on every supported kernel.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now.tv_sec as u64 * (1_000_000_000 / unit_ns) + now.tv_nsec as u64 / unit_ns
}
