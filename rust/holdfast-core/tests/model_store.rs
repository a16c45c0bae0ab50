//! Model checks of the store: blocks taken, given back and swept by several processes; and queues that are reclaimed.
#![cfg(feature = "model")]

mod common;

use common::ring::{freeze, thaw_growth, thaw_slots, warm, Yard};
use common::*;
use core::cell::Cell;
use core::ptr;
use holdfast_core::arena::layout::{kind, Header, ProcessRecord, CHUNK, CHUNKS_AT, HEADER, PROCESSES};
use holdfast_core::arena::{Arena, Me};
use holdfast_core::model::{self, End, Shared, World};
use holdfast_core::ring::queue::{Fate, Queue, Turn, CLASS};
use holdfast_core::ring::store::{Block, Store, PAGE};
use holdfast_core::sync::{copy_in, copy_out};

/// What a task does with the store.
#[derive(Debug, Clone, Copy)]
enum Role {
    /// Takes blocks of so many pages one after the other, fills, checks and gives them back.
    Use(&'static [usize]),
    /// Takes two blocks of a page, then gives both back.
    UseTwo,
    /// Sweeps.
    Sweep,
    /// Gives the memory of free blocks to the system.
    Release,
    /// Gives back the blocks that others have, as a forked child might.
    Meddle,
}

struct State {
    stage: Stage,
    keeper: Me<'static>,
    roles: Vec<Role>,
    /// Blocks in somebody's hands.
    held: Log<(usize, Block)>,
    before: Cell<usize>,
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: the execution is over; the stage, which frees the segment, is dropped after this.
        unsafe { Arena::free_memory(self.keeper.arena, false) };
    }
}

