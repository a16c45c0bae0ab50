//! The model checker: runs the real code of this crate under every interleaving (within bounds), with kills.
//!
//! Behind the feature `model`, never in normal builds. A test describes a small program as a `World` of `Task`s and
//! calls `explore`, which runs it again and again, each time with another schedule. Tasks are coroutines of one
//! thread. Every atomic operation (`sync.rs`) first calls `step`, where the scheduler decides which task goes on;
//! futexes, the robust list's pending pointer and the clock belong to a model kernel.
//!
//! What is covered, and what is not:
//!
//! - Sequentially consistent interleavings. Weaker memory orderings are not explored.
//! - `Config::preemptions` bounds switches away from a task that could have gone on; switches where a task blocks,
//!   ends or dies are free. Source: Musuvathi, Qadeer: "Iterative context bounding for systematic testing of
//!   multithreaded programs", PLDI 2007. `None` explores everything.
//! - A SIGKILL can hit a task before every step. Nothing of it is unwound or dropped. It may swallow wakes until it
//!   has left its futex queues; then its beacon is marked and one sleeper woken, then its pending word is looked at.
//!   Each of these is a step of its own, between which others run.
//! - A wait on several words queues on them one after the other; a wake takes only the entry it finds.
//! - Time stands still until nothing can run; then the earliest deadline passes. Waits may also time out or be
//!   interrupted earlier, as often as the bounds say.
//! - Stores into memory that only the kernel looks at (`pending_set`) are points at which a task can be killed, but
//!   not points at which others can run: they commute with everything else.
//! - A test may `freeze` memory that nobody writes while its tasks run. Reading frozen words is no step (it commutes with
//!   everything), writing one fails the execution: so a wrong claim is found, not believed.
//! - Code between two steps runs at once, and code before a task's first step runs before every other task's first
//!   step. A busy loop must call `yield_now` in every round, or it counts as lack of progress.
//!
//! Source of the futex semantics: Linux kernel/futex (see `kernel.rs` and `exit.rs`); the same rules are in the protocol model from
//! which the lock was designed.
//!
//! ```text
//! let report = explore(&Config { kills: 1, ..Config::default() }, || {
//!     World::new(State::new(), |state| vec![
//!         Task::new(1, &state.beacons[0], move || state.lock_and_count()),
//!         Task::new(2, &state.beacons[1], move || state.lock_and_count()),
//!     ], |state, end| assert!(state.is_consistent(end)))
//! });
//! report.expect_proved();
//! ```

mod choose;
mod exit;
mod explore;
mod kernel;
mod panics;
mod schedule;
mod still;
#[cfg(test)]
mod tests;
mod trace;
mod world;

use core::cell::Cell;
use core::ptr;

use crate::os::futex::Woken;
use crate::sync::AtomicU32;

use kernel::{Ended, Kernel, State, START_NS};

pub use explore::explore;
pub use kernel::tid_of;
pub use still::{break_protocol, freeze, thaw};
pub(crate) use still::{is_broken, reads, writes};
pub use world::{Config, End, Fate, Report, Shared, Task, World};

/// What `tid` answers outside a task.
const OUTSIDE_TID: u32 = 999;

thread_local! {
    /// The kernel of the exploration whose task is on this thread's CPU; null outside a task.
    static KERNEL: Cell<*mut Kernel> = const { Cell::new(ptr::null_mut()) };
}

/// Asks the kernel something on behalf of the running task; None outside a task.
#[inline]
fn with<R>(question: impl FnOnce(&mut Kernel) -> R) -> Option<R> {
    let kernel = KERNEL.get();
    if kernel.is_null() {
        return None;
    }
    // SAFETY: `explore` sets the pointer only while it resumes a task, and itself touches the kernel only when no
    // task is on the CPU. No question switches coroutines or asks another one, so this is the only reference.
    Some(question(unsafe { &mut *kernel }))
}

/// Asks where to go on, and lets others run if it is not here.
#[inline]
fn schedule(question: impl FnOnce(&mut Kernel) -> bool) {
    // A task that panics only unwinds: the execution has failed, and the thread's count of panics is not the
    // other tasks' business.
    if !std::thread::panicking() && with(question) == Some(true) {
        explore::suspend();
    }
}

/// A scheduling point: others may run, or this task may be killed, before the next atomic operation.
/// Does nothing outside a task.
#[inline]
pub fn step() {
    schedule(Kernel::at_step);
}

