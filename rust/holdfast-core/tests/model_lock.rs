//! Model checks of the mutex under `Lock`.
#![cfg(feature = "model")]

mod common;

use common::*;
use holdfast_core::arena::layout::kind;
use holdfast_core::arena::OWNER_MASK;
use holdfast_core::lock::{mutex, Released, Taken};
use holdfast_core::model::{step, Config, End, World};
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
        let body = move |s: holdfast_core::model::Shared<State>, i| (0..times).for_each(|_| pass(&s, i, 0));
        world(state(processes, 1), |s| &s.stage, body, is_left_free)
    }
}

#[test]
fn lock_two_processes_pass_twice() {
    prove_to("Lock, 2 tasks x 2", bounds(3, 2, 0, 1), bounds(4, 2, 1, 1), &passing(&[0, 1], 2));
    prove_without_heartbeat("Lock, 2 tasks x 2", bounds(3, 2, 0, 0), &passing(&[0, 1], 2));
}

#[test]
fn lock_three_processes_pass() {
    prove_to("Lock, 3 tasks", bounds(2, 2, 0, 0), bounds(3, 2, 1, 1), &passing(&[0, 1, 2], 1));
    prove_without_heartbeat("Lock, 3 tasks", bounds(2, 1, 0, 0), &passing(&[0, 1, 2], 1));
}
