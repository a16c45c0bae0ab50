//! Model checks of the mutex under `Lock`.
#![cfg(feature = "model")]

mod common;

use common::*;
use holdfast_core::arena::layout::kind;
use holdfast_core::arena::OWNER_MASK;
use holdfast_core::lock::{mutex, Released, Taken};
use holdfast_core::model::{self, Config, End, Shared, World};
use holdfast_core::sync::SC;
use holdfast_core::wait::{Patience, Waited};

struct State {
    stage: Stage,
    sections: [Section; 2],
    released: core::cell::Cell<u32>,
}

fn state(processes: &[usize], locks: usize) -> State {
    let stage = (0..locks).fold(Stage::new(processes), |stage, _| stage.with(kind::LOCK, 0, |_| {}));
    State { stage: stage.frozen(0), sections: Default::default(), released: core::cell::Cell::new(0) }
}

/// The acquire of holdfast-py: fast path, one look, then the turnstile.
fn acquire_within(s: &State, i: usize, which: usize, patience: &mut Patience<'_>) -> Waited<Taken> {
    let (me, slot) = (&s.stage.people[i], s.stage.slot_of(i, which));
    if mutex::try_fast(&slot.word, me.id) {
        return Waited::Done(Taken::Free);
    }
    if let Some(taken) = mutex::try_acquire(me, &slot.word) {
        return Waited::Done(taken);
    }
    mutex::acquire_slow(me, &slot.word, &slot.seat, patience)
}

fn acquire(s: &State, i: usize, which: usize) -> Taken {
    patiently(|patience| acquire_within(s, i, which, patience))
}

fn release(s: &State, i: usize, which: usize) {
    let (me, slot) = (&s.stage.people[i], s.stage.slot_of(i, which));
    if !mutex::release_fast(&slot.word, me.id) {
        assert_eq!(mutex::release(me.id, &slot.word), Released::ByHolder);
    }
}

fn pass(s: &State, i: usize, which: usize) {
    let taken = acquire(s, i, which);
    s.sections[which].pass(&s.stage, i, taken);
    release(s, i, which);
}

/// At the end nobody alive holds a lock, and one who comes now gets it.
fn is_left_free(s: &State, _: &End) {
    for which in 0..s.stage.handles.len() {
        let owner = s.stage.slot_of(0, which).word.load(SC) & OWNER_MASK;
        let holder = s.stage.task_of(owner);
        assert!(owner == 0 || holder.is_some(), "held by {owner:#x}, which is nobody");
    }
}

fn passing(processes: &'static [usize], times: usize) -> impl Fn() -> World {
    move || {
        let body = move |s: Shared<State>, i| (0..times).for_each(|_| pass(&s, i, 0));
        world(state(processes, 1), |s| &s.stage, body, is_left_free)
    }
}

#[test]
fn lock_two_processes_pass_twice() {
    prove_to("Lock, 2 tasks x 2", bounds(2, 1, 1, 1), bounds(3, 2, 1, 1), &passing(&[0, 1], 2));
    prove_without_heartbeat("Lock, 2 tasks x 2", bounds(3, 2, 0, 0), &passing(&[0, 1], 2));
}

#[test]
fn lock_three_processes_pass() {
    prove_to("Lock, 3 tasks", bounds(2, 2, 0, 0), bounds(3, 2, 1, 1), &passing(&[0, 1, 2], 1));
    prove_without_heartbeat("Lock, 3 tasks", bounds(2, 1, 0, 0), &passing(&[0, 1, 2], 1));
}

#[test]
fn lock_four_tasks_of_three_processes_pass() {
    prove_to("Lock, 4 tasks, 2 of one process", bounds(1, 1, 0, 1), bounds(2, 2, 0, 0), &passing(&[0, 0, 1, 2], 1));
}

#[test]
fn lock_random_schedules_of_six_tasks_pass() {
    sample("Lock, 6 tasks x 2", bounds(0, 3, 2, 2), 60_000, &passing(&[0, 0, 1, 2, 3, 4], 2));
}

/// Task 1 gives up after a second, the others do not.
fn with_a_deadline() -> World {
    let body = |s: Shared<State>, i| {
        if i != 1 {
            return pass(&s, i, 0);
        }
        match briefly(SECOND, |patience| acquire_within(&s, i, 0, patience)) {
            Waited::Done(taken) => {
                s.sections[0].pass(&s.stage, i, taken);
                release(&s, i, 0);
            }
            Waited::TimedOut | Waited::Interrupted => {}
        }
    };
    world(state(&[0, 1, 2], 1), |s| &s.stage, body, is_left_free)
}

#[test]
fn lock_waiter_that_gives_up_leaves_nothing_broken() {
    prove_to("Lock, 3 tasks, one with a deadline", bounds(1, 1, 1, 1), bounds(2, 1, 1, 1), &with_a_deadline);
}

