//! The helper's table: which interests there are, and each one's place in its turnstile.
//!
//! ```text
//! OUTSIDE   sleeps on the seat word; seat empty: CAS -> me, becomes SENTRY       (without a seat: SENTRY from the start)
//! SENTRY    looks; could be had: tells the loop and becomes TOLD; else sleeps on {word, beacons}
//! TOLD      keeps the seat until the loop answers, for at most GRACE: so the loop is not overtaken by those who sleep
//!           on the seat, and a loop that is busy does not hold them up
//! answers   got it: leaves the seat with a wake, goes OUTSIDE to the end of the queue
//!           had it not: SENTRY again (OUTSIDE if the grace was over)
//!           removed: leaves the seat with a wake
//! ```
//! Where it differs from the turnstile of `wait.rs`: it stands in several at once. A sleep on many words reports one wake
//! and may have swallowed others, so after every sleep everything is looked at. `list_op_pending` names one seat; in the
//! others a kill is found by the heartbeat of those who sleep there. One who leaves a seat for which somebody was woken
//! waits for him to take it.

use super::interest::{Interest, Kept};
use super::Desk;
use crate::arena::Me;
use crate::os::futex::{self, Watch, MAX_WORDS};
use crate::os::{beacon, identity, robust};
use crate::sync::{broken, AtomicU32, SC};
use crate::wait::leave_seat;
use std::sync::Arc;

/// How long a seat is kept for a loop that does not answer (nanoseconds).
const GRACE_NS: u64 = 5_000_000;
/// How long a sleeper who was woken for a seat has it for himself (nanoseconds).
const POLITE_NS: u64 = 1_000_000;
/// Interval of looks where the kernel cannot watch all words (nanoseconds).
const POLL_NS: u64 = 3_000_000;
/// Heartbeats after which a sentry is asked for in /proc.
const PATIENT_BEATS: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Not in the seat, and not before that time.
    Outside(u64),
    Sentry,
    /// The loop knows. The time is the end of the grace; 0: the seat is not kept (any more).
    Told(u64),
}

/// One interest of one loop.
#[derive(Debug)]
pub struct Entry {
    /// Number by which the loop and the helper speak of it.
    pub ticket: u64,
    /// What is waited for.
    pub what: Box<dyn Interest>,
    /// Where the loop is told.
    pub desk: Arc<Desk>,
    /// Keeps the slot; `None` in tests.
    pub kept: Option<Kept>,
    place: Place,
}

impl Entry {
    /// A new one, at the end of the queue.
    #[must_use]
    pub fn new(ticket: u64, what: Box<dyn Interest>, desk: Arc<Desk>, kept: Option<Kept>) -> Self {
        let place = if what.seat().is_some() { Place::Outside(0) } else { Place::Sentry };
        Self { ticket, what, desk, kept, place }
    }

    fn is_seated(&self) -> bool {
        self.what.seat().is_some() && matches!(self.place, Place::Sentry | Place::Told(1..))
    }

    /// Leaves the seat, if it is in it, with a wake.
    fn step_out(&mut self, now: u64) {
        let woke = match self.what.seat() {
            Some(seat) if self.is_seated() => leave_seat(seat),
            _ => false,
        };
        self.place = Place::Outside(if woke { now + POLITE_NS } else { 0 });
    }
}

/// An order of a loop.
#[derive(Debug)]
pub enum Order {
    /// Something new to wait for.
    Add(Entry),
    /// The loop looked at this ticket: whether it took something, and its mark.
    Again(u64, bool, u32),
    /// Nobody waits for it any more.
    Remove(u64),
    /// The loop is gone.
    Close(Arc<Desk>),
}

/// The table, and what to sleep on after a round.
#[derive(Debug, Default)]
pub struct Engine {
    entries: Vec<Entry>,
    words: Watch,
    beacons: Vec<(*const AtomicU32, u32)>,
    wake_at: Option<u64>,
}

// SAFETY: the pointers are to words of arenas, which are never unmapped, and are only used as addresses of atomics.
unsafe impl Send for Engine {}

impl Engine {
    /// Whether nothing is waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets everything without touching any seat: in a forked child, whose parent goes on.
    pub fn forget(&mut self) {
        self.entries.clear();
        self.words.clear();
        self.beacons.clear();
    }

    /// Carries out one order.
    pub fn obey(&mut self, order: Order, now: u64) {
        match order {
            Order::Add(entry) => self.entries.push(entry),
            Order::Again(ticket, got, mark) => {
                if let Some(entry) = self.entries.iter_mut().find(|e| e.ticket == ticket) {
                    Self::answer(entry, got, mark, now);
                }
            }
            Order::Remove(ticket) => self.remove(|e| e.ticket == ticket),
            Order::Close(desk) => self.remove(|e| Arc::ptr_eq(&e.desk, &desk)),
        }
    }

    fn answer(entry: &mut Entry, got: bool, mark: u32, now: u64) {
        entry.what.again(mark);
        let has_seat = entry.what.seat().is_some();
        if has_seat && (got || entry.place == Place::Told(0)) {
            entry.step_out(now);
        } else if matches!(entry.place, Place::Told(_)) {
            entry.place = Place::Sentry;
        }
    }

