//! The two sides of a queue while they are held: what a reader takes and a writer enters.

use super::queue::{count_of, position, Fate, Message, Queue, WAITING};
use super::store::{Block, Store};
use super::words::{header, room_for, END, IN_BLOCK, START};
use crate::arena::layout::MODEL;
use crate::arena::Me;
use crate::error::{Error, Result};
use crate::sync::{broken, copy_in, AtomicU64, Ordering, SC};

const FIRST_SEGMENT: usize = if MODEL { 64 } else { 8 << 10 };
const LARGEST_SEGMENT: usize = if MODEL { 64 } else { 256 << 10 };

impl<'a> Queue<'a> {
    /// Starts to read; the caller has the readers' side.
    #[must_use]
    pub fn reader(&self) -> Reader<'a> {
        let side = &self.words.read;
        let commit = side.commit.load(SC);
        let at = side.at[commit as usize & 1].load(SC);
        let put = self.put();
        Reader { queue: *self, commit, count: count_of(commit), put, at }
    }

    /// Starts to write; the caller has the writers' side.
    #[must_use]
    pub fn writer(&self) -> Writer<'a> {
        let side = &self.words.write;
        let commit = side.commit.load(SC);
        Writer { queue: *self, commit, count: count_of(commit), at: side.at[commit as usize & 1].load(SC), grew: 0 }
    }
}

/// The readers' side while it is held. What was taken is committed by [`Reader::finish`] at the latest.
#[derive(Debug)]
pub struct Reader<'a> {
    queue: Queue<'a>,
    commit: u64,
    count: u64,
    put: u64,
    at: u64,
}

impl<'a> Reader<'a> {
    /// The first message that is left.
    ///
    /// # Errors
    /// HF504 if the queue is damaged.
    #[inline]
    pub fn front(&mut self) -> Result<Option<Message>> {
        if self.count == self.put {
            self.put = self.queue.put();
            if self.count == self.put {
                return Ok(None);
            }
        }
        let store = self.queue.store()?;
        loop {
            if self.at == 0 {
                self.at = self.queue.words.first.load(SC);
                self.queue.words.read.at[self.commit as usize & 1].store(self.at, SC);
            }
            let (segment, offset) = ((self.at >> 32) as u32, self.at as u32 as usize);
            let (base, size) = store.data(segment)?;
            let head = self.queue.word(&store, segment, offset)?.load(SC);
            let (tag, len) = ((head >> 32) as u8, head as u32 as usize);
            if tag == END {
                self.cross(&store, segment)?;
                continue;
            }
            if offset + room_for(len) > size {
                return Err(Error::corrupt("message in a queue"));
            }
            // SAFETY: offset and length were checked to lie inside the block.
            let at = unsafe { base.add(offset + 8) }.cast_const();
            let after = position(segment, offset + room_for(len));
            if head & IN_BLOCK == 0 {
                return Ok(Some(Message { tag, at, len, block: None, after }));
            }
            let word = self.queue.word(&store, segment, offset + 8)?.load(SC);
            let bytes = self.queue.word(&store, segment, offset + 16)?.load(SC) as usize;
            let block = Block::of(word).filter(|b| store.is_in(*b, self.queue.id));
            let block = block.ok_or_else(|| Error::corrupt("block of a message"))?;
            let (at, size) = store.data(block.id)?;
            if bytes > size {
                return Err(Error::corrupt("length of a message"));
            }
            return Ok(Some(Message { tag, at, len: bytes, block: Some(block), after }));
        }
    }

    /// Takes that message: it has been copied out, or its block goes to somebody.
    ///
    /// # Errors
    /// HF504.
    #[inline]
    pub fn take(&mut self, message: &Message, fate: Fate) -> Result<()> {
        let Some(block) = message.block else {
            self.at = message.after;
            self.count += 1;
            return Ok(());
        };
        if broken("position-last") {
            self.at = message.after;
        }
        self.publish(); // what was taken before it, with the position before it
        self.at = message.after;
        let side = &self.queue.words.read;
        side.began.store(self.commit, SC);
        side.block.store(block.word(), SC);
        self.count += 1;
        self.publish();
        self.queue.words.bytes.fetch_sub(message.len as u64, SC);
        let store = self.queue.store()?;
        match fate {
            Fate::Free => store.free_from(block, self.queue.id),
            Fate::To(slot) => store.hand_over(block, self.queue.id, slot),
        };
        side.block.store(0, SC);
        Ok(())
    }

    /// Goes on to the next segment and frees the one that is done with.
    #[cold]
    fn cross(&mut self, store: &Store<'a>, segment: u32) -> Result<()> {
        self.publish(); // what was taken from it must not be read again
        let next = self.queue.word(store, segment, 0)?.load(SC);
        let block = store.block(segment).ok_or_else(|| Error::corrupt("segment"))?;
        let side = &self.queue.words.read;
        side.segment.store(block.word(), SC);
        self.at = next;
        side.at[self.commit as usize & 1].store(next, SC);
        store.free_from(block, self.queue.id);
        side.segment.store(0, SC);
        Ok(())
    }

    #[inline(always)]
    fn publish(&mut self) {
        if self.count != count_of(self.commit) {
            self.queue.take_in_hand(self.count - count_of(self.commit));
            self.commit = Queue::commit(&self.queue.words.read, self.commit, self.count, self.at);
        }
    }

