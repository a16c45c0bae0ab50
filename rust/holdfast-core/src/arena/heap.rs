//! Slots: taken, reached, reclaimed.
//!
//! ```text
//! state   FREE ──CAS──> MAKING(p) ──> LIVE ──CAS──> RECLAIMING(p) ──> FREE, generation + 1
//!                          │                             └─ still reachable ─> LIVE
//!                          └─ p dead: freed by the sweep
//! ```
//! A slot is reachable while a living process has its bit set in its bitmap row, or while more pickles of it were made
//! than loaded. The bit is set before the state is checked and the state is changed before the bits are checked, so one of
//! two racing processes always sees the other (all SeqCst). A process that dies takes its row with it: nothing to undo.

use super::layout::{kind, phase, process_state, state, Slot, CLASS_UNITS, PROCESSES, UNITS};
use super::{grow_file, Arena};
use crate::error::{Error, Result};
use crate::os::clock;
use crate::os::local::pause;
use crate::sync::{broken, SC};

/// Free slots collected by one search.
const BATCH: usize = 256;
/// Free slots remembered at most by a process, by class.
const HINTS: usize = 4096;
/// A pickle that nobody has loaded keeps its object for at least this long once memory is short (one hour).
const TRAVEL_MS: u32 = 3_600_000;

/// A name for a slot that can go anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    /// First unit.
    pub slot: u32,
    /// The life of the slot that is meant.
    pub generation: u32,
}

impl Arena {
    /// Takes a slot of a class and a kind; `fill` sets its words before anybody can see it. Seats and site tables are not
    /// subject to reach, everything else starts reachable by this process.
    pub(crate) fn allocate(&self, of: u32, class: usize, fill: impl Fn(&Slot)) -> Result<u32> {
        let me = self.my_process()?;
        let mut private = self.private.lock();
        loop {
            let Some(id) = private.hints[class].pop() else {
                self.find_free(class, &mut private)?;
                continue;
            };
            let Some(slot) = self.slot(id) else { continue };
            let found = slot.state.load(SC);
            if found != state(kind::NONE, phase::FREE, 0) {
                continue;
            }
            if slot.state.compare_exchange(found, state(of, phase::MAKING, me + 1), SC, SC).is_err() {
                continue;
            }
            self.header().free[class].fetch_sub(1, SC);
            if of != kind::SEAT && of != kind::SITES {
                self.set_reach(me, id);
            }
            fill(slot);
            slot.state.store(state(of, phase::LIVE, 0), SC);
            return Ok(id);
        }
    }

    /// Fills the hints of a class: a search if a fair share is free, else a new chunk.
    fn find_free(&self, class: usize, private: &mut super::Private) -> Result<()> {
        let header = self.header();
        let total: usize =
            (0..self.chunk_count()).filter(|c| self.class_of(*c) == class).count() * (UNITS / CLASS_UNITS[class]);
        let free = header.free[class].load(SC) as usize;
        if free * 16 > total && self.search(class, private) {
            return Ok(());
        }
        // Each time the arena is about to double, pickles that nobody loaded for an hour give up their objects.
        let chunks = self.chunk_count();
        if chunks >= 8 && chunks.is_power_of_two() && self.expire_travellers() > 0 && self.search(class, private) {
            return Ok(());
        }
        match self.add_chunk(class, private) {
            Ok(()) => Ok(()),
            Err(e) => {
                if self.search(class, private) || (self.expire_travellers() > 0 && self.search(class, private)) {
                    return Ok(());
                }
                // The store's free blocks may keep what is missing here.
                let Some(store) = self.store_if_any() else { return Err(e) };
                store.release_cache();
                self.add_chunk(class, private)
            }
        }
    }

    fn search(&self, class: usize, private: &mut super::Private) -> bool {
        let chunks = self.chunk_count();
        let start = self.header().cursor[class].fetch_add(1, SC) as usize;
        for i in 0..chunks {
            let chunk = (start + i) % chunks;
            if self.class_of(chunk) != class {
                continue;
            }
            for unit in (0..UNITS).step_by(CLASS_UNITS[class]) {
                let id = (chunk * UNITS + unit) as u32;
                if id != 0 && self.slot(id).is_some_and(|s| s.state.load(SC) == 0) {
                    private.hints[class].push(id);
                }
            }
            if private.hints[class].len() >= BATCH {
                self.header().cursor[class].store(chunk as u32 + 1, SC);
                break;
            }
        }
        !private.hints[class].is_empty()
    }

