//! The arena with real files: allocation, growth, handles, named objects, places.
#![cfg(not(feature = "model"))]

use holdfast_core::arena::layout::{kind, Slot, CLASS_UNITS, UNITS};
use holdfast_core::arena::{owner_seat, Arena, Me, NamedHow};
use holdfast_core::sync::SC;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};

fn nothing(_: &Slot) {}

/// This process's arenas lie in a directory of the test's own; one test at a time uses them.
fn home() -> (&'static Arena, MutexGuard<'static, ()>) {
    static ONE: Mutex<()> = Mutex::new(());
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let guard = ONE.lock().unwrap_or_else(|e| e.into_inner());
    DIR.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("holdfast-test-{}", std::process::id()));
        std::env::set_var("HOLDFAST_DIR", &dir);
        extern "C" fn tidy() {
            Arena::leave_all();
            if let Some(dir) = std::env::var_os("HOLDFAST_DIR") {
                let _ = std::fs::remove_dir_all(dir);
            }
        }
        // SAFETY: the function is async-safe enough for an ordinary exit and stays loaded.
        unsafe { libc::atexit(tidy) };
        dir
    });
    (Arena::home().expect("an arena"), guard)
}

fn seated(arena: &'static Arena) -> Me<'static> {
    Me::seated(arena, "test").expect("a seat")
}

#[test]
fn slot_made_is_live_and_dropped_is_free_with_a_new_generation() {
    let arena = Arena::in_memory(None);
    let (_, used, free) = arena.census();
    let first = arena.make(kind::LOCK, 0, |slot| slot.value.store(7, SC)).expect("room");
    assert_eq!(arena.slot(first.slot).expect("a slot").value.load(SC), 7);
    assert_eq!(arena.census(), (1, used + 1, free - 1));
    arena.let_go(first.slot);
    assert_eq!(arena.census(), (1, used, free));
    let slot = arena.slot(first.slot).expect("a slot");
    assert_eq!((slot.value.load(SC), slot.generation.load(SC)), (0, first.generation + 1));
    assert_eq!(arena.take_hold(first, kind::LOCK).expect_err("gone").code, "HF104");
}

#[test]
fn slot_of_each_class_has_its_cells() {
    let arena = Arena::in_memory(None);
    for (class, units) in CLASS_UNITS.iter().enumerate().take(2) {
        let handle = arena.make(kind::BARRIER, class, nothing).expect("room");
        assert_eq!(arena.cells(handle.slot).len(), (units - 1) * 32);
    }
}

#[test]
fn arena_in_memory_that_is_full_says_so_and_recovers() {
    let arena = Arena::in_memory(None);
    let mut made = Vec::new();
    let refused = loop {
        match arena.make(kind::EVENT, 0, nothing) {
            Ok(handle) => made.push(handle),
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.code, made.len()), ("HF501", 2 * UNITS - 1));
    arena.let_go(made[17].slot);
    assert_eq!(arena.make(kind::EVENT, 0, nothing).expect("room").slot, made[17].slot);
}

#[test]
fn object_held_by_two_views_lives_until_both_drop_it() {
    let one = Arena::in_memory(None);
    let two = Arena::in_memory(Some(one));
    let handle = one.make(kind::LOCK, 0, nothing).expect("room");
    two.take_hold(handle, kind::LOCK).expect("live");
    assert_eq!(two.take_hold(handle, kind::RLOCK).expect_err("another kind").code, "HF104");
    one.let_go(handle.slot);
    two.take_hold(handle, kind::LOCK).expect("still live");
    two.let_go(handle.slot);
    two.let_go(handle.slot);
    assert_eq!(one.take_hold(handle, kind::LOCK).expect_err("gone").code, "HF104");
}

#[test]
fn pickled_object_lives_until_it_is_loaded_and_dropped() {
    let one = Arena::in_memory(None);
    let two = Arena::in_memory(Some(one));
    let handle = one.make(kind::EVENT, 0, nothing).expect("room");
    one.note_sent(handle.slot);
    one.let_go(handle.slot);
    two.take_hold(handle, kind::EVENT).expect("a pickle keeps its object");
    two.note_received(handle.slot);
    two.let_go(handle.slot);
    assert_eq!(two.take_hold(handle, kind::EVENT).expect_err("gone").code, "HF104");
}

#[test]
fn arena_file_grows_by_chunks_and_its_slots_come_back() {
    let (arena, _guard) = home();
    let before = arena.bytes();
    let made: Vec<_> = (0..3 * UNITS).map(|_| arena.make(kind::LOCK, 0, nothing).expect("room")).collect();
    assert!(arena.bytes() > before);
    assert_eq!(std::fs::metadata(&arena.path).expect("a file").len(), arena.bytes() as u64);
    let grown = arena.bytes();
    made.iter().for_each(|handle| arena.let_go(handle.slot));
    let again: Vec<_> = (0..3 * UNITS).map(|_| arena.make(kind::LOCK, 0, nothing).expect("room")).collect();
    assert_eq!(arena.bytes(), grown, "freed slots were not used again");
    again.iter().for_each(|handle| arena.let_go(handle.slot));
}

#[test]
fn home_is_one_arena_and_attaching_it_gives_the_same() {
    let (arena, _guard) = home();
    assert!(core::ptr::eq(arena, Arena::home().expect("an arena")));
    assert!(core::ptr::eq(arena, Arena::attach(&arena.name).expect("known")));
    assert_eq!(Arena::attach("no such arena").expect_err("none").code, "HF401");
    assert_eq!(Arena::attach("../escape").expect_err("none").code, "HF401");
}

#[test]
fn bytes_small_and_large_are_mapped_and_their_files_removed() {
    let (arena, _guard) = home();
    for len in [0, 100, 5_000, 100_000] {
        let handle = arena.make_bytes(len).expect("room");
        let (base, found, own) = arena.map_bytes(handle).expect("mapped");
        assert_eq!(found, len);
        // SAFETY: the mapping has `len` bytes and is this test's alone.
        unsafe {
            core::slice::from_raw_parts_mut(base, len).fill(3);
            if own {
                Arena::unmap_bytes(base, len);
            }
        }
        arena.let_go(handle.slot);
    }
    let dir = arena.path.parent().expect("a directory");
    let blocks = std::fs::read_dir(dir).expect("readable").flatten();
    let left = blocks.filter(|e| e.file_name().to_string_lossy().starts_with("b-")).count();
    assert_eq!(left, 0);
}

#[test]
fn named_object_is_made_once_and_found_after_that() {
    let (_, _guard) = home();
    let arena = Arena::named().expect("an arena");
    let me = seated(arena);
    let long = "a name of more than thirty-two bytes, which is cut and hashed";
    for name in ["ledger", long] {
        let (made, how) = arena.find_or_make(&me, name, kind::LOCK, 0, nothing).expect("made");
        assert_eq!(how, NamedHow::Made);
        let (found, how) = arena.find_or_make(&me, name, kind::LOCK, 0, nothing).expect("found");
        assert_eq!((found, how), (made, NamedHow::Found));
        let clash = arena.find_or_make(&me, name, kind::EVENT, 0, nothing).expect_err("another kind");
        assert_eq!(clash.code, "HF111");
        arena.let_go(made.slot);
        arena.let_go(made.slot);
        let (_, how) = arena.find_or_make(&me, name, kind::EVENT, 0, nothing).expect("free again");
        assert_eq!(how, NamedHow::Made);
    }
}

#[test]
fn place_is_numbered_once_and_read_back() {
    let (arena, _guard) = home();
    let me = seated(arena);
    let first = arena.intern_site(&me, "pay.py:12");
    assert_eq!((arena.intern_site(&me, "pay.py:12"), first != 0), (first, true));
    let other = arena.intern_site(&me, "pay.py:13");
    assert_ne!(other, first);
    assert_eq!((arena.site(first).as_deref(), arena.site(other).as_deref()), (Some("pay.py:12"), Some("pay.py:13")));
    assert_eq!((arena.site(0), arena.site(other + 1)), (None, None));
    let long = format!("{}/end.py:1", "é".repeat(100));
    let id = arena.intern_site(&me, &long);
    assert!(long.ends_with(&arena.site(id).expect("kept")) && arena.site(id).expect("kept").ends_with("/end.py:1"));
}

#[test]
fn seat_describes_its_thread_and_names_it_by_owner_id() {
    let arena = Arena::in_memory(None);
    let me = seated(arena);
    let who = arena.holder(me.id);
    assert_eq!((who.pid, who.thread.as_str(), who.alive), (std::process::id(), "test", true));
    assert!(arena.is_mine(me.id));
    assert_eq!(arena.slot(owner_seat(me.id)).expect("a slot").state.load(SC) & 0xff, kind::SEAT);
}
