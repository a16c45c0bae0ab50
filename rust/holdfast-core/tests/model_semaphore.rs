//! Model checks of the semaphore: permits of living takers, permits of the dead, bounds, use for signalling.
#![cfg(feature = "model")]

mod common;

use common::*;
use holdfast_core::arena::layout::{flag, kind};
use holdfast_core::lock::semaphore::Semaphore;
use holdfast_core::lock::{Released, Taken};
use holdfast_core::model::{self, step, Config, End, Shared, World};
use holdfast_core::sync::SC;
use holdfast_core::wait::{Patience, Waited};

struct State {
    stage: Stage,
    permits: usize,
    inside: Log<usize>,
    given: core::cell::Cell<u32>,
}

/// A semaphore with so many permits that have cells, and so many that have none.
fn state(processes: &[usize], permits: usize, surplus: u32, flags: u32) -> State {
    let fill = |slot: &holdfast_core::arena::layout::Slot| {
        slot.cells.store(permits as u32, SC);
        slot.count.store(surplus, SC);
        slot.maximum.store(permits as u32 + surplus, SC);
        slot.flags.store(flags, SC);
    };
    let stage = Stage::new(processes).with(kind::SEMAPHORE, 1, fill).frozen(permits);
    State { stage, permits: permits + surplus as usize, inside: Log::default(), given: core::cell::Cell::new(0) }
}

fn semaphore(s: &State, i: usize) -> Semaphore<'static> {
    let slot = s.stage.slot(i);
    Semaphore { slot, cells: &s.stage.cells(i, 0)[..slot.cells.load(SC) as usize] }
}

fn acquire_within(s: &State, i: usize, patience: &mut Patience<'_>) -> Waited<Taken> {
    let me = &s.stage.people[i];
    let semaphore = semaphore(s, i);
    match semaphore.try_acquire(me) {
        Some(taken) => Waited::Done(taken),
        None => semaphore.acquire_slow(me, patience),
    }
}

fn pass(s: &State, i: usize) {
    let taken = patiently(|patience| acquire_within(s, i, patience));
    use_permit(s, i, taken);
}

fn use_permit(s: &State, i: usize, taken: Taken) {
    s.inside.borrow_mut().push(i);
    let living = s.inside.borrow().iter().filter(|other| s.stage.lives(**other)).count();
    assert!(living <= s.permits, "{living} hold {} permits", s.permits);
    check_report(&s.stage, taken, false);
    step();
    s.inside.borrow_mut().retain(|other| *other != i);
    // Who has a permit without a cell may give back another's with a cell: it is the number that counts.
    assert_ne!(semaphore(s, i).release(&s.stage.people[i]), Released::NotHeld);
}

/// All permits have come back, also those of the dead (those without a cell only if nobody was killed).
fn all_came_back(s: &State, end: &End) {
    let value = semaphore(s, 0).value(&s.stage.people[0]) as usize;
    let cells = s.stage.slot(0).cells.load(SC) as usize;
    assert!(value <= s.permits, "{value} permits of {}", s.permits);
    assert!(value >= if end.kills == 0 { s.permits } else { cells }, "{value} permits of {}", s.permits);
}

fn passing(processes: &'static [usize], permits: usize, surplus: u32, times: usize) -> impl Fn() -> World {
    move || {
        let body = move |s: Shared<State>, i| (0..times).for_each(|_| pass(&s, i));
        world(state(processes, permits, surplus, 0), |s| &s.stage, body, all_came_back)
    }
}

#[test]
fn semaphore_one_permit_is_a_lock() {
    let make = passing(&[0, 1], 1, 0, 2);
    prove_to("Semaphore(1), 2 tasks x 2", bounds(2, 2, 0, 0), bounds(2, 2, 1, 1), &make);
    prove_without_heartbeat("Semaphore(1), 2 tasks x 2", bounds(2, 2, 0, 0), &make);
}

#[test]
fn semaphore_two_permits_three_tasks_pass() {
    let make = passing(&[0, 1, 2], 2, 0, 1);
    prove_to("Semaphore(2), 3 tasks", bounds(1, 2, 0, 0), bounds(2, 2, 1, 0), &make);
    prove_without_heartbeat("Semaphore(2), 3 tasks", bounds(2, 1, 0, 0), &make);
    let make = passing(&[0, 1, 2, 3], 2, 0, 1);
    prove_to("Semaphore(2), 4 tasks", bounds(1, 1, 0, 0), bounds(2, 1, 0, 0), &make);
}

