//! Where everything lies in an arena, and the words of each record.
//!
//! ```text
//! file     header 4 KiB | process records 1024 x 128 B | chunk 0 | chunk 1 | ...           (grows by chunks)
//! chunk    reach bitmaps: 1024 rows x 64 B (row p: which units process p can reach; row 1023: the chunk's own header)
//!          data: 512 units x 128 B, cut into slots of 1, 8 or 128 units (class 0, 1, 2)
//! slot id  chunk * 512 + first unit; id 0 is never given out
//! ```
//! All fields are atomic words, so a shared reference to a record is always sound whatever other processes write.

use crate::os::beacon;
use crate::sync::{AtomicU32, AtomicU64};

/// First word of every arena file.
pub const MAGIC: u64 = u64::from_le_bytes(*b"HOLDFAST");
/// Layout version: a change of any size or field below must change it.
pub const VERSION: u32 = 2;
/// Bytes of the header.
pub const HEADER: usize = 4096;
/// Process records (the last row of bitmaps is the chunk header, so one fewer processes).
pub const PROCESSES: usize = if MODEL { 8 } else { 1024 };
/// Bytes of a process record.
pub const PROCESS_BYTES: usize = 128;
/// Bytes of a unit, the smallest slot.
pub const UNIT: usize = 128;
/// Units of a chunk.
pub const UNITS: usize = if MODEL { 64 } else { 512 };
/// Bytes of one process's bitmap row in a chunk.
pub const ROW: usize = UNITS / 8;
/// Bytes of a chunk.
pub const CHUNK: usize = PROCESSES * ROW + UNITS * UNIT;
/// The most chunks (16,383 chunks are 2 GiB).
pub const MAX_CHUNKS: usize = 16_383;
/// Offset of chunk 0.
pub const CHUNKS_AT: usize = HEADER + PROCESSES * PROCESS_BYTES;
/// Bytes of address space an arena reserves.
pub const SPAN: usize = CHUNKS_AT + MAX_CHUNKS * CHUNK;
/// Units of a slot of each class.
pub const CLASS_UNITS: [usize; 3] = if MODEL { [1, 2, 4] } else { [1, 8, 128] };
/// The model checker makes an arena for every execution: a small one.
pub(crate) const MODEL: bool = cfg!(feature = "model");

/// The arena's header. Offsets 0 to 12 never change, in any version.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    /// [`MAGIC`], written last.
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// Chunks that may be used.
    pub chunks: AtomicU32,
    /// Records that were ever used.
    pub process_high: AtomicU32,
    /// Free slots by class, about right (a kill may make it drift; a sweep counts again).
    pub free: [AtomicU32; 3],
    /// Where the next search for a free slot starts, by class.
    pub cursor: [AtomicU32; 3],
    /// 1: somebody has made the store's file (see `ring/store.rs`).
    pub store: AtomicU32,
    /// Lock for names and sites.
    pub names: LockWords,
    /// Lock for sweeping.
    pub sweep: LockWords,
    /// Slots that hold the site tables.
    pub sites: [AtomicU32; 64],
}

/// The words by which a lock works; see `lock/mutex.rs` for the bits.
#[repr(C)]
#[derive(Debug, Default)]
pub struct LockWords {
    /// Holder and flags.
    pub word: AtomicU32,
    /// The sentry's seat (see `wait.rs`).
    pub seat: AtomicU32,
}

/// State of a process record.
pub mod process_state {
    /// Nobody's.
    pub const FREE: u32 = 0;
    /// Set aside for a child that is about to be forked.
    pub const RESERVED: u32 = 1;
    /// A living process's, or one whose death nobody has swept yet.
    pub const ALIVE: u32 = 2;
    /// Being swept.
    pub const SWEEPING: u32 = 3;
}

