//! Failures and their schedules, random mode, bounds on steps, parallel explorations.

use super::*;
use crate::model::{note, yield_now};

#[derive(Default)]
struct Counter {
    word: AtomicU32,
}

fn increment_badly(counter: &Counter) {
    let seen = counter.word.load(SeqCst);
    note(|| format!("saw {seen}"));
    counter.word.store(seen + 1, SeqCst);
}

fn all_counted(counter: &Counter, end: &End) {
    assert_eq!(counter.word.load(SeqCst) as usize, end.fates.len(), "lost update");
}

fn explore_counter(config: &Config) -> Report {
    explore_equal(config, 3, increment_badly, all_counted)
}

/// The schedule a failure prints.
fn schedule(failure: &str) -> String {
    failure.split('"').nth(1).expect("a schedule").to_owned()
}

#[test]
fn failure_tells_what_happened_and_its_schedule_replays_it() {
    let report = explore_counter(&Config::default());
    let failure = report.first_failure.expect("the lost update");
    assert!(
        failure.contains("lost update") && failure.contains("saw 0") && failure.contains("task 2: ends"),
        "{failure}"
    );
    let replay = Config { replay: Some(schedule(&failure)), ..Config::default() };
    let again = explore_counter(&replay);
    assert_eq!((again.executions, again.first_failure), (1, Some(failure)));
}

#[test]
fn random_schedules_find_the_failure_and_replay_it() {
    let config = Config { random: Some((7, 2000)), ..Config::default() };
    let failure = explore_counter(&config).first_failure.expect("the lost update");
    let replay = Config { replay: Some(schedule(&failure)), ..config };
    assert_eq!(explore_counter(&replay).first_failure, Some(failure));
}

#[test]
fn random_schedules_of_one_seed_are_the_same() {
    let config = Config { random: Some((11, 500)), kills: 2, stop_at_failure: false, ..Config::default() };
    let report = explore_counter(&config);
    assert_eq!((report.executions, report.complete), (500, false));
    assert!(report.kills > 0);
    assert_eq!(explore_counter(&config), report);
}

#[test]
fn panic_of_a_task_is_a_failure_and_later_executions_are_unharmed() {
    let config = Config { stop_at_failure: false, ..unbounded() };
    let body = |counter: &Counter| assert_ne!(counter.word.fetch_add(1, SeqCst), 1, "second");
    let report = explore_equal(&config, 2, body, |_, _| ());
    assert_eq!((report.executions, report.failures), (2, 2));
    assert!(report.first_failure.expect("a failure").contains("second"));
}

#[test]
fn steps_of_destructors_during_a_panic_do_no_harm() {
    struct Release<'a>(&'a Counter);
    impl Drop for Release<'_> {
        fn drop(&mut self) {
            self.0.word.store(0, SeqCst);
            wake(&self.0.word, 1);
        }
    }
    let body = |counter: &Counter| {
        let _release = Release(counter);
        step();
        panic!("on purpose");
    };
    let report = explore_equal(&Config::default(), 2, body, |_, _| ());
    assert!(report.first_failure.expect("a failure").contains("on purpose"));
}

#[test]
fn busy_loop_without_end_is_no_progress() {
    let config = Config { max_steps: 1000, ..Config::default() };
    let body = |counter: &Counter| while counter.word.load(SeqCst) == 0 {};
    let report = explore_equal(&config, 1, body, |_, _| ());
    assert!(report.first_failure.expect("a failure").contains("no progress"));
}

#[test]
fn busy_loop_that_yields_lets_others_go_first() {
    let report = explore(&unbounded(), || {
        let tasks = |counter: Shared<Counter>| {
            let spinner = move || {
                while counter.word.load(SeqCst) == 0 {
                    yield_now();
                }
            };
            vec![task(1, spinner), task(2, spinner), task(3, move || counter.word.store(1, SeqCst))]
        };
        World::new(Counter::default(), tasks, |_, _| ())
    });
    report.expect_proved();
    assert!(report.max_steps < 20);
}

#[test]
fn program_that_is_not_deterministic_is_reported() {
    let calls = Cell::new(0);
    let config = Config { stop_at_failure: false, ..unbounded() };
    let report = explore(&config, || {
        calls.set(calls.get() + 1);
        let steps = 3 + calls.get() % 2;
        let body = move || (0..steps).for_each(|_| step());
        World::new((), move |_| vec![task(1, body), task(2, body)], |(), _| ())
    });
    assert!(report.first_failure.expect("a failure").contains("not deterministic"));
}

#[test]
fn explorations_in_parallel_threads_do_not_meet() {
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(|| explore_counter(&unbounded()).executions)).collect();
    let first = explore_counter(&unbounded()).executions;
    for thread in threads {
        assert_eq!(thread.join().expect("no panic"), first);
    }
}

#[test]
fn outside_a_task_steps_do_nothing_and_waits_never_block() {
    step();
    let word = AtomicU32::new(3);
    wake(&word, 1);
    assert_eq!(wait(&word, 2, None), Woken::Changed);
    assert_eq!((crate::model::tid(), crate::model::process()), (999, 0));
    assert_eq!(crate::model::coarse_ms(), 1000);
}

#[test]
#[should_panic(expected = "a world that has ended")]
fn state_used_after_its_world_is_refused() {
    let kept = Cell::new(None);
    let make = || {
        World::new(
            Counter::default(),
            |counter| {
                kept.set(Some(counter));
                Vec::new()
            },
            |_, _| (),
        )
    };
    explore(&Config::default(), make);
    kept.get().expect("kept").word.load(SeqCst);
}
