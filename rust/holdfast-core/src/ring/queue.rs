//! The queue: its users fill and empty it themselves; a kill at any step harms nobody.
//!
//! ```text
//! writer   lock | write the entry behind the last | position for after it | COMMIT: count + 1 | ring the readers' gate | open
//! reader   lock | copy the first entry out        | position for after it | COMMIT: count + 1 | ring the writers' gate | open
//! ```
//! The commit is one store: it names the count and which of two positions holds. Before it nothing has happened, after it
//! all has; so whoever gets the lock of a dead one finds a queue in order. Only blocks need a note of what was under way
//! (`segment`, `block`, `began`), and the next one on that side settles it: a block that was not committed is freed, one
//! that was taken is freed.
//!
//! Each side has a robust lock (`lock/mutex.rs`) and a turnstile (`wait.rs`) for both reasons to wait: the lock, and
//! nothing there (or no room). A reader that waits does not hold the lock. Messages over [`INLINE`] bytes are in blocks of
//! their own, written before the lock is taken; a reader holds the lock while it copies one out.

use super::store::{Block, Store};
use super::words::{Side, Words};
use crate::arena::layout::{kind, Slot, MODEL};
use crate::arena::{Arena, Me, OwnerState, OWNER_MASK};
use crate::error::{Error, Result};
use crate::lock::mutex;
use crate::os::futex::{self, Watch, Woken};
use crate::sync::{broken, AtomicU32, AtomicU64, Ordering, SC};
use crate::wait::{turn, Heart, Patience, Waited};

/// Messages of more bytes get a block of their own.
pub const INLINE: usize = if MODEL { 8 } else { 32 << 10 };
/// Size class of a queue's slot.
pub const CLASS: usize = if MODEL { 2 } else { 1 };
pub(super) const WAITING: u32 = 0x8000_0000;
/// Values of [`Words::shut`]: no put begins after CLOSED, none is under way after SHUT.
const OPEN: u32 = 0;
const CLOSED: u32 = 1;
const SHUT: u32 = 2;

/// A queue in place.
#[derive(Debug, Clone, Copy)]
pub struct Queue<'a> {
    pub(super) arena: &'a Arena,
    /// Its slot.
    pub slot: &'a Slot,
    pub(super) id: u32,
    pub(super) words: &'a Words,
}

/// What a waiter has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The lock of its side is its own, and there is an item, or room.
    Mine,
    /// Nothing there, or no room, and the caller does not wait for that.
    Nothing,
    /// The queue was shut down.
    Shut,
}

/// The first message, in place.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// What the writer said it is.
    pub tag: u8,
    /// First byte.
    pub at: *const u8,
    /// Bytes.
    pub len: usize,
    /// The block it lies in, if that is one of its own.
    pub block: Option<Block>,
    pub(super) after: u64,
}

impl Message {
    /// Bytes that lie somewhere else than in a queue.
    #[must_use]
    pub const fn of_bytes(tag: u8, at: *const u8, len: usize) -> Self {
        Self { tag, at, len, block: None, after: 0 }
    }
}

/// Becomes of a message's block when it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is free.
    Free,
    /// It goes to that slot.
    To(u32),
}

pub(super) const fn position(segment: u32, offset: usize) -> u64 {
    (segment as u64) << 32 | offset as u64
}

pub(super) const fn count_of(commit: u64) -> u64 {
    commit >> 1
}

impl<'a> Queue<'a> {
    /// The queue in a slot.
    ///
    /// # Errors
    /// HF504 if the slot cannot be one.
    pub fn at(arena: &'a Arena, id: u32) -> Result<Self> {
        let slot = arena.slot(id).ok_or_else(Error::gone)?;
        let cells = arena.cells(id);
        if cells.len() * 4 < core::mem::size_of::<Words>() || slot.state.load(SC) & 0xff != kind::QUEUE {
            return Err(Error::corrupt("queue"));
        }
        // SAFETY: the cells are long enough and, as slots are, aligned to 128; all words are atomics.
        let words = unsafe { &*cells.as_ptr().cast::<Words>() };
        Ok(Self { arena, slot, id, words })
    }

