//! Where the words of a queue lie: in the cells behind its slot.
//!
//! ```text
//! each side   line 0   lock | seat | position, twice | what a kill may have left half done
//!             line 1   commit: messages so far, and which of the two positions holds | gate
//! segment     next segment | entries ...
//! entry       header: bits 0-31 bytes | bits 32-39 tag | bit 40 the bytes are those of a block; then the bytes, padded to 8
//! END         the header after the last entry of a segment: go on in the next one
//! ```
//! Line 1 of a side is what the other side looks at; line 0 is its own.

use crate::arena::layout::{LockWords, MODEL};
use crate::sync::{AtomicU32, AtomicU64};

/// One side of a queue: that of the writers or that of the readers.
#[repr(C)]
#[derive(Debug)]
pub struct Side {
    /// One at a time.
    pub lock: LockWords,
    /// Segment in the high half, offset in the low half; bit 0 of the commit says which one holds.
    pub at: [AtomicU64; 2],
    /// A segment that is being linked or freed (see [`super::store::Block::word`]).
    pub segment: AtomicU64,
    /// The block of a message that is being put or taken.
    pub block: AtomicU64,
    /// The commit at which that began.
    pub began: AtomicU64,
    spare: [AtomicU64; 2],
    /// Twice the number of messages, plus the index of the position.
    pub commit: AtomicU64,
    /// Where waiters of this side sleep: bit 31 WAITING, below it the number of wakes.
    pub gate: AtomicU32,
    rest: [AtomicU32; 13],
}

/// All words of a queue.
#[repr(C)]
#[derive(Debug)]
pub struct Words {
    /// The writers' side.
    pub write: Side,
    /// The readers' side.
    pub read: Side,
    /// The first segment, from when the queue was first used.
    pub first: AtomicU64,
    /// Tasks finished.
    pub finished: AtomicU64,
    /// Where `join` sleeps: bit 31 somebody may sleep, below it the number of wakes.
    pub joined: AtomicU32,
    /// 0: open; 1: no put begins any more; 2: none is under way.
    pub shut: AtomicU32,
    /// Bytes of messages in blocks that are in the queue now.
    pub bytes: AtomicU64,
    /// Of a joinable queue: what each process has taken and not finished.
    pub hands: [Hand; HANDS],
}

/// Tasks that a process has taken from a joinable queue and not finished.
#[repr(C)]
#[derive(Debug)]
pub struct Hand {
    /// The process; 0: nobody's.
    pub process: AtomicU32,
    /// Tasks.
    pub tasks: AtomicU32,
    /// Its pid, for reports.
    pub pid: AtomicU32,
}

/// Processes whose tasks are counted; more are served all the same.
pub const HANDS: usize = if MODEL { 4 } else { 48 };

/// The two sides and what is behind them must fit into the cells of a slot of class 1.
const _: () = {
    assert!(core::mem::size_of::<Side>() == 128);
    assert!(core::mem::offset_of!(Side, commit) == 64);
    assert!(core::mem::size_of::<Words>() <= 7 * 128);
};

/// Offset of the first entry of a segment.
pub const START: usize = 8;
/// Tag of the last header of a segment.
pub const END: u8 = 0xff;
/// Bit of a header: the bytes are those of a block.
pub const IN_BLOCK: u64 = 1 << 40;

/// Header of an entry.
#[must_use]
pub const fn header(tag: u8, len: usize) -> u64 {
    len as u64 | (tag as u64) << 32
}

/// Bytes an entry takes, with its header.
#[must_use]
pub const fn room_for(len: usize) -> usize {
    8 + len.next_multiple_of(8)
}
