//! The store of an arena: blocks of shared memory of any size, taken, handed over and given back by any process.
//!
//! ```text
//! file     header | table of records, 32 B each | data: pages, cut into blocks once and for ever
//! block    one record and a run of pages; four sizes a doubling; the pages are backed by memory when first needed
//! state    bits 0-29 who | bits 30-31 FREE, OWNED by a process, IN a slot (queue, parcel) | bits 32-63 sequence
//!
//! FREE ──CAS──> OWNED(me) ──> IN(slot) ──CAS──> OWNED(me) ──> FREE        every taking counts the sequence up
//! ```
//! A block changes hands by one CAS of its state. What a dead process owned is given back by the sweep; what is in a slot
//! goes with the slot. Free lists are only hints: the state decides, and a search finds what a hint has lost.
//! Free blocks keep their (warm) memory up to [`CACHE`] bytes for all, or an eighth of a file system that is smaller; beyond
//! that it goes back to the system. Whenever the store has grown by [`SWEEP_AFTER`] bytes, what the dead left is looked for.

use crate::arena::layout::{kind, LockWords, MODEL};
use crate::arena::{Arena, Handle, Me};
use crate::error::{Error, Result};
use crate::lock::mutex;
use crate::os::futex::Watch;
use crate::os::{fault, memory};
use crate::sync::local::Ordering;
use crate::sync::{AtomicU32, AtomicU64, SC};
use std::path::PathBuf;

/// Bytes of a page, the unit of blocks.
pub const PAGE: usize = if MODEL { 64 } else { 4096 };
/// Bytes of memory that free blocks may keep.
pub const CACHE: usize = if MODEL { 8 * PAGE } else { 128 << 20 };
/// Bytes of growth after which the arena is swept: it costs little against what the system needs to give them.
pub const SWEEP_AFTER: usize = 64 << 20;
/// Bytes of a store in the model's memory (none in normal builds).
pub const MODEL_BYTES: usize = if MODEL { DATA + 24 * PAGE } else { 0 };

const CLASSES: usize = if MODEL { 8 } else { 128 };
const HINTS: usize = 4;
const MOST: usize = if MODEL { 16 } else { 1 << 22 };
const RECORD: usize = 32;
const HEADER: usize = if MODEL { 512 } else { 4096 };
const DATA: usize = HEADER + MOST * RECORD;
/// Bytes of the table that are given memory at a time.
const TABLE_STEP: usize = 1 << 16;
/// Address space that a store asks for; it takes less where the system gives less.
const SPANS: [usize; 5] = [1 << 40, 1 << 37, 1 << 34, 1 << 32, 1 << 30];

const FREE: u64 = 0;
const OWNED: u64 = 1 << 30;
const IN: u64 = 2 << 30;
const KIND: u64 = 3 << 30;
const WHO: u64 = (1 << 30) - 1;
const SEQUENCE: u32 = 32;

#[repr(C)]
struct Header {
    /// Lock for growth.
    lock: LockWords,
    /// Records made.
    count: AtomicU32,
    /// Records whose part of the table has memory.
    backed: AtomicU32,
    /// Pages cut into blocks.
    end: AtomicU32,
    /// Pages given memory since the last sweep for want of it.
    grown: AtomicU32,
    /// Pages of memory that free blocks keep, about right (a kill may make it drift; a sweep counts again).
    kept: AtomicU64,
    /// Free blocks by class, as right.
    free: [AtomicU32; CLASSES],
    /// Blocks that were free when last seen, by class.
    hints: [[AtomicU32; HINTS]; CLASSES],
}

#[repr(C)]
struct Record {
    state: AtomicU64,
    /// First page.
    page: AtomicU32,
    class: AtomicU32,
    /// Pages that have memory.
    backed: AtomicU32,
    spare: [AtomicU32; 3],
}

const _: () = {
    assert!(core::mem::size_of::<Header>() <= HEADER);
    assert!(core::mem::size_of::<Record>() == RECORD);
};

/// A block in the life that was meant. Id 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Number of its record, plus one.
    pub id: u32,
    /// Counts its lives.
    pub sequence: u32,
}

