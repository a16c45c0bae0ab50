//! Model checks of the re-entrant lock.
#![cfg(feature = "model")]

mod common;

use common::*;
use holdfast_core::arena::layout::kind;
use holdfast_core::lock::{rlock, Released, Taken};
use holdfast_core::model::{Config, Shared, World};
use holdfast_core::sync::SC;

struct State {
    stage: Stage,
    section: Section,
}

fn acquire(s: &State, i: usize) -> Taken {
    let (me, slot) = (&s.stage.people[i], s.stage.slot(i));
    match rlock::try_acquire(me, slot) {
        Some(taken) => taken,
        None => patiently(|patience| rlock::acquire_slow(me, slot, patience)),
    }
}

fn release(s: &State, i: usize) {
    assert_eq!(rlock::release(s.stage.people[i].id, s.stage.slot(i)), Released::ByHolder);
}

/// Takes it twice, is refused as a stranger, and gives it back twice.
fn pass(s: &State, i: usize) {
    let taken = acquire(s, i);
    s.section.enter(&s.stage, i, taken);
    assert_eq!(s.stage.slot(i).count.load(SC), 0, "the depth of a dead holder was kept");
    assert_eq!(acquire(s, i), Taken::Free);
    release(s, i);
    s.section.leave(i);
    release(s, i);
    let stranger = rlock::release(s.stage.people[i].id, s.stage.slot(i));
    assert_ne!(stranger, Released::ByHolder);
}

fn passing(processes: &'static [usize], times: usize) -> impl Fn() -> World {
    move || {
        let stage = Stage::new(processes).with(kind::RLOCK, 0, |_| {}).frozen(0);
        let body = move |s: Shared<State>, i| (0..times).for_each(|_| pass(&s, i));
        world(State { stage, section: Section::default() }, |s| &s.stage, body, |_, _| ())
    }
}

#[test]
fn rlock_two_processes_pass_twice() {
    prove_to("RLock, 2 tasks x 2", bounds(1, 1, 1, 1), bounds(2, 2, 1, 0), &passing(&[0, 1], 2));
    prove_without_heartbeat("RLock, 2 tasks x 2", bounds(2, 2, 0, 0), &passing(&[0, 1], 2));
}

#[test]
fn rlock_three_tasks_pass() {
    prove_to("RLock, 3 tasks", bounds(1, 1, 1, 0), bounds(2, 2, 0, 0), &passing(&[0, 1, 2], 1));
    prove_to("RLock, 3 tasks, 2 of one process", bounds(2, 1, 0, 0), bounds(2, 2, 1, 0), &passing(&[0, 0, 1], 1));
    sample("RLock, 5 tasks x 2", bounds(0, 3, 1, 1), 40_000, &passing(&[0, 0, 1, 2, 3], 2));
}

#[test]
fn rlock_control_is_noticed() {
    refute("dead-owner", Config { ..bounds(1, 1, 0, 0).config() }, &passing(&[0, 1], 1), "stranded");
}
