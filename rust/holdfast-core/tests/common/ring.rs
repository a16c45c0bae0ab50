//! A stage for queues: one queue in a slot, blocks that were made before, and a keeper that looks at what is left.
//!
//! ```text
//! Yard    stage     tasks: writers and readers, as `Role`s
//!         keeper    a process without tasks: never killed, sweeps and drains at the end
//! ledger  every message put and taken: id = task << 8 | number; the words of a message are made of its id
//! ```

use super::{Log, Stage};
use core::cell::Cell;
use core::ptr;
use holdfast_core::arena::layout::kind;
use holdfast_core::arena::{Arena, Handle, Me};
use holdfast_core::model::{self, End, Shared, World};
use holdfast_core::ring::queue::{Fate, Message, Queue, Turn, CLASS, INLINE};
use holdfast_core::ring::store::{Block, Store, MODEL_BYTES, PAGE};
use holdfast_core::ring::words::Words;
use holdfast_core::sync::{copy_in, copy_out, SC};

use super::patiently;

/// Offsets of a store in the model: records, and what is behind them.
const RECORDS: usize = 512;
const RECORD: usize = 32;
/// Tag of all messages.
const TAG: u8 = 7;

/// What a task does.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// Puts batches: `i` is a message in the ring, `b` one in a block of its own.
    Write(&'static [&'static str]),
    /// Takes so many messages, up to `most` at a time.
    Read(usize, usize),
    /// As `Read`, one at a time; blocks go to a parcel which is then let go.
    View(usize),
    /// Takes one message at a time until all writers have ended and nothing is there.
    ReadAll,
    /// Takes one message at a time until the queue is shut and empty.
    ReadUntilShut,
    /// Notes so many finished tasks, each once there are two puts.
    Finish(usize),
    /// Notes the rest, after the others that do so have ended.
    FinishRest,
    /// Waits until all tasks are finished, once so many puts returned.
    Join(usize),
    /// Shuts the queue down; `true`: what is in it is dropped.
    Shut(bool),
}

impl Role {
    const fn writes(self) -> bool {
        matches!(self, Self::Write(_))
    }
}

/// A message on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// By whom.
    pub task: usize,
    /// Which.
    pub id: u32,
    /// Whether the reader's `finish` returned.
    pub sure: bool,
}

/// A queue with its users.
pub struct Yard {
    /// Tasks and the slot.
    pub stage: Stage,
    /// Looks at what is left.
    pub keeper: Me<'static>,
    roles: Vec<Role>,
    maxsize: u32,
    /// Puts that were begun, and puts that returned.
    begun: Log<u32>,
    done: Log<u32>,
    taken: Log<Taken>,
    ended: Cell<u32>,
    /// The last task is finished, or is just about to be.
    all_finished: Cell<bool>,
}

/// Words of a message: its id and what must go with it.
const fn words_of(id: u32) -> [u32; 4] {
    [id, !id, id ^ 0x5555_5555, id.rotate_left(7)]
}

fn bytes_of(id: u32, in_block: bool) -> Vec<u8> {
    let words = words_of(id);
    words.iter().take(if in_block { 4 } else { 2 }).flat_map(|w| w.to_ne_bytes()).collect()
}

impl Yard {
    /// A queue for these tasks, each a process, with so many blocks of a page made before.
    pub fn new(roles: &[Role], maxsize: u32, blocks: usize) -> Self {
        let processes: Vec<usize> = (0..roles.len()).collect();
        let stage = Stage::new(&processes).with(kind::QUEUE, CLASS, |slot| slot.maximum.store(maxsize, SC));
        let keeper = Self::keeper(&stage);
        keeper.arena.take_hold(stage.handles[0], kind::QUEUE).expect("a live slot");
        warm(&keeper, blocks);
        freeze(&stage);
        let log = || Log::<u32>::default();
        Self {
            stage,
            keeper,
            roles: roles.to_vec(),
            maxsize,
            begun: log(),
            done: log(),
            taken: Log::default(),
            ended: Cell::new(0),
            all_finished: Cell::new(false),
        }
    }