#[test]
fn lock_held_for_ever_times_out_when_its_deadline_passes() {
    let make = || {
        let body = |s: Shared<State>, i: usize| {
            if i == 0 {
                // Held until its process ends, which is never unless it is killed.
                let _ = acquire(&s, 0, 0);
                return;
            }
            let got = briefly(SECOND, |patience| acquire_within(&s, i, 0, patience));
            if matches!(got, Waited::TimedOut) {
                assert!(model::now_ns() >= 2 * SECOND || !s.stage.lives(0));
            } else if matches!(got, Waited::Done(_)) {
                release(&s, i, 0);
            }
        };
        world(state(&[0, 1, 2], 1), |s| &s.stage, body, |_, _| ())
    };
    let config = Config { rounds: 60, ..bounds(2, 1, 0, 1).config() };
    model::explore(&config, make).expect_proved();
}

/// Task 0 takes the lock and never gives it back; task 1 does it for him; task 2 wants it.
fn released_by_another() -> World {
    let body = |s: Shared<State>, i: usize| match i {
        0 => {
            let _ = acquire(&s, 0, 0);
            s.released.set(1);
        }
        1 => {
            while s.released.get() == 0 && s.stage.lives(0) {
                model::yield_now();
            }
            if s.stage.lives(0) {
                let found = mutex::release(s.stage.people[1].id, &s.stage.slot(1).word);
                assert_eq!(found, Released::ForAnother(s.stage.people[0].id));
                s.released.set(2);
            }
        }
        _ => {
            let taken = acquire(&s, 2, 0);
            assert!(s.released.get() == 2 || !s.stage.lives(1) || !s.stage.lives(0) || taken == Taken::Free);
            release(&s, 2, 0);
        }
    };
    world(state(&[0, 1, 2], 1), |s| &s.stage, body, |_, _| ())
}

fn releaser_lives() -> World {
    let mut world = released_by_another();
    world.tasks[1].killable = false;
    world.tasks[0].killable = false;
    world
}

#[test]
fn lock_released_by_another_goes_to_the_waiter() {
    prove_without_heartbeat("Lock, foreign release", bounds(3, 1, 0, 0), &releaser_lives);
}

/// As above, but the releaser can be killed between the release and its wake: then nobody but the heartbeat helps.
fn releaser_dies_after_release() -> World {
    let body = |s: Shared<State>, i: usize| match i {
        0 => {
            let _ = acquire(&s, 0, 0);
            s.released.set(1);
        }
        1 => {
            while s.released.get() == 0 {
                model::yield_now();
            }
            let _ = mutex::release(s.stage.people[1].id, &s.stage.slot(1).word);
        }
        2 => {
            while s.released.get() == 0
                || s.stage.lives(1) && s.stage.slot(2).word.load(SC) & OWNER_MASK == s.stage.people[0].id
            {
                model::yield_now();
            }
            // A second releaser, so that the lock is free whenever the first was killed.
            let word = &s.stage.slot(2).word;
            if word.load(SC) & OWNER_MASK == s.stage.people[0].id {
                let _ = mutex::release(s.stage.people[2].id, word);
            }
        }
        _ => {
            let _ = acquire(&s, 3, 0);
            release(&s, 3, 0);
        }
    };
    let mut world = world(state(&[0, 1, 2, 3], 1), |s| &s.stage, body, |_, _| ());
    (0..4).filter(|i| *i != 1).for_each(|i| world.tasks[i].killable = false);
    world
}

#[test]
fn lock_foreign_releaser_killed_before_its_wake_costs_a_heartbeat() {
    let report = prove("Lock, foreign releaser killed", bounds(2, 1, 0, 0), &releaser_dies_after_release);
    assert!(report.heartbeat_rescues > 0);
}

/// Task 0 takes two locks, each wanted by another task: its death wakes one sentry, who must wake the other.
fn two_locks() -> World {
    let body = |s: Shared<State>, i: usize| match i {
        0 => {
            let first = acquire(&s, 0, 0);
            s.sections[0].enter(&s.stage, 0, first);
            pass(&s, 0, 1);
            s.sections[0].leave(0);
            release(&s, 0, 0);
        }
        _ => pass(&s, i, i - 1),
    };
    world(state(&[0, 1, 2], 2), |s| &s.stage, body, is_left_free)
}

#[test]
fn lock_holder_of_two_killed_both_waiters_are_woken() {
    prove_without_heartbeat("2 locks of one holder", bounds(2, 1, 0, 0), &two_locks);
    prove_to("2 locks of one holder", bounds(1, 2, 0, 0), bounds(2, 2, 0, 1), &two_locks);
}

fn silent(kills: u32) -> Config {
    Config { rounds: 0, ..bounds(2, kills, 0, 0).config() }
}

#[test]
fn lock_controls_are_noticed() {
    refute("seat-wake", silent(0), &passing(&[0, 1, 2], 1), "stranded");
    refute("pending", silent(2), &passing(&[0, 1, 2], 1), "stranded");
    refute("waiters-bit", silent(0), &passing(&[0, 1], 1), "stranded");
    refute("dead-owner", bounds(2, 1, 0, 0).config(), &passing(&[0, 1], 1), "stranded");
    refute("any-owner", bounds(2, 0, 0, 0).config(), &passing(&[0, 1], 1), "which lives");
    refute("relay", silent(1), &two_locks, "stranded");
}
