//! What the model checks share: an arena with one view a process, a seat a task, one slot, and the bounds.
//!
//! ```text
//! Stage   views[p] ── process p ── beacon, tid of its first task
//!         people[i] ── task i ── its seat in the view of its process
//!         slot       the primitive under test; together with the beacons the only memory that is not frozen
//! ```
#![allow(dead_code)] // every test crate uses its own part

pub mod ring;

use core::cell::{Cell, RefCell};
use core::ptr;

use holdfast_core::arena::layout::Slot;
use holdfast_core::arena::{Arena, Handle, Me};
use holdfast_core::lock::Taken;
use holdfast_core::model::{self, explore, step, tid_of, Config, End, Fate, Report, Shared, Task, World};
use holdfast_core::sync::{AtomicU32, SC};
use holdfast_core::wait::{Patience, Waited};

/// Waits that end for another reason than success are tried again at most so often.
pub const SECOND: u64 = 1_000_000_000;

/// An arena set up for one execution.
#[derive(Debug)]
pub struct Stage {
    /// Views, one a process.
    pub views: Vec<&'static Arena>,
    /// Seats, one a task.
    pub people: Vec<Me<'static>>,
    /// Process of each task.
    pub processes: Vec<usize>,
    /// Handles of the slots under test.
    pub handles: Vec<Handle>,
}

impl Stage {
    /// An arena with a task for each entry of `processes` (which names its process, from 0) and no slot yet.
    pub fn new(processes: &[usize]) -> Self {
        let count = processes.iter().max().map_or(0, |p| p + 1);
        let mut views: Vec<&'static Arena> = Vec::new();
        for process in 0..count {
            let view = Arena::in_memory(views.first().copied());
            let first = processes.iter().position(|p| *p == process).expect("a process without tasks");
            view.model_beacon().store(tid_of(first) | 0x8000_0000, SC);
            views.push(view);
        }
        let seat = |(i, p): (usize, &usize)| {
            let me = Me::seated(views[*p], "t").expect("a seat");
            me.seat.tid.store(tid_of(i), SC);
            me
        };
        let people = processes.iter().enumerate().map(seat).collect();
        Self { views, people, processes: processes.to_vec(), handles: Vec::new() }
    }

    /// One more slot, made by process 0 and held by all.
    #[must_use]
    pub fn with(mut self, kind: u32, class: usize, fill: impl Fn(&Slot)) -> Self {
        let handle = self.views[0].make(kind, class, fill).expect("a slot");
        for view in &self.views[1..] {
            view.take_hold(handle, kind).expect("a live slot");
        }
        self.handles.push(handle);
        self
    }

    /// Freezes everything but the slots under test (with `cells` cells each) and the beacons.
    #[must_use]
    pub fn frozen(self, cells: usize) -> Self {
        let (base, len) = self.views[0].memory();
        model::freeze(base, len);
        for handle in &self.handles {
            let slot = self.views[0].slot(handle.slot).expect("a slot");
            // State and generation stay.
            model::thaw(ptr::from_ref(slot), 16);
            model::thaw(&slot.orphan_pid, 1);
            if cells > 0 {
                model::thaw(self.views[0].cells(handle.slot).as_ptr(), cells);
            }
        }
        for view in &self.views {
            model::thaw(view.model_beacon(), 1);
        }
        self
    }

