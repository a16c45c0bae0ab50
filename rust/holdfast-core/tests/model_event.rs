//! Model checks of the event.
#![cfg(feature = "model")]

mod common;

use common::*;
use holdfast_core::arena::layout::kind;
use holdfast_core::lock::event;
use holdfast_core::model::{self, Config, Shared, World};
use holdfast_core::sync::SC;
use holdfast_core::wait::Waited;

struct State {
    stage: Stage,
    set: core::cell::Cell<bool>,
}

fn state(tasks: &[usize]) -> State {
    let stage = Stage::new(tasks).with(kind::EVENT, 0, |_| {}).frozen(0);
    State { stage, set: core::cell::Cell::new(false) }
}

/// Task 0 sets the event once; the others wait for it.
fn setting(tasks: &'static [usize], setter_dies: bool) -> impl Fn() -> World {
    move || {
        let body = |s: Shared<State>, i: usize| {
            let word = &s.stage.slot(i).word;
            if i == 0 {
                s.set.set(true);
                event::set(word);
            } else {
                patiently(|patience| event::wait(word, patience));
                assert!(s.set.get());
            }
        };
        let mut world = world(state(tasks), |s| &s.stage, body, |_, _| ());
        world.tasks[0].killable = setter_dies;
        world
    }
}

#[test]
fn event_every_waiter_passes_after_set() {
    prove_without_heartbeat("Event, 1 setter, 2 waiters", bounds(3, 2, 0, 0), &setting(&[0, 1, 2], false));
    let make = setting(&[0, 1, 2, 3], false);
    prove_to("Event, 1 setter, 3 waiters", bounds(1, 1, 0, 1), bounds(2, 2, 0, 1), &make);
    sample("Event, 1 setter, 7 waiters", bounds(0, 3, 2, 2), 40_000, &setting(&[0, 1, 2, 3, 4, 5, 1, 2], false));
}

/// Task 0 is the first setter; should it be killed before it has set the event, task 1 does it.
fn two_setters() -> World {
    let body = |s: Shared<State>, i: usize| {
        let word = &s.stage.slot(i).word;
        match i {
            0 => event::set(word),
            1 => {
                while s.stage.lives(0) && word.load(SC) & event::SET == 0 {
                    model::yield_now();
                }
                event::set(word);
            }
            _ => patiently(|patience| event::wait(word, patience)),
        }
    };
    let mut world = world(state(&[0, 1, 2]), |s| &s.stage, body, |_, _| ());
    (1..3).for_each(|i| world.tasks[i].killable = false);
    world
}

#[test]
fn event_setter_killed_before_its_wake_costs_a_heartbeat() {
    let report = prove("Event, setter killed", bounds(3, 1, 0, 0), &two_setters);
    assert!(report.heartbeat_rescues > 0);
}

/// Task 0 sets and clears at once, as soon as somebody sleeps (or everybody is gone).
fn setting_and_clearing() -> World {
    let body = |s: Shared<State>, i: usize| {
        let word = &s.stage.slot(i).word;
        if i == 1 {
            let first = word.load(SC);
            return patiently(|patience| event::wait_since(word, first, patience));
        }
        while word.load(SC) & event::SLEEPERS == 0 {
            model::yield_now();
        }
        event::set(word);
        event::clear(word);
    };
    let mut world = world(state(&[0, 1]), |s| &s.stage, body, |_, _| ());
    world.tasks.iter_mut().for_each(|task| task.killable = false);
    world
}

#[test]
fn event_sleeper_passes_although_clear_follows_set() {
    prove_without_heartbeat("Event, set and clear", bounds(5, 0, 0, 0), &setting_and_clearing);
    prove("Event, set and clear", bounds(5, 0, 1, 1), &setting_and_clearing);
}

#[test]
fn event_waiter_with_a_deadline_passes_or_times_out() {
    let make = || {
        let body = |s: Shared<State>, i: usize| {
            let word = &s.stage.slot(i).word;
            match i {
                0 => {
                    s.set.set(true);
                    event::set(word);
                }
                1 => {
                    let got = briefly(SECOND, |patience| event::wait(word, patience));
                    assert!(got != Waited::Done(()) || s.set.get());
                }
                _ => patiently(|patience| event::wait(word, patience)),
            }
        };
        let mut world = world(state(&[0, 1, 2]), |s| &s.stage, body, |_, _| ());
        world.tasks[0].killable = false;
        world
    };
    prove_to("Event, a waiter with a deadline", bounds(2, 1, 1, 1), bounds(3, 1, 1, 1), &make);
}

#[test]
fn event_controls_are_noticed() {
    let silent = Config { rounds: 0, ..bounds(3, 0, 0, 0).config() };
    refute("event-count", silent, &setting_and_clearing, "stranded");
}