/// A participant.
#[repr(C)]
#[derive(Debug)]
pub struct ProcessRecord {
    /// One of [`process_state`].
    pub state: AtomicU32,
    /// Counts the record's lives.
    pub generation: AtomicU32,
    /// Process id.
    pub pid: AtomicU32,
    /// Record of the process that forked it, plus one.
    pub parent: AtomicU32,
    /// Start time in clock ticks.
    pub start: AtomicU64,
    /// Inode of the pid namespace.
    pub pidns: AtomicU64,
    /// The beacon (see `os/beacon.rs`); its first word is the one to watch.
    pub beacon: AtomicU32,
    beacon_rest: [AtomicU32; beacon::SIZE / 4 - 1],
    /// 1: the beacon is lit; 0: death is found through /proc.
    pub lit: AtomicU32,
    /// When it was set aside, coarse milliseconds.
    pub reserved_at: AtomicU32,
    /// 1: the process said that it ends in order.
    pub exiting: AtomicU32,
    /// Name, for reports.
    pub name: [AtomicU32; 10],
}

/// Kinds of slots (low byte of [`Slot::state`]).
pub mod kind {
    /// Free.
    pub const NONE: u32 = 0;
    /// A thread's seat.
    pub const SEAT: u32 = 1;
    /// Table of places in source code.
    pub const SITES: u32 = 2;
    /// Lock.
    pub const LOCK: u32 = 3;
    /// Re-entrant lock.
    pub const RLOCK: u32 = 4;
    /// Semaphore, plain or bounded.
    pub const SEMAPHORE: u32 = 5;
    /// Readers-writer lock.
    pub const RWLOCK: u32 = 6;
    /// Condition.
    pub const CONDITION: u32 = 7;
    /// Event.
    pub const EVENT: u32 = 8;
    /// Barrier.
    pub const BARRIER: u32 = 9;
    /// Shared value with its own lock.
    pub const VALUE: u32 = 10;
    /// Bytes.
    pub const BYTES: u32 = 11;
    /// Queue.
    pub const QUEUE: u32 = 12;
    /// Holds blocks of the store for whoever reaches it: a view of a message, or what is under way in a pipe.
    pub const PARCEL: u32 = 13;
    /// Names by number.
    pub const NAMES: [&str; 14] = [
        "free",
        "seat",
        "sites",
        "Lock",
        "RLock",
        "Semaphore",
        "RWLock",
        "Condition",
        "Event",
        "Barrier",
        "Value",
        "Bytes",
        "Queue",
        "Parcel",
    ];

    /// What a kind is called.
    #[must_use]
    pub const fn name(of: u32) -> &'static str {
        NAMES[of as usize % NAMES.len()]
    }
}

/// Phase of a slot (bits 8-15 of [`Slot::state`]); bits 16-31 name the process that makes or reclaims it, plus one.
pub mod phase {
    /// May be taken.
    pub const FREE: u32 = 0;
    /// Being made.
    pub const MAKING: u32 = 1;
    /// In use.
    pub const LIVE: u32 = 2;
    /// Somebody looks whether it can be reclaimed.
    pub const RECLAIMING: u32 = 3;
}

/// State word of a slot.
#[must_use]
pub const fn state(kind: u32, phase: u32, process: u32) -> u32 {
    kind | phase << 8 | process << 16
}

/// Words of a primitive. What each kind does with them is said in its own file.
#[repr(C)]
#[derive(Debug)]
pub struct Slot {
    /// Lock word, event word, ...
    pub word: AtomicU32,
    /// The sentry's seat (see `wait.rs`).
    pub seat: AtomicU32,
    /// Word that waiters watch where it is not `word`.
    pub gate: AtomicU32,
    /// Recursion depth, surplus permits, ...
    pub count: AtomicU32,
    /// When it was taken, coarse milliseconds.
    pub since: AtomicU32,
    /// Where it was taken, a number of the site table.
    pub site: AtomicU32,
    /// How often somebody had to wait.
    pub contended: AtomicU32,
    /// How often it was taken over from a dead holder.
    pub recoveries: AtomicU32,
    /// How often somebody released what another held.
    pub foreign: AtomicU32,
    /// Initial or greatest value, number of parties, ...
    pub maximum: AtomicU32,
    /// A shared value of at most 8 bytes.
    pub value: AtomicU64,
    /// Counts writes of the value.
    pub version: AtomicU32,
    /// Cells in use behind the words (permits, readers, waiters).
    pub cells: AtomicU32,
    /// 1: used for signalling, permits have no owner.
    pub signalled: AtomicU32,
    /// Bits chosen at creation: see `flag`.
    pub flags: AtomicU32,
    /// Kind, phase, process: see [`state`].
    pub state: AtomicU32,
    /// Counts the slot's lives.
    pub generation: AtomicU32,
    /// Pickles made.
    pub sent: AtomicU32,
    /// Pickles loaded.
    pub received: AtomicU32,
    /// When the last pickle was made, coarse milliseconds.
    pub sent_at: AtomicU32,
    /// Where it was created.
    pub created: AtomicU32,
    /// Pid of a dead holder whose seat was swept.
    pub orphan_pid: AtomicU32,
    spare: AtomicU32,
    /// Name, or its beginning and hash.
    pub name: [AtomicU32; 8],
}

