//! The checker checked: exact numbers for tiny programs, known-bad designs that must be found, good ones that pass.

mod bounds;
mod counts;
mod designs;
mod kills;
mod waits;

use core::cell::{Cell, RefCell};
use core::ptr;

use super::{explore, step, Config, End, Report, Shared, Task, World};
use crate::os::futex::Woken;
use crate::sync::AtomicU32;
use crate::sync::Ordering::SeqCst;

const WAITERS: u32 = 0x8000_0000;
const OWNER_DIED: u32 = 0x4000_0000;
const TID_BITS: u32 = 0x3fff_ffff;

/// No bound on preemptions.
fn unbounded() -> Config {
    Config { preemptions: None, ..Config::default() }
}

/// A task of a process of its own, without a beacon.
fn task(process: u32, body: impl FnOnce() + 'static) -> Task {
    Task::new(process, ptr::null(), body)
}

fn wait(word: &AtomicU32, value: u32, deadline_ns: Option<u64>) -> Woken {
    super::futex_wait_any(&[(word, value)], deadline_ns)
}

fn wake(word: &AtomicU32, n: u32) {
    super::futex_wake(word, n);
}

/// Explores a program of `tasks` equal tasks, each of its own process, on one state.
fn explore_equal<S: Default + 'static>(config: &Config, tasks: u32, body: fn(&S), on_end: fn(&S, &End)) -> Report {
    let bodies = move |state: Shared<S>| (0..tasks).map(|process| task(process, move || body(&state))).collect();
    explore(config, || World::new(S::default(), bodies, on_end))
}

/// What a critical section is checked with: who is inside, and how many passed.
#[derive(Default)]
struct Section {
    holder: Cell<u32>,
    passed: Cell<u32>,
}

impl Section {
    /// Enters, stays for one step and leaves; a holder who was killed inside is no obstacle.
    fn pass(&self) {
        let before = self.holder.replace(super::tid());
        assert!(before == 0 || !super::is_alive(before), "{} enters while {before} is inside", super::tid());
        step();
        assert_eq!(self.holder.replace(0), super::tid(), "somebody else came in");
        self.passed.set(self.passed.get() + 1);
    }
}
