//! The turnstile: how threads of all processes wait for one thing, whatever dies meanwhile.
//!
//! One waiter, the sentry, sits in the seat and sleeps on the thing itself (its word) and on the beacons of those who
//! have it; all others sleep on the seat. So one thread always watches the holder of the moment, and a release wakes one.
//!
//! ```text
//! seat word   bits 0-29 thread id of the sentry | bit 30 OWNER_DIED (set by the kernel) | bit 31 always set with an id
//!
//! SLEEPER  seat empty or OWNER_DIED: CAS -> me | bit 31, become SENTRY; else sleep on the seat
//! SENTRY   try; if not: sleep on {word, beacons}; whoever finds a beacon dead wakes all that sleep on it, then tries
//! leave    seat = 0 and wake one, always
//! ```
//! While a thread waits, `list_op_pending` names the seat word: if it is killed in the seat, the kernel marks the word and
//! wakes a sleeper; if it is killed between a wake and taking the seat, the kernel passes the wake on.
//! The heartbeat (20 ms, growing to 250 ms; at most 40 ms where `futex_waitv` is missing) looks at everything again: what
//! the kernel does not tell (foreign pid namespaces, a beacon that could not be lit, a relay killed half way, a signal that
//! another thread received) costs time, never a hang. A sleeper then also tries what the sentry tries.
//!
//! Source: "beacons and a seat" with one beacon a process and a relay; the design and its counterexamples are in the model
//! tests of each primitive.

use crate::arena::Me;
use crate::os::futex::{self, Watch, Woken};
use crate::os::{beacon, clock, identity, robust};
use crate::sync::{broken, AtomicU32, SC};

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited<T> {
    /// What was waited for.
    Done(T),
    /// The deadline passed.
    TimedOut,
    /// A signal came, or the caller's beat asked to stop.
    Interrupted,
}

/// How long a caller waits, and what he wants to do meanwhile.
pub struct Patience<'a> {
    /// CLOCK_MONOTONIC nanoseconds; `None`: for ever.
    pub deadline: Option<u64>,
    /// Called at every heartbeat; `true` ends the wait as interrupted.
    pub beat: &'a mut dyn FnMut() -> bool,
}

impl std::fmt::Debug for Patience<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Patience({:?})", self.deadline)
    }
}

impl Patience<'_> {
    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|d| clock::now_ns() >= d)
    }
}

/// Heartbeats of one wait.
#[derive(Debug)]
pub struct Heart {
    next_ms: u64,
    most_ms: u64,
    /// Beats so far.
    pub beats: u32,
}

impl Default for Heart {
    fn default() -> Self {
        let (first, most) = if futex::has_waitv() { (20, 250) } else { (5, 40) };
        Self { next_ms: first, most_ms: most, beats: 0 }
    }
}

impl Heart {
    /// Until when to sleep: the next beat or the deadline, whichever is first.
    #[must_use]
    pub fn until(&self, patience: &Patience<'_>) -> u64 {
        let beat = clock::now_ns() + self.next_ms * 1_000_000;
        patience.deadline.map_or(beat, |d| d.min(beat))
    }

    /// After a sleep: whether to give up, and why. Counts the beat if it was one.
    pub fn after<T>(&mut self, woken: Woken, patience: &mut Patience<'_>) -> Option<Waited<T>> {
        match woken {
            Woken::Interrupted => return Some(Waited::Interrupted),
            Woken::TimedOut => {
                if patience.is_over() {
                    return Some(Waited::TimedOut);
                }
                self.beats += 1;
                self.next_ms = (self.next_ms * 2).min(self.most_ms);
                if (patience.beat)() {
                    return Some(Waited::Interrupted);
                }
            }
            Woken::Yes | Woken::Changed => {}
        }
        None
    }
}

