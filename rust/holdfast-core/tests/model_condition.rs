//! Model checks of the condition: its list of waiters, under a mutex in a slot of its own.
#![cfg(feature = "model")]

mod common;

use common::*;
use core::cell::Cell;
use holdfast_core::arena::layout::kind;
use holdfast_core::lock::condition::{Condition, Place};
use holdfast_core::lock::mutex;
use holdfast_core::model::{self, Config, Shared, World};
use holdfast_core::wait::{Patience, Waited};

struct State {
    stage: Stage,
    pairs: usize,
    /// What is waited for; touched only under the lock.
    tokens: Cell<u32>,
    /// Notifies that found nobody.
    idle: Cell<u32>,
}

fn state(tasks: usize, pairs: usize) -> State {
    let processes: Vec<usize> = (0..tasks).collect();
    let stage = Stage::new(&processes).with(kind::LOCK, 0, |_| {}).with(kind::CONDITION, 1, |_| {});
    State { stage: stage.frozen(2 * pairs), pairs, tokens: Cell::new(0), idle: Cell::new(0) }
}

fn condition(s: &State, i: usize) -> Condition<'static> {
    Condition { slot: s.stage.slot_of(i, 1), cells: &s.stage.cells(i, 1)[..2 * s.pairs] }
}

fn lock(s: &State, i: usize) {
    let (me, slot) = (&s.stage.people[i], s.stage.slot(i));
    if !mutex::try_fast(&slot.word, me.id) && mutex::try_acquire(me, &slot.word).is_none() {
        let _ = patiently(|patience| mutex::acquire_slow(me, &slot.word, &slot.seat, patience));
    }
}

fn unlock(s: &State, i: usize) {
    let (me, slot) = (&s.stage.people[i], s.stage.slot(i));
    if !mutex::release_fast(&slot.word, me.id) {
        let _ = mutex::release(me.id, &slot.word);
    }
}