    fn add_chunk(&self, class: usize, private: &mut super::Private) -> Result<()> {
        let header = self.header();
        loop {
            let count = self.chunk_count();
            if count >= self.max_chunks {
                return Err(Error::new(
                    "HF501",
                    format!("this program's shared memory holds its most: {} bytes", self.bytes()),
                ));
            }
            if let Some(kept) = &mut private.file {
                let Some(file) = kept.get(&self.path) else {
                    return Err(Error::new("HF501", format!("{} was removed, so it cannot grow", self.path.display())));
                };
                grow_file(file, count + 1, &self.path)?;
            }
            let (seen, next) = (count as u32, count as u32 + 1);
            // The class must be known before the chunk is: whoever fixes it first decides, the loser uses what he finds.
            let row = self.row(count, PROCESSES as u32 - 1);
            let fixed = row[0].compare_exchange(0, class as u64 + 1, SC, SC).is_ok();
            let published = header.chunks.compare_exchange(seen, next, SC, SC).is_ok();
            let decided = (row[0].load(SC) as usize).saturating_sub(1).min(2);
            if published {
                header.free[decided].fetch_add((UNITS / CLASS_UNITS[decided]) as u32, SC);
            }
            if (fixed || published) && decided == class {
                let units = (0..UNITS).step_by(CLASS_UNITS[class]).rev();
                private.hints[class].extend(units.map(|u| (count * UNITS + u) as u32).filter(|id| *id != 0));
                return Ok(());
            }
        }
    }

    /// Frees a slot that is known to be nobody's (a seat, or one the caller has alone in RECLAIMING).
    pub(super) fn free_slot(&self, id: u32) {
        let Some(slot) = self.slot(id) else { return };
        let class = self.class_of(id as usize / UNITS);
        let generation = slot.generation.load(SC).wrapping_add(1);
        let me = self.my_process().map_or(0, |p| p + 1);
        slot.state.store(state(slot.state.load(SC) & 0xff, phase::RECLAIMING, me), SC);
        slot.generation.store(generation, SC);
        wipe(slot);
        for cell in self.cells(id) {
            cell.store(0, SC);
        }
        slot.state.store(0, SC);
        self.header().free[class].fetch_add(1, SC);
    }

    fn set_reach(&self, process: u32, id: u32) {
        let unit = id as usize % UNITS;
        self.row(id as usize / UNITS, process)[unit / 64].fetch_or(1 << (unit % 64), SC);
    }

    fn clear_reach(&self, process: u32, id: u32) {
        let unit = id as usize % UNITS;
        self.row(id as usize / UNITS, process)[unit / 64].fetch_and(!(1 << (unit % 64)), SC);
    }

    fn reaches(&self, process: u32, id: u32) -> bool {
        let unit = id as usize % UNITS;
        self.row(id as usize / UNITS, process)[unit / 64].load(SC) & 1 << (unit % 64) != 0
    }

    /// One more object of this process for a slot; the first one sets the bit.
    ///
    /// # Errors
    /// HF104 if the slot is not what the handle means any more.
    pub fn take_hold(&self, handle: Handle, of: u32) -> Result<()> {
        self.check()?;
        let me = self.my_process()?;
        let slot = self.slot(handle.slot).ok_or_else(Error::gone)?;
        let mut private = self.private.lock();
        if self.reaches(me, handle.slot) {
            if self.is_live(slot, handle.generation, of) {
                *private.excess.entry(handle.slot).or_insert(0) += 1;
                return Ok(());
            }
            return Err(Error::gone());
        }
        self.set_reach(me, handle.slot);
        loop {
            let found = slot.state.load(SC);
            if found >> 8 & 0xff == phase::RECLAIMING && found & 0xff == of {
                let by = (found >> 16).wrapping_sub(1);
                if !self.is_process_alive(by, true) {
                    let _ = slot.state.compare_exchange(found, state(of, phase::LIVE, 0), SC, SC);
                }
                pause();
                continue;
            }
            if self.is_live(slot, handle.generation, of) {
                return Ok(());
            }
            self.clear_reach(me, handle.slot);
            // Whoever dropped the object that is there now may have seen our bit and left it to us.
            if !broken("stale-reach") {
                self.reclaim_if_unreachable(handle.slot);
            }
            return Err(Error::gone());
        }
    }

    fn is_live(&self, slot: &Slot, generation: u32, of: u32) -> bool {
        let found = slot.state.load(SC);
        found == state(of, phase::LIVE, 0) && slot.generation.load(SC) == generation
    }

    /// One object of this process less; with the last one the slot may go.
    pub fn let_go(&self, id: u32) {
        let Ok(me) = self.my_process() else { return };
        let mut private = self.private.lock();
        if let Some(more) = private.excess.get_mut(&id) {
            *more -= 1;
            if *more == 0 {
                private.excess.remove(&id);
            }
            return;
        }
        self.clear_reach(me, id);
        if self.reclaim_if_unreachable(id) {
            let class = self.class_of(id as usize / UNITS);
            if private.hints[class].len() < HINTS {
                private.hints[class].push(id);
            }
        }
    }

