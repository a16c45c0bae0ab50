//! The arena: one shared segment per program, and one per user for named objects.
//!
//! ```text
//!   process A ──map──┐                                        ┌──map── process B
//!      record 0      │   /dev/shm/holdfast-UID/ARENA          │     record 1
//!      beacon ───────┤   header, records, chunks of slots     ├────── beacon
//!      seats  ───────┘   flock(shared) by every process       └────── seats
//! ```
//! Who cleans up: a dead process's record is swept by whoever next needs a record or memory ([`sweep`]); the file is
//! removed by the last process that leaves in order, or by the next program that starts ([`files`]).

mod blocks;
pub mod files;
mod fork;
mod heap;
pub mod layout;
mod me;
mod names;
mod process;
mod seat;
mod sites;
mod sweep;

pub use fork::{inherited_seat, install_fork_hook};
pub use heap::Handle;
pub use me::{current, current_remembered, gave, recall, took, Me, Remembered};
pub use names::NamedHow;
pub use process::OwnerState;
pub use seat::{owner_seat, Holder, ORPHAN, OWNER_MASK};
pub use sites::SiteId;

use crate::error::{Error, Result};
use crate::os::local::Local;
use crate::os::{fault, memory};
use crate::ring::store;
use crate::sync::local::{AtomicPtr, AtomicU32 as LocalWord, AtomicUsize, Ordering};
use crate::sync::{AtomicU32, AtomicU64, SC};
use layout::{Header, ProcessRecord, Seat, Slot, CHUNK, CHUNKS_AT, HEADER, MAX_CHUNKS, PROCESSES, ROW, UNIT, UNITS};
use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;

/// No process record.
pub const NO_PROCESS: u32 = u32::MAX;

/// What this process keeps about an arena for itself.
#[derive(Debug, Default)]
pub(crate) struct Private {
    /// Slots that were free when last seen, by class.
    hints: [Vec<u32>; 3],
    /// Objects of this process per slot, less one, where there is more than one.
    excess: HashMap<u32, u32>,
    /// The file, with its shared flock.
    file: Option<memory::Kept>,
    /// Attachments made since the last sweep.
    attached: u32,
}

/// A mapped arena. Never unmapped: a dying process's beacon must stay in place for the kernel.
#[derive(Debug)]
pub struct Arena {
    base: *mut u8,
    /// File name, which is also how handles name the arena.
    pub name: String,
    /// Where the file is.
    pub path: PathBuf,
    my_process: LocalWord,
    max_chunks: usize,
    pub(crate) private: Local<Private>,
    fork_child: LocalWord,
    pidns: u64,
    /// The store's mapping (see `ring/store.rs`), null until something needs it; and its length in bytes.
    pub(crate) store_base: AtomicPtr<u8>,
    pub(crate) store_len: AtomicUsize,
    /// Bytes that the store's free blocks may keep.
    pub(crate) store_cache: AtomicUsize,
    /// The store's file.
    pub(crate) store_file: Local<Option<memory::Kept>>,
}

// SAFETY: the mapping is shared memory that is only touched through atomics; everything else is atomic or locked.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

static REGISTRY: Local<Vec<&'static Arena>> = Local::new(Vec::new());
static HOME: AtomicPtr<Arena> = AtomicPtr::new(core::ptr::null_mut());

