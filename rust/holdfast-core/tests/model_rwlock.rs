//! Model checks of the readers-writer lock.
#![cfg(feature = "model")]

mod common;

use common::*;
use core::cell::Cell;
use holdfast_core::arena::layout::kind;
use holdfast_core::lock::rwlock::RwLock;
use holdfast_core::lock::{mutex, Released, Taken};
use holdfast_core::model::{step, Config, End, Shared, World};
use holdfast_core::wait::{Patience, Waited};

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Read,
    Write,
    /// Reads, giving up after a second.
    ReadBriefly,
    /// Writes, giving up after a second.
    WriteBriefly,
    /// Looks once whether it can write.
    TryWrite,
}

struct State {
    stage: Stage,
    cells: usize,
    readers: Log<usize>,
    writer: Cell<usize>,
    /// A writer was killed inside.
    left_by_dead: Cell<bool>,
    told: Cell<bool>,
}

fn state(tasks: usize, cells: usize) -> State {
    let processes: Vec<usize> = (0..tasks).collect();
    let stage = Stage::new(&processes).with(kind::RWLOCK, 1, |_| {}).frozen(cells);
    let (writer, left_by_dead, told) = (Cell::new(0), Cell::new(false), Cell::new(false));
    State { stage, cells, readers: Log::default(), writer, left_by_dead, told }
}

fn lock(s: &State, i: usize) -> RwLock<'static> {
    RwLock { slot: s.stage.slot(i), cells: &s.stage.cells(i, 0)[..s.cells] }
}

/// Nobody alive writes; a writer who was killed inside has left something half done.
fn check_no_writer(s: &State, i: usize, taken: Taken) {
    let writer = s.writer.get();
    assert!(writer == 0 || !s.stage.lives(writer - 1), "task {i} enters while task {} writes", writer - 1);
    s.left_by_dead.set(s.left_by_dead.get() || writer != 0);
    s.told.set(s.told.get() || taken != Taken::Free);
    check_report(&s.stage, taken, false);
}

fn read(s: &State, i: usize, taken: Taken) {
    check_no_writer(s, i, taken);
    s.readers.borrow_mut().push(i);
    step();
    check_no_writer(s, i, Taken::Free);
    s.readers.borrow_mut().retain(|other| *other != i);
    assert_eq!(lock(s, i).release_read(&s.stage.people[i]), Released::ByHolder);
}

fn write(s: &State, i: usize, taken: Taken) {
    check_no_writer(s, i, taken);
    let reader = s.readers.borrow().iter().copied().find(|reader| s.stage.lives(*reader));
    assert!(reader.is_none(), "task {i} writes while task {reader:?} reads");
    s.writer.set(i + 1);
    step();
    assert_eq!(s.writer.replace(0), i + 1, "somebody else writes");
    assert_eq!(mutex::release(s.stage.people[i].id, &s.stage.slot(i).word), Released::ByHolder);
}

fn act(s: &State, i: usize, role: Role) {
    let (lock, me) = (lock(s, i), &s.stage.people[i]);
    let reading = |patience: &mut Patience<'_>| match lock.try_read(me) {
        Some(taken) => Waited::Done(taken),
        None => lock.read_slow(me, patience),
    };
    let writing = |patience: &mut Patience<'_>| match lock.try_write(me) {
        Some(taken) => Waited::Done(taken),
        None => lock.write_slow(me, patience),
    };
    match role {
        Role::Read => read(s, i, patiently(reading)),
        Role::Write => write(s, i, patiently(writing)),
        Role::ReadBriefly => {
            if let Waited::Done(taken) = briefly(SECOND, reading) {
                read(s, i, taken);
            }
        }
        Role::WriteBriefly => {
            if let Waited::Done(taken) = briefly(SECOND, writing) {
                write(s, i, taken);
            }
        }
        Role::TryWrite => {
            if let Some(taken) = lock.try_write(me) {
                write(s, i, taken);
            }
        }
    }
}