    /// The first slot as the process of a task sees it.
    pub fn slot(&self, task: usize) -> &'static Slot {
        self.slot_of(task, 0)
    }

    /// A slot as the process of a task sees it.
    pub fn slot_of(&self, task: usize, which: usize) -> &'static Slot {
        self.views[self.processes[task]].slot(self.handles[which].slot).expect("a slot")
    }

    /// The cells of a slot.
    pub fn cells(&self, task: usize, which: usize) -> &'static [AtomicU32] {
        self.views[self.processes[task]].cells(self.handles[which].slot)
    }

    /// The task whose owner id this is.
    pub fn task_of(&self, owner: u32) -> Option<usize> {
        self.people.iter().position(|me| me.id == owner)
    }

    /// A task of the checker.
    pub fn task(&self, index: usize, body: impl FnOnce() + 'static) -> Task {
        let process = self.processes[index];
        Task::new(process as u32 + 1, self.views[process].model_beacon(), body)
    }

    /// Whether a task lives.
    pub fn lives(&self, task: usize) -> bool {
        model::is_alive(tid_of(task))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for (i, view) in self.views.iter().enumerate().rev() {
            // SAFETY: the execution is over; its tasks were abandoned before the world's state is dropped.
            unsafe { Arena::free_memory(view, i == 0) };
        }
    }
}

/// A wait without a deadline, tried again after interruptions as holdfast's Python layer does.
pub fn patiently<T>(mut wait: impl FnMut(&mut Patience<'_>) -> Waited<T>) -> T {
    loop {
        match wait(&mut Patience { deadline: None, beat: &mut || false }) {
            Waited::Done(got) => return got,
            Waited::Interrupted => {}
            Waited::TimedOut => panic!("timed out without a deadline"),
        }
    }
}

/// A wait with a deadline so many nanoseconds from now.
pub fn briefly<T>(ns: u64, wait: impl FnOnce(&mut Patience<'_>) -> Waited<T>) -> Waited<T> {
    let deadline = Some(model::now_ns() + ns);
    wait(&mut Patience { deadline, beat: &mut || false })
}

/// A critical section and who is inside.
#[derive(Debug, Default)]
pub struct Section {
    /// The task inside, plus one.
    pub inside: Cell<usize>,
    /// Passages.
    pub passed: Cell<u32>,
}

impl Section {
    /// Passes through once after an acquire that ended so. Whoever was killed inside must have been reported: `Free`
    /// is wrong then; and `FromDead` is wrong if it names somebody who lives.
    pub fn pass(&self, stage: &Stage, me: usize, taken: Taken) {
        self.enter(stage, me, taken);
        step();
        self.leave(me);
    }

    /// First half of [`Self::pass`].
    pub fn enter(&self, stage: &Stage, me: usize, taken: Taken) {
        let before = self.inside.replace(me + 1);
        assert!(before == 0 || !stage.lives(before - 1), "task {me} enters while {} is inside", before - 1);
        check_report(stage, taken, before != 0);
    }

    /// Second half of [`Self::pass`].
    pub fn leave(&self, me: usize) {
        assert_eq!(self.inside.replace(0), me + 1, "somebody else came in");
        self.passed.set(self.passed.get() + 1);
    }
}

/// A takeover is reported if somebody was killed inside, and only if the one named is dead.
pub fn check_report(stage: &Stage, taken: Taken, left_by_dead: bool) {
    match taken {
        Taken::Free => assert!(!left_by_dead, "a holder was killed and nobody was told"),
        Taken::FromDead(owner) => {
            if let Some(dead) = stage.task_of(owner) {
                assert!(!stage.lives(dead), "taken from task {dead}, which lives");
            }
        }
    }
}

/// Whether deeper bounds are asked for (`HOLDFAST_MODEL_DEEP=1`).
pub fn deep() -> bool {
    std::env::var_os("HOLDFAST_MODEL_DEEP").is_some_and(|v| v == "1")
}

/// Bounds of one check.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Preemptions.
    pub preemptions: u32,
    /// Kills.
    pub kills: u32,
    /// Early timeouts.
    pub timeouts: u32,
    /// Interrupts.
    pub interrupts: u32,
}

/// Bounds from four numbers: preemptions, kills, timeouts, interrupts.
pub const fn bounds(preemptions: u32, kills: u32, timeouts: u32, interrupts: u32) -> Bounds {
    Bounds { preemptions, kills, timeouts, interrupts }
}

impl Bounds {
    /// As the checker wants it.
    pub fn config(self) -> Config {
        Config {
            preemptions: Some(self.preemptions),
            kills: self.kills,
            timeouts: self.timeouts,
            interrupts: self.interrupts,
            max_executions: if deep() { u64::MAX } else { 4_000_000 },
            ..Config::default()
        }
    }
}

/// What a check is about: makes the same world again for every execution.
pub type Make<'a> = &'a dyn Fn() -> World;

fn print(name: &str, bounds: &str, report: &Report, began: std::time::Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "| {name} | {bounds} | {} | {} | {} | {seconds:.1} s |",
        report.executions, report.kills, report.heartbeat_rescues
    );
}