/// `Condition.wait()`; `sleep` does the sleeping. Whether notified.
fn wait(s: &State, i: usize, sleep: impl FnOnce(&Condition<'_>, Place)) -> bool {
    let condition = condition(s, i);
    let place = condition.enlist(&s.stage.people[i]);
    unlock(s, i);
    sleep(&condition, place);
    lock(s, i);
    condition.delist(place)
}

/// Waits for a token and takes it.
fn take_token(s: &State, i: usize) {
    lock(s, i);
    while s.tokens.get() == 0 {
        wait(s, i, |condition, place| patiently(|patience| condition.sleep(place, patience)));
    }
    s.tokens.set(s.tokens.get() - 1);
    unlock(s, i);
}

fn give_token(s: &State, i: usize, n: u32) {
    lock(s, i);
    s.tokens.set(s.tokens.get() + 1);
    if condition(s, i).notify(&s.stage.people[i], n) == 0 {
        s.idle.set(s.idle.get() + 1);
    }
    unlock(s, i);
}

/// Task 0, which is never killed, gives a token to each of the others: one notify a token, or one for all.
fn giving(tasks: usize, pairs: usize, one_by_one: bool) -> impl Fn() -> World {
    move || {
        let body = move |s: Shared<State>, i: usize| {
            let waiters = s.stage.people.len() as u32 - 1;
            if i > 0 {
                return take_token(&s, i);
            }
            if one_by_one {
                return (0..waiters).for_each(|_| give_token(&s, 0, 1));
            }
            lock(&s, 0);
            s.tokens.set(waiters);
            condition(&s, 0).notify(&s.stage.people[0], u32::MAX);
            unlock(&s, 0);
        };
        let mut world = world(state(tasks, pairs), |s| &s.stage, body, |_, _| ());
        world.tasks[0].killable = false;
        world
    }
}

#[test]
fn condition_notify_all_wakes_every_living_waiter() {
    let make = giving(3, 2, false);
    prove_without_heartbeat("Condition, notify_all, 2 waiters", bounds(if deep() { 2 } else { 1 }, 1, 0, 0), &make);
    prove_to("Condition, notify_all, 2 waiters", bounds(1, 2, 0, 0), bounds(2, 2, 0, 0), &make);
}

#[test]
fn condition_one_notify_a_token_strands_nobody() {
    let make = giving(3, 2, true);
    prove_without_heartbeat("Condition, notify(1) x 2, 2 waiters", bounds(if deep() { 2 } else { 1 }, 1, 0, 0), &make);
    prove_to("Condition, notify(1) x 2, 2 waiters", bounds(1, 2, 0, 0), bounds(2, 1, 1, 0), &make);
    sample("Condition, notify(1) x 5, 5 waiters", bounds(0, 3, 2, 2), 40_000, &giving(6, 5, true));
}

#[test]
fn condition_with_more_waiters_than_pairs_wakes_all() {
    let make = giving(3, 1, true);
    prove_without_heartbeat("Condition, 2 waiters, 1 pair", bounds(if deep() { 2 } else { 1 }, 1, 0, 0), &make);
    prove_to("Condition, 2 waiters, 1 pair", bounds(1, 1, 0, 1), bounds(2, 1, 1, 0), &make);
}

/// A notify that finds a living waiter says so, and one waiter's deadline takes no notify from the other.
#[test]
fn condition_waiter_that_gives_up_takes_no_notify_with_it() {
    let make = || {
        let body = |s: Shared<State>, i: usize| match i {
            0 => give_token(&s, 0, 1),
            1 => {
                lock(&s, 1);
                let mut notified = false;
                if s.tokens.get() == 0 {
                    notified = wait(&s, 1, |condition, place| {
                        let _ = briefly(SECOND, |patience: &mut Patience<'_>| condition.sleep(place, patience));
                    });
                }
                // Notified although it gave up: it must pass the notify on, as a program's own loop would.
                if notified && s.tokens.get() > 0 {
                    condition(&s, 1).notify(&s.stage.people[1], 1);
                }
                unlock(&s, 1);
            }
            _ => take_token(&s, 2),
        };
        let mut world = world(state(3, 2), |s| &s.stage, body, |_, _| ());
        world.tasks.iter_mut().for_each(|task| task.killable = false);
        world
    };
    let config = Config { rounds: 60, ..bounds(if deep() { 2 } else { 1 }, 0, 1, 1).config() };
    let report = model::explore(&config, make);
    println!(
        "| Condition, a waiter with a deadline | t1 i1 | {} | 0 | {} |",
        report.executions, report.heartbeat_rescues
    );
    report.expect_proved();
}

/// The first notifier may be killed anywhere; the second comes after it, whatever it did.
#[test]
fn condition_notifier_killed_before_its_wake_costs_a_heartbeat() {
    let make = || {
        let body = |s: Shared<State>, i: usize| match i {
            0 => give_token(&s, 0, 1),
            1 => {
                while s.stage.lives(0) && s.tokens.get() == 0 {
                    model::yield_now();
                }
                lock(&s, 1);
                let given = s.tokens.get() > 0;
                unlock(&s, 1);
                if !given {
                    give_token(&s, 1, 1);
                }
            }
            _ => {
                lock(&s, 2);
                while s.tokens.get() == 0 {
                    // As Python's: a wait with a limit, in a loop.
                    wait(&s, 2, |condition, place| {
                        let got = briefly(SECOND / 10, |patience: &mut Patience<'_>| condition.sleep(place, patience));
                        assert_ne!(got, Waited::Interrupted);
                    });
                }
                unlock(&s, 2);
            }
        };
        let mut world = world(state(3, 1), |s| &s.stage, body, |_, _| ());
        (1..3).for_each(|i| world.tasks[i].killable = false);
        world
    };
    let report = prove("Condition, notifier killed", bounds(2, 1, 0, 0), &make);
    assert!(report.heartbeat_rescues > 0);
}

#[test]
fn condition_controls_are_noticed() {
    let config = Config { ..bounds(2, 1, 0, 0).config() };
    let make = || {
        // One token and one notify for each waiter that lives when the first is given.
        let body = |s: Shared<State>, i: usize| {
            if i > 0 {
                return take_token(&s, i);
            }
            give_token(&s, 0, 1);
            if s.stage.lives(1) {
                give_token(&s, 0, 1);
            }
        };
        let mut world = world(state(3, 2), |s| &s.stage, body, |_, _| ());
        world.tasks[0].killable = false;
        world.tasks[2].killable = false;
        world
    };
    refute("dead-waiter", config, &make, "stranded");
}