    /// Notes that a pickle of the slot was made.
    pub fn note_sent(&self, id: u32) {
        if let Some(slot) = self.slot(id) {
            slot.sent.fetch_add(1, SC);
            slot.sent_at.store(clock::coarse_ms(), SC);
        }
    }

    /// Notes that a pickle of the slot was loaded.
    pub fn note_received(&self, id: u32) {
        if let Some(slot) = self.slot(id) {
            slot.received.fetch_add(1, SC);
        }
    }

    fn is_reachable(&self, id: u32, slot: &Slot) -> bool {
        let (sent, received) = (slot.sent.load(SC), slot.received.load(SC));
        if (sent.wrapping_sub(received) as i32) > 0 {
            return true;
        }
        let high = self.header().process_high.load(SC).min(PROCESSES as u32 - 1);
        (0..high).any(|p| self.reaches(p, id) && self.is_process_alive(p, false))
    }

    /// Frees a slot that nobody can reach any more. Whether it did.
    pub(super) fn reclaim_if_unreachable(&self, id: u32) -> bool {
        let Some(slot) = self.slot(id) else { return false };
        let found = slot.state.load(SC);
        let of = found & 0xff;
        if found != state(of, phase::LIVE, 0) || of <= kind::SITES || self.is_reachable(id, slot) {
            return false;
        }
        let me = self.my_process().map_or(0, |p| p + 1);
        if slot.state.compare_exchange(found, state(of, phase::RECLAIMING, me), SC, SC).is_err() {
            return false;
        }
        if self.is_reachable(id, slot) && !broken("second-look") {
            slot.state.store(found, SC);
            return false;
        }
        match of {
            kind::BYTES => self.remove_block(id, slot.generation.load(SC)),
            kind::QUEUE | kind::PARCEL => {
                // From here on there is no way back: a queue that has lost some of its blocks must not be LIVE again.
                // If we die now, the sweep goes on from there.
                if !broken("no-way-back") {
                    slot.state.store(state(kind::NONE, phase::RECLAIMING, me), SC);
                }
                self.free_blocks_of(id);
            }
            _ => {}
        }
        self.free_slot(id);
        true
    }

    /// With memory short: pickles that nobody loaded for an hour no longer keep their objects.
    fn expire_travellers(&self) -> usize {
        let mut freed = 0;
        let now = clock::coarse_ms();
        self.each_slot(|id, slot| {
            let old = now.wrapping_sub(slot.sent_at.load(SC)) > TRAVEL_MS;
            if old && slot.sent.load(SC) != slot.received.load(SC) && slot.state.load(SC) & 0xff > kind::SITES {
                slot.received.store(slot.sent.load(SC), SC);
                freed += usize::from(self.reclaim_if_unreachable(id));
            }
        });
        freed
    }

    /// Visits every slot.
    pub fn each_slot(&self, mut visit: impl FnMut(u32, &Slot)) {
        for chunk in 0..self.chunk_count() {
            for unit in (0..UNITS).step_by(CLASS_UNITS[self.class_of(chunk)]) {
                let id = (chunk * UNITS + unit) as u32;
                if let Some(slot) = self.slot(id) {
                    if id != 0 && slot.state.load(SC) != 0 {
                        visit(id, slot);
                    }
                }
            }
        }
    }

    /// Living processes, slots in use and free slots, for reports.
    #[must_use]
    pub fn census(&self) -> (usize, usize, usize) {
        let high = self.header().process_high.load(SC).min(PROCESSES as u32 - 1);
        let alive = |p: &u32| {
            self.process(*p).is_some_and(|r| r.state.load(SC) == process_state::ALIVE)
                && self.is_process_alive(*p, true)
        };
        let processes = (0..high).filter(alive).count();
        let mut used = 0;
        self.each_slot(|_, _| used += 1);
        let all: usize = (0..self.chunk_count()).map(|c| UNITS / CLASS_UNITS[self.class_of(c)]).sum();
        (processes, used, all - used)
    }
}

/// Zeroes the words of a slot, except state and generation.
fn wipe(slot: &Slot) {
    let words = core::ptr::from_ref(slot).cast::<crate::sync::AtomicU32>();
    let keep = [core::mem::offset_of!(Slot, state) / 4, core::mem::offset_of!(Slot, generation) / 4];
    for i in 0..core::mem::size_of::<Slot>() / 4 {
        if !keep.contains(&i) {
            // SAFETY: the index is inside the slot, whose fields are all atomic words (of 4 bytes or pairs of them).
            unsafe { (*words.add(i)).store(0, SC) };
        }
    }
}
