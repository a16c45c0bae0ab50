//! Sweeping: what dead processes left is given back.
//!
//! One sweeper at a time (a lock that a dead sweeper does not keep). Every step can be repeated, so a sweeper that dies
//! half way is simply followed by the next one:
//! 1. records of dead processes become SWEEPING; 2. lock words that name their seats become ORPHAN, their readers and
//!    waiters are counted out; 3. their seats and half-made slots are freed and their rows cleared; 4. slots that nobody
//!    reaches any more are freed; 5. the records become FREE.

use super::layout::{kind, phase, process_state, state, Slot, PROCESSES, ROW};
use super::{Arena, OwnerState};
use crate::lock::orphan;
use crate::os::memory;
use crate::sync::SC;

/// Stands in the sweep lock for a process that has no record: a number no record has.
const UNSEATED: u32 = PROCESSES as u32;

impl Arena {
    /// Gives back what dead processes left; the number of process records freed. Does nothing if somebody else sweeps.
    pub fn sweep(&self) -> usize {
        let Ok(me) = self.my_process() else { return self.sweep_unseated() };
        let lock = &self.header().sweep.word;
        let mine = me + 1;
        loop {
            let holder = lock.load(SC);
            if holder != 0 && (holder == mine || self.is_sweeper_alive(holder)) {
                return 0;
            }
            if lock.compare_exchange(holder, mine, SC, SC).is_ok() {
                break;
            }
        }
        let freed = self.sweep_dead();
        let _ = lock.compare_exchange(mine, 0, SC, SC);
        freed
    }

    /// A process that has no record yet sweeps to get one. It cannot put a record into the lock word, so it also locks the
    /// file; others find it alive by that.
    fn sweep_unseated(&self) -> usize {
        let lock = &self.header().sweep.word;
        let holder = lock.load(SC);
        if holder != 0 && self.is_sweeper_alive(holder) {
            return 0;
        }
        let file = self.private.lock().file.as_mut().and_then(|f| f.get(&self.path)?.try_clone().ok());
        let Some(file) = file else { return 0 };
        if !memory::start_unseated_sweep(&file) {
            return 0;
        }
        let mut freed = 0;
        if lock.compare_exchange(holder, UNSEATED, SC, SC).is_ok() {
            freed = self.sweep_dead();
            let _ = lock.compare_exchange(UNSEATED, 0, SC, SC);
        }
        memory::end_unseated_sweep(&file);
        freed
    }

    fn is_sweeper_alive(&self, holder: u32) -> bool {
        if holder == UNSEATED {
            let mut private = self.private.lock();
            let file = private.file.as_mut().and_then(|f| f.get(&self.path));
            return file.is_some_and(memory::is_unseated_sweep_running);
        }
        self.is_process_alive(holder - 1, true)
    }

    fn sweep_dead(&self) -> usize {
        let high = self.header().process_high.load(SC).min(PROCESSES as u32 - 1);
        let dead: Vec<u32> = (0..high).filter(|p| self.condemn(*p)).collect();
        if dead.is_empty() {
            return 0;
        }
        let mut is_dead = vec![false; PROCESSES + 1];
        for p in &dead {
            is_dead[*p as usize] = true;
        }
        let names_dead = |owner: u32| -> Option<u32> {
            let seat = self.seat_of(owner)?;
            let process = seat.process.load(SC);
            (is_dead[process as usize % PROCESSES] && matches!(self.owner_state(owner, false), OwnerState::Dead))
                .then(|| self.process(process).map_or(0, |r| r.pid.load(SC)))
        };
        self.each_slot(|id, slot| orphan(self, id, slot, &names_dead));
        self.each_slot(|id, slot| self.free_if_left(id, slot, &is_dead));
        for p in &dead {
            for chunk in 0..self.chunk_count() {
                for i in 0..ROW / 8 {
                    self.row(chunk, *p)[i].store(0, SC);
                }
            }
        }
        self.each_slot(|id, _| {
            self.reclaim_if_unreachable(id);
        });
        self.sweep_store();
        for p in &dead {
            if let Some(record) = self.process(*p) {
                record.generation.fetch_add(1, SC);
                record.state.store(process_state::FREE, SC);
            }
        }
        dead.len()
    }

    /// Blocks that were in the hands of dead processes, if the program has a store.
    fn sweep_store(&self) {
        if let Some(store) = self.store_if_any() {
            store.sweep();
        }
    }

    /// Marks a record for sweeping if its process is dead.
    fn condemn(&self, process: u32) -> bool {
        let Some(record) = self.process(process) else { return false };
        let found = record.state.load(SC);
        match found {
            process_state::SWEEPING => true,
            process_state::FREE => false,
            _ => {
                !self.is_process_alive(process, true)
                    && record.state.compare_exchange(found, process_state::SWEEPING, SC, SC).is_ok()
            }
        }
    }

    /// Frees seats and unfinished slots of dead processes; undoes reclaims they did not finish.
    fn free_if_left(&self, id: u32, slot: &Slot, is_dead: &[bool]) {
        let found = slot.state.load(SC);
        let (of, at, by) = (found & 0xff, found >> 8 & 0xff, found >> 16);
        let maker_dead = by == 0 || is_dead[by as usize - 1] || !self.is_process_alive(by - 1, true);
        match at {
            phase::LIVE if of == kind::SEAT => {
                let theirs = self.seat(id).map(|s| (s.process.load(SC), s.generation.load(SC)));
                let stale = theirs.is_some_and(|(p, generation)| {
                    is_dead.get(p as usize).copied().unwrap_or(true)
                        || self.process(p).is_none_or(|r| r.generation.load(SC) != generation)
                });
                if stale {
                    self.free_slot(id);
                }
            }
            phase::MAKING if maker_dead => self.free_slot(id),
            phase::RECLAIMING if maker_dead && of == kind::NONE => {
                self.free_blocks_of(id);
                self.free_slot(id);
            }
            phase::RECLAIMING if maker_dead && of == kind::SEAT => self.free_slot(id),
            phase::RECLAIMING if maker_dead => {
                let _ = slot.state.compare_exchange(found, state(of, phase::LIVE, 0), SC, SC);
            }
            _ => {}
        }
    }
}