    /// Messages put and taken so far. Exact: put is read again until it stood still.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        loop {
            let put = self.put();
            let taken = self.taken();
            if self.put() == put {
                return (put, taken);
            }
        }
    }

    #[inline(always)]
    pub(super) fn put(&self) -> u64 {
        // Acquire pairs with the SeqCst store of a commit: what that publishes is seen after it.
        count_of(self.words.write.commit.load(Ordering::Acquire))
    }

    #[inline(always)]
    fn taken(&self) -> u64 {
        // Acquire pairs with the SeqCst store of a commit, as above.
        count_of(self.words.read.commit.load(Ordering::Acquire))
    }

    /// Messages in the queue.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> u64 {
        let (put, taken) = self.counts();
        put.wrapping_sub(taken)
    }

    /// Whether nothing is in the queue.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // Taken is read first: if no more was put until later, then nothing was there at that later moment.
        let taken = self.taken();
        taken == self.put()
    }

    /// How many more messages there is room for.
    #[inline(always)]
    #[must_use]
    pub fn room(&self) -> u64 {
        let most = u64::from(self.slot.maximum.load(SC));
        if most == 0 {
            return u64::MAX;
        }
        // Put is read first: if too little was taken until later, then there was no room at that later moment.
        let put = self.put();
        most.saturating_sub(put.wrapping_sub(self.taken()))
    }

    /// Whether no put begins any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.words.shut.load(SC) != OPEN
    }

    /// Whether there will be no more puts.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        match self.words.shut.load(SC) {
            OPEN => false,
            SHUT => true,
            _ => self.shut_if_nobody_writes(),
        }
    }

    /// Whoever has the writers' side after it was closed looks at that first: so once it is seen free, or left by the
    /// dead, all puts are over. The one who shuts the queue down sees to this; readers do, should it be killed.
    #[cold]
    fn shut_if_nobody_writes(&self) -> bool {
        let owner = self.words.write.lock.word.load(SC) & OWNER_MASK;
        let over = owner == 0 || matches!(self.arena.owner_state(owner, true), OwnerState::Dead);
        if over {
            self.words.shut.store(SHUT, SC);
        }
        over
    }

    /// Whether a reader would probably get something at once.
    #[must_use]
    pub fn looks_ready_to_read(&self) -> bool {
        // Relaxed: only a hint.
        !self.is_empty() && self.words.read.lock.word.load(Ordering::Relaxed) == 0
    }

    /// Whether a writer would probably succeed at once.
    #[must_use]
    pub fn looks_ready_to_write(&self) -> bool {
        // Relaxed: only a hint.
        self.room() > 0 && self.words.write.lock.word.load(Ordering::Relaxed) == 0
    }

    /// Takes the readers' side if it is free and there is an item.
    #[inline(always)]
    #[must_use]
    pub fn try_read(&self, me: u32) -> bool {
        if self.is_empty() || !mutex::try_fast(&self.words.read.lock.word, me) {
            return false;
        }
        self.settle_reader();
        if self.is_empty() {
            self.leave(&self.words.read, me);
            return false;
        }
        true
    }

    /// Takes the writers' side if it is free and there is room.
    #[inline(always)]
    #[must_use]
    pub fn try_write(&self, me: u32) -> bool {
        if self.room() == 0 || !mutex::try_fast(&self.words.write.lock.word, me) {
            return false;
        }
        self.settle_writer();
        if self.room() == 0 || self.is_closed() {
            self.leave(&self.words.write, me);
            return false;
        }
        true
    }

    /// As [`Self::try_read`], also from the dead: for somebody who must not wait.
    #[must_use]
    pub fn try_read_deep(&self, me: &Me<'_>) -> bool {
        if self.is_empty() || mutex::try_deep(me, &self.words.read.lock.word, true).is_none() {
            return false;
        }
        self.settle_reader();
        if self.is_empty() {
            self.leave(&self.words.read, me.id);
            return false;
        }
        true
    }

    /// As [`Self::try_write`], also from the dead: for somebody who must not wait.
    #[must_use]
    pub fn try_write_deep(&self, me: &Me<'_>) -> bool {
        if self.room() == 0 || mutex::try_deep(me, &self.words.write.lock.word, true).is_none() {
            return false;
        }
        self.settle_writer();
        if self.room() == 0 || self.is_closed() {
            self.leave(&self.words.write, me.id);
            return false;
        }
        true
    }

    /// Waits for the readers' side and an item. `at_once`: not for an item.
    pub fn wait_to_read(&self, me: &Me<'_>, patience: &mut Patience<'_>, at_once: bool) -> Waited<Turn> {
        let mut watch = Watch::default();
        turn(me, &self.words.read.lock.seat, &mut watch, patience, &mut |watch, deep| {
            self.look_to_read(me, watch, deep, at_once)
        })
    }

    /// Waits for the writers' side and room. `at_once`: not for room.
    pub fn wait_to_write(&self, me: &Me<'_>, patience: &mut Patience<'_>, at_once: bool) -> Waited<Turn> {
        let mut watch = Watch::default();
        turn(me, &self.words.write.lock.seat, &mut watch, patience, &mut |watch, deep| {
            self.look_to_write(me, watch, deep, at_once)
        })
    }

    fn look_to_read(&self, me: &Me<'_>, watch: &mut Watch, deep: bool, at_once: bool) -> Option<Turn> {
        let side = &self.words.read;
        if self.is_empty() {
            let nothing = || self.is_empty();
            // Shut before empty: nothing can come after a shutdown that was seen, so the order decides.
            let refused = || if self.is_shut() { Some(Turn::Shut) } else { at_once.then_some(Turn::Nothing) };
            return Self::look_at_gate(side, watch, nothing, refused);
        }
        mutex::attempt(me, &side.lock.word, watch, deep)?;
        self.settle_reader();
        if self.is_empty() {
            self.leave(side, me.id);
            watch.clear();
            return None;
        }
        Some(Turn::Mine)
    }

    fn look_to_write(&self, me: &Me<'_>, watch: &mut Watch, deep: bool, at_once: bool) -> Option<Turn> {
        let side = &self.words.write;
        if self.is_closed() {
            return Some(Turn::Shut);
        }
        if self.room() == 0 {
            let nothing = || self.room() == 0;
            let refused = || if self.is_closed() { Some(Turn::Shut) } else { at_once.then_some(Turn::Nothing) };
            return Self::look_at_gate(side, watch, nothing, refused);
        }
        mutex::attempt(me, &side.lock.word, watch, deep)?;
        self.settle_writer();
        if self.room() == 0 || self.is_closed() {
            self.leave(side, me.id);
            watch.clear();
            return None;
        }
        Some(Turn::Mine)
    }

    /// Nothing there: marks the gate, looks once more, and only then sleeps on it.
    fn look_at_gate(
        side: &Side,
        watch: &mut Watch,
        nothing: impl Fn() -> bool,
        refused: impl Fn() -> Option<Turn>,
    ) -> Option<Turn> {
        let mut gate = side.gate.load(SC);
        if gate & WAITING == 0 {
            if side.gate.compare_exchange(gate, gate | WAITING, SC, SC).is_err() {
                return None;
            }
            gate |= WAITING;
        }
        // In this order: what is put before a shutdown is seen here, so "shut and nothing" is final.
        let turn = refused();
        if !nothing() && !broken("look-again") {
            return None;
        }
        if turn.is_none() {
            watch.add(&side.gate, gate);
        }
        turn
    }

    pub(super) fn ring(side: &Side) {
        let now = side.gate.load(SC);
        if now & WAITING != 0 {
            let _ = side.gate.compare_exchange(now, (now & !WAITING).wrapping_add(1) & !WAITING, SC, SC);
            futex::wake(&side.gate, 1);
        }
    }

    #[inline(always)]
    pub(super) fn leave(&self, side: &Side, me: u32) {
        if !mutex::release_fast(&side.lock.word, me) {
            let _ = mutex::release(me, &side.lock.word);
        }
    }

    pub(super) fn store(&self) -> Result<Store<'a>> {
        self.arena.store()
    }

    /// What a killed writer left: a segment or a block that was put into the queue but not committed.
    #[inline(always)]
    fn settle_writer(&self) {
        let side = &self.words.write;
        if side.segment.load(SC) | side.block.load(SC) != 0 && !broken("settle") {
            self.settle_writer_now(side);
        }
    }

    #[cold]
    fn settle_writer_now(&self, side: &Side) {
        let Ok(store) = self.store() else { return };
        let commit = side.commit.load(SC);
        if let Some(segment) = Block::of(side.segment.load(SC)) {
            let linked = side.at[commit as usize & 1].load(SC) >> 32 == u64::from(segment.id);
            if !linked {
                store.free_from(segment, self.id);
            }
            side.segment.store(0, SC);
        }
        if let Some(block) = Block::of(side.block.load(SC)) {
            if commit == side.began.load(SC) {
                store.free_from(block, self.id);
            }
            side.block.store(0, SC);
        }
        Self::ring(&self.words.read); // it may have been killed before it could
    }

    /// What a killed reader left: a segment or a block that it had done with but not freed.
    #[inline(always)]
    fn settle_reader(&self) {
        let side = &self.words.read;
        if side.segment.load(SC) | side.block.load(SC) != 0 && !broken("settle") {
            self.settle_reader_now(side);
        }
    }

    #[cold]
    fn settle_reader_now(&self, side: &Side) {
        let Ok(store) = self.store() else { return };
        let commit = side.commit.load(SC);
        if let Some(segment) = Block::of(side.segment.load(SC)) {
            let left = side.at[commit as usize & 1].load(SC) >> 32 != u64::from(segment.id);
            if left {
                store.free_from(segment, self.id);
            }
            side.segment.store(0, SC);
        }
        if let Some(block) = Block::of(side.block.load(SC)) {
            if commit != side.began.load(SC) {
                store.free_from(block, self.id);
            }
            side.block.store(0, SC);
        }
        Self::ring(&self.words.write);
    }

    /// Shuts the queue down: no more puts. `at_once`: what is in it is dropped. The number of those; none if it was
    /// interrupted, then it is to be called again (or left: no put begins any more, readers see to the rest).
    ///
    /// # Errors
    /// HF504.
    pub fn shut(&self, me: &Me<'_>, at_once: bool, patience: &mut Patience<'_>) -> Result<Waited<u64>> {
        let _ = self.words.shut.compare_exchange(OPEN, CLOSED, SC, SC);
        // Writers that wait for room must leave their turnstile: we go through it, too.
        if !broken("close-first") {
            Self::ring(&self.words.write);
        }
        if !self.enter(&self.words.write, me, patience) {
            return Ok(Waited::Interrupted);
        }
        self.settle_writer();
        self.words.shut.store(SHUT, SC);
        self.leave(&self.words.write, me.id);
        Self::ring(&self.words.read); // as above
        let mut dropped = Ok(0);
        if at_once {
            if !self.enter(&self.words.read, me, patience) {
                return Ok(Waited::Interrupted);
            }
            self.settle_reader();
            dropped = self.drop_all(me);
        }
        for side in [&self.words.read, &self.words.write] {
            Self::ring(side);
        }
        self.wake_joiners();
        dropped.map(Waited::Done)
    }

    fn enter(&self, side: &Side, me: &Me<'_>, patience: &mut Patience<'_>) -> bool {
        mutex::try_fast(&side.lock.word, me.id)
            || matches!(mutex::acquire_slow(me, &side.lock.word, &side.lock.seat, patience), Waited::Done(_))
    }

    /// Takes everything out; the caller has the readers' side, and has it no more afterwards.
    fn drop_all(&self, me: &Me<'_>) -> Result<u64> {
        let (mut reader, mut dropped) = (self.reader(), 0);
        let done = loop {
            match reader.front() {
                Ok(Some(message)) => match reader.take(&message, Fate::Free) {
                    Ok(()) => dropped += 1,
                    Err(e) => break Err(e),
                },
                Ok(None) => break Ok(dropped),
                Err(e) => break Err(e),
            }
        };
        reader.finish(me);
        (0..dropped).for_each(|_| {
            let _ = self.finish_task();
        });
        done
    }

    /// Notes that a task taken from the queue is finished; `false` if all were already.
    #[must_use]
    pub fn finish_task(&self) -> bool {
        loop {
            let done = self.words.finished.load(SC);
            let put = self.put();
            if done >= put {
                return false;
            }
            if self.words.finished.compare_exchange(done, done + 1, SC, SC).is_ok() {
                self.put_out_of_hand();
                if done + 1 == put {
                    self.wake_joiners();
                }
                return true;
            }
        }
    }

    /// Tasks put and not finished.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        // Finished is read first: if no more was put until later, then all were finished at that later moment.
        if broken("finished-first") {
            return self.put().saturating_sub(self.words.finished.load(SC));
        }
        let finished = self.words.finished.load(SC);
        self.put().saturating_sub(finished)
    }

    fn wake_joiners(&self) {
        let now = self.words.joined.load(SC);
        if now & WAITING != 0 {
            let _ = self.words.joined.compare_exchange(now, (now & !WAITING).wrapping_add(1) & !WAITING, SC, SC);
            futex::wake(&self.words.joined, u32::MAX);
        }
    }

    /// Waits until all tasks are finished. False: it looks as if some never will be (see [`Self::lost`]).
    pub fn join(&self, patience: &mut Patience<'_>) -> Waited<bool> {
        let mut heart = Heart::default();
        loop {
            let mut now = self.words.joined.load(SC);
            if now & WAITING == 0 {
                if self.words.joined.compare_exchange(now, now | WAITING, SC, SC).is_err() {
                    continue;
                }
                now |= WAITING;
            }
            if self.unfinished() == 0 {
                return Waited::Done(true);
            }
            let woken = futex::wait(&self.words.joined, now, Some(heart.until(patience)));
            if let Some(end) = heart.after(woken, patience) {
                return if self.unfinished() == 0 { Waited::Done(true) } else { end };
            }
            if woken == Woken::TimedOut && !self.lost().is_empty() {
                return Waited::Done(false);
            }
        }
    }

    /// Whether a reader would get something now, or be told that the queue was shut down; if not, what to sleep on.
    pub(crate) fn observe_to_read(&self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool {
        Self::observe(&self.words.read, me, watch, deep, || self.is_empty(), || self.is_shut())
    }

    /// As [`Self::observe_to_read`], for a writer.
    pub(crate) fn observe_to_write(&self, me: &Me<'_>, watch: &mut Watch, deep: bool) -> bool {
        Self::observe(&self.words.write, me, watch, deep, || self.room() == 0, || self.is_closed())
    }

    fn observe(
        side: &Side,
        me: &Me<'_>,
        watch: &mut Watch,
        deep: bool,
        nothing: impl Fn() -> bool,
        shut: impl Fn() -> bool,
    ) -> bool {
        if shut() {
            return true;
        }
        if nothing() {
            return Self::look_at_gate(side, watch, nothing, || shut().then_some(Turn::Shut)).is_some();
        }
        mutex::observe(me, &side.lock.word, watch, deep)
    }

    /// Lock words of the two sides: readers', writers'.
    #[must_use]
    pub fn locks(&self) -> [&'a AtomicU32; 2] {
        [&self.words.read.lock.word, &self.words.write.lock.word]
    }

    /// Seat words of the two turnstiles: readers', writers'.
    #[must_use]
    pub fn seats(&self) -> [&'a AtomicU32; 2] {
        [&self.words.read.lock.seat, &self.words.write.lock.seat]
    }

    /// Bytes of the messages that lie in blocks of their own.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        self.words.bytes.load(SC)
    }

    /// Publishes a position and a count in one store.
    #[inline(always)]
    pub(super) fn commit(side: &Side, before: u64, count: u64, at: u64) -> u64 {
        let next = count << 1 | (before & 1 ^ 1);
        side.at[next as usize & 1].store(at, SC);
        side.commit.store(next, SC);
        next
    }

    /// A word of a segment.
    pub(super) fn word(&self, store: &Store<'a>, segment: u32, offset: usize) -> Result<&'a AtomicU64> {
        let (base, size) = store.data(segment)?;
        if offset % 8 != 0 || offset + 8 > size {
            return Err(Error::corrupt("position in a queue"));
        }
        // SAFETY: inside the block, aligned; segments are only written through atomics and `copy_in`.
        Ok(unsafe { &*base.add(offset).cast::<AtomicU64>() })
    }
}