/// Whoever came after a writer killed inside: one of them was told, unless that one was killed too.
fn somebody_was_told(s: &State, end: &End) {
    assert!(!s.left_by_dead.get() || s.told.get() || end.kills > 1, "a writer was killed and nobody was told");
    assert!(lock(s, 0).readers(&s.stage.people[0]).is_empty(), "readers are left");
}

fn roles(roles: &'static [Role], cells: usize) -> impl Fn() -> World {
    move || {
        let body = move |s: Shared<State>, i: usize| act(&s, i, roles[i]);
        world(state(roles.len(), cells), |s| &s.stage, body, somebody_was_told)
    }
}

use Role::{Read, ReadBriefly, TryWrite, Write, WriteBriefly};

#[test]
fn rwlock_one_writer_two_readers_pass() {
    let make = roles(&[Write, Read, Read], 3);
    prove_to("RWLock, 1 writer, 2 readers", bounds(1, 1, 1, 0), bounds(2, 1, 1, 1), &make);
    prove_to("RWLock, 1 writer, 2 readers", bounds(1, 2, 0, 0), bounds(2, 2, 0, 0), &make);
    prove_without_heartbeat("RWLock, 1 writer, 2 readers", bounds(3, 0, 0, 0), &make);
    // A reader killed between unmarking the gate and its wake, when the writer had seen it gone already.
    let report = prove("RWLock, 1 writer, 2 readers", bounds(2, 1, 0, 0), &make);
    assert!(report.heartbeat_rescues > 0);
}

#[test]
fn rwlock_two_writers_one_reader_pass() {
    let make = roles(&[Write, Write, Read], 2);
    prove_to("RWLock, 2 writers, 1 reader", bounds(1, 1, 1, 0), bounds(2, 2, 0, 1), &make);
    prove_without_heartbeat("RWLock, 2 writers, 1 reader", bounds(2, 1, 0, 0), &make);
}

#[test]
fn rwlock_with_fewer_cells_than_readers_passes() {
    let make = roles(&[Read, Read, Write], 1);
    prove_to("RWLock, 2 readers, 1 cell, 1 writer", bounds(2, 1, 0, 0), bounds(3, 1, 0, 1), &make);
    let make = roles(&[Read, Read, Read], 1);
    prove_without_heartbeat("RWLock, 3 readers, 1 cell", bounds(3, 0, 0, 0), &make);
}

#[test]
fn rwlock_death_of_a_writer_is_always_told() {
    // Those who take over and then give up must not swallow the report.
    let make = roles(&[Write, TryWrite, Read], 2);
    prove_to("RWLock, writer, try_write, reader", bounds(2, 1, 0, 0), bounds(4, 1, 0, 0), &make);
    let make = roles(&[Write, WriteBriefly, Read], 2);
    prove_to("RWLock, writer, writer with a deadline, reader", bounds(1, 1, 1, 0), bounds(2, 1, 1, 0), &make);
    let make = roles(&[Write, ReadBriefly, Write], 1);
    prove_to("RWLock, reader with a deadline, 2 writers", bounds(1, 1, 1, 0), bounds(2, 1, 1, 0), &make);
}

#[test]
fn rwlock_random_schedules_of_six_tasks_pass() {
    let make = roles(&[Write, Read, Read, Write, Read, WriteBriefly], 3);
    sample("RWLock, 6 tasks", bounds(0, 3, 2, 2), 40_000, &make);
}

#[test]
fn rwlock_controls_are_noticed() {
    let make = roles(&[Write, Read], 2);
    refute("reader-rechecks", bounds(2, 0, 0, 0).config(), &make, "while task");
    refute("dead-owner", bounds(2, 1, 0, 0).config(), &make, "readers are left");
    if deep() {
        let three = roles(&[Write, TryWrite, Read], 2);
        refute("orphan-again", bounds(4, 1, 0, 0).config(), &three, "nobody was told");
    }
    refute(
        "seat-wake",
        Config { rounds: 0, ..bounds(2, 0, 0, 0).config() },
        &roles(&[Write, Read, Read], 2),
        "stranded",
    );
}
