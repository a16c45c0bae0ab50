//! Model checks of the barrier: all pass, or all are told that it broke.
#![cfg(feature = "model")]

mod common;

use common::*;
use holdfast_core::arena::layout::kind;
use holdfast_core::lock::barrier::{Arrival, Barrier, Verdict};
use holdfast_core::model::{Config, End, Shared, World};
use holdfast_core::sync::SC;
use holdfast_core::wait::{Patience, Waited};

/// Task, round and what it was told.
type Told = (usize, u32, Verdict);

struct State {
    stage: Stage,
    told: Log<Told>,
}

fn state(parties: usize) -> State {
    let processes: Vec<usize> = (0..parties).collect();
    let fill = |slot: &holdfast_core::arena::layout::Slot| slot.maximum.store(parties as u32, SC);
    let stage = Stage::new(&processes).with(kind::BARRIER, 1, fill).frozen(2 * parties);
    State { stage, told: Log::default() }
}

fn barrier(s: &State, i: usize) -> Barrier<'static> {
    let parties = s.stage.people.len();
    Barrier { slot: s.stage.slot(i), cells: &s.stage.cells(i, 0)[..2 * parties] }
}

/// `Barrier.wait()` as holdfast-py does it: who gives up breaks the barrier, unless it has passed meanwhile.
fn meet(s: &State, i: usize, deadline: Option<u64>) -> Verdict {
    let (barrier, me) = (barrier(s, i), &s.stage.people[i]);
    let mut pair = None;
    loop {
        let mut patience = Patience { deadline, beat: &mut || false };
        let at = match pair {
            Some(at) => at,
            None => match barrier.arrive(me).expect("whole") {
                Arrival::Waits(at) => *pair.insert(at),
                Arrival::Last => return barrier.open(me).expect("whole"),
                Arrival::Broken => return Verdict::Broken,
                Arrival::Busy(gate) => match barrier.sleep_at_gate(gate, &mut patience) {
                    Waited::TimedOut => return barrier.give_up(me, None).expect("whole"),
                    _ => continue,
                },
            },
        };
        match barrier.wait(me, at, &mut patience).expect("whole") {
            Waited::Done(verdict) => return verdict,
            Waited::TimedOut => return barrier.give_up(me, Some(at)).expect("whole"),
            Waited::Interrupted => {}
        }
    }
}

/// In every round all who were told were told the same, and those who passed have different places.
fn agree(s: &State, _: &End) {
    let told = s.told.borrow();
    for (i, (_, round, verdict)) in told.iter().enumerate() {
        for (_, other_round, other) in &told[..i] {
            if round == other_round {
                assert_eq!(*verdict == Verdict::Broken, *other == Verdict::Broken, "round {round}: {told:?}");
                assert!(*verdict == Verdict::Broken || verdict != other, "round {round}: {told:?}");
            }
        }
    }
}

/// All meet so many times; with a deadline of so many seconds each time, if any.
fn meeting(parties: usize, rounds: u32, seconds: Option<u64>) -> impl Fn() -> World {
    move || {
        let body = move |s: Shared<State>, i: usize| {
            for round in 0..rounds {
                let deadline = seconds.map(|n| holdfast_core::model::now_ns() + n * SECOND);
                let verdict = meet(&s, i, deadline);
                s.told.borrow_mut().push((i, round, verdict));
                assert!(verdict == Verdict::Broken || (0..parties as u32).any(|n| verdict == Verdict::Passed(n)));
                if verdict == Verdict::Broken {
                    return;
                }
            }
        };
        world(state(parties), |s| &s.stage, body, agree)
    }
}

#[test]
fn barrier_parties_pass_together_round_after_round() {
    prove_without_heartbeat("Barrier, 2 parties x 2", bounds(3, 0, 0, 0), &meeting(2, 2, None));
    prove_to("Barrier, 3 parties x 2", bounds(1, 0, 0, 0), bounds(1, 0, 0, 1), &meeting(3, 2, None));
    prove_to("Barrier, 2 parties x 2", bounds(2, 0, 1, 0), bounds(2, 0, 1, 1), &meeting(2, 2, None));
}

/// Rounds in which nobody gets further are allowed until the deadline (one second of heartbeats).
fn prove_with_deadline(name: &str, within: Bounds, make: Make<'_>) {
    let report = holdfast_core::model::explore(&Config { rounds: 60, ..within.config() }, make);
    let Bounds { preemptions: p, kills: k, timeouts: t, interrupts: i } = within;
    println!(
        "| {name} | p{p} k{k} t{t} i{i} | {} | {} | {} |",
        report.executions, report.kills, report.heartbeat_rescues
    );
    report.expect_proved();
}

#[test]
fn barrier_party_killed_breaks_it_for_all() {
    prove_with_deadline("Barrier, 2 parties, deadline", bounds(2, 1, 0, 0), &meeting(2, 1, Some(1)));
    prove_with_deadline("Barrier, 3 parties, deadline", bounds(1, 1, 0, 0), &meeting(3, 1, Some(1)));
    prove_with_deadline("Barrier, 3 parties, deadline", bounds(0, 2, 0, 0), &meeting(3, 1, Some(1)));
}

#[test]
fn barrier_party_that_gives_up_breaks_it_for_all_or_passes() {
    // A party that comes after another gave up finds the barrier broken: all agree.
    let seconds = bounds(if deep() { 2 } else { 1 }, 0, 1, 0);
    let make = || {
        let body = |s: Shared<State>, i: usize| {
            // Deadlines shorter than a heartbeat, so that an early timeout is one of the caller's.
            let deadline = (i == 0).then(|| holdfast_core::model::now_ns() + 1_000_000);
            let verdict = meet(&s, i, deadline);
            s.told.borrow_mut().push((i, 0, verdict));
        };
        world(state(3), |s| &s.stage, body, agree)
    };
    prove_with_deadline("Barrier, 3 parties, one gives up", seconds, &make);
}

#[test]
fn barrier_controls_are_noticed() {
    let config = Config { rounds: 60, ..bounds(1, 1, 0, 0).config() };
    refute("roll-forward", config.clone(), &meeting(3, 1, Some(1)), "round 0");
    refute("dead-owner", config, &meeting(2, 1, Some(1)), "stranded");
}
