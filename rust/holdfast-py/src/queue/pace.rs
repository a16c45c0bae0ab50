//! A producer that is ahead of its consumers pauses before it makes them all work in new memory.
//!
//! Memory that the system has to give costs forty times a copy into memory that was used before. While consumers are at
//! work, what they give back is enough; so a put without a limit that needed new memory waits a moment for them. If they do
//! not get on meanwhile, the next puts do not wait: nothing is ever held up by a consumer that sleeps or is slow.

use super::Shared;
use crate::py;
use holdfast_core::ring::queue::Queue;
use std::time::Duration;

/// Length of a pause; the system's timers add about as much again.
const PAUSE: Duration = Duration::from_micros(50);
/// Pauses of one put at most.
const PAUSES: u32 = 40;
/// Fewer messages ahead are no lead.
const LEAD: u64 = 3;
/// Puts that do not pause after one that was in vain, at most.
const MOST_SKIPPED: u16 = 256;

/// How it went so far. All zeros is a fresh start.
#[derive(Clone, Copy, Default)]
pub struct Pace {
    skip: u16,
    in_vain: u16,
}

impl Shared {
    /// After a put that needed `bytes` of new memory.
    #[cold]
    #[inline(never)]
    pub(super) fn pause(&self, queue: &Queue<'static>, bytes: usize) {
        let mut pace = self.pace.get();
        if pace.skip > 0 {
            pace.skip -= 1;
            self.pace.set(pace);
            return;
        }
        let Ok(store) = self.base.arena().store() else { return };
        let got_on = py::detached(|| {
            let (mut put, mut taken) = queue.counts();
            for _ in 0..PAUSES {
                if put - taken < LEAD || store.has_free(bytes) {
                    return true;
                }
                std::thread::sleep(PAUSE);
                let now = queue.counts();
                if now.1 == taken {
                    return false;
                }
                (put, taken) = now;
            }
            true
        });
        pace.in_vain = if got_on { 0 } else { (pace.in_vain * 2 + 1).min(MOST_SKIPPED) };
        pace.skip = pace.in_vain;
        self.pace.set(pace);
    }
}