    /// One more process, in which nobody is killed.
    pub fn keeper(stage: &Stage) -> Me<'static> {
        let view = Arena::in_memory(Some(stage.views[0]));
        view.model_beacon().store(999 | 0x8000_0000, SC);
        Me::seated(view, "keeper").expect("a seat")
    }

    fn queue(&self, task: usize) -> Queue<'static> {
        Queue::at(self.stage.views[task], self.stage.handles[0].slot).expect("a queue")
    }

    fn store(&self, task: usize) -> Store<'static> {
        self.stage.views[task].store().expect("a store")
    }

    fn enter_to_write(&self, i: usize) -> Turn {
        let (queue, me) = (self.queue(i), &self.stage.people[i]);
        if queue.try_write(me.id) {
            return Turn::Mine;
        }
        patiently(|patience| queue.wait_to_write(me, patience, false))
    }

    fn enter_to_read(&self, i: usize) -> Turn {
        let (queue, me) = (self.queue(i), &self.stage.people[i]);
        if queue.try_read(me.id) {
            return Turn::Mine;
        }
        patiently(|patience| queue.wait_to_read(me, patience, false))
    }

    /// Puts one batch; how many are in (fewer only after a shutdown).
    fn put(&self, i: usize, first: u32, kinds: &str) -> u32 {
        let (queue, me) = (self.queue(i), &self.stage.people[i]);
        let ids = || (0..kinds.len() as u32).map(|n| (i as u32) << 8 | (first + n));
        let fill = |(id, kind): (u32, char)| (kind == 'b').then(|| self.fill(i, id));
        let blocks: Vec<Option<Block>> = ids().zip(kinds.chars()).map(fill).collect();
        let mut entered = 0;
        while entered < kinds.len() {
            if self.enter_to_write(i) != Turn::Mine {
                blocks[entered..].iter().flatten().for_each(|block| self.store(i).give_back(*block));
                break;
            }
            let mut writer = queue.writer();
            let from = entered;
            while entered < kinds.len() && writer.room() > 0 {
                let id = ids().nth(entered).expect("an id");
                self.begun.borrow_mut().push(id);
                let put = match blocks[entered] {
                    Some(block) => writer.push_block(me, TAG, block, 16),
                    None => writer.push(me, TAG, &bytes_of(id, false)),
                };
                put.expect("room");
                entered += 1;
            }
            assert!(entered > from, "no room although it was our turn");
            let _ = writer.finish(me);
            self.done.borrow_mut().extend(ids().take(entered).skip(from));
        }
        entered as u32
    }

    fn fill(&self, i: usize, id: u32) -> Block {
        let store = self.store(i);
        let block = store.take(&self.stage.people[i], 2 * INLINE).expect("a block");
        let (to, size) = store.data(block.id).expect("its bytes");
        let bytes = bytes_of(id, true);
        assert!(size >= bytes.len());
        // SAFETY: the block is ours and long enough.
        unsafe { copy_in(to, &bytes) };
        block
    }

    /// Takes up to `most` messages; how many.
    fn take(&self, i: usize, most: usize, view: bool) -> usize {
        let (queue, me) = (self.queue(i), &self.stage.people[i]);
        let mut reader = queue.reader();
        let from = self.taken.borrow().len();
        let mut parcels = Vec::new();
        while self.taken.borrow().len() < from + most {
            let Some(message) = reader.front().expect("a queue in order") else { break };
            let id = copy(&message);
            self.taken.borrow_mut().push(Taken { task: i, id, sure: false });
            let fate = match (view, message.block) {
                (true, Some(_)) => {
                    let parcel = me.arena.make(kind::PARCEL, 0, |_| {}).expect("room");
                    parcels.push((parcel, message));
                    Fate::To(parcel.slot)
                }
                _ => Fate::Free,
            };
            reader.take(&message, fate).expect("a queue in order");
        }
        let count = self.taken.borrow().len() - from;
        reader.finish(me);
        self.taken.borrow_mut().iter_mut().skip(from).take(count).for_each(|taken| taken.sure = true);
        for (parcel, message) in parcels {
            copy(&message); // it is still whole
            me.arena.let_go(parcel.slot);
        }
        count
    }

    fn has_ended(&self, task: usize) -> bool {
        self.ended.get() & 1 << task != 0 || !self.stage.lives(task)
    }

    fn have_writers_ended(&self) -> bool {
        self.roles.iter().enumerate().all(|(i, role)| !role.writes() || self.has_ended(i))
    }

    fn wait_for_puts(&self, count: usize) {
        while self.done.borrow().len() < count {
            model::yield_now();
        }
    }

    fn read_all(&self, i: usize) {
        let (queue, me) = (self.queue(i), &self.stage.people[i]);
        loop {
            if self.have_writers_ended() && queue.is_empty() {
                return;
            }
            let deadline = Some(model::now_ns() + 300_000_000);
            let mut patience = holdfast_core::wait::Patience { deadline, beat: &mut || false };
            if queue.wait_to_read(me, &mut patience, false) == holdfast_core::wait::Waited::Done(Turn::Mine) {
                self.take(i, 1, false);
            }
        }
    }

    fn act(&self, i: usize) {
        match self.roles[i] {
            Role::Write(batches) => {
                let mut first = 0;
                for kinds in batches {
                    if self.put(i, first, kinds) < kinds.len() as u32 {
                        break;
                    }
                    first += kinds.len() as u32;
                }
            }
            Role::Read(share, most) => {
                let mut left = share;
                while left > 0 {
                    assert_eq!(self.enter_to_read(i), Turn::Mine);
                    left -= self.take(i, most.min(left), false);
                }
            }
            Role::View(share) => (0..share).for_each(|_| {
                assert_eq!(self.enter_to_read(i), Turn::Mine);
                self.take(i, 1, true);
            }),
            Role::ReadAll => self.read_all(i),
            Role::ReadUntilShut => {
                while self.enter_to_read(i) == Turn::Mine {
                    self.take(i, 1, false);
                }
                assert!(self.queue(i).is_empty(), "told that it is shut although something is there");
            }
            Role::Finish(count) => (0..count).for_each(|n| {
                self.wait_for_puts(2);
                model::step(); // joiners may look before the last one
                self.all_finished.set(n == 1);
                assert!(self.queue(i).finish_task());
            }),
            Role::FinishRest => {
                self.wait_for_puts(2);
                while self.roles.iter().enumerate().any(|(t, r)| matches!(r, Role::Finish(_)) && !self.has_ended(t)) {
                    model::yield_now();
                }
                self.all_finished.set(true);
                while self.queue(i).finish_task() {}
            }
            Role::Join(puts) => {
                self.wait_for_puts(puts);
                patiently(|patience| self.queue(i).join(patience));
                assert!(self.all_finished.get(), "join returned although a task was never finished");
            }
            Role::Shut(at_once) => {
                patiently(|patience| {
                    self.queue(i).shut(&self.stage.people[i], at_once, patience).expect("a queue in order")
                });
            }
        }
        self.ended.set(self.ended.get() | 1 << i);
    }

    /// What must hold when nobody runs any more.
    pub fn check(&self, end: &End) {
        let view = self.keeper.arena;
        view.sweep();
        let store = view.store().expect("a store");
        store.sweep();
        self.drain();
        self.check_ledger(end);
        let most = if self.settle_writers() { 2 } else { 3 };
        let (used, _) = store.census();
        assert!(used <= most * PAGE, "{used} bytes of blocks are kept by an empty queue");
        let slot = self.stage.handles[0].slot;
        (0..self.roles.len()).filter(|i| !end.killed(*i)).for_each(|i| self.stage.views[i].let_go(slot));
        view.let_go(slot);
        assert_eq!(view.slot(slot).expect("a slot").state.load(SC), 0, "the queue is left");
        assert_eq!(store.census().0, 0, "blocks are lost");
    }

    /// The keeper enters the writers' side as the next writer would; not if the queue is shut.
    fn settle_writers(&self) -> bool {
        let queue = Queue::at(self.keeper.arena, self.stage.handles[0].slot).expect("a queue");
        let turn = patiently(|patience| queue.wait_to_write(&self.keeper, patience, true));
        if turn == Turn::Mine {
            let _ = queue.writer().finish(&self.keeper);
        }
        turn == Turn::Mine
    }

    /// The keeper takes what is left.
    fn drain(&self) {
        let queue = Queue::at(self.keeper.arena, self.stage.handles[0].slot).expect("a queue");
        let size = queue.len();
        assert!(self.maxsize == 0 || size <= u64::from(self.maxsize), "{size} in it");
        if patiently(|patience| queue.wait_to_read(&self.keeper, patience, true)) != Turn::Mine {
            assert_eq!(size, 0);
            return;
        }
        let mut reader = queue.reader();
        while let Some(message) = reader.front().expect("a queue in order") {
            self.taken.borrow_mut().push(Taken { task: usize::MAX, id: copy(&message), sure: true });
            reader.take(&message, Fate::Free).expect("a queue in order");
        }
        reader.finish(&self.keeper);
    }

    fn check_ledger(&self, end: &End) {
        let taken = self.taken.borrow();
        let mut last = vec![None; self.roles.len()];
        for t in taken.iter().filter(|t| t.sure) {
            assert!(self.begun.borrow().contains(&t.id), "{:#x} came from nowhere", t.id);
            let before = last[t.id as usize >> 8].replace(t.id);
            assert!(before.is_none_or(|b| b < t.id), "{:#x} comes after {before:x?}", t.id);
        }
        let dropping = self.roles.iter().any(|r| matches!(r, Role::Shut(true)));
        for (n, id) in self.done.borrow().iter().enumerate() {
            let sure = taken.iter().filter(|t| t.sure && t.id == *id).count();
            let unsure = taken.iter().any(|t| !t.sure && t.id == *id && end.killed(t.task));
            assert!(sure == 1 || (sure == 0 && (unsure || dropping)), "put {n}, {id:#x}, arrived {sure} times");
        }
        let lost = |t: &&Taken| !t.sure && !taken.iter().any(|other| other.sure && other.id == t.id);
        (0..self.roles.len()).for_each(|i| {
            let most = if let Role::Read(_, most) = self.roles[i] { most } else { 1 };
            assert!(taken.iter().filter(|t| t.task == i).filter(lost).count() <= most, "more lost than one batch");
        });
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        // SAFETY: the execution is over; the stage, which frees the segment, is dropped after this.
        unsafe { Arena::free_memory(self.keeper.arena, false) };
    }
}