impl Arena {
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the mapping starts with a header, and all its fields are atomics.
        unsafe { &*self.base.cast::<Header>() }
    }

    /// A process record.
    #[must_use]
    pub(crate) fn process(&self, index: u32) -> Option<&ProcessRecord> {
        if index as usize >= PROCESSES - 1 {
            return None;
        }
        // SAFETY: the index is in range, the records lie behind the header, all fields are atomics.
        Some(unsafe { &*self.base.add(HEADER + index as usize * layout::PROCESS_BYTES).cast::<ProcessRecord>() })
    }

    fn chunk_count(&self) -> usize {
        (self.header().chunks.load(SC) as usize).min(self.max_chunks)
    }

    /// The slot that starts at a unit; `None` if the arena has no such unit.
    #[inline]
    #[must_use]
    pub fn slot(&self, id: u32) -> Option<&Slot> {
        let (chunk, unit) = (id as usize / UNITS, id as usize % UNITS);
        if chunk >= self.chunk_count() {
            return None;
        }
        let at = CHUNKS_AT + chunk * CHUNK + PROCESSES * ROW + unit * UNIT;
        // SAFETY: chunk and unit are in range of the mapping; all fields are atomics.
        Some(unsafe { &*self.base.add(at).cast::<Slot>() })
    }

    /// The words behind a slot's own 128 bytes (none in class 0).
    #[must_use]
    pub fn cells(&self, id: u32) -> &[AtomicU32] {
        let (chunk, unit) = (id as usize / UNITS, id as usize % UNITS);
        let Some(slot) = self.slot(id) else { return &[] };
        let units = layout::CLASS_UNITS[self.class_of(chunk)].min(UNITS - unit);
        // SAFETY: a slot of this class has `units` units inside its chunk; words are atomics.
        unsafe {
            let first = core::ptr::from_ref(slot).cast::<u8>().add(UNIT).cast::<AtomicU32>();
            core::slice::from_raw_parts(first, (units - 1) * UNIT / 4)
        }
    }

    pub(crate) fn seat(&self, id: u32) -> Option<&Seat> {
        let slot = self.slot(id)?;
        if slot.state.load(SC) & 0xff != layout::kind::SEAT {
            return None;
        }
        Some(slot.as_seat())
    }

    /// Row of the reach bitmaps: which units of `chunk` process `index` can reach.
    fn row(&self, chunk: usize, index: u32) -> &[AtomicU64] {
        let at = CHUNKS_AT + chunk * CHUNK + index as usize % PROCESSES * ROW;
        // SAFETY: callers pass a chunk below `chunk_count`; the row lies inside it; words are atomics.
        unsafe { core::slice::from_raw_parts(self.base.add(at).cast::<AtomicU64>(), ROW / 8) }
    }

    fn chunk_class(&self, chunk: usize) -> &AtomicU64 {
        &self.row(chunk, PROCESSES as u32 - 1)[0]
    }

    fn class_of(&self, chunk: usize) -> usize {
        (self.chunk_class(chunk).load(SC) as usize).saturating_sub(1).min(2)
    }

    /// The record of this process in the arena.
    ///
    /// # Errors
    /// HF505 if it has none (there were too many processes when it was forked).
    pub(crate) fn my_process(&self) -> Result<u32> {
        // Relaxed pairs with the stores at attach and in the fork hook, both made by this process before it goes on.
        match self.my_process.load(Ordering::Relaxed) {
            NO_PROCESS => Err(Error::new(
                "HF505",
                format!("too many processes share this program's locks: at most {} at a time", PROCESSES - 1),
            )),
            index => Ok(index),
        }
    }

    /// Whether the segment was cut off or overwritten under us.
    ///
    /// # Errors
    /// HF504 then.
    pub fn check(&self) -> Result<()> {
        if fault::lost() || self.header().magic.load(SC) != layout::MAGIC {
            return Err(Error::corrupt(&self.name));
        }
        Ok(())
    }

    fn from_mapping(base: *mut u8, name: String, path: PathBuf, file: Option<File>, max_chunks: usize) -> Self {
        Self {
            base,
            name,
            path,
            my_process: LocalWord::new(NO_PROCESS),
            max_chunks,
            private: Local::new(Private { file: file.map(memory::Kept::new), ..Private::default() }),
            fork_child: LocalWord::new(NO_PROCESS),
            pidns: crate::os::identity::pid_namespace(),
            store_base: AtomicPtr::new(core::ptr::null_mut()),
            store_len: AtomicUsize::new(0),
            store_cache: AtomicUsize::new(store::CACHE),
            store_file: Local::new(None),
        }
    }

    /// An arena in this process's heap, for tests and the model: `like` gives another process's view of the same one.
    ///
    /// # Panics
    /// Never in practice: the first chunk always fits.
    #[must_use]
    pub fn in_memory(like: Option<&Self>) -> &'static Self {
        const CHUNKS: usize = 2;
        let base = like.map_or_else(
            || {
                let size = CHUNKS_AT + CHUNKS * CHUNK + store::MODEL_BYTES;
                let layout = std::alloc::Layout::from_size_align(size, 4096).expect("a valid layout");
                // SAFETY: the layout has a size; zero bytes are a valid (empty) arena.
                unsafe { std::alloc::alloc_zeroed(layout) }
            },
            |other| other.base,
        );
        let arena = Self::from_mapping(base, "memory".into(), PathBuf::new(), None, CHUNKS);
        if layout::MODEL {
            // SAFETY: the store lies behind the chunks in the same allocation.
            arena.store_base.store(unsafe { base.add(CHUNKS_AT + CHUNKS * CHUNK) }, Ordering::SeqCst);
            arena.store_len.store(store::MODEL_BYTES, Ordering::SeqCst);
        }
        if like.is_none() {
            arena.format();
        }
        arena.join_table().expect("room for a process");
        Box::leak(Box::new(arena))
    }

    /// Frees what [`Self::in_memory`] took (the checker makes millions).
    ///
    /// # Safety
    /// No view of this arena is used any more.
    pub unsafe fn free_memory(arena: &'static Self, with_segment: bool) {
        let view = core::ptr::from_ref(arena).cast_mut();
        if with_segment {
            let layout = std::alloc::Layout::from_size_align(arena.memory().1, 4096);
            // SAFETY: allocated with this layout by `in_memory`.
            unsafe { std::alloc::dealloc(arena.base, layout.expect("a valid layout")) };
        }
        // SAFETY: leaked by `in_memory`, not used any more by the caller's promise.
        drop(unsafe { Box::from_raw(view) });
    }

    /// First byte and size of an arena in memory, for the model.
    #[must_use]
    pub fn memory(&self) -> (*const u8, usize) {
        (self.base, CHUNKS_AT + self.max_chunks * CHUNK + store::MODEL_BYTES)
    }

    fn format(&self) {
        let header = self.header();
        header.version.store(layout::VERSION, SC);
        header.chunks.store(1, SC);
        self.chunk_class(0).store(1, SC);
        header.free[0].store(UNITS as u32 - 1, SC);
        header.magic.store(layout::MAGIC, SC);
    }

    /// This program's arena, made now if there is none yet.
    ///
    /// # Errors
    /// HF501 to HF505.
    pub fn home() -> Result<&'static Self> {
        if let Some(arena) = Self::home_if_any() {
            return Ok(arena);
        }
        let mut registry = REGISTRY.lock();
        if let Some(arena) = Self::home_if_any() {
            return Ok(arena);
        }
        let arena = files::create(&mut registry)?;
        Self::set_home(arena);
        Ok(arena)
    }

    /// This program's arena, if it has one.
    #[inline]
    #[must_use]
    pub fn home_if_any() -> Option<&'static Self> {
        // Acquire pairs with the Release in `set_home`. SAFETY: arenas are never freed.
        unsafe { HOME.load(Ordering::Acquire).as_ref() }
    }

    fn set_home(arena: &'static Self) {
        // Release pairs with the Acquire in `home_if_any`.
        HOME.store(core::ptr::from_ref(arena).cast_mut(), Ordering::Release);
    }

    /// The arena of that name, attached now if it was not.
    ///
    /// # Errors
    /// HF401 if there is none (any more), HF502 to HF505.
    pub fn attach(name: &str) -> Result<&'static Self> {
        let mut registry = REGISTRY.lock();
        if let Some(known) = registry.iter().find(|a| a.name == name) {
            return Ok(known);
        }
        files::attach(name, &mut registry)
    }

    /// Makes the named arena this process's home.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn join(name: &str) -> Result<()> {
        Self::set_home(Self::attach(name)?);
        Ok(())
    }

    /// All arenas this process has mapped.
    #[must_use]
    pub fn all() -> Vec<&'static Self> {
        REGISTRY.lock().clone()
    }

    /// Leaves all arenas in order: the last one out removes the file.
    pub fn leave_all() {
        for arena in Self::all() {
            arena.leave();
        }
    }

    fn leave(&self) {
        let Ok(index) = self.my_process() else { return };
        let Some(record) = self.process(index) else { return };
        record.exiting.store(1, SC);
        let others = (0..self.header().process_high.load(SC).min(PROCESSES as u32 - 1))
            .any(|p| p != index && self.is_process_alive(p, true));
        if others || fault::lost() {
            return;
        }
        // Spawned children that have not attached yet hold nothing; they find the arena gone and say so. Everybody else
        // who maps the file has a record, and all of those are dead.
        files::remove_arena(&self.path);
    }

    /// Bytes of the file in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        CHUNKS_AT + self.chunk_count() * CHUNK
    }
}

/// Gives the file system the room for one more chunk.
fn grow_file(file: &File, chunks: usize, path: &std::path::Path) -> Result<()> {
    memory::allocate(file, (CHUNKS_AT + chunks * CHUNK) as u64).map_err(|e| memory::full(path, &e))
}

const _: () = assert!(MAX_CHUNKS * UNITS <= 1 << 23);
