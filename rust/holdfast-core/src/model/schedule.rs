//! The scheduler: which possibilities there are at a point, and what taking one of them does.
//!
//! A kill, an early timeout or an interruption is always taken together with the first step that it causes: until
//! then it cannot be told from one that comes later, so nothing is lost and many equal executions are saved.

use super::choose::Choice;
use super::kernel::{Ended, Kernel, State, Thread, Verdict, NOBODY};

impl Kernel {
    /// A scheduling point of the running task. True: its coroutine has to be suspended.
    #[inline]
    pub(super) fn at_step(&mut self) -> bool {
        if self.scheduled {
            self.scheduled = false;
            return false;
        }
        self.reschedule()
    }

    /// Chooses who goes on, after any number of steps of the environment. True: not the running task.
    pub(super) fn reschedule(&mut self) -> bool {
        if self.prologue {
            return true;
        }
        loop {
            if self.steps >= self.config.max_steps {
                self.verdict = Verdict::Failed(format!("no progress: {} steps and no end", self.steps));
                return self.stop();
            }
            self.list_options();
            if self.options.is_empty() {
                let stranded = self.threads.iter().any(|thread| matches!(thread.state, State::Ready | State::Asleep));
                self.verdict = if stranded { Verdict::Stranded } else { Verdict::Ended };
                return self.stop();
            }
            self.steps += 1;
            let taken = self.chooser.choose(&self.options);
            let task = self.take(self.options[taken]);
            self.current = task;
            if self.threads[task].state == State::Ready {
                self.next = task;
                return task != self.running;
            }
        }
    }

    fn stop(&mut self) -> bool {
        self.next = NOBODY;
        true
    }

    /// Does what was chosen, as far as it is not the task's own code, and answers the task.
    #[inline]
    fn take(&mut self, choice: Choice) -> usize {
        match choice {
            Choice::Run(task) => {
                let task = usize::from(task);
                if task != self.current {
                    self.switch(task);
                }
                if self.threads[task].state == State::Ready {
                    self.trace.step(task);
                } else {
                    self.exit_step(task);
                }
                task
            }
            Choice::Kill(task) => {
                self.kill(task.into());
                self.exit_step(task.into());
                task.into()
            }
            Choice::Timeout(task) => {
                self.timeouts += 1;
                self.end_wait(task.into(), Ended::TimedOut);
                task.into()
            }
            Choice::Interrupt(task) => {
                self.interrupts += 1;
                self.end_wait(task.into(), Ended::Interrupted);
                task.into()
            }
            Choice::Fire(task) => {
                self.fire(task.into());
                task.into()
            }
        }
    }

    /// Another task than the last one runs: spinners may look again, and it may be a preemption.
    fn switch(&mut self, task: usize) {
        if self.can_go_on(self.current) {
            self.preemptions += 1;
        }
        for thread in &mut self.threads {
            thread.spins_for &= !(1 << task);
        }
    }

    /// The running task spins: whoever can run and does not spin goes first.
    pub(super) fn spin(&mut self) {
        let others = (0..self.threads.len()).filter(|&task| task != self.running && self.can_go_on(task));
        let mask = others.fold(0, |mask, task| mask | 1 << task);
        self.threads[self.running].spins_for = mask;
    }

    /// Whether a task for which this one waits, spinning, can still run.
    #[inline]
    fn spins(&self, thread: &Thread) -> bool {
        thread.spins_for != 0 && self.spins_for_somebody(thread.spins_for)
    }

    #[cold]
    fn spins_for_somebody(&self, mask: u32) -> bool {
        let mut threads = self.threads.iter().enumerate();
        threads.any(|(task, thread)| mask & 1 << task != 0 && is_runnable(thread.state))
    }

    /// Whether leaving this task would be a preemption.
    fn can_go_on(&self, task: usize) -> bool {
        self.threads.get(task).is_some_and(|thread| is_runnable(thread.state) && !self.spins(thread))
    }

    /// Lists what can happen next: going on first, then other tasks, then the environment.
    fn list_options(&mut self) {
        self.options.clear();
        let goes_on = self.can_go_on(self.current);
        if goes_on {
            self.options.push(Choice::Run(self.current as u8));
        }
        let unbounded = self.config.random.is_some();
        if !goes_on || unbounded || self.config.preemptions.is_none_or(|most| self.preemptions < most) {
            for (task, thread) in self.threads.iter().enumerate() {
                if task != self.current && is_runnable(thread.state) && !self.spins(thread) {
                    self.options.push(Choice::Run(task as u8));
                }
            }
        }
        if self.options.is_empty() {
            self.list_last_resorts();
        }
        if !self.options.is_empty() {
            self.list_environment();
        }
    }

    /// Nothing can run but spinners or, if there are none, the sleeper whose deadline comes first.
    #[cold]
    fn list_last_resorts(&mut self) {
        for (task, thread) in self.threads.iter().enumerate() {
            if is_runnable(thread.state) {
                self.options.push(Choice::Run(task as u8));
            }
        }
        if !self.options.is_empty() {
            return;
        }
        let sleepers = || {
            let all = self.threads.iter().enumerate();
            all.filter(|(_, thread)| thread.state == State::Asleep && thread.deadline.is_some())
        };
        if sleepers().all(|(_, thread)| thread.fired >= self.config.rounds) {
            return;
        }
        if let Some((task, _)) = sleepers().min_by_key(|(_, thread)| (thread.deadline, thread.fired)) {
            self.options.push(Choice::Fire(task as u8));
        }
    }

    fn list_environment(&mut self) {
        if self.kills < self.config.kills {
            for (task, thread) in self.threads.iter().enumerate() {
                if thread.killable && matches!(thread.state, State::Ready | State::Asleep) {
                    self.options.push(Choice::Kill(task as u8));
                }
            }
        }
        if self.timeouts < self.config.timeouts {
            for (task, thread) in self.threads.iter().enumerate() {
                let waits = thread.state == State::Asleep && thread.deadline.is_some();
                if waits && self.options[0] != Choice::Fire(task as u8) {
                    self.options.push(Choice::Timeout(task as u8));
                }
            }
        }
        if self.interrupts < self.config.interrupts {
            for (task, thread) in self.threads.iter().enumerate() {
                if thread.state == State::Asleep {
                    self.options.push(Choice::Interrupt(task as u8));
                }
            }
        }
    }

    /// A point at which nothing matters but whether the running task is killed. True: suspend the coroutine.
    pub(super) fn at_private_step(&mut self) -> bool {
        // Just scheduled: a kill before this point was among the possibilities then, one after it was not.
        let scheduled = core::mem::take(&mut self.scheduled);
        let mortal = self.threads[self.running].killable && self.kills < self.config.kills;
        if self.prologue || scheduled || !mortal {
            return false;
        }
        self.options.clear();
        self.options.push(Choice::Run(self.running as u8));
        self.options.push(Choice::Kill(self.running as u8));
        if self.chooser.choose(&self.options) == 0 {
            return false;
        }
        // Its exit work need not follow at once: others may still act before it.
        self.kill(self.running);
        self.reschedule()
    }

    /// The body of the running task has returned.
    pub(super) fn finish(&mut self) {
        self.trace.event(|_| format!("  task {}: ends", self.running));
        self.threads[self.running].state = State::Finished;
        self.scheduled = false;
        self.progress();
    }
}

fn is_runnable(state: State) -> bool {
    matches!(state, State::Ready | State::Dying(_))
}