/// Copies a message out and checks that it is whole; its id.
fn copy(message: &Message) -> u32 {
    let mut words = [0u32; 4];
    assert!(message.len <= 16 && message.len % 8 == 0 && message.len > 0, "{} bytes", message.len);
    // SAFETY: the message is in place while the readers' side is held (or its parcel).
    unsafe { copy_out(words.as_mut_ptr().cast(), message.at, message.len) };
    let count = message.len / 4;
    assert_eq!(words[..count], words_of(words[0])[..count], "a message that is not whole");
    assert_eq!(message.tag, TAG);
    words[0]
}

/// Makes blocks of a page, so that tasks need not grow the store.
pub fn warm(me: &Me<'static>, blocks: usize) {
    let store = me.arena.store().expect("a store");
    let all: Vec<Block> = (0..blocks).map(|_| store.take(me, 1).expect("a block")).collect();
    all.into_iter().for_each(|block| store.give_back(block));
}

/// Freezes everything but the words of queues, the beacons, and what changes in a store that does not grow.
pub fn freeze(stage: &Stage) {
    let (base, len) = stage.views[0].memory();
    model::freeze(base, len);
    for Handle { slot, .. } in &stage.handles {
        let cells = stage.views[0].cells(*slot);
        model::thaw(cells.as_ptr(), core::mem::size_of::<Words>() / 4);
    }
    for view in &stage.views {
        model::thaw(view.model_beacon(), 1);
    }
    let at = |offset: usize| {
        // SAFETY: the store is the last part of the memory.
        unsafe { base.add(len - MODEL_BYTES + offset).cast::<u32>() }
    };
    model::thaw(at(24), (192 - 24) / 4);
    (0..16).for_each(|record| model::thaw(at(RECORDS + record * RECORD), 2));
    model::thaw(at(RECORDS + 16 * RECORD), 24 * PAGE / 4);
}