/// Waits until one of the words is woken, as `futex_waitv` does with one word or more.
///
/// `deadline_ns` is a time of `now_ns`, in nanoseconds. Outside a task it answers `Changed` if a value differs.
///
/// # Panics
/// Outside a task, if it would have to wait.
pub fn futex_wait_any(words: &[(*const AtomicU32, u32)], deadline_ns: Option<u64>) -> Woken {
    let Some(task) = with(|kernel| begin_wait(kernel, deadline_ns)) else {
        return wait_outside(words);
    };
    if std::thread::panicking() {
        return Woken::TimedOut;
    }
    for (slot, &(word, value)) in words.iter().enumerate() {
        step();
        if with(|kernel| kernel.enqueue(slot, word, value)) == Some(false) {
            return end_wait(task, slot);
        }
    }
    if with(Kernel::fall_asleep) == Some(true) {
        schedule(Kernel::reschedule);
        // Having been scheduled, it may do the first step of what follows at once.
        with(|kernel| kernel.scheduled = true);
    }
    end_wait(task, words.len())
}

fn begin_wait(kernel: &mut Kernel, deadline_ns: Option<u64>) -> usize {
    let task = kernel.running;
    let thread = &mut kernel.threads[task];
    (thread.woken, thread.ended, thread.deadline) = (false, Ended::Changed, deadline_ns);
    task
}

/// Leaves the queues of the first `slots` words, one a step, and says how the wait ended.
fn end_wait(task: usize, slots: usize) -> Woken {
    for slot in 0..slots {
        if with(|kernel| kernel.is_queued(task, slot)) == Some(true) {
            step();
            with(|kernel| kernel.unqueue(task, slot));
        }
    }
    let outcome = with(|kernel| (kernel.threads[task].woken, kernel.threads[task].ended));
    match outcome {
        Some((true, _)) => Woken::Yes,
        Some((false, Ended::TimedOut)) => Woken::TimedOut,
        Some((false, Ended::Interrupted)) => Woken::Interrupted,
        Some((false, Ended::Changed)) | None => Woken::Changed,
    }
}

fn wait_outside(words: &[(*const AtomicU32, u32)]) -> Woken {
    let changed = words.iter().any(|&(word, value)| kernel::read(word) != value);
    assert!(changed, "futex_wait_any outside a task would wait for ever");
    Woken::Changed
}

/// Wakes up to `n` sleepers of a word, oldest first; a scheduling point before it. Whether there was one. Does nothing
/// outside a task.
pub fn futex_wake(word: *const AtomicU32, n: u32) -> bool {
    step();
    with(|kernel| kernel.wake(word as usize, n)) == Some(true)
}

/// Names the word the kernel looks at if this task dies now (the robust list's `list_op_pending`).
pub fn pending_set(word: *const AtomicU32) {
    schedule(Kernel::at_private_step);
    with(|kernel| {
        let task = kernel.running;
        kernel.threads[task].pending = word;
        kernel.trace.event(|name| format!("  task {task}: pending = {}", name(word as usize)));
    });
}

/// Takes back `pending_set`.
pub fn pending_clear() {
    schedule(Kernel::at_private_step);
    with(|kernel| {
        let task = kernel.running;
        kernel.threads[task].pending = ptr::null();
        kernel.trace.event(|_| format!("  task {task}: nothing pending"));
    });
}

/// The running task's model TID: `tid_of` its index; 999 outside a task.
pub fn tid() -> u32 {
    with(|kernel| tid_of(kernel.running)).unwrap_or(OUTSIDE_TID)
}

/// The running task's process, as in `Task::process`; 0 outside a task.
pub fn process() -> u32 {
    with(|kernel| kernel.threads[kernel.running].process).unwrap_or(0)
}

/// Whether the task of this model TID exists and has not been killed (it may have finished).
/// For a task's checks and for liveness looked up by other means than the beacon; true outside a task.
pub fn is_alive(tid: u32) -> bool {
    with(|kernel| {
        let task = (tid as usize).wrapping_sub(tid_of(0) as usize);
        let thread = kernel.threads.get(task);
        thread.is_some_and(|thread| !matches!(thread.state, State::Dying(_) | State::Dead))
    })
    .unwrap_or(true)
}

/// The virtual monotonic clock, in nanoseconds. It begins at one second and moves only when a deadline passes.
pub fn now_ns() -> u64 {
    with(|kernel| kernel.now_ns).unwrap_or(START_NS)
}

/// The same clock in milliseconds, modulo 2^32.
pub fn coarse_ms() -> u32 {
    (now_ns() / 1_000_000) as u32
}

/// For a busy loop: this task goes on only when every other task that can run, and does not itself spin, has done a
/// step.
pub fn yield_now() {
    with(|kernel| {
        kernel.spin();
        kernel.scheduled = false;
    });
    step();
}

/// Tells the search for stranded tasks that this task got further although it has not ended: what deadlines fired
/// before counts as a rescue, and sleepers get their full number of rounds again.
pub fn note_progress() {
    with(Kernel::progress);
}

/// Adds a line to the record of a failure; the closure runs only while such a record is written.
pub fn note(text: impl FnOnce() -> String) {
    // The text is made outside `with`: it may itself do steps.
    if with(|kernel| kernel.trace.is_on()) == Some(true) {
        let text = text();
        with(|kernel| {
            let task = kernel.running;
            kernel.trace.event(|_| format!("  task {task}: {text}"));
        });
    }
}