/// Explores everything within the bounds; fails with the first counterexample.
#[track_caller]
pub fn prove(name: &str, bounds: Bounds, make: Make<'_>) -> Report {
    let began = std::time::Instant::now();
    let report = explore(&bounds.config(), make);
    let Bounds { preemptions: p, kills: k, timeouts: t, interrupts: i } = bounds;
    print(name, &format!("p{p} k{k} t{t} i{i}"), &report, began);
    report.expect_proved();
    report
}

/// As `prove`, and without the heartbeat: whoever sleeps is woken or the check fails.
#[track_caller]
pub fn prove_without_heartbeat(name: &str, bounds: Bounds, make: Make<'_>) -> Report {
    let began = std::time::Instant::now();
    let report = explore(&Config { rounds: 0, ..bounds.config() }, make);
    let Bounds { preemptions: p, kills: k, timeouts: t, interrupts: i } = bounds;
    print(name, &format!("p{p} k{k} t{t} i{i}, no heartbeat"), &report, began);
    report.expect_proved();
    report
}

/// `prove` with the first bounds, or with the second if deeper ones are asked for.
#[track_caller]
pub fn prove_to(name: &str, shallow: Bounds, deeper: Bounds, make: Make<'_>) -> Report {
    prove(name, if deep() { deeper } else { shallow }, make)
}

/// Random schedules.
#[track_caller]
pub fn sample(name: &str, bounds: Bounds, runs: u64, make: Make<'_>) -> Report {
    let runs = if deep() { runs * 20 } else { runs };
    let began = std::time::Instant::now();
    let report = explore(&Config { random: Some((7, runs)), preemptions: Some(8), ..bounds.config() }, make);
    let Bounds { kills: k, timeouts: t, interrupts: i, .. } = bounds;
    print(name, &format!("random, k{k} t{t} i{i}"), &report, began);
    report.expect_clean();
    report
}

/// A control: with this step taken out of the protocol the checker must find a failure that says so.
#[track_caller]
pub fn refute(step: &'static str, config: Config, make: Make<'_>, says: &str) {
    let _broken = model::break_protocol(step);
    let began = std::time::Instant::now();
    let report = explore(&config, make);
    print(&format!("control: {step}"), "until found", &report, began);
    let found = report.first_failure.unwrap_or_else(|| panic!("nobody noticed that {step} is missing"));
    assert!(found.contains(says), "found something else than {says:?}: {found}");
}

/// The survivors' fates: how many ended, how many were killed.
pub fn tally(end: &End) -> (usize, usize) {
    let of = |fate| end.fates.iter().filter(|f| **f == fate).count();
    (of(Fate::Finished), of(Fate::Killed))
}

/// A list that tasks write to and the final check reads.
pub type Log<T> = RefCell<Vec<T>>;

/// Makes a world of a state that has a stage: task `i` runs `body(state, i)`.
pub fn world<S: 'static>(
    state: S,
    stage: impl Fn(&S) -> &Stage,
    body: impl Fn(Shared<S>, usize) + Copy + 'static,
    on_end: impl FnOnce(&S, &End) + 'static,
) -> World {
    let tasks = |shared: Shared<S>| {
        let stage = stage(&shared);
        (0..stage.people.len()).map(|i| stage.task(i, move || body(shared, i))).collect()
    };
    World::new(state, tasks, on_end)
}