/// Thaws the words behind which a store grows.
pub fn thaw_growth(stage: &Stage) {
    let (base, len) = stage.views[0].memory();
    // SAFETY: as above.
    let at = |offset: usize| unsafe { base.add(len - MODEL_BYTES + offset).cast::<u32>() };
    model::thaw(at(0), 6);
    (0..16).for_each(|record| model::thaw(at(RECORDS + record * RECORD), RECORD / 4));
}

/// Thaws the slots from which parcels are taken, and the rows of processes.
pub fn thaw_slots(stage: &Stage, fresh: usize) {
    use holdfast_core::arena::layout::{Header, CHUNKS_AT, PROCESSES, UNITS};
    let base = stage.views[0].memory().0;
    // SAFETY: the arena begins with a header; it is only looked at for addresses.
    let header = unsafe { &*base.cast::<Header>() };
    model::thaw(&header.free, 3);
    model::thaw(&header.cursor, 3);
    // SAFETY: the rows of chunk 0 lie there.
    model::thaw(unsafe { base.add(CHUNKS_AT) }, PROCESSES * 2 - 2);
    (UNITS - fresh..UNITS).for_each(|slot| {
        model::thaw(ptr::from_ref(stage.views[0].slot(slot as u32).expect("a slot")), 32);
    });
}

/// A world of roles; those named in `mortal` may be killed.
pub fn queue_world(roles: &[Role], mortal: &[usize], maxsize: u32, blocks: usize) -> World {
    let yard = Yard::new(roles, maxsize, blocks);
    if roles.iter().any(|r| matches!(r, Role::View(_))) {
        thaw_slots(&yard.stage, 12);
    }
    let body = |yard: Shared<Yard>, i: usize| yard.act(i);
    let mut world = super::world(yard, |y| &y.stage, body, Yard::check);
    world.tasks.iter_mut().enumerate().for_each(|(i, task)| task.killable = mortal.contains(&i));
    world
}
