//! Model checks of slots: made, sent, received, dropped and swept by several processes; and sweeps among takers.
#![cfg(feature = "model")]

mod common;

use common::*;
use core::cell::Cell;
use core::ptr;
use holdfast_core::arena::layout::{
    kind, phase, process_state, state, Header, ProcessRecord, CHUNKS_AT, HEADER, PROCESSES, PROCESS_BYTES, UNITS,
};
use holdfast_core::arena::{Arena, Handle, Me, OWNER_MASK};
use holdfast_core::lock::{mutex, Taken};
use holdfast_core::model::{self, tid_of, Config, End, Shared, World};
use holdfast_core::sync::SC;

struct State {
    stage: Stage,
    handle: Cell<Option<Handle>>,
    section: Section,
    ids: Log<u32>,
}

/// Slots that may change while the tasks run: the ones that the next allocations take.
const FRESH: u32 = 8;

fn words_of(view: &Arena, slot: u32) {
    model::thaw(ptr::from_ref(view.slot(slot).expect("a slot")), 32);
}

/// Everything of a slots check that is not still: counters, rows, records, the last units (where slots are taken from).
fn thaw_table(stage: &Stage) {
    let (base, len) = stage.views[0].memory();
    model::freeze(base, len);
    // SAFETY: the arena begins with a header, followed by process records; both are only looked at for addresses.
    let (header, records) = unsafe { (&*base.cast::<Header>(), base.add(HEADER).cast::<ProcessRecord>()) };
    model::thaw(&header.free, 3);
    model::thaw(&header.cursor, 3);
    model::thaw(&header.sweep, 2);
    for process in 0..stage.views.len() {
        // SAFETY: as above; the record is one of those in use.
        let record = unsafe { &*records.add(process) };
        model::thaw(&record.state, 2);
        model::thaw(&record.beacon, 1);
    }
    const _: () = assert!(core::mem::size_of::<ProcessRecord>() == PROCESS_BYTES);
    // SAFETY: the rows of chunk 0 lie there.
    model::thaw(unsafe { base.add(CHUNKS_AT) }, PROCESSES * 2 - 2);
    (UNITS as u32 - FRESH..UNITS as u32).for_each(|slot| words_of(stage.views[0], slot));
}

fn state_of(stage: Stage) -> State {
    thaw_table(&stage);
    State { stage, handle: Cell::new(None), section: Section::default(), ids: Log::default() }
}

/// Makes an object whose value says what it is.
fn make(view: &'static Arena, tag: u64) -> Handle {
    view.make(kind::LOCK, 0, |slot| slot.value.store(tag, SC)).expect("room")
}

/// The object behind a handle that is held is and stays the one that was meant.
fn look(view: &'static Arena, handle: Handle, tag: u64) {
    let slot = view.slot(handle.slot).expect("a slot");
    for _ in 0..2 {
        assert_eq!(slot.value.load(SC), tag, "");
        assert_eq!(slot.generation.load(SC), handle.generation, "reclaimed while it was held");
        model::step();
    }
}

/// Slots in use that are not seats.
fn objects(view: &'static Arena) -> Vec<u32> {
    let mut found = Vec::new();
    view.each_slot(|id, slot| {
        if slot.state.load(SC) & 0xff != kind::SEAT && slot.state.load(SC) != state(kind::SEAT, phase::LIVE, 0) {
            found.push(id);
        }
    });
    found
}

/// After a sweep by a survivor nothing is left that nobody can reach: no object, no seat of the dead, no record.
fn nothing_is_left(s: &State, end: &End) {
    let survivor = (0..s.stage.people.len()).find(|i| !end.killed(*i)).expect("somebody lives");
    let view = s.stage.views[s.stage.processes[survivor]];
    view.sweep();
    let travelling = |id: &u32| view.slot(*id).is_some_and(|slot| slot.sent.load(SC) != slot.received.load(SC));
    let left: Vec<u32> = objects(view).into_iter().filter(|id| !travelling(id)).collect();
    assert!(left.is_empty(), "slots {left:?} are left");
    for (i, me) in s.stage.people.iter().enumerate() {
        let seated = view.slot(me.id & 0x7f_ffff).is_some_and(|slot| slot.state.load(SC) & 0xff == kind::SEAT);
        assert!(seated != end.killed(i) || s.ids.borrow().iter().any(|id| id & 0x7f_ffff == me.id & 0x7f_ffff));
    }
}

/// Task 0 makes an object, sends it to task 1 and drops it; task 1 loads it, looks and drops it; task 2 makes another,
/// perhaps in the same place, and with a stale copy of the first handle.
fn sending(noted: bool) -> impl Fn() -> World {
    move || {
        let body = move |s: Shared<State>, i: usize| {
            let view = s.stage.views[i];
            match i {
                0 => {
                    let handle = make(view, 1);
                    if noted {
                        view.note_sent(handle.slot);
                    }
                    s.handle.set(Some(handle));
                    view.let_go(handle.slot);
                }
                1 => {
                    let Some(handle) = s.handle.get() else { return };
                    match view.take_hold(handle, kind::LOCK) {
                        Ok(()) => {
                            look(view, handle, 1);
                            if noted {
                                view.note_received(handle.slot);
                            }
                            look(view, handle, 1);
                            view.let_go(handle.slot);
                        }
                        Err(gone) => assert!(!noted, "{gone}"),
                    }
                }
                _ => {
                    let handle = make(view, 2);
                    look(view, handle, 2);
                    view.let_go(handle.slot);
                }
            }
        };
        world(state_of(Stage::new(&[0, 1, 2])), |s| &s.stage, body, nothing_is_left)
    }
}