impl Slot {
    /// The same words as a seat has them.
    pub(super) const fn as_seat(&self) -> &Seat {
        // SAFETY: slot and seat have one size and alignment (asserted below), and all fields of both are atomic words.
        unsafe { &*core::ptr::from_ref(self).cast::<Seat>() }
    }
}

/// Bits of [`Slot::flags`].
pub mod flag {
    /// Refuse a release by somebody who does not hold it.
    pub const STRICT: u32 = 1;
    /// Raise after the death of a holder instead of warning.
    pub const RAISE: u32 = 2;
    /// Semaphore with an upper bound.
    pub const BOUNDED: u32 = 4;
    /// Queue that counts finished tasks.
    pub const JOINABLE: u32 = 8;
}

/// A thread's seat: the same 128 bytes seen differently; the state words lie where a [`Slot`] has them.
#[repr(C)]
#[derive(Debug)]
pub struct Seat {
    /// Thread id.
    pub tid: AtomicU32,
    /// Process record.
    pub process: AtomicU32,
    /// Generation of the process record.
    pub generation: AtomicU32,
    /// Locks taken less locks released, by the thread itself.
    pub held: AtomicU32,
    /// Locks of this thread that others released.
    pub released_by_others: AtomicU32,
    /// Slot it waits for, 0 if none.
    pub waiting_for: AtomicU32,
    /// Since when, coarse milliseconds.
    pub waiting_since: AtomicU32,
    /// From which place.
    pub waiting_site: AtomicU32,
    /// 1: the thread has ended (but something it holds has not been released).
    pub gone: AtomicU32,
    spare: [AtomicU32; 7],
    /// As in [`Slot`].
    pub state: AtomicU32,
    /// As [`Slot::generation`]; its low bits are part of the owner id.
    pub life: AtomicU32,
    rest: [AtomicU32; 6],
    /// Thread name.
    pub name: [AtomicU32; 8],
}

const _: () = {
    assert!(core::mem::size_of::<Header>() <= HEADER);
    assert!(core::mem::size_of::<ProcessRecord>() == PROCESS_BYTES);
    assert!(core::mem::size_of::<Slot>() == UNIT);
    assert!(core::mem::size_of::<Seat>() == UNIT);
    assert!(core::mem::offset_of!(Slot, state) == core::mem::offset_of!(Seat, state));
    assert!(core::mem::offset_of!(Slot, generation) == core::mem::offset_of!(Seat, life));
    assert!(core::mem::offset_of!(Slot, name) == core::mem::offset_of!(Seat, name));
    assert!(core::mem::offset_of!(ProcessRecord, beacon) == 32);
    assert!(MODEL || ROW == 64 && CHUNK == 131_072);
    assert!(ROW % 8 == 0);
};

/// Reads text out of words (zero-terminated).
#[must_use]
pub fn read_text(words: &[AtomicU32]) -> String {
    let bytes: Vec<u8> =
        words.iter().flat_map(|w| w.load(crate::sync::SC).to_ne_bytes()).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes text into words, cut at a character boundary.
pub fn write_text(words: &[AtomicU32], text: &str) {
    let room = words.len() * 4;
    let mut end = text.len().min(room);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let bytes = &text.as_bytes()[..end];
    for (i, w) in words.iter().enumerate() {
        let mut part = [0u8; 4];
        for (j, b) in part.iter_mut().enumerate() {
            *b = bytes.get(i * 4 + j).copied().unwrap_or(0);
        }
        w.store(u32::from_ne_bytes(part), crate::sync::SC);
    }
}
