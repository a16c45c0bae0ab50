//! Process records: who takes part, and whether it lives.
//!
//! ```text
//! FREE ──reserve──> RESERVED ──child adopts──> ALIVE ──found dead──> SWEEPING ──> FREE
//! FREE ──attach───────────────────────────────> ALIVE      (RESERVED and never adopted within 10 s: as dead)
//! ```

use super::layout::{process_state as state, write_text, ProcessRecord, PROCESSES, ROW};
use super::{Arena, NO_PROCESS};
use crate::error::{Error, Result};
use crate::os::identity::{self, Identity};
use crate::os::local::Local;
use crate::os::{beacon, clock};
use crate::sync::local::Ordering;
use crate::sync::{broken, AtomicU32, SC};

/// A child that was never seen alive within this time of its fork is dead (milliseconds).
const RESERVED_MS: u32 = 10_000;
/// Attachments between two sweeps.
const SWEEP_EVERY: u32 = 32;

/// Bits of a token that hold the record's number.
const TOKEN_BITS: u32 = 10;
/// All bits of a token.
const TOKEN_MASK: u32 = (1 << 30) - 1;

/// Name of this process, as given.
static NAME: Local<String> = Local::new(String::new());

/// What is known of the holder of a lock.
#[derive(Debug)]
pub enum OwnerState<'a> {
    /// Gone: its locks may be taken.
    Dead,
    /// Alive; if its beacon is lit, the word and value to watch.
    Alive(Option<(&'a AtomicU32, u32)>),
}

impl Arena {
    /// Takes a record for this process.
    pub(super) fn join_table(&self) -> Result<()> {
        let index = self.claim_record(state::ALIVE)?;
        // Relaxed: read by this process only; threads that use the arena were given it after this.
        self.my_process.store(index, Ordering::Relaxed);
        self.sign(index, &identity::myself());
        Ok(())
    }

    /// Finds a free record and puts it into `to`, with an empty row in every chunk.
    fn claim_record(&self, to: u32) -> Result<u32> {
        if let Some(index) = self.try_claim(to) {
            return Ok(index);
        }
        self.sweep();
        self.try_claim(to).ok_or_else(|| {
            Error::new(
                "HF505",
                format!("too many processes share this program's locks: at most {} at a time", PROCESSES - 1),
            )
        })
    }

    fn try_claim(&self, to: u32) -> Option<u32> {
        for index in 0..PROCESSES as u32 - 1 {
            let record = self.process(index)?;
            if record.state.load(SC) != state::FREE {
                continue;
            }
            record.reserved_at.store(clock::coarse_ms(), SC);
            if record.state.compare_exchange(state::FREE, state::RESERVED, SC, SC).is_ok() {
                let header = self.header();
                while header.process_high.load(SC) <= index {
                    let seen = header.process_high.load(SC);
                    if seen <= index {
                        let _ = header.process_high.compare_exchange(seen, index + 1, SC, SC);
                    }
                }
                record.lit.store(0, SC);
                record.pid.store(0, SC);
                record.exiting.store(0, SC);
                if to == state::ALIVE {
                    let me = identity::myself();
                    record.start.store(me.start, SC);
                    record.pidns.store(me.pidns, SC);
                    record.pid.store(me.pid, SC);
                    record.state.store(state::ALIVE, SC);
                }
                return Some(index);
            }
        }
        None
    }

    fn sign(&self, index: u32, me: &Identity) {
        let Some(record) = self.process(index) else { return };
        record.start.store(me.start, SC);
        record.pidns.store(me.pidns, SC);
        record.pid.store(me.pid, SC);
        let name = NAME.lock().clone();
        write_text(&record.name, &name);
        self.light_if_possible();
    }

    /// Lights this process's beacon if it is dark and the calling thread is the one that lives as long as the process.
    pub(super) fn light_if_possible(&self) {
        let Some(record) = self.my_process().ok().and_then(|i| self.process(i)) else { return };
        if record.lit.load(SC) != 0 || cfg!(feature = "model") || identity::thread_id() != std::process::id() {
            return;
        }
        // SAFETY: the record is this process's own, mapped for its life; the beacon's 40 bytes are part of it.
        if unsafe { beacon::light(record.beacon.as_ptr().cast()) } {
            record.lit.store(1, SC);
        }
    }

    /// Before fork: sets a record aside for the child, which can reach whatever this process can.
    pub(super) fn reserve_child(&self) -> u32 {
        let Ok(parent) = self.my_process() else { return NO_PROCESS };
        let due = {
            let mut private = self.private.lock();
            private.attached += 1;
            private.attached % SWEEP_EVERY == 0
        };
        if due {
            self.sweep();
        }
        let Ok(child) = self.claim_record(state::RESERVED) else { return NO_PROCESS };
        if let Some(record) = self.process(child) {
            record.parent.store(parent + 1, SC);
            if let Some(mine) = self.process(parent) {
                for (to, from) in record.name.iter().zip(&mine.name) {
                    to.store(from.load(SC), SC);
                }
            }
        }
        child
    }

    /// Before fork, with this process's allocations stopped: the child inherits the reach of this process.
    pub(super) fn copy_reach(&self, child: u32) {
        let Ok(parent) = self.my_process() else { return };
        for chunk in 0..self.chunk_count() {
            for i in 0..ROW / 8 {
                let bits = self.row(chunk, parent)[i].load(SC);
                if bits != 0 {
                    self.row(chunk, child)[i].store(bits, SC);
                }
            }
        }
    }

    /// In the forked child: the record set aside becomes this process's.
    pub(super) fn adopt(&self, child: u32) {
        // Relaxed: the child has one thread.
        self.my_process.store(NO_PROCESS, Ordering::Relaxed);
        let Some(record) = self.process(child) else { return };
        record.start.store(0, SC);
        record.pidns.store(self.pidns, SC);
        record.pid.store(std::process::id(), SC);
        if record.state.compare_exchange(state::RESERVED, state::ALIVE, SC, SC).is_ok() {
            // Relaxed: the child has one thread.
            self.my_process.store(child, Ordering::Relaxed);
            self.light_if_possible();
            if record.lit.load(SC) == 0 {
                // Reading /proc costs more than all the rest here; where a beacon is lit nobody asks for the start time.
                record.start.store(identity::start_time("self").unwrap_or(0), SC);
            }
        }
    }

    /// Whether the process of a record lives. `deep` also asks /proc where no beacon is lit.
    #[must_use]
    pub fn is_process_alive(&self, index: u32, deep: bool) -> bool {
        let Some(record) = self.process(index) else { return false };
        match record.state.load(SC) {
            state::ALIVE => self.shows_life(record, deep),
            state::RESERVED => clock::coarse_ms().wrapping_sub(record.reserved_at.load(SC)) < RESERVED_MS,
            _ => false,
        }
    }

    fn shows_life(&self, record: &ProcessRecord, deep: bool) -> bool {
        if record.lit.load(SC) != 0 {
            return !beacon::is_dead(record.beacon.load(SC));
        }
        let who = Identity { pid: record.pid.load(SC), start: record.start.load(SC), pidns: record.pidns.load(SC) };
        !deep || who.pid == 0 || identity::is_alive(&who, self.pidns)
    }

    /// Whether the holder named in a lock word lives, and what to watch in order to be told of its death.
    #[must_use]
    pub fn owner_state(&self, owner: u32, deep: bool) -> OwnerState<'_> {
        let Some(seat) = self.seat_of(owner) else { return OwnerState::Dead };
        let generation = seat.generation.load(SC);
        let Some(record) = self.process(seat.process.load(SC)) else { return OwnerState::Dead };
        if record.state.load(SC) != state::ALIVE || record.generation.load(SC) != generation {
            return OwnerState::Dead;
        }
        if record.lit.load(SC) != 0 {
            let value = record.beacon.load(SC);
            return if beacon::is_dead(value) && !broken("dead-owner") || broken("any-owner") {
                OwnerState::Dead
            } else {
                OwnerState::Alive(Some((&record.beacon, value)))
            };
        }
        if self.shows_life(record, deep) {
            OwnerState::Alive(None)
        } else {
            OwnerState::Dead
        }
    }

    /// Whether an owner id belongs to this process.
    #[must_use]
    pub fn is_mine(&self, owner: u32) -> bool {
        let Ok(me) = self.my_process() else { return false };
        self.seat_of(owner).is_some_and(|s| {
            s.process.load(SC) == me && self.process(me).is_some_and(|r| r.generation.load(SC) == s.generation.load(SC))
        })
    }

    /// This process in 30 bits: its record and the low bits of the record's generation.
    pub(crate) fn process_token(&self) -> Result<u32> {
        let me = self.my_process()?;
        Ok(me | self.process(me).map_or(0, |r| r.generation.load(SC)) << TOKEN_BITS & TOKEN_MASK)
    }

    fn is_of_token(&self, index: u32, token: u32) -> bool {
        let generation = self.process(index).map_or(0, |r| r.generation.load(SC));
        index | generation << TOKEN_BITS & TOKEN_MASK == token
    }

    /// Whether the process behind a token lives.
    pub(crate) fn is_token_alive(&self, token: u32) -> bool {
        let index = token & ((1 << TOKEN_BITS) - 1);
        self.is_process_alive(index, true) && self.is_of_token(index, token)
    }

    /// Whether the process behind a token has said that it ends in order, as far as that is still known.
    pub(crate) fn ended_in_order(&self, token: u32) -> bool {
        let index = token & ((1 << TOKEN_BITS) - 1);
        self.is_of_token(index, token) && self.process(index).is_some_and(|r| r.exiting.load(SC) != 0)
    }

    /// Gives this process a name for reports, in the arenas it has and in those to come.
    pub fn name_this_process(name: &str) {
        name.clone_into(&mut NAME.lock());
        for arena in Self::all() {
            arena.set_process_name(name);
        }
    }

    fn set_process_name(&self, name: &str) {
        if let Some(record) = self.my_process().ok().and_then(|i| self.process(i)) {
            write_text(&record.name, name);
        }
    }

    /// Whether a thread of this process is its main thread.
    #[must_use]
    pub fn is_main_thread(&self, me: &super::Me<'_>) -> bool {
        let pid = self.my_process().ok().and_then(|i| self.process(i)).map_or(0, |r| r.pid.load(SC));
        me.seat.tid.load(SC) == pid
    }

    /// For the model: the beacon of this view's process, lit for the calling task.
    ///
    /// # Panics
    /// If the view has no record.
    #[must_use]
    pub fn model_beacon(&self) -> &AtomicU32 {
        let record = self.my_process().ok().and_then(|i| self.process(i)).expect("a record");
        record.lit.store(1, SC);
        &record.beacon
    }
}