fn store_of(view: &'static Arena) -> Store<'static> {
    view.store().expect("a store")
}

impl State {
    fn take(&self, i: usize, pages: usize) -> Block {
        let store = store_of(self.stage.views[i]);
        let block = store.take(&self.stage.people[i], pages * PAGE).expect("a block");
        let other = self.held.borrow().iter().find(|(_, b)| b.id == block.id).map(|(task, _)| *task);
        assert!(other.is_none_or(|task| !self.stage.lives(task)), "block {} is in two hands", block.id);
        self.held.borrow_mut().push((i, block));
        let (to, size) = store.data(block.id).expect("its bytes");
        assert!(size >= pages * PAGE, "{size} bytes for {pages} pages");
        let pattern = [i as u8 + 1; 8];
        // SAFETY: the block is ours.
        unsafe { copy_in(to, &pattern) };
        block
    }

    fn give_back(&self, i: usize, block: Block) {
        let store = store_of(self.stage.views[i]);
        let mut found = [0; 8];
        // SAFETY: the block is ours.
        unsafe { copy_out(found.as_mut_ptr(), store.data(block.id).expect("its bytes").0, 8) };
        assert_eq!(found, [i as u8 + 1; 8], "somebody else wrote into it");
        self.held.borrow_mut().retain(|(_, b)| *b != block);
        store.give_back(block);
    }

    fn act(&self, i: usize) {
        let store = store_of(self.stage.views[i]);
        match self.roles[i] {
            Role::Use(sizes) => sizes.iter().for_each(|pages| {
                let block = self.take(i, *pages);
                self.give_back(i, block);
            }),
            Role::UseTwo => {
                let (one, two) = (self.take(i, 1), self.take(i, 1));
                self.give_back(i, one);
                self.give_back(i, two);
            }
            Role::Sweep => store.sweep(),
            Role::Release => store.release_cache(),
            Role::Meddle => {
                model::step();
                let others: Vec<Block> = self.held.borrow().iter().map(|(_, block)| *block).collect();
                for block in others {
                    store.give_back(block);
                    assert!(!store.put_in(block, 1), "somebody else's block was put into a queue");
                }
            }
        }
    }

    /// After a sweep all blocks are free, and all of them are found again.
    fn check(&self, _: &End) {
        let store = store_of(self.keeper.arena);
        store.sweep();
        assert_eq!(store.census().0, 0, "blocks are lost");
        let count = (1..).take_while(|id| store.block(*id).is_some()).count();
        let mut found = 0;
        while store.has_free(PAGE) {
            store.take(&self.keeper, PAGE).expect("a block");
            found += 1;
        }
        let left = (1..=count as u32).filter(|id| store.block(*id).is_some()).count();
        assert!(left == count && found >= self.before.get(), "{found} of {} blocks are found", self.before.get());
    }
}

/// Tasks, those that may be killed, blocks of a page and blocks of three pages made before.
fn using(roles: &'static [Role], mortal: &'static [usize], small: usize, large: usize) -> impl Fn() -> World {
    move || {
        let stage = Stage::new(&(0..roles.len()).collect::<Vec<_>>());
        let keeper = Yard::keeper(&stage);
        warm(&keeper, small);
        let store = store_of(keeper.arena);
        let many: Vec<Block> = (0..large).map(|_| store.take(&keeper, 3 * PAGE).expect("a block")).collect();
        many.into_iter().for_each(|block| store.give_back(block));
        freeze(&stage);
        thaw_growth(&stage);
        let state = State { stage, keeper, roles: roles.to_vec(), held: Log::default(), before: Cell::new(small) };
        let body = |s: Shared<State>, i: usize| s.act(i);
        let mut world = world(state, |s| &s.stage, body, State::check);
        world.tasks.iter_mut().enumerate().for_each(|(i, task)| task.killable = mortal.contains(&i));
        world
    }
}

#[test]
fn store_block_is_in_one_hand_and_none_is_lost() {
    let warm = using(&[Role::Use(&[1, 1]), Role::Use(&[1]), Role::Sweep], &[0, 1], 2, 0);
    prove_to("store, 2 users, 1 sweep", bounds(1, 1, 0, 0), bounds(2, 2, 0, 0), &warm);
    let growing = using(&[Role::UseTwo, Role::Use(&[1])], &[0, 1], 1, 0);
    prove_to("store, 2 users, growing", bounds(2, 1, 0, 0), bounds(2, 2, 0, 0), &growing);
    let meddling = using(&[Role::UseTwo, Role::Meddle], &[0], 2, 0);
    prove_to("store, somebody else gives back", bounds(2, 1, 0, 0), bounds(3, 1, 0, 0), &meddling);
}

#[test]
fn store_that_gives_memory_back_loses_no_block() {
    let make = using(&[Role::Use(&[1, 3]), Role::Release, Role::Sweep], &[0, 1], 2, 1);
    prove_to("store, 1 user, release, sweep", bounds(1, 1, 0, 0), bounds(2, 2, 0, 0), &make);
    let over = using(&[Role::UseTwo, Role::Use(&[3])], &[0, 1], 3, 2);
    prove_to("store, 2 users, cache full", bounds(2, 1, 0, 0), bounds(2, 2, 0, 0), &over);
}

/// A queue with one message in a block; both tasks may reach it, nobody else does.
struct Left {
    stage: Stage,
    keeper: Me<'static>,
}

impl Drop for Left {
    fn drop(&mut self) {
        // SAFETY: as in `State`.
        unsafe { Arena::free_memory(self.keeper.arena, false) };
    }
}

fn put_one(me: &Me<'static>, slot: u32) {
    let queue = Queue::at(me.arena, slot).expect("a queue");
    let store = store_of(me.arena);
    let block = store.take(me, 16).expect("a block");
    // SAFETY: the block is ours.
    unsafe { copy_in(store.data(block.id).expect("its bytes").0, &[7; 16]) };
    assert!(queue.try_write(me.id));
    let mut writer = queue.writer();
    writer.push_block(me, 7, block, 16).expect("room");
    let _ = writer.finish(me);
}

/// Takes all that is there.
fn take_all(me: &Me<'static>, slot: u32) {
    let queue = Queue::at(me.arena, slot).expect("a queue");
    while patiently(|patience| queue.wait_to_read(me, patience, true)) == Turn::Mine {
        let mut reader = queue.reader();
        let message = reader.front().expect("a queue in order").expect("a message");
        let mut bytes = [0; 16];
        // SAFETY: the readers' side is ours.
        unsafe { copy_out(bytes.as_mut_ptr(), message.at, message.len) };
        assert_eq!(bytes, [7; 16], "a message that is not whole");
        reader.take(&message, Fate::Free).expect("a queue in order");
        reader.finish(me);
    }
}

/// Task 0 drops the queue and may be killed meanwhile; task 1 takes it up again with an old handle, if it can.
fn taking_up_again() -> World {
    let stage = Stage::new(&[0, 1]).with(kind::QUEUE, CLASS, |_| {});
    let slot = stage.handles[0].slot;
    stage.views[1].let_go(slot);
    let keeper = Yard::keeper(&stage);
    warm(&keeper, 4);
    put_one(&stage.people[0], slot);
    freeze(&stage);
    thaw_slots(&stage, 12);
    let base = stage.views[0].memory().0;
    // SAFETY: the arena begins with a header, followed by process records; both are only looked at for addresses.
    let (header, records) = unsafe { (&*base.cast::<Header>(), base.add(HEADER).cast::<ProcessRecord>()) };
    model::thaw(&header.sweep, 2);
    // SAFETY: as above.
    (0..3).for_each(|process| model::thaw(unsafe { &raw const (*records.add(process)).state }, 2));
    model::thaw(ptr::from_ref(stage.slot(0)), 32);
    model::thaw(stage.cells(0, 0).as_ptr(), stage.cells(0, 0).len());
    // SAFETY: the rows of chunk 1, where the queue lies.
    model::thaw(unsafe { base.add(CHUNKS_AT + CHUNK).cast::<u32>() }, PROCESSES * 2 - 2);
    let body = |s: Shared<Left>, i: usize| {
        let (me, handle) = (&s.stage.people[i], s.stage.handles[0]);
        if i == 0 {
            s.stage.views[0].let_go(handle.slot);
        } else if s.stage.views[1].take_hold(handle, kind::QUEUE).is_ok() {
            take_all(me, handle.slot);
            put_one(me, handle.slot);
            take_all(me, handle.slot);
            s.stage.views[1].let_go(handle.slot);
        }
    };
    let on_end = |s: &Left, _: &End| {
        s.keeper.arena.sweep();
        assert_eq!(
            s.keeper.arena.slot(s.stage.handles[0].slot).expect("a slot").state.load(holdfast_core::sync::SC),
            0
        );
        assert_eq!(store_of(s.keeper.arena).census().0, 0, "blocks are lost");
    };
    let mut world = world(Left { stage, keeper }, |s| &s.stage, body, on_end);
    world.tasks[1].killable = false;
    world
}

#[test]
fn store_of_a_queue_that_is_reclaimed_is_freed_whole() {
    prove_to("store, queue dropped and taken up again", bounds(1, 1, 0, 0), bounds(2, 1, 0, 0), &taking_up_again);
}

#[test]
fn store_control_is_noticed() {
    refute("no-way-back", bounds(2, 1, 0, 0).config(), &taking_up_again, "block of a message");
}
