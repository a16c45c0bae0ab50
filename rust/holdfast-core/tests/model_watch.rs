//! Model checks of the helper's part in the turnstile: blocking waiters and a loop's interests in the same things.
//!
//! A helper and its loop are one task here: rounds of the engine, then what the loop does about what it was told.
#![cfg(feature = "model")]

mod common;

use common::*;
use core::cell::{Cell, RefCell};
use holdfast_core::arena::layout::kind;
use holdfast_core::arena::OWNER_MASK;
use holdfast_core::lock::semaphore::Semaphore;
use holdfast_core::lock::{mutex, Released, Taken};
use holdfast_core::model::{self, Config, End, Shared, World};
use holdfast_core::os::futex::{self, Woken};
use holdfast_core::sync::SC;
use holdfast_core::watch::engine::{Engine, Entry, Order};
use holdfast_core::watch::interest::{Interest, Permit, Word};
use holdfast_core::watch::Desk;
use std::sync::Arc;

const BEAT: u64 = 20_000_000;

struct State {
    stage: Stage,
    sections: [Section; 2],
    given_up: Cell<u32>,
    /// One a task: a killed task drops nothing.
    helpers: Vec<RefCell<Helper>>,
}

fn state(processes: &[usize], locks: usize) -> State {
    let stage = (0..locks).fold(Stage::new(processes), |stage, _| stage.with(kind::LOCK, 0, |_| {}));
    let helpers = processes.iter().map(|_| RefCell::new(Helper::new())).collect();
    State { stage: stage.frozen(0), sections: Default::default(), given_up: Cell::new(0), helpers }
}

/// The helper's thread of one process.
struct Helper {
    engine: Engine,
    desk: Arc<Desk>,
    beats: u32,
    deep: bool,
}

impl Helper {
    fn new() -> Self {
        Self { engine: Engine::default(), desk: Arc::new(Desk::silent()), beats: 0, deep: false }
    }

    fn add(&mut self, ticket: u64, what: Box<dyn Interest>) {
        let entry = Entry::new(ticket, what, Arc::clone(&self.desk), None);
        self.engine.obey(Order::Add(entry), model::now_ns());
    }

    fn order(&mut self, order: Order) {
        self.engine.obey(order, model::now_ns());
    }

    /// Looks, and sleeps if nothing could be had; the tickets told.
    fn round(&mut self, s: &State, i: usize) -> Vec<u64> {
        let me = s.stage.people[i];
        self.engine.round(&mut |_| Some(me), model::now_ns(), self.deep, self.beats);
        let told = self.desk.take();
        if told.is_empty() {
            let now = model::now_ns();
            let until = self.engine.wake_at(now).unwrap_or(now + BEAT).min(now + BEAT);
            let woken = futex::wait_any(self.engine.words(), Some(until));
            self.engine.relay();
            self.deep = woken == Woken::TimedOut;
            self.beats += u32::from(self.deep);
        }
        told
    }
}

fn release(s: &State, i: usize, which: usize) {
    let (me, slot) = (&s.stage.people[i], s.stage.slot_of(i, which));
    if !mutex::release_fast(&slot.word, me.id) {
        assert_eq!(mutex::release(me.id, &slot.word), Released::ByHolder);
    }
}

/// A blocking passage, as holdfast-py's.
fn pass(s: &State, i: usize, which: usize) {
    let (me, slot) = (&s.stage.people[i], s.stage.slot_of(i, which));
    let taken = if mutex::try_fast(&slot.word, me.id) {
        Taken::Free
    } else {
        patiently(|patience| match mutex::try_acquire(me, &slot.word) {
            Some(taken) => holdfast_core::wait::Waited::Done(taken),
            None => mutex::acquire_slow(me, &slot.word, &slot.seat, patience),
        })
    };
    s.sections[which].pass(&s.stage, i, taken);
    release(s, i, which);
}

