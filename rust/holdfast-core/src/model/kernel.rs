//! The model kernel: futex queues and sleeping tasks.
//!
//! Source: Linux kernel/futex/waitwake.c (`futex_wait_multiple`, `futex_wake`). Every function here is atomic.

use crate::sync::AtomicU32;

use super::choose::{Choice, Chooser};
use super::exit::Exit;
use super::trace::Trace;
use super::world::{Config, Fate, Task};

/// The clock at the start of an execution, in nanoseconds: not zero, so that "zero" can mean "never".
pub(super) const START_NS: u64 = 1_000_000_000;
/// `Kernel::current`, `running` and `next` for "no task".
pub(super) const NOBODY: usize = usize::MAX;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    Asleep,
    Dying(Exit),
    Dead,
    Finished,
}

/// Why a wait ended, unless it was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Changed,
    TimedOut,
    Interrupted,
}

/// A task as the kernel sees it.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) process: u32,
    pub(super) killable: bool,
    pub(super) state: State,
    pub(super) beacon: *const AtomicU32,
    /// Whether this task's exit marks the beacon (the first live task of the process does).
    pub(super) marks_beacon: bool,
    pub(super) pending: *const AtomicU32,
    /// Entries of this task in the queues.
    pub(super) queued: u32,
    pub(super) woken: bool,
    pub(super) ended: Ended,
    pub(super) deadline: Option<u64>,
    /// Tasks (a bit each) that go before this one, which spins.
    pub(super) spins_for: u32,
    /// Deadlines fired for it since somebody last got further.
    pub(super) fired: u32,
}

/// One place in a futex queue. All queues are one list in order of arrival.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) address: usize,
    pub(super) task: u32,
    pub(super) slot: u32,
}

/// How an execution stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Running,
    Ended,
    Stranded,
    Failed(String),
}

/// Everything about the execution under way.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) config: Config,
    pub(super) chooser: Chooser,
    pub(super) trace: Trace,
    pub(super) threads: Vec<Thread>,
    pub(super) queue: Vec<Entry>,
    pub(super) options: Vec<Choice>,
    pub(super) now_ns: u64,
    /// The task that did the last step.
    pub(super) current: usize,
    /// The task whose coroutine is on the CPU.
    pub(super) running: usize,
    /// The task whose coroutine has to be resumed next.
    pub(super) next: usize,
    /// Tasks are only being brought to their first step.
    pub(super) prologue: bool,
    /// The running task has just been scheduled: its next step needs no further scheduling point.
    pub(super) scheduled: bool,
    pub(super) steps: u32,
    pub(super) preemptions: u32,
    pub(super) kills: u32,
    pub(super) timeouts: u32,
    pub(super) interrupts: u32,
    pub(super) fired: u32,
    /// Whether a deadline fired since somebody last got further.
    fired_lately: bool,
    pub(super) rescued: bool,
    pub(super) verdict: Verdict,
}

/// The TID of the task with this index in `World::tasks`.
pub const fn tid_of(task: usize) -> u32 {
    1000 + task as u32
}

pub(super) fn read(word: *const AtomicU32) -> u32 {
    // SAFETY: the program under test vouches for its words (they live in the world's state); AtomicU32 is a
    // transparent u32, and an exploration has one thread, so a plain access cannot race.
    unsafe { word.cast::<u32>().read_volatile() }
}

pub(super) fn write(word: *const AtomicU32, value: u32) {
    // SAFETY: as in `read`; the u32 is inside an UnsafeCell, so writing through a const pointer is allowed.
    unsafe { word.cast_mut().cast::<u32>().write_volatile(value) }
}

impl Kernel {
    pub(super) fn new(config: Config, chooser: Chooser) -> Self {
        Self {
            config,
            chooser,
            trace: Trace::default(),
            threads: Vec::new(),
            queue: Vec::with_capacity(64),
            options: Vec::with_capacity(256),
            now_ns: START_NS,
            current: NOBODY,
            running: NOBODY,
            next: NOBODY,
            prologue: false,
            scheduled: false,
            steps: 0,
            preemptions: 0,
            kills: 0,
            timeouts: 0,
            interrupts: 0,
            fired: 0,
            fired_lately: false,
            rescued: false,
            verdict: Verdict::Running,
        }
    }

    /// A new execution begins.
    pub(super) fn begin(&mut self, tasks: &[Task], traced: bool) {
        self.chooser.begin(tasks.len());
        self.trace.begin(traced);
        self.queue.clear();
        self.threads.clear();
        for task in tasks {
            self.trace.name(task.beacon as usize, || format!("beacon of process {}", task.process));
            self.threads.push(Thread {
                process: task.process,
                killable: task.killable,
                state: State::Ready,
                beacon: task.beacon,
                marks_beacon: false,
                pending: core::ptr::null(),
                queued: 0,
                woken: false,
                ended: Ended::Changed,
                deadline: None,
                spins_for: 0,
                fired: 0,
            });
        }
        self.now_ns = START_NS;
        (self.current, self.running, self.next) = (NOBODY, NOBODY, NOBODY);
        (self.prologue, self.scheduled) = (true, false);
        (self.steps, self.preemptions, self.kills) = (0, 0, 0);
        (self.timeouts, self.interrupts, self.fired) = (0, 0, 0);
        (self.fired_lately, self.rescued) = (false, false);
        self.verdict = Verdict::Running;
    }

