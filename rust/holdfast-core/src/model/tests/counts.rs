//! Exact numbers of executions.

use super::*;

fn binomial(n: u64, k: u64) -> u64 {
    (1..=k).fold(1, |product, i| product * (n - k + i) / i)
}

fn steps(n: u32) -> impl Fn() + Copy {
    move || (0..n).for_each(|_| step())
}

fn program(lengths: &'static [u32], beacon: bool) -> World {
    let tasks = move |state: Shared<AtomicU32>| {
        let beacon: *const AtomicU32 = if beacon { &*state } else { ptr::null() };
        lengths.iter().enumerate().map(|(i, &n)| Task::new(i as u32, beacon, steps(n))).collect()
    };
    World::new(AtomicU32::new(1), tasks, |_, _| ())
}

fn count(config: &Config, lengths: &'static [u32], beacon: bool) -> u64 {
    let report = explore(config, || program(lengths, beacon));
    report.expect_proved();
    report.executions
}

#[test]
fn two_tasks_of_n_steps_have_binomially_many_interleavings() {
    assert_eq!(count(&unbounded(), &[1, 1], false), 2);
    assert_eq!(count(&unbounded(), &[5, 5], false), binomial(10, 5));
    assert_eq!(count(&unbounded(), &[8, 8], false), binomial(16, 8));
    assert_eq!(count(&unbounded(), &[3, 7], false), binomial(10, 3));
}

#[test]
fn three_tasks_have_multinomially_many_interleavings() {
    assert_eq!(count(&unbounded(), &[3, 3, 3], false), 1680);
    assert_eq!(count(&unbounded(), &[4, 4, 4], false), 34_650);
}

#[test]
fn tasks_without_steps_have_one_execution() {
    assert_eq!(count(&unbounded(), &[0, 0, 0], false), 1);
    assert_eq!(count(&unbounded(), &[], false), 1);
}

#[test]
fn preemption_bound_counts_switches_from_tasks_that_could_go_on() {
    let bound = |preemptions| Config { preemptions: Some(preemptions), ..Config::default() };
    // None: one after the other, in either order. One: also cut the first of the two anywhere inside.
    assert_eq!(count(&bound(0), &[6, 6], false), 2);
    assert_eq!(count(&bound(1), &[6, 6], false), 2 + 2 * 5);
    // Two: also both cut once, alternating (A B A B: 5 * 5 for either order).
    assert_eq!(count(&bound(2), &[6, 6], false), 2 + 2 * 5 + 2 * 5 * 5);
    assert_eq!(count(&bound(100), &[6, 6], false), binomial(12, 6));
}

#[test]
fn kill_hits_before_every_step() {
    let config = Config { kills: 1, ..unbounded() };
    assert_eq!(count(&config, &[7], false), 7 + 1);
    // Exit work without a sleeper: one step for the beacon (no waiters bit, so no wake).
    assert_eq!(count(&config, &[7], true), 7 + 1);
    let report = explore(&config, || program(&[7], true));
    assert_eq!((report.kills, report.max_steps), (7, 7));
}

#[test]
fn kill_with_exit_work_is_interleaved_with_the_others() {
    // The killed task has done i of 2 steps, its exit is one step more; then as many interleavings as of i + 1 and 2
    // steps, but the kill comes last. Without a kill: 6.
    let expected = 6 + 2 * ((binomial(3, 1)) + (binomial(4, 2)));
    let config = Config { kills: 1, ..unbounded() };
    assert_eq!(count(&config, &[2, 2], true), expected);
}

#[test]
fn immortal_task_is_never_killed() {
    let config = Config { kills: 3, ..unbounded() };
    let report = explore(&config, || World::new((), |_| vec![task(1, steps(5)).immortal()], |(), _| ()));
    assert_eq!((report.executions, report.kills), (1, 0));
}

#[test]
fn tasks_of_one_process_die_together() {
    let config = Config { kills: 1, ..unbounded() };
    let make = || {
        World::new(
            (),
            |_| vec![task(1, steps(2)), task(1, steps(2)), task(2, steps(1))],
            |(), end| {
                let both = end.killed(0) == end.killed(1);
                // One may have finished before the other was killed.
                assert!(both || end.fates.contains(&super::super::Fate::Finished));
                assert!(!(end.killed(2) && (end.killed(0) || end.killed(1))));
            },
        )
    };
    assert!(explore(&config, make).expect_proved().kills > 0);
}

#[test]
fn max_executions_stops_and_is_not_complete() {
    let config = Config { max_executions: 100, ..unbounded() };
    let report = explore(&config, || program(&[8, 8], false));
    assert_eq!((report.executions, report.complete), (100, false));
}
