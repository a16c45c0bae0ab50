//! What the kernel does for the dead.

use super::super::{pending_clear, pending_set, tid, tid_of, Fate};
use super::*;

#[derive(Default)]
struct Words {
    lock: AtomicU32,
    other: AtomicU32,
    beacon: AtomicU32,
    dropped: Cell<bool>,
    seen: RefCell<Vec<u32>>,
}

impl Words {
    fn with_beacon(owner: usize, waiters: u32) -> Self {
        Self { beacon: AtomicU32::new(tid_of(owner) | waiters), ..Self::default() }
    }
}

fn one_kill() -> Config {
    Config { kills: 1, ..unbounded() }
}

#[test]
fn killed_owner_wakes_the_sleeper_on_its_beacon() {
    let report = explore(&one_kill(), || {
        let tasks = |words: Shared<Words>| {
            let owner = move || {
                words.lock.store(tid(), SeqCst);
                words.lock.store(0, SeqCst);
                wake(&words.lock, 1);
            };
            let waiter = move || loop {
                let seen = words.lock.load(SeqCst);
                let beacon = words.beacon.load(SeqCst);
                if seen == 0 || beacon & OWNER_DIED != 0 {
                    return;
                }
                let word: [(*const AtomicU32, u32); 2] = [(&words.lock, seen), (&words.beacon, beacon)];
                super::super::futex_wait_any(&word, None);
            };
            vec![Task::new(1, &words.beacon, owner), task(2, waiter).immortal()]
        };
        World::new(Words::with_beacon(0, WAITERS), tasks, |words, end| {
            let beacon = words.beacon.load(SeqCst);
            assert_eq!(beacon, if end.killed(0) { OWNER_DIED | WAITERS } else { tid_of(0) | WAITERS });
        })
    });
    report.expect_proved();
    assert_eq!(report.heartbeat_rescues, 0);
}

#[test]
fn beacon_without_waiters_bit_wakes_nobody() {
    let config = Config { stop_at_failure: false, ..one_kill() };
    let report = explore(&config, || {
        let tasks = |words: Shared<Words>| {
            let waiter = move || {
                wait(&words.beacon, tid_of(0), None);
            };
            let owner = move || {
                step();
                wake(&words.beacon, 1);
            };
            vec![Task::new(1, &words.beacon, owner), task(2, waiter).immortal()]
        };
        World::new(Words::with_beacon(0, 0), tasks, |_, _| ())
    });
    assert!(report.stranded > 0);
}

fn pending_case(word_before: fn(u32) -> u32, word_after: fn(u32) -> u32, woken: bool) {
    let config = Config { stop_at_failure: false, ..one_kill() };
    let report = explore(&config, move || {
        let tasks = move |words: Shared<Words>| {
            let dying = move || {
                pending_set(&words.lock);
                words.other.store(1, SeqCst);
                pending_clear();
            };
            let waiter = move || {
                wait(&words.lock, word_before(tid_of(0)), None);
                words.seen.borrow_mut().push(1);
            };
            vec![task(1, dying), task(2, waiter).immortal()]
        };
        let words = Words { lock: AtomicU32::new(word_before(tid_of(0))), ..Words::default() };
        World::new(words, tasks, move |words, end| {
            let expected = if end.killed(0) { word_after(tid_of(0)) } else { word_before(tid_of(0)) };
            let found = words.lock.load(SeqCst);
            assert!(found == expected || found == word_before(tid_of(0)));
        })
    });
    // Nobody wakes the waiter but the kernel.
    assert!(report.stranded > 0 && report.failures == report.stranded, "{:?}", report.first_failure);
    assert_eq!(report.executions > report.stranded, woken, "{report}");
}

#[test]
fn pending_word_of_its_own_is_marked_and_wakes_with_the_waiters_bit() {
    pending_case(|tid| tid | WAITERS, |_| OWNER_DIED | WAITERS, true);
}

#[test]
fn pending_word_without_owner_is_not_written_and_wakes() {
    pending_case(|_| 0, |_| 0, true);
    pending_case(|_| WAITERS | OWNER_DIED, |_| WAITERS | OWNER_DIED, true);
}

#[test]
fn pending_word_of_somebody_else_is_left_alone() {
    pending_case(|tid| (tid + 5) | WAITERS, |tid| (tid + 5) | WAITERS, false);
}

#[test]
fn killed_task_may_be_hit_between_the_last_step_and_clearing_pending() {
    // The kill after the store, with pending still set: the kernel wakes the waiter. Were clearing not a point of
    // its own, a kill could not come between the last step and the end of the task.
    let config = Config { kills: 1, preemptions: Some(0), stop_at_failure: false, ..Config::default() };
    let report = explore(&config, || {
        let tasks = |words: Shared<Words>| {
            let dying = move || {
                words.other.store(1, SeqCst);
                pending_set(&words.lock);
                words.other.store(2, SeqCst);
                pending_clear();
            };
            vec![task(1, dying)]
        };
        World::new(Words::default(), tasks, |words, end| {
            let stage = words.other.load(SeqCst);
            words.seen.borrow_mut().push(stage);
            assert!(!end.killed(0) || stage != 2, "killed at the last point");
        })
    });
    // Killed before the first store, before pending_set, before the second store, before pending_clear; or not.
    assert_eq!((report.executions, report.kills, report.failures), (5, 4, 1));
}

#[test]
fn killed_task_swallows_wakes_until_it_leaves_its_queues() {
    let config = Config { stop_at_failure: false, ..one_kill() };
    let report = explore(&config, || {
        let tasks = |words: Shared<Words>| {
            let sleeper = move || {
                wait(&words.lock, 0, None);
            };
            let waker = move || {
                words.other.store(1, SeqCst);
                wake(&words.lock, 1);
                wake(&words.lock, 1);
            };
            vec![task(1, sleeper), task(2, sleeper).immortal(), task(3, waker).immortal()]
        };
        World::new(Words::default(), tasks, |_, _| ())
    });
    assert!(report.stranded > 0 && report.stranded < report.executions);
}

#[test]
fn sleeping_task_can_be_killed() {
    let config = one_kill();
    let body = |words: &Words| assert_eq!(wait(&words.lock, 0, Some(u64::MAX)), Woken::TimedOut);
    let report = explore_equal(&config, 1, body, |_, _| ());
    // Killed before it queues, killed asleep, or not at all.
    assert_eq!((report.expect_proved().executions, report.kills), (3, 2));
}

struct SetOnDrop(Shared<Words>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.dropped.set(true);
    }
}

#[test]
fn killed_task_runs_no_destructors() {
    let report = explore(&one_kill(), || {
        let tasks = |words: Shared<Words>| {
            let body = move || {
                let _guard = SetOnDrop(words);
                step();
                step();
            };
            vec![task(1, body)]
        };
        World::new(Words::default(), tasks, |words, end| assert_ne!(words.dropped.get(), end.killed(0)))
    });
    assert_eq!(report.expect_proved().kills, 2);
}

#[test]
fn finished_task_of_a_killed_process_counts_as_finished() {
    let report = explore(&one_kill(), || {
        let tasks = |_| vec![task(1, || ()), task(1, step)];
        World::new((), tasks, |(), end: &End| {
            assert_eq!(end.fates[0], Fate::Finished);
            assert_eq!(end.killed(1), end.kills == 1);
        })
    });
    assert_eq!(report.expect_proved().executions, 2);
}
