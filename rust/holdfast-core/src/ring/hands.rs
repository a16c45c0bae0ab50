//! Who has taken tasks from a joinable queue, so that `join` can name a process that died with some.
//!
//! A process counts a task before the commit that takes it, and takes it off after it is finished. So a count is never too
//! low; a kill may leave it one too high. Tasks are lost if more are unfinished than are in the queue and in the hands of
//! the living, while a killed process had some; a process that ended in order may have passed its tasks on.

use super::queue::Queue;
use super::words::Hand;
use crate::arena::layout::flag;
use crate::sync::SC;

/// A process that died, and the tasks it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Its pid.
    pub pid: u32,
    /// Tasks taken and not finished.
    pub tasks: u32,
}

impl Queue<'_> {
    fn hand(&self) -> Option<&Hand> {
        if self.slot.flags.load(SC) & flag::JOINABLE == 0 {
            return None;
        }
        let me = self.arena.process_token().ok()? + 1;
        let mine = self.words.hands.iter().find(|h| h.process.load(SC) == me);
        mine.or_else(|| self.free_hand(me))
    }

    fn free_hand(&self, me: u32) -> Option<&Hand> {
        let hand = self.words.hands.iter().find(|hand| {
            let who = hand.process.load(SC);
            let free = who == 0 || hand.tasks.load(SC) == 0 && !self.arena.is_token_alive(who - 1);
            free && hand.process.compare_exchange(who, me, SC, SC).is_ok()
        })?;
        hand.pid.store(std::process::id(), SC);
        Some(hand)
    }

    /// Tasks are about to be taken by this process.
    pub(super) fn take_in_hand(&self, tasks: u64) {
        if let Some(hand) = self.hand() {
            hand.tasks.fetch_add(tasks as u32, SC);
        }
    }

    /// A task was finished by this process, whoever had taken it.
    pub(super) fn put_out_of_hand(&self) {
        let Some(hand) = self.hand() else { return };
        let tasks = hand.tasks.load(SC);
        if tasks > 0 {
            let _ = hand.tasks.compare_exchange(tasks, tasks - 1, SC, SC);
        }
    }

    /// Processes that were killed with tasks which nobody else can finish.
    #[must_use]
    pub fn lost(&self) -> Vec<Lost> {
        let before = (self.counts(), self.unfinished());
        let (mut living, mut lost) = (0, Vec::new());
        for hand in &self.words.hands {
            let (who, tasks, pid) = (hand.process.load(SC), hand.tasks.load(SC), hand.pid.load(SC));
            if who == 0 || tasks == 0 {
                continue;
            }
            if self.arena.is_token_alive(who - 1) || self.arena.ended_in_order(who - 1) {
                living += u64::from(tasks);
            } else {
                lost.push(Lost { pid, tasks });
            }
        }
        let ((put, taken), unfinished) = before;
        let moved = (self.counts(), self.unfinished()) != before;
        if moved || unfinished <= put.saturating_sub(taken) + living {
            lost.clear();
        }
        lost
    }
}
