//! What the model kernel does for a task that was killed.
//!
//! Source: Linux kernel/futex/core.c (`exit_robust_list`, `handle_futex_death`). Each stage is a step of its own, between
//! which other tasks run; marking a word and waking its sleeper are two, as in the kernel.

use crate::sync::AtomicU32;

use super::kernel::{read, tid_of, write, Kernel, State};

/// The bits of a robust word.
const TID_BITS: u32 = 0x3fff_ffff;
const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;

/// What the kernel still has to do for a killed task; each is a step of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Leave the futex queues, one word a step.
    Leave,
    /// Mark the beacon (the entry on the robust list).
    Beacon,
    /// Wake one sleeper of the beacon.
    BeaconWake,
    /// Look at the pending word.
    Pending,
    /// Wake one sleeper of the pending word.
    PendingWake,
}

impl Kernel {
    /// SIGKILL for the process of this task: its tasks stop where they are.
    pub(super) fn kill(&mut self, task: usize) {
        let process = self.threads[task].process;
        self.kills += 1;
        self.trace.event(|_| format!("KILL process {process} (task {task})"));
        let mut marks_beacon = true;
        for other in 0..self.threads.len() {
            let thread = &mut self.threads[other];
            if thread.process == process && !matches!(thread.state, State::Finished) {
                thread.marks_beacon = core::mem::take(&mut marks_beacon);
                thread.spins_for = 0;
                self.enter_stage(other, Exit::Leave);
            }
        }
        self.forget_firings();
    }

    /// Moves a dying task to the first stage from `stage` on in which there is something to do.
    fn enter_stage(&mut self, task: usize, stage: Exit) {
        let thread = &mut self.threads[task];
        let leaves = stage == Exit::Leave && thread.queued > 0;
        let marks = matches!(stage, Exit::Leave | Exit::Beacon) && thread.marks_beacon && !thread.beacon.is_null();
        thread.state = if leaves {
            State::Dying(Exit::Leave)
        } else if marks {
            State::Dying(Exit::Beacon)
        } else if thread.pending.is_null() {
            State::Dead
        } else {
            State::Dying(Exit::Pending)
        };
    }

    /// One step of the exit work of a killed task.
    pub(super) fn exit_step(&mut self, task: usize) {
        let State::Dying(stage) = self.threads[task].state else { return };
        let (beacon, pending) = (self.threads[task].beacon, self.threads[task].pending);
        match stage {
            Exit::Leave => {
                let slot = self.queue.iter().find(|entry| entry.task as usize == task).map(|entry| entry.slot);
                if let Some(slot) = slot {
                    self.unqueue(task, slot as usize);
                }
                self.enter_stage(task, Exit::Leave);
            }
            Exit::Beacon => {
                let found = read(beacon);
                if found & TID_BITS == 0 {
                    // The process gave its beacon back: it is not on the robust list any more.
                    return self.enter_stage(task, Exit::Pending);
                }
                self.mark(task, beacon, found);
                match found & WAITERS {
                    0 => self.enter_stage(task, Exit::Pending),
                    _ => self.threads[task].state = State::Dying(Exit::BeaconWake),
                }
            }
            Exit::BeaconWake => {
                let _ = self.wake(beacon as usize, 1);
                self.enter_stage(task, Exit::Pending);
            }
            Exit::Pending => {
                let found = read(pending);
                let owner = found & TID_BITS;
                if owner == tid_of(task) {
                    self.mark(task, pending, found);
                }
                let wakes = owner == 0 || (owner == tid_of(task) && found & WAITERS != 0);
                self.threads[task].state = if wakes { State::Dying(Exit::PendingWake) } else { State::Dead };
            }
            Exit::PendingWake => {
                let _ = self.wake(pending as usize, 1);
                self.threads[task].state = State::Dead;
            }
        }
    }

    /// Turns a robust word over: its owner is dead.
    fn mark(&mut self, task: usize, word: *const AtomicU32, found: u32) {
        write(word, OWNER_DIED | (found & WAITERS));
        self.trace.event(|name| format!("  task {task}, dying: marks {} (was {found:#x})", name(word as usize)));
    }
}