impl Block {
    /// Both in one word.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.id as u64 | (self.sequence as u64) << SEQUENCE
    }
    /// Back from [`Self::word`]; `None` for zero.
    #[must_use]
    pub const fn of(word: u64) -> Option<Self> {
        if word as u32 == 0 {
            return None;
        }
        Some(Self { id: word as u32, sequence: (word >> SEQUENCE) as u32 })
    }
    const fn state(self, kind: u64, who: u32) -> u64 {
        (self.sequence as u64) << SEQUENCE | kind | who as u64 & WHO
    }
}

/// The store as this process has it mapped.
#[derive(Debug, Clone, Copy)]
pub struct Store<'a> {
    arena: &'a Arena,
    base: *mut u8,
    len: usize,
}

/// Pages of a class: 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ...
const fn pages_of(class: usize) -> usize {
    if class < 3 {
        return class + 1;
    }
    let k = class - 3;
    (4 + k % 4) << (k / 4)
}

/// The smallest class with so many pages.
fn class_for(pages: usize) -> Option<usize> {
    if pages <= 4 {
        return Some(pages.max(1) - 1);
    }
    let doubling = (pages.ilog2() - 2) as usize;
    let class = 3 + doubling * 4 + pages.div_ceil(1 << doubling) - 4;
    (class < CLASSES).then_some(class)
}

impl Arena {
    /// The store, made now if there is none.
    ///
    /// # Errors
    /// HF501 if there is no memory, HF502 if its file cannot be opened.
    pub fn store(&self) -> Result<Store<'_>> {
        // Acquire pairs with the Release in `open_store`.
        let base = self.store_base.load(Ordering::Acquire);
        if base.is_null() {
            return self.open_store();
        }
        // Relaxed: written before the base was.
        Ok(Store { arena: self, base, len: self.store_len.load(Ordering::Relaxed) })
    }

    /// The store, if the program has one.
    pub(crate) fn store_if_any(&self) -> Option<Store<'_>> {
        // Acquire pairs with the Release in `open_store`.
        let mapped = !self.store_base.load(Ordering::Acquire).is_null();
        if mapped || self.header().store.load(SC) != 0 {
            return self.store().ok();
        }
        None
    }

    /// A slot that held blocks goes: its blocks are free.
    pub(crate) fn free_blocks_of(&self, slot: u32) {
        let Some(store) = self.store_if_any() else { return };
        let words = self.slot(slot).map(|s| (s.word.load(SC), s.gate.load(SC)));
        match words {
            Some((id, sequence)) if id != 0 => {
                store.free_from(Block { id, sequence }, slot);
            }
            _ => store.free_all_in(slot),
        }
    }

    /// A slot for exactly this block, which comes there by [`Store::hand_over`].
    ///
    /// # Errors
    /// HF501 if there is no memory.
    pub fn make_parcel(&self, block: Block) -> Result<Handle> {
        self.make(kind::PARCEL, 0, |slot| {
            slot.word.store(block.id, SC);
            slot.gate.store(block.sequence, SC);
        })
    }

    /// Gives the memory of free blocks back to the system.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub fn release_cache(&self) -> Result<()> {
        if let Some(store) = self.store_if_any() {
            store.sweep();
            store.release_cache();
        }
        self.check()
    }

    /// Bytes of memory that free blocks may keep here.
    fn cache_bytes(&self) -> usize {
        // Relaxed: written before the store's base was, which is read first.
        self.store_cache.load(Ordering::Relaxed)
    }

    fn store_path(&self) -> PathBuf {
        self.path.with_file_name(format!("b-{}-store", self.name))
    }

    fn open_store(&self) -> Result<Store<'_>> {
        let mut kept = self.store_file.lock();
        // Relaxed: written under the lock that this thread has.
        let base = self.store_base.load(Ordering::Relaxed);
        if !base.is_null() {
            // Relaxed: as above.
            return Ok(Store { arena: self, base, len: self.store_len.load(Ordering::Relaxed) });
        }
        let path = self.store_path();
        let refuse = |e| Error::new("HF502", format!("cannot open {}: {e}", path.display()));
        // The last one out has removed both files: what comes after that (an interpreter's last objects) makes no new one.
        if !self.path.exists() {
            return Err(Error::new("HF501", format!("{} was removed, so it cannot grow", self.path.display())));
        }
        let file =
            memory::open(&path, false).or_else(|_| memory::open(&path, true)).or_else(|_| memory::open(&path, false));
        let file = file.map_err(refuse)?;
        memory::allocate(&file, (HEADER + TABLE_STEP) as u64).map_err(|e| memory::full(&path, &e))?;
        self.header().store.store(1, SC);
        let mut mapped = None;
        for len in SPANS {
            mapped = memory::map(&file, len).ok().map(|base| (base, len));
            if mapped.is_some() {
                break;
            }
        }
        let Some((base, len)) = mapped else {
            return Err(Error::new("HF501", format!("no address space to map {}", path.display())));
        };
        fault::guard(base, len);
        *kept = Some(memory::Kept::new(file));
        // Relaxed: the Release below publishes it.
        self.store_len.store(len, Ordering::Relaxed);
        // Relaxed: as above.
        self.store_cache.store(CACHE.min(memory::size_of_system(&path) / 8), Ordering::Relaxed);
        // Release pairs with the Acquire in `store`.
        self.store_base.store(base, Ordering::Release);
        Ok(Store { arena: self, base, len })
    }
}

