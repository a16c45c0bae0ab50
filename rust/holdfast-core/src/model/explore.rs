//! Runs a program again and again, each time with another schedule.

use core::alloc::Layout;
use core::cell::Cell;
use core::ptr;
use std::alloc::dealloc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::choose::Chooser;
use super::kernel::{Kernel, Verdict, NOBODY};
use super::world::{Config, End, Fate, Report, World};
use super::{panics, KERNEL};

/// Bytes of a task's stack. Panic messages are formatted on it, so it is not small; untouched pages cost nothing.
const STACK_BYTES: usize = 256 * 1024;
/// Options are numbered with a byte, and a task can have four of them at a point.
const MOST_TASKS: usize = 32;

/// A task's coroutine; what it returns is whether the body ended without a panic.
type Fiber = Coroutine<(), (), bool, DefaultStack>;

thread_local! {
    /// The yielder of the task on the CPU.
    static YIELDER: Cell<*const Yielder<(), ()>> = const { Cell::new(ptr::null()) };
}

/// Suspends the running task until the scheduler resumes it, which may be never.
pub(super) fn suspend() {
    let yielder = YIELDER.get();
    // SAFETY: `Fibers::resume` made sure that this is the yielder of the coroutine this very code runs on, which
    // lives on that coroutine's stack for as long as the body runs.
    unsafe { (*yielder).suspend(()) };
    YIELDER.set(yielder);
}

/// A body being run, and the heap memory of its closure.
struct Running {
    fiber: Fiber,
    closure: *mut u8,
    layout: Layout,
}

/// The coroutines of one execution, and stacks to make more.
#[derive(Default)]
struct Fibers {
    running: Vec<Option<Running>>,
    stacks: Vec<DefaultStack>,
}

impl Fibers {
    /// Makes a coroutine for the next task.
    fn add(&mut self, body: Box<dyn FnOnce()>) {
        let stack = self.stacks.pop().unwrap_or_else(|| DefaultStack::new(STACK_BYTES).expect("no memory for a stack"));
        let layout = Layout::for_value(&*body);
        let body = Box::into_raw(body);
        let fiber = Fiber::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            YIELDER.set(yielder);
            // SAFETY: the pointer comes from Box::into_raw above, and this closure runs once.
            let body = unsafe { Box::from_raw(body) };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok()
        });
        self.running.push(Some(Running { fiber, closure: body.cast(), layout }));
    }

    /// Lets a task run until it is suspended (None) or ends (Some(whether without a panic)).
    fn resume(&mut self, task: usize, kernel: *mut Kernel) -> Option<bool> {
        let running = self.running[task].as_mut()?;
        KERNEL.set(kernel);
        let was = panics::quiet(true);
        let result = running.fiber.resume(());
        panics::quiet(was);
        KERNEL.set(ptr::null_mut());
        match result {
            CoroutineResult::Yield(()) => None,
            CoroutineResult::Return(well) => {
                let ended = self.running[task].take()?;
                self.stacks.push(ended.fiber.into_stack());
                Some(well)
            }
        }
    }

    /// Gives up all tasks that have not ended: they were killed, or wait for ever.
    fn abandon(&mut self) {
        for running in self.running.drain(..) {
            let Some(mut running) = running else { continue };
            let started = running.fiber.started();
            // SAFETY: the coroutine is never resumed again, so nothing on its stack is used any more. That nothing
            // there is dropped is the point: a killed thread runs no destructors. What it owned on the heap leaks;
            // nobody else points into its stack, as the kernel knows tasks by index and words by address.
            unsafe { running.fiber.force_reset() };
            self.stacks.push(running.fiber.into_stack());
            if running.layout.size() > 0 {
                debug_assert!(started, "every body is brought to its first step");
                // SAFETY: the closure's box was taken over by the coroutine, which never runs again and so never
                // frees it; it was allocated by Box with this layout. Its captures are leaked, not dropped.
                unsafe { dealloc(running.closure, running.layout) };
            }
        }
    }
}

impl Drop for Fibers {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// An exploration under way. The kernel is behind a raw pointer because tasks reach it through `KERNEL`.
struct Explorer {
    kernel: *mut Kernel,
    fibers: Fibers,
    end: End,
}

impl Drop for Explorer {
    fn drop(&mut self) {
        self.fibers.abandon();
        KERNEL.set(ptr::null_mut());
        // SAFETY: from Box::into_raw in `new`, freed only here; no task is left that could reach it.
        drop(unsafe { Box::from_raw(self.kernel) });
    }
}

impl Explorer {
    fn new(config: &Config, chooser: Chooser) -> Self {
        let kernel = Box::into_raw(Box::new(Kernel::new(config.clone(), chooser)));
        Self { kernel, fibers: Fibers::default(), end: End::default() }
    }

    /// The kernel, while no task runs.
    fn kernel(&mut self) -> &mut Kernel {
        // SAFETY: the pointer is valid until `drop`; tasks use it only inside `Fibers::resume`, during which no
        // reference from here is alive, because it borrows the whole explorer.
        unsafe { &mut *self.kernel }
    }