/// A loop whose tasks want each of the locks once, or as often as given.
fn loop_passes(s: &State, i: usize, locks: usize, times: usize) {
    let mut helper = s.helpers[i].borrow_mut();
    let mut left = vec![times; locks];
    for which in 0..locks {
        helper.add(which as u64 + 1, Box::new(Word(s.stage.slot_of(i, which))));
    }
    while left.iter().any(|n| *n > 0) {
        for ticket in helper.round(s, i) {
            let which = ticket as usize - 1;
            let (me, slot) = (&s.stage.people[i], s.stage.slot_of(i, which));
            let taken = mutex::try_deep(me, &slot.word, true);
            if let Some(taken) = taken {
                s.sections[which].pass(&s.stage, i, taken);
                release(s, i, which);
                left[which] -= 1;
            }
            helper.order(if left[which] == 0 {
                Order::Remove(ticket)
            } else {
                Order::Again(ticket, taken.is_some(), 0)
            });
        }
    }
    assert!(helper.engine.is_empty()); // a round of an empty table names no seat any more
    helper.engine.round(&mut |_| None, model::now_ns(), false, 0);
}

/// At the end nobody alive holds a lock.
fn is_left_free(s: &State, _: &End) {
    for which in 0..s.stage.handles.len() {
        let owner = s.stage.slot_of(0, which).word.load(SC) & OWNER_MASK;
        assert!(owner == 0 || s.stage.task_of(owner).is_some(), "held by {owner:#x}, which is nobody");
    }
}

/// Tasks whose number is in `loops` are event loops, the others block.
fn mixed(processes: &'static [usize], loops: &'static [usize], times: usize) -> impl Fn() -> World {
    move || {
        let body = move |s: Shared<State>, i: usize| {
            if loops.contains(&i) {
                loop_passes(&s, i, 1, times);
            } else {
                (0..times).for_each(|_| pass(&s, i, 0));
            }
        };
        world(state(processes, 1), |s| &s.stage, body, is_left_free)
    }
}

#[test]
fn watch_loop_and_blocking_waiter_both_pass() {
    prove_to("Loop and waiter x 2", bounds(2, 1, 1, 1), bounds(3, 2, 1, 1), &mixed(&[0, 1], &[0], 2));
    // Once only: one who steps back for a sleeper has a timer of his own, which is no more there than a heartbeat.
    prove_without_heartbeat("Loop and waiter", bounds(3, 2, 0, 0), &mixed(&[0, 1], &[0], 1));
}

#[test]
fn watch_two_loops_and_a_blocking_waiter_all_pass() {
    prove_to("2 loops, 1 waiter", bounds(1, 1, 0, 1), bounds(2, 2, 0, 1), &mixed(&[0, 1, 2], &[0, 2], 1));
    prove_without_heartbeat("2 loops, 1 waiter", bounds(2, 1, 0, 0), &mixed(&[0, 1, 2], &[0, 2], 1));
    prove_without_heartbeat("1 loop, 2 waiters", bounds(2, 2, 0, 0), &mixed(&[0, 1, 2], &[1], 1));
}

#[test]
fn watch_random_schedules_of_loops_and_waiters_pass() {
    sample("2 loops, 3 waiters, x 2", bounds(0, 2, 2, 2), 20_000, &mixed(&[0, 1, 2, 3, 4], &[1, 3], 2));
}

/// One loop waits for two locks at once; two others want one of them each.
fn two_locks() -> World {
    let body = |s: Shared<State>, i: usize| match i {
        0 => loop_passes(&s, 0, 2, 1),
        _ => pass(&s, i, i - 1),
    };
    world(state(&[0, 1, 2], 2), |s| &s.stage, body, is_left_free)
}

#[test]
fn watch_loop_waits_for_two_locks_nobody_is_stranded() {
    prove_without_heartbeat("1 loop at 2 locks", bounds(1, 0, 0, 0), &two_locks);
    prove_to("1 loop at 2 locks", bounds(1, 1, 0, 1), bounds(2, 2, 1, 1), &two_locks);
}

/// A loop whose task is cancelled at any moment: after so many rounds the interest is removed, told or not.
fn cancelled(rounds: usize) -> impl Fn() -> World {
    move || {
        let body = move |s: Shared<State>, i: usize| {
            if i != 1 {
                return pass(&s, i, 0);
            }
            let mut helper = s.helpers[1].borrow_mut();
            helper.add(1, Box::new(Word(s.stage.slot(1))));
            for _ in 0..rounds {
                helper.engine.round(&mut |_| Some(s.stage.people[1]), model::now_ns(), false, 0);
                model::step();
            }
            helper.order(Order::Remove(1));
            helper.engine.round(&mut |_| None, model::now_ns(), false, 0);
            s.given_up.set(1);
        };
        world(state(&[0, 1, 2], 1), |s| &s.stage, body, is_left_free)
    }
}