impl<'a> Store<'a> {
    fn header(&self) -> &'a Header {
        // SAFETY: the mapping begins with a header that has memory; all fields are atomics.
        unsafe { &*self.base.cast::<Header>() }
    }

    fn record(&self, id: u32) -> Option<&'a Record> {
        if id == 0 || id > self.header().count.load(SC).min(MOST as u32) {
            return None;
        }
        Some(self.record_at(id))
    }

    fn record_at(&self, id: u32) -> &'a Record {
        // SAFETY: callers pass 1 to MOST; that part of the table has memory; all fields are atomics.
        unsafe { &*self.base.add(HEADER + (id as usize - 1) * RECORD).cast::<Record>() }
    }

    /// First byte and size of a block, as far as it has memory.
    ///
    /// # Errors
    /// HF504 if there is no such block, HF501 if it lies beyond what this process could map.
    pub fn data(&self, id: u32) -> Result<(*mut u8, usize)> {
        let record = self.record(id).ok_or_else(|| Error::corrupt(format!("no block {id}")))?;
        let from = DATA + record.page.load(SC) as usize * PAGE;
        let len = record.backed.load(SC) as usize * PAGE;
        if from + len > self.len {
            return Err(Error::new(
                "HF501",
                "no address space for a message; raise the limit of this process (ulimit -v)",
            ));
        }
        // SAFETY: in range of the mapping, as checked just now.
        Ok((unsafe { self.base.add(from) }, len))
    }

    /// The block in its present life.
    #[must_use]
    pub fn block(&self, id: u32) -> Option<Block> {
        Some(Block { id, sequence: (self.record(id)?.state.load(SC) >> SEQUENCE) as u32 })
    }

    /// Whether a block is in a slot.
    #[must_use]
    pub fn is_in(&self, block: Block, slot: u32) -> bool {
        self.record(block.id).is_some_and(|r| r.state.load(SC) == block.state(IN, slot))
    }

    /// Takes a block of at least so many bytes; it is this process's until it is handed on or given back.
    ///
    /// # Errors
    /// HF501 if the system has no more memory.
    pub fn take(&self, me: &Me<'_>, bytes: usize) -> Result<Block> {
        self.take_or_grow(me, bytes).map(|(block, _)| block)
    }

    /// As [`Self::take`]; and whether the system had to give new memory for it.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_or_grow(&self, me: &Me<'_>, bytes: usize) -> Result<(Block, bool)> {
        let pages = bytes.div_ceil(PAGE).max(1);
        let Some(class) = class_for(pages) else {
            return Err(Error::new("HF501", format!("no block can have {bytes} bytes")));
        };
        let token = self.arena.process_token()?;
        if self.header().grown.load(SC) as usize > SWEEP_AFTER / PAGE && !MODEL {
            self.header().grown.store(0, SC);
            self.arena.sweep();
        }
        let block = match self.find(class, token) {
            Some(block) => block,
            None => self.grow(me, class, token)?,
        };
        // A block that lies beyond what this process could map is of no use to it.
        match self.back(block.id, pages).and_then(|grew| self.data(block.id).map(|_| grew)) {
            Ok(grew) => Ok((block, grew)),
            Err(e) => {
                self.give_back(block);
                Err(e)
            }
        }
    }

    fn find(&self, class: usize, token: u32) -> Option<Block> {
        let header = self.header();
        for hint in &header.hints[class] {
            // Relaxed: only a hint; the claim decides.
            if hint.load(Ordering::Relaxed) != 0 {
                if let Some(block) = self.claim(hint.swap(0, SC), token) {
                    return Some(block);
                }
            }
        }
        let free = header.free[class].load(SC);
        if free == 0 {
            return None;
        }
        let all = 1..=header.count.load(SC).min(MOST as u32);
        let found = all.filter(|id| self.record_at(*id).class.load(SC) as usize == class);
        let block = found.into_iter().find_map(|id| self.claim(id, token));
        if block.is_none() {
            // It had drifted; if it has moved meanwhile, something was given back that a zero would hide.
            let _ = header.free[class].compare_exchange(free, 0, SC, SC);
        }
        block
    }

    /// Takes one free block.
    fn claim(&self, id: u32, token: u32) -> Option<Block> {
        let record = self.record(id)?;
        let now = record.state.load(SC);
        if now & KIND != FREE {
            return None;
        }
        let block = Block { id, sequence: ((now >> SEQUENCE) as u32).wrapping_add(1) };
        record.state.compare_exchange(now, block.state(OWNED, token), SC, SC).ok()?;
        let header = self.header();
        lessen(&header.free[record.class.load(SC) as usize % CLASSES]);
        lessen_by(&header.kept, u64::from(record.backed.load(SC)));
        Some(block)
    }

    fn grow(&self, me: &Me<'_>, class: usize, token: u32) -> Result<Block> {
        let lock = &self.header().lock;
        let mut watch = Watch::default();
        mutex::acquire_words(me, &lock.word, &lock.seat, &mut watch)?;
        let made = self.grow_locked(class, token);
        mutex::release_words(me, &lock.word);
        made
    }

    fn grow_locked(&self, class: usize, token: u32) -> Result<Block> {
        let header = self.header();
        let (count, end) = (header.count.load(SC), header.end.load(SC) as usize);
        if count as usize >= MOST {
            return Err(Error::new("HF501", format!("the queues of this program hold their most: {MOST} blocks")));
        }
        if DATA + (end + pages_of(class)) * PAGE > self.len {
            return Err(Error::new(
                "HF501",
                "no address space for more messages; raise the limit of this process (ulimit -v)",
            ));
        }
        let needed = HEADER + (count as usize + 1) * RECORD;
        if header.backed.load(SC) <= count && !MODEL {
            let upto = needed.next_multiple_of(TABLE_STEP);
            self.allocate(0, upto)?;
            header.backed.store(((upto - HEADER) / RECORD) as u32, SC);
        }
        let id = count + 1;
        let record = self.record_at(id);
        let block = Block { id, sequence: 1 };
        record.page.store(end as u32, SC);
        record.class.store(class as u32, SC);
        record.backed.store(0, SC);
        record.state.store(block.state(OWNED, token), SC);
        // Killed between the two: some address space is lost, no memory.
        header.end.store((end + pages_of(class)) as u32, SC);
        header.count.store(id, SC);
        Ok(block)
    }

    /// Whether a block of so many bytes is free now, about right.
    #[must_use]
    pub fn has_free(&self, bytes: usize) -> bool {
        class_for(bytes.div_ceil(PAGE).max(1)).is_some_and(|class| self.header().free[class].load(SC) > 0)
    }

    /// Sees to it that the first pages of a block of ours have memory. Whether it had less before.
    fn back(&self, id: u32, pages: usize) -> Result<bool> {
        let record = self.record_at(id);
        let backed = record.backed.load(SC) as usize;
        if backed >= pages {
            return Ok(false);
        }
        let from = DATA + (record.page.load(SC) as usize + backed) * PAGE;
        let len = (pages - backed) * PAGE;
        self.allocate(from, len).or_else(|e| {
            // Before giving up: the memory of free blocks, and of what the dead left.
            if !MODEL {
                self.arena.sweep();
            }
            self.sweep();
            self.release_cache();
            self.allocate(from, len).map_err(|_| e)
        })?;
        record.backed.store(pages as u32, SC);
        if !MODEL {
            self.header().grown.fetch_add((pages - backed) as u32, SC);
        }
        Ok(true)
    }

    fn allocate(&self, from: usize, len: usize) -> Result<()> {
        if MODEL {
            return Ok(()); // all memory is there
        }
        let path = self.arena.store_path();
        let mut kept = self.arena.store_file.lock();
        let Some(file) = kept.as_mut().and_then(|f| f.get(&path)) else {
            return Err(Error::new("HF501", format!("{} was removed, so it cannot grow", path.display())));
        };
        memory::allocate_range(file, from as u64, len as u64).map_err(|e| memory::full(&path, &e))
    }

    /// Takes the memory from a block of ours.
    fn strip(&self, record: &Record) {
        let (from, pages) = (record.page.load(SC) as usize, record.backed.swap(0, SC) as usize);
        let path = self.arena.store_path();
        let mut kept = self.arena.store_file.lock();
        if let (Some(file), true) = (kept.as_mut().and_then(|f| f.get(&path)), pages > 0) {
            memory::punch(file, (DATA + from * PAGE) as u64, (pages * PAGE) as u64);
        }
    }

    /// Puts a block of ours into a slot. `false` if it is not ours: a forked child has its parent's blocks in memory.
    pub fn put_in(&self, block: Block, slot: u32) -> bool {
        self.move_ours(block, block.state(IN, slot))
    }

    /// Changes the state of a block that this process owns.
    fn move_ours(&self, block: Block, to: u64) -> bool {
        let (Some(record), Ok(token)) = (self.record(block.id), self.arena.process_token()) else { return false };
        record.state.compare_exchange(block.state(OWNED, token), to, SC, SC).is_ok()
    }

    /// Moves a block from one slot to another. Whether it was there.
    pub fn hand_over(&self, block: Block, from: u32, to: u32) -> bool {
        let Some(record) = self.record(block.id) else { return false };
        record.state.compare_exchange(block.state(IN, from), block.state(IN, to), SC, SC).is_ok()
    }

    /// Frees a block that is in a slot. Whether it was there: doing it twice does no harm.
    pub fn free_from(&self, block: Block, slot: u32) -> bool {
        let (Some(record), Ok(token)) = (self.record(block.id), self.arena.process_token()) else { return false };
        let free = record.state.compare_exchange(block.state(IN, slot), block.state(OWNED, token), SC, SC).is_ok();
        if free {
            self.give_back(block);
        }
        free
    }

    /// Frees a block of ours; nothing happens if it is not ours (see [`Self::put_in`]).
    pub fn give_back(&self, block: Block) {
        let (Some(record), Ok(token)) = (self.record(block.id), self.arena.process_token()) else { return };
        if record.state.load(SC) != block.state(OWNED, token) {
            return;
        }
        let header = self.header();
        let backed = u64::from(record.backed.load(SC));
        let class = record.class.load(SC) as usize % CLASSES;
        let cache = self.arena.cache_bytes();
        let is_over = || backed > 0 && (header.kept.load(SC) + backed) as usize * PAGE > cache;
        if is_over() && header.free[class].load(SC) as usize * pages_of(class) * PAGE < cache / 2 {
            self.trim(class);
        }
        if is_over() {
            self.strip(record);
        } else {
            header.kept.fetch_add(backed, SC);
        }
        record.state.store(block.state(FREE, 0), SC);
        header.free[class].fetch_add(1, SC);
        // Relaxed: only a hint.
        let empty = header.hints[class].iter().find(|h| h.load(Ordering::Relaxed) == 0);
        empty.unwrap_or(&header.hints[class][0]).store(block.id, SC);
    }

    /// Makes room in the cache for blocks of one class: takes memory from free blocks of others until half of it is left.
    fn trim(&self, class: usize) {
        let Ok(token) = self.arena.process_token() else { return };
        self.each(|id, record| {
            let keeps = record.backed.load(SC) > 0 && record.class.load(SC) as usize != class;
            if keeps && self.header().kept.load(SC) as usize * PAGE > self.arena.cache_bytes() / 2 {
                if let Some(block) = self.claim(id, token) {
                    self.strip(record);
                    self.give_back(block);
                }
            }
        });
    }

    fn each(&self, mut visit: impl FnMut(u32, &Record)) {
        for id in 1..=self.header().count.load(SC).min(MOST as u32) {
            visit(id, self.record_at(id));
        }
    }

    /// Frees all blocks that are in a slot which nobody reaches any more.
    fn free_all_in(&self, slot: u32) {
        self.each(|id, record| {
            let now = record.state.load(SC);
            if now & (KIND | WHO) == IN | u64::from(slot) {
                self.free_from(Block { id, sequence: (now >> SEQUENCE) as u32 }, slot);
            }
        });
    }

    /// Frees what dead processes owned, and counts again what may have drifted.
    pub fn sweep(&self) {
        let Ok(token) = self.arena.process_token() else { return };
        let header = self.header();
        let (mut kept, mut free, mut left) = (0, [0u32; CLASSES], Vec::new());
        let seen = (header.kept.load(SC), header.free.each_ref().map(|word| word.load(SC)));
        self.each(|id, record| {
            let now = record.state.load(SC);
            let who = (now & WHO) as u32;
            if now & KIND == FREE {
                kept += u64::from(record.backed.load(SC));
                free[record.class.load(SC) as usize % CLASSES] += 1;
            } else if now & KIND == OWNED && who != token && !self.arena.is_token_alive(who) {
                let block = Block { id, sequence: (now >> SEQUENCE) as u32 };
                if record.state.compare_exchange(now, block.state(OWNED, token), SC, SC).is_ok() {
                    left.push(block);
                }
            }
        });
        // Counts that moved meanwhile are left to the next sweep: what others add or take now must not be lost.
        if seen.0 != kept {
            let _ = header.kept.compare_exchange(seen.0, kept, SC, SC);
        }
        for (class, counted) in free.into_iter().enumerate().filter(|(class, n)| seen.1[*class] != *n) {
            let _ = header.free[class].compare_exchange(seen.1[class], counted, SC, SC);
        }
        left.into_iter().for_each(|block| self.give_back(block));
    }

    /// Gives the memory of all free blocks back to the system.
    pub fn release_cache(&self) {
        let Ok(token) = self.arena.process_token() else { return };
        self.each(|id, record| {
            if record.backed.load(SC) > 0 {
                if let Some(block) = self.claim(id, token) {
                    self.strip(record);
                    self.give_back(block);
                }
            }
        });
    }

    /// Bytes of memory in blocks that are in use, and in free ones.
    #[must_use]
    pub fn census(&self) -> (usize, usize) {
        let (mut used, mut free) = (0, 0);
        self.each(|_, record| {
            let bytes = record.backed.load(SC) as usize * PAGE;
            *(if record.state.load(SC) & KIND == FREE { &mut free } else { &mut used }) += bytes;
        });
        (used, free)
    }
}

/// One less, but never below zero: a count that may have drifted.
fn lessen(word: &AtomicU32) {
    let now = word.load(SC);
    if now > 0 {
        let _ = word.compare_exchange(now, now - 1, SC, SC);
    }
}

fn lessen_by(word: &AtomicU64, n: u64) {
    let now = word.load(SC);
    let _ = word.compare_exchange(now, now.saturating_sub(n), SC, SC);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_for_any_size_is_the_smallest_that_fits() {
        for pages in 1..5000 {
            let Some(class) = class_for(pages) else { continue };
            assert!(pages_of(class) >= pages, "{pages}");
            assert!(class == 0 || pages_of(class - 1) < pages, "{pages}");
        }
    }
}
