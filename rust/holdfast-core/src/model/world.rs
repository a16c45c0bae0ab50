//! What a test hands to the model checker and what it gets back.

use core::any::Any;
use core::cell::Cell;
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

use crate::sync::AtomicU32;

/// Bounds and mode of an exploration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most switches away from a task that could have gone on, per execution; None for no bound.
    /// In random mode: most changes of priority per run (None: 8).
    pub preemptions: Option<u32>,
    /// Most SIGKILLs per execution.
    pub kills: u32,
    /// Most waits per execution that time out although something else could have run.
    pub timeouts: u32,
    /// Most waits per execution that a signal interrupts.
    pub interrupts: u32,
    /// Stop (with `Report::complete` false) after this many executions.
    pub max_executions: u64,
    /// `Some((seed, runs))`: random schedules instead of all of them.
    pub random: Option<(u64, u64)>,
    /// An execution with more steps than this fails with "no progress".
    pub max_steps: u32,
    /// How often every sleeper with a deadline may time out, with nobody ending or calling `note_progress` in
    /// between, before the execution counts as stranded.
    pub rounds: u32,
    /// Stop at the first failure; otherwise go on and count.
    pub stop_at_failure: bool,
    /// Run only the schedule that a failure printed.
    pub replay: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            preemptions: Some(2),
            kills: 0,
            timeouts: 0,
            interrupts: 0,
            max_executions: 20_000_000,
            random: None,
            max_steps: 20_000,
            rounds: 6,
            stop_at_failure: true,
            replay: None,
        }
    }
}

/// What an exploration found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Executions run.
    pub executions: u64,
    /// Whether every execution within the bounds was run (never true for random schedules and replays).
    pub complete: bool,
    /// Executions that failed in any way, stranded ones included.
    pub failures: u64,
    /// Executions at whose end a live task waited for ever.
    pub stranded: u64,
    /// Executions in which a task ended only after a deadline had passed because nothing could run.
    pub heartbeat_rescues: u64,
    /// SIGKILLs sent in all executions together.
    pub kills: u64,
    /// Steps of the longest execution.
    pub max_steps: u32,
    /// The first failure, with its schedule and what happened step by step.
    pub first_failure: Option<String>,
}

impl Report {
    /// Panics with the first failure, if there was one, or if the bounds were not exhausted for want of executions.
    #[track_caller]
    pub fn expect_clean(&self) -> &Self {
        if let Some(failure) = &self.first_failure {
            panic!("{} of {} executions failed; the first: {failure}", self.failures, self.executions);
        }
        self
    }

    /// As `expect_clean`, and also panics if not every execution within the bounds was run.
    #[track_caller]
    pub fn expect_proved(&self) -> &Self {
        self.expect_clean();
        assert!(self.complete, "not complete after {} executions", self.executions);
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} executions ({}), {} failed, {} stranded, {} rescued by a heartbeat, {} kills, at most {} steps",
            self.executions,
            if self.complete { "all" } else { "not all" },
            self.failures,
            self.stranded,
            self.heartbeat_rescues,
            self.kills,
            self.max_steps
        )
    }
}

/// How a task came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its body returned.
    Finished,
    /// Its process was killed before its body returned.
    Killed,
    /// It lives and waits for ever.
    Stranded,
}

/// What `on_end` is told about an execution.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// One entry per task, in the order of `World::tasks`.
    pub fates: Vec<Fate>,
    /// SIGKILLs sent.
    pub kills: u32,
    /// Deadlines that passed because nothing could run.
    pub fired: u32,
    /// Steps done.
    pub steps: u32,
    /// The virtual clock, in nanoseconds.
    pub now_ns: u64,
}

impl End {
    /// Whether the task of this index was killed.
    pub fn killed(&self, task: usize) -> bool {
        self.fates[task] == Fate::Killed
    }
}

/// One thread of the program under test.
pub struct Task {
    /// Its process; tasks of one process die together.
    pub process: u32,
    /// The beacon word of its process (a robust mutex word, TID | 0x8000_0000), or null if it has none.
    pub beacon: *const AtomicU32,
    /// Whether a SIGKILL may hit its process just before one of its steps.
    pub killable: bool,
    /// What it does. Whatever it owns is leaked when the task is killed (as nothing is dropped then), so let it
    /// capture a `Shared`, not an `Rc`.
    pub body: Box<dyn FnOnce()>,
}

impl Task {
    /// A killable task.
    pub fn new(process: u32, beacon: *const AtomicU32, body: impl FnOnce() + 'static) -> Self {
        Self { process, beacon, killable: true, body: Box::new(body) }
    }

    /// The same task, but never killed.
    #[must_use]
    pub fn immortal(self) -> Self {
        Self { killable: false, ..self }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Task {{ process: {}, killable: {} }}", self.process, self.killable)
    }
}

/// One fresh copy of the program under test; made anew for every execution.
pub struct World {
    /// The threads, at most 32; the TID of task `i` is `tid_of(i)`.
    pub tasks: Vec<Task>,
    /// Called after an execution in which nobody is stranded; panics to report a failure.
    pub on_end: Box<dyn FnOnce(&End)>,
    /// What the tasks use; dropped after `on_end`.
    pub state: Box<dyn Any>,
}

impl World {
    /// A world whose tasks and final check share one state.
    pub fn new<S: 'static>(
        state: S,
        tasks: impl FnOnce(Shared<S>) -> Vec<Task>,
        on_end: impl FnOnce(&S, &End) + 'static,
    ) -> Self {
        let keeper = Keeper::new(state);
        let shared = keeper.shared();
        Self { tasks: tasks(shared), on_end: Box::new(move |end| on_end(&shared, end)), state: Box::new(keeper) }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "World {{ tasks: {:?} }}", self.tasks)
    }
}

thread_local! {
    /// Number of worlds made by this thread, and the number of the one that is alive (0: none).
    static WORLDS: (Cell<u64>, Cell<u64>) = const { (Cell::new(0), Cell::new(0)) };
}

/// Owner of a world's state.
struct Keeper<S> {
    state: NonNull<S>,
    world: u64,
}

impl<S> Keeper<S> {
    fn new(state: S) -> Self {
        let world = WORLDS.with(|(made, alive)| {
            made.set(made.get() + 1);
            alive.set(made.get());
            made.get()
        });
        Self { state: NonNull::from(Box::leak(Box::new(state))), world }
    }

    fn shared(&self) -> Shared<S> {
        Shared { state: self.state, world: self.world }
    }
}

impl<S> Drop for Keeper<S> {
    fn drop(&mut self) {
        WORLDS.with(|(_, alive)| alive.set(0));
        // SAFETY: the pointer comes from Box::leak in `new`, this is its only owner, and every `Shared` refuses
        // to be used from now on because its world is no longer the one alive.
        drop(unsafe { Box::from_raw(self.state.as_ptr()) });
    }
}

/// A copyable handle to the state of the world being explored. Using it after its world's end panics.
pub struct Shared<S> {
    state: NonNull<S>,
    world: u64,
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Shared<S> {}

impl<S> fmt::Debug for Shared<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Shared(world {})", self.world)
    }
}

impl<S> Deref for Shared<S> {
    type Target = S;

    fn deref(&self) -> &S {
        assert!(WORLDS.with(|(_, alive)| alive.get()) == self.world, "state of a world that has ended");
        // SAFETY: the world is alive, so its Keeper has not freed the state; a Shared stays in its thread
        // (NonNull is not Send) and only hands out shared references.
        unsafe { self.state.as_ref() }
    }
}