    /// Commits what was taken and opens the readers' side.
    #[inline]
    pub fn finish(mut self, me: &Me<'_>) {
        self.publish();
        // SeqCst after the commit: pairs with the writer that marks the gate and then looks for room.
        if self.queue.words.write.gate.load(SC) & WAITING != 0 {
            Queue::ring(&self.queue.words.write);
        }
        self.queue.leave(&self.queue.words.read, me.id);
    }
}

/// The writers' side while it is held. What was written is committed by [`Writer::finish`] at the latest.
#[derive(Debug)]
pub struct Writer<'a> {
    queue: Queue<'a>,
    commit: u64,
    count: u64,
    at: u64,
    grew: usize,
}

impl<'a> Writer<'a> {
    /// How many more messages there is room for.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.queue.room().saturating_sub(self.count - count_of(self.commit))
    }

    /// Writes a message of at most [`INLINE`] bytes.
    ///
    /// # Errors
    /// HF501 if there is no memory; then nothing has happened.
    #[inline]
    pub fn push(&mut self, me: &Me<'_>, tag: u8, bytes: &[u8]) -> Result<()> {
        let room = room_for(bytes.len());
        let (base, offset) = self.place(me, room)?;
        // SAFETY: `place` gave `room` bytes there that no reader looks at before the commit.
        unsafe {
            (*base.add(offset).cast::<AtomicU64>()).store(header(tag, bytes.len()), Ordering::Relaxed); // Relaxed: the commit publishes it
            copy_in(base.add(offset + 8), bytes);
        }
        self.at += room as u64;
        self.count += 1;
        Ok(())
    }

    /// Writes a message whose `len` bytes are in a block of this process; from then on the queue has the block.
    ///
    /// # Errors
    /// HF501 if there is no memory, HF504 if the block is not this process's (it was forked after taking it); then
    /// nothing has happened, and the block is still whose it was.
    pub fn push_block(&mut self, me: &Me<'_>, tag: u8, block: Block, len: usize) -> Result<()> {
        let (base, offset) = self.place(me, room_for(16))?;
        self.publish();
        let store = self.queue.store()?;
        let side = &self.queue.words.write;
        side.began.store(self.commit, SC);
        side.block.store(block.word(), SC);
        if !store.put_in(block, self.queue.id) {
            side.block.store(0, SC);
            return Err(Error::corrupt("block of a message: it belongs to another process"));
        }
        for (i, word) in [header(tag, 16) | IN_BLOCK, block.word(), len as u64].into_iter().enumerate() {
            // SAFETY: `place` gave the room; no reader looks there before the commit.
            unsafe { (*base.add(offset + 8 * i).cast::<AtomicU64>()).store(word, SC) };
        }
        self.queue.words.bytes.fetch_add(len as u64, SC);
        self.at += room_for(16) as u64;
        self.count += 1;
        self.publish();
        side.block.store(0, SC);
        Ok(())
    }

    /// Room for an entry and the header behind it, in this segment or in a new one.
    #[inline(always)]
    fn place(&mut self, me: &Me<'_>, room: usize) -> Result<(*mut u8, usize)> {
        let store = self.queue.store()?;
        if self.at != 0 {
            let (segment, offset) = ((self.at >> 32) as u32, self.at as u32 as usize);
            let (base, size) = store.data(segment)?;
            if offset + room + 8 <= size {
                return Ok((base, offset));
            }
        }
        self.link(me, &store, room)
    }

    #[cold]
    fn link(&mut self, me: &Me<'_>, store: &Store<'a>, room: usize) -> Result<(*mut u8, usize)> {
        let (segment, offset) = ((self.at >> 32) as u32, self.at as u32 as usize);
        let before = if segment == 0 { 0 } else { store.data(segment)?.1 };
        let size = (before * 2).clamp(FIRST_SEGMENT, LARGEST_SEGMENT).max(START + room + 8);
        let (new, grew) = store.take_or_grow(me, size)?;
        self.grew = if grew { size } else { 0 };
        self.publish();
        let side = &self.queue.words.write;
        let (base, _) = store.data(new.id)?;
        let next = position(new.id, START);
        // SAFETY: the block is ours, and longer than its first word.
        unsafe { (*base.cast::<AtomicU64>()).store(0, SC) };
        side.segment.store(new.word(), SC);
        store.put_in(new, self.queue.id);
        if segment == 0 {
            self.queue.words.first.store(next, SC);
        } else {
            self.queue.word(store, segment, 0)?.store(next, SC);
            self.queue.word(store, segment, offset)?.store(header(END, 0), SC);
        }
        side.at[self.commit as usize & 1].store(next, SC);
        side.segment.store(0, SC);
        self.at = next;
        Ok((base, START))
    }

    /// Commits what was written so far.
    #[inline(always)]
    pub fn publish(&mut self) {
        if self.count != count_of(self.commit) {
            self.commit = Queue::commit(&self.queue.words.write, self.commit, self.count, self.at);
        }
    }

    /// Commits what was written and opens the writers' side. The bytes of the segment for which the system had to give
    /// new memory, if it had to.
    #[inline]
    pub fn finish(mut self, me: &Me<'_>) -> usize {
        self.publish();
        // SeqCst after the commit: pairs with the reader that marks the gate and then looks for items.
        if self.queue.words.read.gate.load(SC) & WAITING != 0 {
            Queue::ring(&self.queue.words.read);
        }
        self.queue.leave(&self.queue.words.write, me.id);
        self.grew
    }
}
