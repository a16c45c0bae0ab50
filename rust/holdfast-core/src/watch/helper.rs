//! The helper thread: starts with the first order, ends when nothing has been waited for for a while.
//!
//! ```text
//! ORDERS    written by event loops, emptied by the helper; held only for a push or a take, so no loop ever waits
//! ENGINE    the helper's own; held while it looks, not while it sleeps
//! CONTROL   counts orders; the helper sleeps on it      ASLEEP   it sleeps, or is about to: wake it
//! fork      both are held; an idle helper ends before; the child has none and forgets what its parent waits for
//! ```
//! It has all signals blocked, so that a handler always runs in one of the program's own threads; it is detached from
//! everything that could keep a program from ending.

use super::engine::{Engine, Order};
use super::Desk;
use crate::arena;
use crate::os::futex::{self, Watch, Woken};
use crate::os::local::{pause, Local};
use crate::os::{clock, fault, robust};
use crate::sync::local::{AtomicBool, Ordering};
use crate::sync::{AtomicU32, SC};
use std::sync::Arc;
use std::thread::JoinHandle;

/// How long the helper stays when nothing is waited for (nanoseconds).
const LINGER_NS: u64 = 250_000_000;
/// First and longest interval of heartbeats (milliseconds).
const BEATS_MS: (u64, u64) = (20, 250);
/// How long a fork waits for an idle helper to end (nanoseconds).
const DISMISS_NS: u64 = 20_000_000;
const STACK_BYTES: usize = 256 * 1024;

#[derive(Debug)]
struct Orders {
    list: Vec<Order>,
    desks: Vec<(u64, Arc<Desk>)>,
    next: u64,
    thread: Option<JoinHandle<()>>,
    running: bool,
    /// A fork is about to happen: end now if there is nothing to do.
    leave: bool,
}

static ORDERS: Local<Orders> =
    Local::new(Orders { list: Vec::new(), desks: Vec::new(), next: 1, thread: None, running: false, leave: false });
static ENGINE: Local<Option<Engine>> = Local::new(None);
static CONTROL: AtomicU32 = AtomicU32::new(0);
static ASLEEP: AtomicU32 = AtomicU32::new(0);
static HOOKED: AtomicBool = AtomicBool::new(false);

/// Opens a desk for an event loop: its number.
///
/// # Errors
/// No descriptors left.
pub fn open_desk() -> std::io::Result<(u64, i32)> {
    if !HOOKED.swap(true, Ordering::SeqCst) {
        // SAFETY: the functions stay loaded for the life of the process.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_in_parent), Some(after_in_child)) };
    }
    let desk = Arc::new(Desk::new()?);
    let fd = desk.descriptor();
    let mut orders = ORDERS.lock();
    let number = orders.number();
    orders.desks.push((number, desk));
    Ok((number, fd))
}

/// The desk of that number.
#[must_use]
pub fn desk(number: u64) -> Option<Arc<Desk>> {
    ORDERS.lock().desks.iter().find(|(n, _)| *n == number).map(|(_, desk)| Arc::clone(desk))
}

/// Closes a desk: whatever its loop waited for is given up.
pub fn close_desk(number: u64) {
    let closed = {
        let mut orders = ORDERS.lock();
        let at = orders.desks.iter().position(|(n, _)| *n == number);
        at.map(|at| orders.desks.swap_remove(at).1)
    };
    if let Some(desk) = closed {
        let _ = submit(Order::Close(desk));
    }
}

/// A new number for a ticket.
#[must_use]
pub fn new_ticket() -> u64 {
    ORDERS.lock().number()
}

/// Gives the helper an order, starting it if it does not run and there is something new to wait for.
///
/// # Errors
/// The system has no thread to give.
pub fn submit(order: Order) -> std::io::Result<()> {
    let mut orders = ORDERS.lock();
    if !orders.running {
        if !matches!(order, Order::Add(_)) {
            return Ok(()); // nothing is waited for
        }
        orders.thread = Some(start()?);
        orders.running = true;
    }
    orders.list.push(order);
    drop(orders);
    nudge();
    Ok(())
}

/// Whether the helper runs.
#[must_use]
pub fn is_running() -> bool {
    ORDERS.lock().running
}