    fn remove(&mut self, which: impl Fn(&Entry) -> bool) {
        while let Some(at) = self.entries.iter().position(&which) {
            let mut entry = self.entries.swap_remove(at);
            let seated = entry.is_seated();
            entry.step_out(0);
            if let (Some(seat), false) = (entry.what.seat(), seated) {
                // The wake of an empty seat may have been meant for this sleeper.
                if seat.load(SC) & beacon::OWNER == 0 && !broken("pass-on") {
                    futex::wake(seat, 1);
                }
            }
        }
    }

    /// Looks at everything; the tickets that could be had are told. `deep` after a heartbeat, of which there were `beats`.
    pub fn round(&mut self, me_in: &mut dyn FnMut(&Entry) -> Option<Me<'static>>, now: u64, deep: bool, beats: u32) {
        self.words.clear();
        self.beacons.clear();
        self.wake_at = None;
        let mut scratch = Watch::default();
        let mut entries = core::mem::take(&mut self.entries);
        self.name_a_seat(&entries);
        for entry in &mut entries {
            // Where this thread can have no seat the heartbeat tries again.
            let Some(me) = me_in(entry) else { continue };
            self.look_at(entry, &me, &mut scratch, now, deep, beats);
        }
        self.entries = entries;
    }

    /// The kernel looks at one word when this thread dies: the seat of the first who has one.
    fn name_a_seat(&self, entries: &[Entry]) {
        match entries.iter().find_map(|e| e.what.seat()) {
            Some(seat) if !broken("pending") => robust::pending_set(seat),
            _ => robust::pending_clear(),
        }
    }

    fn look_at(&mut self, entry: &mut Entry, me: &Me<'_>, scratch: &mut Watch, now: u64, deep: bool, beats: u32) {
        if let Place::Outside(not_before) = entry.place {
            if !self.enter(entry, me, not_before, now, deep && beats > PATIENT_BEATS) {
                return;
            }
        }
        if let Place::Told(until @ 1..) = entry.place {
            if now < until {
                return self.come_back_at(until);
            }
            entry.step_out(0);
            entry.place = Place::Told(0);
        }
        while entry.place == Place::Sentry {
            scratch.clear();
            if (deep && me.arena.check().is_err()) || entry.what.look(me, scratch, deep) {
                let until = if entry.what.seat().is_some() { now + GRACE_NS } else { 0 };
                entry.place = Place::Told(until);
                entry.desk.tell(entry.ticket);
                if until != 0 {
                    self.come_back_at(until);
                }
            } else if !scratch.words().is_empty() {
                self.sleep_on(scratch);
                break;
            }
        }
    }

    /// Takes the seat; `false`: somebody else has it, or shall have it.
    fn enter(&mut self, entry: &mut Entry, me: &Me<'_>, not_before: u64, now: u64, ask: bool) -> bool {
        let Some(seat) = entry.what.seat() else { return false };
        let mine = me.seat.tid.load(SC) | beacon::WAITERS;
        loop {
            let found = seat.load(SC);
            if found & beacon::OWNER != 0 {
                if ask && !identity::thread_exists(found & beacon::OWNER) {
                    let _ = seat.compare_exchange(found, 0, SC, SC);
                    continue;
                }
                self.watch(seat, found);
                return false;
            }
            if now < not_before {
                self.watch(seat, found);
                self.come_back_at(not_before);
                return false;
            }
            if seat.compare_exchange(found, mine, SC, SC).is_ok() {
                entry.place = Place::Sentry;
                return true;
            }
        }
    }

    fn sleep_on(&mut self, found: &Watch) {
        for (i, (word, value)) in found.words().iter().enumerate() {
            if i > 0 {
                self.beacons.push((*word, *value));
            }
            // SAFETY: watches are filled from live references into arenas, which are never unmapped.
            self.watch(unsafe { &**word }, *value);
        }
    }

    fn watch(&mut self, word: &AtomicU32, value: u32) {
        let known = self.words.words().iter().any(|(w, v)| core::ptr::eq(*w, word) && *v == value);
        if known {
            return;
        }
        // One place is for the control word.
        if self.words.words().len() + 1 < MAX_WORDS && (futex::has_waitv() || self.words.words().is_empty()) {
            self.words.add(word, value);
        } else {
            self.wake_at = Some(0); // too many: look again soon
        }
    }

    fn come_back_at(&mut self, when: u64) {
        self.wake_at = Some(self.wake_at.map_or(when, |at| at.min(when)));
    }

    /// What to sleep on until something happens, beside the control word.
    #[must_use]
    pub fn words(&self) -> &[(*const AtomicU32, u32)] {
        self.words.words()
    }

    /// When to look again at the latest, if there is a reason beside the heartbeat.
    #[must_use]
    pub fn wake_at(&self, now: u64) -> Option<u64> {
        let control_only = !futex::has_waitv() && !self.words.words().is_empty();
        match self.wake_at {
            Some(0) => Some(now + POLL_NS),
            None if control_only => Some(now + POLL_NS),
            other => other,
        }
    }

    /// After a sleep: the kernel wakes one sleeper of a dead process's beacon, that one wakes the others.
    pub fn relay(&self) {
        for (word, _) in &self.beacons {
            // SAFETY: as in `sleep_on`.
            let word = unsafe { &**word };
            if beacon::is_dead(word.load(SC)) && !broken("relay") {
                futex::wake(word, u32::MAX);
            }
        }
    }
}
