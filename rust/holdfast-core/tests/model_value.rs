//! Model checks of a shared value: a number, its version and a mutex, used as holdfast-py's `value.rs` does.
#![cfg(feature = "model")]

mod common;

use common::*;
use core::cell::Cell;
use holdfast_core::arena::layout::kind;
use holdfast_core::arena::OWNER_MASK;
use holdfast_core::lock::mutex;
use holdfast_core::model::{End, Shared, World};
use holdfast_core::sync::SC;

struct State {
    stage: Stage,
    /// Additions begun and ended.
    begun: Cell<u64>,
    ended: Cell<u64>,
}

fn locked<T>(s: &State, i: usize, act: impl FnOnce() -> T) -> T {
    let (me, slot) = (&s.stage.people[i], s.stage.slot(i));
    if !mutex::try_fast(&slot.word, me.id) && mutex::try_acquire(me, &slot.word).is_none() {
        let _ = patiently(|patience| mutex::acquire_slow(me, &slot.word, &slot.seat, patience));
    }
    let got = act();
    if !mutex::release_fast(&slot.word, me.id) {
        let _ = mutex::release(me.id, &slot.word);
    }
    got
}

fn add(s: &State, i: usize) {
    let slot = s.stage.slot(i);
    s.begun.set(s.begun.get() + 1);
    locked(s, i, || {
        slot.value.store(slot.value.load(SC) + 1, SC);
        slot.version.store(slot.version.load(SC).wrapping_add(1), SC);
    });
    s.ended.set(s.ended.get() + 1);
}

/// The read without the lock, or under it if it was not quiet: value and version.
fn load(s: &State, i: usize) -> (u64, u32) {
    let slot = s.stage.slot(i);
    let version = slot.version.load(SC);
    let word = slot.word.load(SC);
    let bits = slot.value.load(SC);
    let quiet = slot.word.load(SC) == word && slot.version.load(SC) == version;
    if quiet && (word == 0 || word & OWNER_MASK == s.stage.people[i].id) {
        return (bits, version);
    }
    locked(s, i, || (slot.value.load(SC), slot.version.load(SC)))
}

/// `v.value += 1` without the lock: refused (false) if somebody wrote meanwhile.
fn add_optimistically(s: &State, i: usize) -> bool {
    let slot = s.stage.slot(i);
    s.begun.set(s.begun.get() + 1);
    let (bits, seen) = load(s, i);
    let done = locked(s, i, || {
        if slot.version.load(SC) != seen {
            return false;
        }
        slot.value.store(bits + 1, SC);
        slot.version.store(seen.wrapping_add(1), SC);
        true
    });
    if done {
        s.ended.set(s.ended.get() + 1);
    }
    done
}

fn every_addition_counts(s: &State, end: &End) {
    let value = s.stage.slot(0).value.load(SC);
    if end.kills == 0 {
        assert_eq!(value, s.ended.get(), "an addition was lost");
    }
    assert!(value <= s.begun.get());
}

fn value(tasks: usize, body: impl Fn(&State, usize) + Copy + 'static) -> impl Fn() -> World {
    move || {
        let processes: Vec<usize> = (0..tasks).collect();
        let stage = Stage::new(&processes).with(kind::VALUE, 0, |_| {}).frozen(0);
        let state = State { stage, begun: Cell::new(0), ended: Cell::new(0) };
        world(state, |s| &s.stage, move |s: Shared<State>, i| body(&s, i), every_addition_counts)
    }
}

#[test]
fn value_additions_are_exact() {
    let make = value(2, |s, i| (0..2).for_each(|_| add(s, i)));
    prove_to("Value.add, 2 tasks x 2", bounds(2, 2, 0, 0), bounds(3, 2, 0, 1), &make);
    let make = value(3, add);
    prove_to("Value.add, 3 tasks", bounds(2, 1, 0, 0), bounds(3, 2, 0, 0), &make);
}

#[test]
fn value_reads_never_go_back_and_updates_are_never_lost() {
    let make = value(3, |s, i| match i {
        0 => {
            let before = s.ended.get();
            let (first, seen) = load(s, i);
            assert!(first >= before && first <= s.begun.get(), "read {first} after {before} additions");
            let (second, again) = load(s, i);
            assert!(second >= first && again >= seen);
            assert!(again != seen || second == first || !s.stage.lives(1) || !s.stage.lives(2));
        }
        1 => add(s, i),
        _ => {
            let _ = add_optimistically(s, i);
        }
    });
    prove_to("Value, add, += and reads", bounds(2, 1, 0, 0), bounds(3, 1, 0, 1), &make);
    let make = value(2, |s, i| {
        let _ = add_optimistically(s, i);
        add(s, i);
    });
    prove_to("Value, += and add, 2 tasks", bounds(3, 1, 0, 0), bounds(3, 2, 0, 1), &make);
}
