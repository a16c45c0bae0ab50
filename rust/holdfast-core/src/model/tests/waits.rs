//! Waits: what a futex does, deadlines, signals, waits on several words.

use super::super::{futex_wait_any, now_ns};
use super::*;

#[derive(Default)]
struct Words {
    x: AtomicU32,
    y: AtomicU32,
    woken: RefCell<Vec<Woken>>,
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn wait_with_another_value_answers_changed() {
    let body = |words: &Words| assert_eq!(wait(&words.x, 1, None), Woken::Changed);
    explore_equal(&unbounded(), 1, body, |_, _| ()).expect_proved();
}

#[test]
fn value_checked_under_the_queue_loses_no_wake() {
    let report = explore(&unbounded(), || {
        let tasks = |words: Shared<Words>| {
            let waiter = move || {
                while words.x.load(SeqCst) == 0 {
                    let woken = wait(&words.x, 0, None);
                    assert!(matches!(woken, Woken::Yes | Woken::Changed));
                }
            };
            let waker = move || {
                words.x.store(1, SeqCst);
                wake(&words.x, u32::MAX);
            };
            vec![task(1, waiter), task(2, waiter), task(3, waker)]
        };
        World::new(Words::default(), tasks, |_, _| ())
    });
    report.expect_proved();
}

#[test]
fn wake_of_one_wakes_the_oldest_sleeper_only() {
    let config = Config { stop_at_failure: false, ..unbounded() };
    let report = explore_equal(&config, 2, |words: &Words| assert_ne!(wait(&words.x, 0, None), Woken::Yes), |_, _| ());
    assert_eq!((report.executions, report.stranded), (2, 2));
}

#[test]
fn task_woken_through_one_word_swallows_a_wake_of_its_other_word() {
    // E15 of the experiments: x wakes the first task, and before it runs y's wake finds it instead of the second.
    // Without preemptions both are fast asleep before, or start only after, the waker has done everything.
    let program = |preemptions, first: fn(&Words)| {
        let config = Config { stop_at_failure: false, preemptions, ..Config::default() };
        explore(&config, move || {
            let tasks = move |words: Shared<Words>| {
                let second = move || {
                    while words.y.load(SeqCst) == 0 {
                        wait(&words.y, 0, None);
                    }
                };
                let waker = move || {
                    words.x.store(1, SeqCst);
                    wake(&words.x, 1);
                    words.y.store(1, SeqCst);
                    wake(&words.y, 1);
                };
                vec![task(1, move || first(&words)), task(2, second), task(3, waker)]
            };
            World::new(Words::default(), tasks, |_, _| ())
        })
    };
    let report = program(Some(0), |words| {
        let _ = futex_wait_any(&[(&words.x, 0), (&words.y, 0)], None);
    });
    assert!(report.stranded > 0, "{report}");
    let report = program(None, |words| {
        let _ = wait(&words.x, 0, None);
    });
    assert_eq!(report.stranded, 0, "{report}");
}

#[test]
fn deadline_passes_when_nothing_can_run_and_moves_the_clock() {
    let body = |words: &Words| {
        let deadline = now_ns() + SECOND;
        assert_eq!(wait(&words.x, 0, Some(deadline)), Woken::TimedOut);
        assert_eq!(now_ns(), deadline);
        assert_eq!(wait(&words.x, 0, Some(deadline)), Woken::TimedOut);
    };
    let report = explore_equal(&unbounded(), 1, body, |_, end| assert_eq!((end.fired, end.now_ns), (1, 2 * SECOND)));
    assert_eq!(report.expect_proved().heartbeat_rescues, 1);
}

fn waker_and_sleeper(config: &Config, check: fn(&[Woken], &End)) -> Report {
    explore(config, move || {
        let tasks = |words: Shared<Words>| {
            let sleeper = move || {
                let woken = wait(&words.x, 0, Some(now_ns() + SECOND));
                words.woken.borrow_mut().push(woken);
            };
            let waker = move || {
                step();
                words.x.store(1, SeqCst);
                wake(&words.x, 1);
            };
            vec![task(1, sleeper), task(2, waker)]
        };
        World::new(Words::default(), tasks, move |words, end| check(&words.woken.borrow(), end))
    })
}

#[test]
fn deadline_does_not_pass_while_others_can_run() {
    let report = waker_and_sleeper(&unbounded(), |woken, _| assert_ne!(woken[0], Woken::TimedOut));
    assert_eq!(report.expect_proved().heartbeat_rescues, 0);
}

#[test]
fn early_timeout_is_explored_within_its_budget() {
    let config = Config { timeouts: 1, ..unbounded() };
    let report = waker_and_sleeper(&config, |woken, _| assert_ne!(woken[0], Woken::TimedOut));
    assert!(report.first_failure.is_some());
    let report = waker_and_sleeper(&config, |woken, _| assert_ne!(woken[0], Woken::Interrupted));
    report.expect_proved();
}

#[test]
fn interruption_is_explored_within_its_budget() {
    let config = Config { interrupts: 1, ..unbounded() };
    let report = waker_and_sleeper(&config, |woken, _| assert_ne!(woken[0], Woken::Interrupted));
    assert!(report.first_failure.is_some());
    let report = waker_and_sleeper(&config, |woken, end| assert!(woken[0] != Woken::TimedOut && end.fired == 0));
    report.expect_proved();
}

#[test]
fn heartbeat_that_helps_is_counted_as_a_rescue() {
    // The waker forgets to wake; the sleeper looks again every second.
    let report = explore(&unbounded(), || {
        let tasks = |words: Shared<Words>| {
            let sleeper = move || {
                while words.x.load(SeqCst) == 0 {
                    wait(&words.x, 0, Some(now_ns() + SECOND));
                }
            };
            vec![task(1, sleeper), task(2, move || words.x.store(1, SeqCst))]
        };
        World::new(Words::default(), tasks, |_, _| ())
    });
    report.expect_proved();
    assert!(report.heartbeat_rescues > 0 && report.heartbeat_rescues < report.executions);
}

#[test]
fn heartbeats_in_vain_are_stranded() {
    let body = |words: &Words| {
        while words.x.load(SeqCst) == 0 {
            wait(&words.x, 0, Some(now_ns() + SECOND));
        }
    };
    let config = Config { stop_at_failure: false, preemptions: Some(0), ..Config::default() };
    let report = explore_equal(&config, 2, body, |_, _| ());
    assert_eq!((report.executions, report.stranded, report.heartbeat_rescues), (2, 2, 0));
}

#[test]
fn sleeper_with_a_far_deadline_outlasts_the_heartbeats_of_another() {
    let report = explore(&unbounded(), || {
        let tasks = |words: Shared<Words>| {
            let beating = move || {
                while words.x.load(SeqCst) == 0 {
                    wait(&words.x, 0, Some(now_ns() + SECOND / 50));
                }
            };
            let patient = move || {
                wait(&words.y, 0, Some(now_ns() + SECOND));
                words.x.store(1, SeqCst);
            };
            vec![task(1, beating), task(2, patient)]
        };
        World::new(Words::default(), tasks, |_, end| assert_eq!(end.now_ns, 2 * SECOND))
    });
    report.expect_clean();
}