#[test]
fn semaphore_one_permit_three_tasks_pass() {
    let make = passing(&[0, 1, 2], 1, 0, 1);
    prove_to("Semaphore(1), 3 tasks", bounds(1, 1, 1, 0), bounds(2, 2, 0, 1), &make);
    prove_without_heartbeat("Semaphore(1), 3 tasks", bounds(3, 0, 0, 0), &make);
    // A releaser killed between unmarking the gate and its wake: if another has barged in, the sentry watches only that one.
    let report = prove("Semaphore(1), 3 tasks", bounds(2, 1, 0, 0), &make);
    assert!(report.heartbeat_rescues > 0);
    sample("Semaphore(2), 6 tasks x 2", bounds(0, 3, 2, 2), 40_000, &passing(&[0, 0, 1, 2, 3, 4], 2, 0, 2));
}

#[test]
fn semaphore_permits_without_cells_pass() {
    // A permit without a cell has no owner and dies with who has it: no kills here.
    let make = passing(&[0, 1, 2], 1, 1, 1);
    prove_to("Semaphore(2), 1 without a cell, 3 tasks", bounds(2, 0, 0, 0), bounds(3, 0, 1, 1), &make);
}

/// Task 1 gives up after a second.
#[test]
fn semaphore_waiter_that_gives_up_leaves_nothing_broken() {
    let make = || {
        let body = |s: Shared<State>, i| {
            if i != 1 {
                return pass(&s, i);
            }
            if let Waited::Done(taken) = briefly(SECOND, |patience| acquire_within(&s, i, patience)) {
                use_permit(&s, i, taken);
            }
        };
        world(state(&[0, 1, 2], 1, 0, 0), |s| &s.stage, body, all_came_back)
    };
    prove_to("Semaphore(1), 3 tasks, one with a deadline", bounds(1, 1, 1, 0), bounds(2, 1, 1, 1), &make);
}

#[test]
fn bounded_semaphore_refuses_one_release_too_many() {
    let make = || {
        let body = |s: Shared<State>, i| {
            pass(&s, i);
            s.given.set(s.given.get() + 1);
            if s.given.get() == 2 {
                // Nobody has a permit: at the bound.
                assert_eq!(semaphore(&s, i).release(&s.stage.people[i]), Released::NotHeld);
            }
        };
        world(state(&[0, 1], 1, 1, flag::BOUNDED), |s| &s.stage, body, |_, _| ())
    };
    prove("BoundedSemaphore(2), 2 tasks", bounds(3, 0, 0, 0), &make);
}

/// Nobody has a permit at first; task 0 gives two, the others take one each.
fn signalling() -> World {
    let body = |s: Shared<State>, i: usize| {
        if i == 0 {
            for _ in 0..2 {
                s.given.set(s.given.get() + 1);
                assert_eq!(semaphore(&s, 0).release(&s.stage.people[0]), Released::ByHolder);
            }
            return;
        }
        let _ = patiently(|patience| acquire_within(&s, i, patience));
        assert!(s.given.get() > 0);
        s.given.set(s.given.get() - 1);
    };
    let mut world = world(state(&[0, 1, 2], 0, 0, 0), |s| &s.stage, body, |_, _| ());
    world.tasks[0].killable = false;
    world
}

#[test]
fn semaphore_used_for_signalling_loses_no_signal() {
    prove_without_heartbeat("Semaphore(0), signalling", bounds(2, 1, 0, 0), &signalling);
    prove_to("Semaphore(0), signalling", bounds(1, 1, 1, 0), bounds(2, 2, 0, 1), &signalling);
}

/// Task 0 takes the only permit, task 1 gives it back for him: from then on permits have no owner.
#[test]
fn semaphore_released_by_another_goes_to_the_waiter() {
    let make = || {
        let body = |s: Shared<State>, i: usize| match i {
            0 => {
                let _ = patiently(|patience| acquire_within(&s, 0, patience));
                s.given.set(1);
            }
            1 => {
                while s.given.get() == 0 {
                    model::yield_now();
                }
                let found = semaphore(&s, 1).release(&s.stage.people[1]);
                assert!(matches!(found, Released::ForAnother(_)));
                s.given.set(2);
            }
            _ => {
                while s.given.get() == 0 {
                    model::yield_now();
                }
                let _ = patiently(|patience| acquire_within(&s, 2, patience));
            }
        };
        let mut world = world(state(&[0, 1, 2], 1, 0, 0), |s| &s.stage, body, |_, _| ());
        (0..2).for_each(|i| world.tasks[i].killable = false);
        world
    };
    prove_without_heartbeat("Semaphore(1), foreign release", bounds(3, 1, 0, 0), &make);
}

#[test]
fn semaphore_controls_are_noticed() {
    let silent = |kills| Config { rounds: 0, ..bounds(2, kills, 0, 0).config() };
    refute("gate-first", silent(0), &signalling, "stranded");
    refute("seat-wake", silent(0), &passing(&[0, 1, 2], 1, 0, 1), "stranded");
    refute("dead-owner", bounds(2, 1, 0, 0).config(), &passing(&[0, 1], 1, 0, 1), "permits");
    refute("any-owner", bounds(2, 0, 0, 0).config(), &passing(&[0, 1], 1, 0, 1), "which lives");
}