/// A loop whose task is cancelled in the very moment in which the helper was woken.
fn woken_and_cancelled() -> World {
    let body = |s: Shared<State>, i: usize| {
        if i != 1 {
            return pass(&s, i, 0);
        }
        let mut helper = s.helpers[1].borrow_mut();
        helper.add(1, Box::new(Word(s.stage.slot(1))));
        let _ = helper.round(&s, 1);
        helper.order(Order::Remove(1));
        helper.engine.round(&mut |_| None, model::now_ns(), false, 0);
    };
    world(state(&[0, 1, 2, 3], 1), |s| &s.stage, body, is_left_free)
}

#[test]
fn watch_task_cancelled_when_the_helper_was_woken_passes_it_on() {
    prove_without_heartbeat("loop woken, then gives up", bounds(2, 0, 0, 0), &woken_and_cancelled);
    prove("loop woken, then gives up", bounds(1, 1, 0, 0), &woken_and_cancelled);
}

#[test]
fn watch_task_cancelled_wake_is_passed_on() {
    for rounds in 1..3 {
        prove_without_heartbeat("loop gives up", bounds(2, 0, 0, 0), &cancelled(rounds));
        prove("loop gives up", bounds(1, 1, 0, 0), &cancelled(rounds));
    }
}

struct Permits {
    stage: Stage,
    got: Cell<u32>,
}

/// Task 0 gives two permits, tasks 1 (a loop) and 2 (blocking) take one each.
fn permits() -> World {
    let make = || {
        let stage = Stage::new(&[0, 1, 2]).with(kind::SEMAPHORE, 0, |_| {});
        Permits { stage: stage.frozen(0), got: Cell::new(0) }
    };
    let body = |s: Shared<Permits>, i: usize| {
        let me = &s.stage.people[i];
        let semaphore = Semaphore { slot: s.stage.slot(i), cells: &[] };
        match i {
            0 => (0..2).for_each(|_| assert_ne!(semaphore.release(me), Released::NotHeld)),
            1 => take_in_a_loop(&s, semaphore),
            _ => {
                let _ = patiently(|patience| semaphore.acquire_slow(me, patience));
                s.got.set(s.got.get() + 1);
            }
        }
    };
    world(make(), |s| &s.stage, body, |s, _| assert_eq!(s.got.get(), 2))
}

fn take_in_a_loop(s: &Permits, semaphore: Semaphore<'static>) {
    let me = s.stage.people[1];
    let desk = Arc::new(Desk::silent());
    let mut engine = Engine::default();
    engine.obey(Order::Add(Entry::new(1, Box::new(Permit(semaphore)), Arc::clone(&desk), None)), model::now_ns());
    loop {
        engine.round(&mut |_| Some(me), model::now_ns(), false, 0);
        if desk.take().is_empty() {
            let until = engine.wake_at(model::now_ns()).unwrap_or(model::now_ns() + BEAT);
            let _ = futex::wait_any(engine.words(), Some(until));
        } else if semaphore.try_deep(&me, true).is_some() {
            break;
        } else {
            engine.obey(Order::Again(1, false, 0), model::now_ns());
        }
    }
    s.got.set(s.got.get() + 1);
    engine.obey(Order::Remove(1), model::now_ns());
    engine.round(&mut |_| None, model::now_ns(), false, 0);
}

#[test]
fn watch_permits_given_at_once_reach_the_loop_and_the_waiter() {
    prove_without_heartbeat("Semaphore, loop and waiter", bounds(2, 0, 0, 0), &permits);
}

fn silent(kills: u32) -> Config {
    Config { rounds: 0, ..bounds(2, kills, 0, 0).config() }
}

#[test]
fn watch_controls_are_noticed() {
    refute("seat-wake", silent(0), &mixed(&[0, 1, 2], &[1], 1), "stranded");
    refute("pending", silent(2), &mixed(&[0, 1, 2], &[1], 1), "stranded");
    refute("pass-on", silent(0), &woken_and_cancelled, "stranded");
    refute("relay", silent(1), &two_locks, "stranded");
    refute("observer-waiters-bit", silent(0), &mixed(&[0, 1], &[0], 1), "stranded");
}