/// Waits in the turnstile of `seat` until `attempt` gives something. `attempt` fills the watch with the word (first) and
/// the beacons to sleep on; its argument says whether to look deeper than beacons (after a heartbeat).
pub fn turn<T>(
    me: &Me<'_>,
    seat: &AtomicU32,
    watch: &mut Watch,
    patience: &mut Patience<'_>,
    attempt: &mut dyn FnMut(&mut Watch, bool) -> Option<T>,
) -> Waited<T> {
    if !broken("pending") {
        robust::pending_set(seat);
    }
    let mut heart = Heart::default();
    let outcome = match take_seat(me, seat, watch, &mut heart, patience, attempt) {
        Some(ended) => ended,
        None => {
            let outcome = stand_sentry(watch, &mut heart, patience, attempt);
            let _ = leave_seat(seat);
            outcome
        }
    };
    robust::pending_clear();
    outcome
}

fn take_seat<T>(
    me: &Me<'_>,
    seat: &AtomicU32,
    watch: &mut Watch,
    heart: &mut Heart,
    patience: &mut Patience<'_>,
    attempt: &mut dyn FnMut(&mut Watch, bool) -> Option<T>,
) -> Option<Waited<T>> {
    let mine = me.seat.tid.load(SC) | beacon::WAITERS;
    loop {
        let now = seat.load(SC);
        if now & beacon::OWNER == 0 {
            if seat.compare_exchange(now, mine, SC, SC).is_ok() {
                return None;
            }
            continue;
        }
        if patience.is_over() {
            return Some(Waited::TimedOut);
        }
        let woken = futex::wait(seat, now, Some(heart.until(patience)));
        if let Some(end) = heart.after(woken, patience) {
            return Some(end);
        }
        if woken != Woken::TimedOut {
            continue;
        }
        // A sentry that was stopped (SIGSTOP, a debugger) keeps its seat, but must not keep others from what is free.
        watch.clear();
        watch.beside_sentry = true;
        let got = attempt(watch, false);
        watch.beside_sentry = false;
        if let Some(got) = got {
            return Some(Waited::Done(got));
        }
        if heart.beats > 3 && !identity::thread_exists(now & beacon::OWNER) {
            // The kernel did not clear the seat of a dead sentry (another pid namespace, no robust lists).
            let _ = seat.compare_exchange(now, 0, SC, SC);
        }
    }
}

/// Leaves the seat; whether a sleeper was woken for it.
pub(crate) fn leave_seat(seat: &AtomicU32) -> bool {
    // Always with a wake: a waiters bit would be lost when the one it was meant for dies (E11 `seat_w`).
    seat.store(0, SC);
    !broken("seat-wake") && futex::wake(seat, 1)
}

fn stand_sentry<T>(
    watch: &mut Watch,
    heart: &mut Heart,
    patience: &mut Patience<'_>,
    attempt: &mut dyn FnMut(&mut Watch, bool) -> Option<T>,
) -> Waited<T> {
    let mut deep = false;
    loop {
        watch.clear();
        if let Some(got) = attempt(watch, deep) {
            return Waited::Done(got);
        }
        if patience.is_over() {
            return Waited::TimedOut;
        }
        if watch.words().is_empty() {
            continue; // the words moved while they were read
        }
        let woken = futex::wait_any(watch.words(), Some(heart.until(patience)));
        relay(watch);
        deep = woken == Woken::TimedOut;
        if let Some(end) = heart.after(woken, patience) {
            return end;
        }
    }
}

/// The kernel wakes one sleeper of a dead process's beacon: that one wakes the others.
pub fn relay(watch: &Watch) {
    for (word, _) in watch.words().iter().skip(1) {
        // SAFETY: the watch was filled from live references into the arena's mapping, which is never unmapped.
        let word = unsafe { &**word };
        if beacon::is_dead(word.load(SC)) && !broken("relay") {
            futex::wake(word, u32::MAX);
        }
    }
}

/// Shows in the thread's seat that it waits for a slot, until dropped.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Me<'a>);

impl<'a> Waiting<'a> {
    /// Starts to show it.
    #[must_use]
    pub fn show(me: &'a Me<'a>, slot: u32, site: u32) -> Self {
        me.seat.waiting_since.store(clock::coarse_ms(), SC);
        me.seat.waiting_site.store(site, SC);
        me.seat.waiting_for.store(slot, SC);
        Self(me)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.seat.waiting_for.store(0, SC);
    }
}