impl Orders {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

fn nudge() {
    CONTROL.fetch_add(1, SC);
    if ASLEEP.load(SC) != 0 {
        futex::wake(&CONTROL, 1);
    }
}

fn start() -> std::io::Result<JoinHandle<()>> {
    // SAFETY: the sets are initialised by sigfillset and pthread_sigmask before they are read.
    unsafe {
        let mut all = core::mem::zeroed();
        let mut before = core::mem::zeroed();
        libc::sigfillset(&raw mut all);
        // What the thread itself does is reported to the thread itself: a cut-off arena above all.
        for own in [libc::SIGBUS, libc::SIGSEGV, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP] {
            libc::sigdelset(&raw mut all, own);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let started = std::thread::Builder::new().name("holdfast-helper".into()).stack_size(STACK_BYTES).spawn(run);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, core::ptr::null_mut());
        started
    }
}

/// Heartbeats of the helper: from the first interval again whenever something new comes.
struct Pulse {
    ms: u64,
    beats: u32,
}

impl Pulse {
    const fn fresh() -> Self {
        Self { ms: BEATS_MS.0, beats: 0 }
    }
    fn beat(&mut self) {
        self.ms = (self.ms * 2).min(BEATS_MS.1);
        self.beats = self.beats.saturating_add(1);
    }
}

fn run() {
    let mut pulse = Pulse::fresh();
    let mut next_beat = clock::now_ns();
    let mut idle_since = None;
    loop {
        let control = CONTROL.load(SC);
        let news = take_orders();
        let now = clock::now_ns();
        if !news.is_empty() {
            pulse = Pulse::fresh();
            // Not later than it was: orders without a pause must not keep the heart from beating.
            next_beat = next_beat.min(now + pulse.ms * 1_000_000);
        }
        let deep = now >= next_beat || fault::lost();
        if deep {
            pulse.beat();
            next_beat = now + pulse.ms * 1_000_000;
        }
        let idle = look(news, now, deep, pulse.beats);
        let since = *idle_since.get_or_insert(now);
        if !idle {
            idle_since = None;
        } else if ends(now >= since + LINGER_NS) {
            return;
        }
        sleep(control, if idle { since + LINGER_NS } else { next_beat });
    }
}

fn take_orders() -> Vec<Order> {
    core::mem::take(&mut ORDERS.lock().list)
}

/// One round over the table; whether it is empty.
fn look(news: Vec<Order>, now: u64, deep: bool, beats: u32) -> bool {
    let mut guard = ENGINE.lock();
    let engine = guard.get_or_insert_with(Engine::default);
    engine.relay();
    for order in news {
        engine.obey(order, now);
    }
    let mut me_in =
        |entry: &super::engine::Entry| arena::current(entry.kept.as_ref()?.arena, || "holdfast-helper".into()).ok();
    engine.round(&mut me_in, now, deep, beats);
    engine.is_empty()
}

/// Ends the helper if it may; nobody can give it an order meanwhile.
fn ends(late: bool) -> bool {
    let mut orders = ORDERS.lock();
    if !orders.list.is_empty() || !(late || orders.leave) {
        return false;
    }
    orders.running = false;
    if !orders.leave {
        orders.thread = None;
    }
    robust::pending_clear();
    true
}

fn sleep(control: u32, until: u64) {
    let mut watch = Watch::default();
    watch.add(&CONTROL, control);
    let mut until = until;
    {
        let guard = ENGINE.lock();
        let Some(engine) = guard.as_ref() else { return };
        for (word, value) in engine.words() {
            // SAFETY: words of arenas, which are never unmapped.
            watch.add(unsafe { &**word }, *value);
        }
        if let Some(at) = engine.wake_at(clock::now_ns()) {
            until = until.min(at);
        }
    }
    ASLEEP.store(1, SC);
    // What ended the sleep does not matter: everything is looked at after it.
    let _: Woken = futex::wait_any(watch.words(), Some(until));
    ASLEEP.store(0, SC);
}

/// Asks an idle helper to end: a fork beside a running thread makes CPython warn, and this one is nobody's business.
fn dismiss() {
    {
        let mut orders = ORDERS.lock();
        if !orders.running || !orders.desks.is_empty() {
            return; // with no desk left, whatever is still listed only ends waits
        }
        orders.leave = true;
    }
    nudge();
    let limit = clock::now_ns() + DISMISS_NS;
    while is_running() && clock::now_ns() < limit {
        pause();
    }
    let mut orders = ORDERS.lock();
    orders.leave = false;
    if !orders.running {
        if let Some(thread) = orders.thread.take() {
            let _ = thread.join();
        }
    }
}

extern "C" fn before_fork() {
    dismiss();
    ORDERS.hold();
    ENGINE.hold();
}

extern "C" fn after_in_parent() {
    ENGINE.release();
    ORDERS.release();
}

extern "C" fn after_in_child() {
    ENGINE.release();
    ORDERS.release();
    let mut orders = ORDERS.lock();
    orders.running = false;
    // The parent's thread: there is nothing to join.
    core::mem::forget(orders.thread.take());
    orders.list.clear();
    orders.desks.clear();
    drop(orders);
    ASLEEP.store(0, SC);
    if let Some(engine) = ENGINE.lock().as_mut() {
        engine.forget();
    }
}
