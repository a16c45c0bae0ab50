//! Model checks of who does which task of a batch: a worker that claims, a parent that takes back.
#![cfg(feature = "model")]

mod common;

use common::*;
use core::cell::RefCell;
use holdfast_core::arena::layout::kind;
use holdfast_core::claim::Claim;
use holdfast_core::model::{self, End, Shared, World};

const BATCHES: usize = 2;
const TASKS: usize = 3;

struct State {
    stage: Stage,
    /// How often each task of each batch was claimed, and taken back.
    claimed: RefCell<[[u32; TASKS]; BATCHES]>,
    revoked: RefCell<[[u32; TASKS]; BATCHES]>,
}

fn claim(s: &State, i: usize) -> Claim<'static> {
    Claim::new(&s.stage.slot(i).value)
}

/// The worker: one batch after the other, task by task.
fn work(s: &State, i: usize) {
    for batch in 0..BATCHES {
        claim(s, i).begin(batch as u64 + 1, TASKS as u64);
        while let Some(task) = claim(s, i).claim() {
            s.claimed.borrow_mut()[batch][task as usize] += 1;
            model::step(); // it runs
        }
    }
}

/// The parent: takes back what it can of a batch that it thinks is under way.
fn take_back(s: &State, i: usize, batch: usize) {
    for task in claim(s, i).revoke(batch as u64 + 1).unwrap_or(0..0) {
        s.revoked.borrow_mut()[batch][task as usize] += 1;
    }
}

fn each_task_has_one(s: &State, end: &End) {
    let (claimed, revoked) = (s.claimed.borrow(), s.revoked.borrow());
    for (batch, task) in (0..BATCHES).flat_map(|b| (0..TASKS).map(move |t| (b, t))) {
        let (run, back) = (claimed[batch][task], revoked[batch][task]);
        assert!(run + back <= 1, "task {task} of batch {batch} was claimed {run} times and taken back {back} times");
        assert!(end.kills > 0 || run + back == 1, "task {task} of batch {batch} was lost");
    }
}

fn a_worker_and_a_parent() -> World {
    let stage = Stage::new(&[0, 1]).with(kind::VALUE, 0, |_| {}).frozen(0);
    let state = State { stage, claimed: RefCell::default(), revoked: RefCell::default() };
    let body = |s: Shared<State>, i: usize| match i {
        0 => work(&s, i),
        _ => (0..BATCHES).for_each(|batch| take_back(&s, i, batch)),
    };
    world(state, |s| &s.stage, body, each_task_has_one)
}

#[test]
fn claim_each_task_is_run_or_taken_back_never_both() {
    prove_to("claim, a worker and its parent", bounds(4, 1, 0, 0), bounds(6, 2, 0, 0), &a_worker_and_a_parent);
}

#[test]
fn claim_controls_are_noticed() {
    let config = bounds(3, 0, 0, 0).config();
    refute("claim-tag", config, &a_worker_and_a_parent, "taken back");
}
