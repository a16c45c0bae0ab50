//! Whole designs of locks: the bad ones must be found, the good ones must pass.

use super::*;

#[derive(Default)]
struct Lock {
    word: AtomicU32,
    section: Section,
}

fn everybody_passed(lock: &Lock, end: &End) {
    assert_eq!(lock.section.passed.get() as usize, end.fates.len());
}

/// Three tasks pass once each, without kills.
fn check(body: fn(&Lock)) -> Report {
    explore_equal(&Config::default(), 3, body, everybody_passed)
}

#[track_caller]
fn assert_found(report: &Report, text: &str) {
    let failure = report.first_failure.as_deref().expect("the flaw was not found");
    assert!(failure.contains(text), "{failure}");
}

#[test]
fn lock_that_loads_and_then_stores_is_found() {
    let body = |lock: &Lock| {
        if lock.word.load(SeqCst) == 0 {
            lock.word.store(1, SeqCst);
            lock.section.pass();
            lock.word.store(0, SeqCst);
        }
    };
    assert_found(&explore_equal(&Config::default(), 2, body, |_, _| ()), "is inside");
}

fn take(lock: &Lock, after_waiting: u32) {
    let mut wanted = 1;
    while lock.word.compare_exchange(0, wanted, SeqCst, SeqCst).is_err() {
        if lock.word.load(SeqCst) == 2 || lock.word.compare_exchange(1, 2, SeqCst, SeqCst).is_ok() {
            wait(&lock.word, 2, None);
            wanted = after_waiting;
        }
    }
}

fn give(lock: &Lock) {
    if lock.word.swap(0, SeqCst) == 2 {
        wake(&lock.word, 1);
    }
}

#[test]
fn futex_lock_that_forgets_other_waiters_is_found() {
    // Source of the flaw: Drepper, "Futexes are tricky": who has waited must assume that others still do.
    let report = check(|lock| {
        take(lock, 1);
        lock.section.pass();
        give(lock);
    });
    assert_found(&report, "stranded");
}

#[test]
fn futex_lock_that_remembers_waiters_passes() {
    let report = check(|lock| {
        take(lock, 2);
        lock.section.pass();
        give(lock);
    });
    report.expect_proved();
}

#[test]
fn futex_lock_that_never_wakes_is_found() {
    let report = check(|lock| {
        take(lock, 2);
        lock.section.pass();
        lock.word.store(0, SeqCst);
    });
    assert_found(&report, "stranded");
}

/// A robust lock in the manner of glibc: TID and waiters bit, the kernel knows the word while it is wanted or held.
/// `always` sets the waiters bit with every acquire and wakes with every release, whatever the bit says.
fn pass_robust(lock: &Lock, sees_the_dead: bool, always: bool) {
    super::super::pending_set(&lock.word);
    let (me, bit) = (super::super::tid(), if always { WAITERS } else { 0 });
    loop {
        let seen = lock.word.load(SeqCst);
        let free = seen & TID_BITS == 0 && (sees_the_dead || seen & OWNER_DIED == 0);
        if free {
            if lock.word.compare_exchange(seen, me | (seen & WAITERS) | bit, SeqCst, SeqCst).is_ok() {
                break;
            }
        } else if seen & WAITERS != 0 || lock.word.compare_exchange(seen, seen | WAITERS, SeqCst, SeqCst).is_ok() {
            wait(&lock.word, seen | WAITERS, None);
        }
    }
    lock.section.pass();
    if lock.word.swap(0, SeqCst) & WAITERS != 0 || always {
        wake(&lock.word, 1);
    }
    super::super::pending_clear();
}

fn survivors_passed(lock: &Lock, end: &End) {
    let killed = end.fates.iter().filter(|&&fate| fate == super::super::Fate::Killed).count();
    assert!(lock.section.passed.get() as usize + killed >= end.fates.len());
}

#[test]
fn robust_lock_that_ignores_dead_owners_is_found() {
    let config = Config { kills: 1, ..Config::default() };
    let report = explore_equal(&config, 2, |lock: &Lock| pass_robust(lock, false, true), survivors_passed);
    assert_found(&report, "stranded");
}

#[test]
fn plain_futex_lock_with_a_kill_is_found() {
    let config = Config { kills: 1, ..Config::default() };
    let body = |lock: &Lock| {
        take(lock, 2);
        lock.section.pass();
        give(lock);
    };
    assert_found(&explore_equal(&config, 2, body, survivors_passed), "stranded");
    let without = explore_equal(&Config::default(), 2, body, survivors_passed);
    without.expect_proved();
}

/// A holder, who comes twice, and two waiters: who is woken dies, and a barger has taken the lock without the bit.
fn explore_barging(always: bool) -> Report {
    let config = Config { kills: 1, ..Config::default() };
    explore(&config, move || {
        let tasks = move |lock: Shared<Lock>| {
            let pass = move |times| move || (0..times).for_each(|_| pass_robust(&lock, true, always));
            vec![task(1, pass(2)).immortal(), task(2, pass(1)), task(3, pass(1)).immortal()]
        };
        World::new(Lock::default(), tasks, |_, _| ())
    })
}

#[test]
fn robust_lock_with_a_waiters_bit_strands_a_sleeper_when_the_woken_one_dies() {
    assert_found(&explore_barging(false), "stranded");
}

#[test]
fn robust_lock_that_always_wakes_passes() {
    let report = explore_barging(true);
    report.expect_proved();
    assert!(report.kills > 0);
}