#[test]
fn slots_sent_object_is_never_reclaimed_and_never_another() {
    prove_to("slots, sent with note", bounds(2, 1, 0, 0), bounds(2, 2, 0, 0), &sending(true));
}

#[test]
fn slots_stale_handle_reaches_the_same_object_or_nothing() {
    prove_to("slots, sent without note", bounds(1, 1, 0, 0), bounds(2, 2, 0, 0), &sending(false));
}

/// The object exists and both hold it; both drop it, and take it up again with the old handle.
fn dropping() -> World {
    let stage = Stage::new(&[0, 1]).with(kind::LOCK, 0, |slot| slot.value.store(1, SC));
    let body = |s: Shared<State>, i: usize| {
        let (view, handle) = (s.stage.views[i], s.stage.handles[0]);
        view.let_go(handle.slot);
        if view.take_hold(handle, kind::LOCK).is_ok() {
            look(view, handle, 1);
            view.let_go(handle.slot);
        }
        let other = make(view, 2);
        look(view, other, 2);
        view.let_go(other.slot);
    };
    world(state_of(stage), |s| &s.stage, body, nothing_is_left)
}

#[test]
fn slots_dropped_by_two_at_once_are_reclaimed_once() {
    prove_to("slots, dropped by two", bounds(2, 0, 0, 0), bounds(2, 2, 0, 0), &dropping);
}

#[test]
fn slots_control_is_noticed() {
    refute("second-look", bounds(3, 0, 0, 0).config(), &dropping, "reclaimed while it was held");
    refute("stale-reach", bounds(2, 0, 0, 0).config(), &dropping, "are left");
}

/// Task 0 is killed (perhaps with the lock), task 1 sweeps, task 2 takes the lock, task 3 (a new thread of task 2's
/// process) takes a seat meanwhile and then the lock.
fn sweeping() -> World {
    let stage = Stage::new(&[0, 1, 2, 2]).with(kind::LOCK, 0, |_| {});
    let pass = |s: &State, me: &Me<'static>, i: usize| {
        let slot = s.stage.slot(i);
        let taken = if mutex::try_fast(&slot.word, me.id) {
            Taken::Free
        } else {
            mutex::try_acquire(me, &slot.word)
                .unwrap_or_else(|| patiently(|patience| mutex::acquire_slow(me, &slot.word, &slot.seat, patience)))
        };
        s.section.pass(&s.stage, i, taken);
        if !mutex::release_fast(&slot.word, me.id) {
            assert_eq!(mutex::release(me.id, &slot.word), holdfast_core::lock::Released::ByHolder);
        }
    };
    let body = move |s: Shared<State>, i: usize| match i {
        0 => pass(&s, &s.stage.people[0], 0),
        1 => {
            s.stage.views[1].sweep();
        }
        2 => pass(&s, &s.stage.people[2], 2),
        _ => {
            let me = Me::seated(s.stage.views[2], "new").expect("a seat");
            assert_ne!(me.id & OWNER_MASK, s.stage.people[2].id);
            s.ids.borrow_mut().push(me.id);
            pass(&s, &me, 3);
            let seat = s.stage.views[2].slot(me.id & 0x7f_ffff).expect("a slot");
            assert_eq!(seat.state.load(SC), state(kind::SEAT, phase::LIVE, 0), "the seat of a living thread was freed");
            assert_eq!(me.seat.tid.load(SC), tid_of(3));
        }
    };
    let mut world = world(
        state_of(stage),
        |s| &s.stage,
        body,
        |s, end| {
            let survivor = [1, 2].into_iter().find(|i| !end.killed(*i)).expect("somebody lives");
            s.stage.views[survivor].sweep();
            for (process, task) in [(0, 0), (1, 1), (2, 2)] {
                // SAFETY: the records lie behind the header.
                let record = unsafe { &*s.stage.views[0].memory().0.add(HEADER).cast::<ProcessRecord>().add(process) };
                let free = record.state.load(SC) == process_state::FREE;
                assert_eq!(free, end.killed(task), "record {process}");
            }
            let owner = s.stage.slot(1).word.load(SC) & OWNER_MASK;
            assert!(owner == 0 || owner == holdfast_core::arena::ORPHAN, "held by {owner:#x}");
        },
    );
    (2..4).for_each(|i| world.tasks[i].killable = false);
    world
}

#[test]
fn sweep_among_takers_orphans_only_the_dead() {
    prove_to("sweep, 1 killed, 2 takers", bounds(1, 1, 0, 0), bounds(2, 1, 0, 0), &sweeping);
    prove_to("sweep, sweeper killed too", bounds(0, 2, 0, 0), bounds(1, 2, 0, 0), &sweeping);
    sample("sweep, random", bounds(0, 2, 0, 0), 40_000, &sweeping);
}

/// The control of the fix: the same with seats that are filled only after they can be seen.
#[test]
fn sweep_control_is_noticed() {
    let config = Config { ..bounds(2, 1, 0, 0).config() };
    refute("seat-filled-first", config, &sweeping, "a seat");
}