    /// Somebody got further: what deadlines fired before was not in vain.
    pub(super) fn progress(&mut self) {
        self.rescued |= self.fired_lately;
        self.forget_firings();
    }

    pub(super) fn forget_firings(&mut self) {
        self.fired_lately = false;
        for thread in &mut self.threads {
            thread.fired = 0;
        }
    }

    /// The running task looks at one word of its wait: queues on it if it has the value expected.
    pub(super) fn enqueue(&mut self, slot: usize, word: *const AtomicU32, value: u32) -> bool {
        let (task, found) = (self.running, read(word));
        let fits = found == value;
        self.trace.event(|name| {
            let word = name(word as usize);
            if fits {
                format!("  task {task}: queues on {word} = {value:#x}")
            } else {
                format!("  task {task}: does not queue on {word} = {found:#x}, not {value:#x}")
            }
        });
        if fits {
            self.queue.push(Entry { address: word as usize, task: task as u32, slot: slot as u32 });
            self.threads[task].queued += 1;
        }
        fits
    }

    /// Puts the running task to sleep, unless it has been woken already or its deadline has passed.
    pub(super) fn fall_asleep(&mut self) -> bool {
        let (task, now) = (self.running, self.now_ns);
        let thread = &mut self.threads[task];
        if thread.woken {
            return false;
        }
        if thread.deadline.is_some_and(|deadline| deadline <= now) {
            thread.ended = Ended::TimedOut;
            return false;
        }
        thread.state = State::Asleep;
        self.trace.event(|_| format!("  task {task}: sleeps"));
        true
    }

    /// Whether the task still has an entry for this word of its wait.
    pub(super) fn is_queued(&self, task: usize, slot: usize) -> bool {
        self.threads[task].queued > 0
            && self.queue.iter().any(|entry| entry.task as usize == task && entry.slot as usize == slot)
    }

    /// The task leaves one queue, if no wake has taken its entry meanwhile.
    pub(super) fn unqueue(&mut self, task: usize, slot: usize) {
        let place = self.queue.iter().position(|entry| (entry.task as usize, entry.slot as usize) == (task, slot));
        if let Some(place) = place {
            let entry = self.queue.remove(place);
            self.threads[task].queued -= 1;
            self.trace.event(|name| format!("  task {task}: leaves the queue of {}", name(entry.address)));
        }
    }

    /// Takes up to `count` entries of a word, oldest first. Only a task that is asleep wakes up; one that has been
    /// woken already, is just queueing or is dying swallows the wake. Whether there was one.
    pub(super) fn wake(&mut self, address: usize, count: u32) -> bool {
        let mut taken = 0;
        let mut place = 0;
        while taken < count && place < self.queue.len() {
            if self.queue[place].address != address {
                place += 1;
                continue;
            }
            let task = self.queue.remove(place).task as usize;
            taken += 1;
            let thread = &mut self.threads[task];
            thread.queued -= 1;
            thread.woken = true;
            let slept = thread.state == State::Asleep;
            if slept {
                thread.state = State::Ready;
            }
            self.trace.event(|name| {
                let what = if slept { "wakes" } else { "is swallowed by" };
                format!("    a wake of {} {what} task {task}", name(address))
            });
        }
        if taken == 0 {
            self.trace.event(|name| format!("    a wake of {} finds nobody", name(address)));
        }
        taken > 0
    }

    /// The task's wait ends for a reason of its own (the clock, a signal).
    pub(super) fn end_wait(&mut self, task: usize, ended: Ended) {
        let thread = &mut self.threads[task];
        thread.state = State::Ready;
        thread.ended = ended;
        if ended == Ended::TimedOut {
            self.now_ns = self.now_ns.max(thread.deadline.unwrap_or(0));
        }
        self.trace.event(|_| format!("  task {task}: {ended:?} at {} ns", self.now_ns));
    }

    /// The deadline of a sleeper passes because nothing else can happen.
    pub(super) fn fire(&mut self, task: usize) {
        self.threads[task].fired += 1;
        self.fired += 1;
        self.fired_lately = true;
        self.end_wait(task, Ended::TimedOut);
    }

    /// How the task came to its end, asked when nothing can happen any more.
    pub(super) fn fate(&self, task: usize) -> Fate {
        match self.threads[task].state {
            State::Finished => Fate::Finished,
            State::Dead | State::Dying(_) => Fate::Killed,
            State::Ready | State::Asleep => Fate::Stranded,
        }
    }
}