    /// Runs one execution to its end.
    fn run(&mut self, world: World, traced: bool) -> Verdict {
        let World { tasks, on_end, state } = world;
        assert!(tasks.len() <= MOST_TASKS, "at most {MOST_TASKS} tasks");
        self.kernel().begin(&tasks, traced);
        for task in tasks {
            self.fibers.add(task.body);
        }
        for task in 0..self.fibers.running.len() {
            self.resume(task);
        }
        self.kernel().prologue = false;
        self.leave();
        while self.kernel().next != NOBODY {
            let next = self.kernel().next;
            if self.resume(next) {
                self.leave();
            }
        }
        self.fibers.abandon();
        self.describe_end();
        let mut verdict = self.kernel().verdict.clone();
        if verdict == Verdict::Ended {
            if let Err(message) = panics::catch(|| on_end(&self.end)) {
                verdict = Verdict::Failed(format!("the final check failed: {message}"));
            }
        } else {
            drop(on_end);
        }
        drop(state);
        verdict
    }

    /// Lets a task run; true if it ended.
    fn resume(&mut self, task: usize) -> bool {
        self.kernel().running = task;
        let kernel = self.kernel;
        match self.fibers.resume(task, kernel) {
            None => return false,
            Some(true) => self.kernel().finish(),
            Some(false) => {
                let message = format!("task {task}: {}", panics::message());
                self.kernel().verdict = Verdict::Failed(message);
            }
        }
        true
    }

    /// No task is on the CPU: chooses one.
    fn leave(&mut self) {
        let kernel = self.kernel();
        kernel.running = NOBODY;
        kernel.next = NOBODY;
        if kernel.verdict == Verdict::Running {
            kernel.reschedule();
        }
    }

    fn describe_end(&mut self) {
        let mut fates: Vec<Fate> = core::mem::take(&mut self.end.fates);
        let kernel = self.kernel();
        fates.clear();
        fates.extend((0..kernel.threads.len()).map(|task| kernel.fate(task)));
        let (kills, fired, steps, now_ns) = (kernel.kills, kernel.fired, kernel.steps, kernel.now_ns);
        self.end = End { fates, kills, fired, steps, now_ns };
    }

    /// Runs a failed schedule again, recording it, and describes the failure.
    fn describe(&mut self, verdict: &Verdict, make: &impl Fn() -> World) -> String {
        let schedule = self.kernel().chooser.schedule();
        let replay = self.kernel().chooser.replay();
        let chooser = core::mem::replace(&mut self.kernel().chooser, replay);
        let again = self.run(make(), true);
        let record = self.kernel().trace.text();
        self.kernel().chooser = chooser;
        let same =
            if again == *verdict { "" } else { "(run again it ended otherwise: the program is not deterministic)\n" };
        let what = match verdict {
            Verdict::Failed(message) => message.clone(),
            _ => format!("stranded: {:?}", self.end.fates),
        };
        format!("{what}\n{same}schedule (for Config::replay): \"{schedule}\"\n{record}\n")
    }

    fn count(&mut self, report: &mut Report, verdict: &Verdict) {
        report.executions += 1;
        report.kills += u64::from(self.end.kills);
        report.max_steps = report.max_steps.max(self.end.steps);
        report.heartbeat_rescues += u64::from(self.kernel().rescued);
        report.stranded += u64::from(*verdict == Verdict::Stranded);
        report.failures += u64::from(*verdict != Verdict::Ended);
    }
}

fn first_chooser(config: &Config) -> Chooser {
    match (&config.replay, config.random) {
        (Some(text), _) => Chooser::replaying(text).expect("Config::replay is not a schedule"),
        (None, Some((seed, _))) => {
            let environment = config.kills + config.timeouts + config.interrupts;
            Chooser::random(seed, environment, config.preemptions.unwrap_or(8))
        }
        (None, None) => Chooser::depth_first(),
    }
}

/// Runs the program that `make` makes, under every schedule within the bounds of `config` (or random ones).
///
/// A panic of a task's body or of `on_end`, a live task that waits for ever and lack of progress are failures. They
/// do not panic here: see `Report::first_failure` and `Report::expect_clean`. `make` must make the same program each
/// time, deterministic except for the schedule.
pub fn explore(config: &Config, make: impl Fn() -> World) -> Report {
    panics::install();
    super::still::forget();
    let mut report = Report::default();
    let mut explorer = Explorer::new(config, first_chooser(config));
    let most = match (&config.replay, config.random) {
        (Some(_), _) => 1,
        (None, Some((_, runs))) => runs.min(config.max_executions),
        (None, None) => config.max_executions,
    };
    while report.executions < most {
        let mut verdict = explorer.run(make(), false);
        let diverged = explorer.kernel().chooser.diverged();
        if diverged {
            verdict = Verdict::Failed("a replayed decision does not fit: the program is not deterministic".to_owned());
        }
        explorer.count(&mut report, &verdict);
        if verdict != Verdict::Ended {
            if report.first_failure.is_none() {
                report.first_failure = Some(explorer.describe(&verdict, &make));
            }
            if config.stop_at_failure || diverged {
                return report;
            }
        }
        if !explorer.kernel().chooser.advance() {
            report.complete = config.replay.is_none();
            break;
        }
    }
    report
}
