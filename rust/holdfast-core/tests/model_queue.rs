//! Model checks of the queue: writers and readers that are killed at any step.
//!
//! Who must be served is never killed in these worlds, and some writer that lives puts enough for all readers that live:
//! then a reader that waits for ever has missed something.
#![cfg(feature = "model")]

mod common;

use common::ring::{queue_world, Role};
use common::*;
use holdfast_core::model::Config;
use Role::{Finish, FinishRest, Join, Read, ReadAll, ReadUntilShut, Shut, View, Write};

#[test]
fn queue_users_that_live_hand_over_all_without_a_heartbeat() {
    let one = || queue_world(&[Write(&["i", "b"]), Read(2, 1)], &[], 0, 3);
    prove_without_heartbeat("Queue, 1 writer, 1 reader", bounds(3, 0, 0, 0), &one);
    let writers = || queue_world(&[Write(&["ib"]), Write(&["i"]), Read(3, 2)], &[], 0, 4);
    prove_without_heartbeat("Queue, 2 writers, 1 reader", bounds(if deep() { 3 } else { 2 }, 0, 0, 0), &writers);
    let readers = || queue_world(&[Write(&["ib", "i"]), Read(2, 2), Read(1, 1)], &[], 0, 4);
    prove_without_heartbeat("Queue, 1 writer, 2 readers", bounds(if deep() { 3 } else { 2 }, 0, 0, 0), &readers);
    let both = || queue_world(&[Write(&["i"]), Write(&["b"]), Read(1, 1), Read(1, 1)], &[], 0, 4);
    prove_without_heartbeat("Queue, 2 writers, 2 readers", bounds(if deep() { 2 } else { 1 }, 0, 0, 0), &both);
}

#[test]
fn queue_writer_killed_anywhere_leaves_all_that_was_put() {
    let one = || queue_world(&[Write(&["i", "b"]), ReadAll], &[0], 0, 3);
    prove_to("Queue, 1 writer killed, 1 reader", bounds(2, 1, 0, 0), bounds(3, 1, 0, 0), &one);
    let make = || queue_world(&[Write(&["ib", "b"]), Write(&["i", "b"]), Read(2, 2)], &[0], 0, 6);
    prove_to("Queue, 1 of 2 writers killed, 1 reader", bounds(1, 1, 0, 0), bounds(2, 1, 0, 0), &make);
}

#[test]
fn queue_reader_killed_anywhere_loses_its_batch_at_most() {
    let make = || queue_world(&[Write(&["ib", "ii"]), Read(3, 3), Read(1, 1)], &[1], 0, 4);
    prove_to("Queue, 1 writer, 1 of 2 readers killed", bounds(1, 1, 0, 0), bounds(2, 1, 0, 0), &make);
    let one = || queue_world(&[Write(&["ibi"]), Read(3, 3)], &[1], 0, 4);
    prove_to("Queue, 1 writer, 1 reader killed", bounds(2, 1, 0, 0), bounds(3, 1, 0, 0), &one);
}

#[test]
fn queue_writer_and_reader_killed_leave_it_in_order() {
    let make = || queue_world(&[Write(&["b"]), Write(&["i", "i"]), Read(1, 1), Read(1, 1)], &[0, 2], 0, 6);
    prove_to("Queue, 2 writers, 2 readers, 1 of each killed", bounds(0, 2, 0, 0), bounds(1, 2, 0, 0), &make);
    let more = || queue_world(&[Write(&["bi"]), Write(&["ib", "i"]), Read(2, 2), Read(1, 1)], &[0, 2], 0, 6);
    sample("Queue, 2 writers, 2 readers, 1 of each killed", bounds(0, 2, 2, 2), 30_000, &more);
}

#[test]
fn queue_of_one_never_holds_two() {
    let alive = || queue_world(&[Write(&["i", "i"]), Write(&["b"]), Read(3, 1)], &[], 1, 3);
    prove_without_heartbeat("Queue(1), 2 writers, 1 reader", bounds(2, 0, 0, 0), &alive);
    let writer = || queue_world(&[Write(&["i", "i"]), Write(&["b"]), ReadAll], &[0], 1, 3);
    prove_to("Queue(1), 1 of 2 writers killed, 1 reader", bounds(1, 1, 0, 0), bounds(2, 1, 0, 0), &writer);
    let reader = || queue_world(&[Write(&["ii"]), ReadAll, ReadAll], &[1], 1, 3);
    prove_to("Queue(1), 1 writer, 1 of 2 readers killed", bounds(1, 1, 0, 0), bounds(2, 1, 0, 0), &reader);
}

#[test]
fn queue_segments_are_freed_once_whoever_is_killed() {
    let writer = || queue_world(&[Write(&["iiii", "ii"]), Write(&["iii"]), Read(3, 3)], &[0], 0, 4);
    prove_to("Queue, new segments, writer killed", bounds(1, 1, 0, 0), bounds(2, 1, 0, 0), &writer);
    let reader = || queue_world(&[Write(&["iiii", "iii"]), Read(6, 4), Read(1, 1)], &[1], 0, 4);
    prove_to("Queue, new segments, reader killed", bounds(1, 1, 0, 0), bounds(2, 1, 0, 0), &reader);
}

#[test]
fn queue_views_hold_their_blocks_until_they_go() {
    let make = || queue_world(&[Write(&["b", "b"]), View(1), Read(1, 1)], &[1], 0, 4);
    prove_to("Queue, 1 writer, 1 reader with a view killed", bounds(1, 1, 0, 0), bounds(2, 1, 0, 0), &make);
}

#[test]
fn queue_shut_down_lets_everybody_go_and_loses_nothing() {
    let readers = || queue_world(&[Write(&["i", "b"]), ReadUntilShut, ReadUntilShut, Shut(false)], &[], 0, 4);
    prove_without_heartbeat("Queue, shutdown, 2 readers", bounds(1, 0, 0, 0), &readers);
    let writers = || queue_world(&[Write(&["i", "b"]), Write(&["i"]), Shut(false)], &[], 1, 4);
    prove_without_heartbeat("Queue(1), shutdown, 2 writers", bounds(2, 0, 0, 0), &writers);
    let killed = || queue_world(&[Write(&["i", "i"]), ReadUntilShut, Shut(false), Shut(false)], &[2], 1, 4);
    prove_to("Queue(1), shutdown cut off by a kill", bounds(0, 1, 0, 0), bounds(1, 1, 0, 0), &killed);
    sample("Queue(1), shutdown cut off by a kill", bounds(0, 1, 1, 1), 30_000, &killed);
    let dropping = || queue_world(&[Write(&["ib", "b"]), ReadUntilShut, Shut(true), Shut(true)], &[2], 0, 6);
    prove_to("Queue, shutdown at once cut off by a kill", bounds(0, 1, 0, 0), bounds(1, 1, 0, 0), &dropping);
    sample("Queue, shutdown at once cut off by a kill", bounds(0, 1, 1, 1), 30_000, &dropping);
}

#[test]
fn queue_join_returns_when_all_are_finished_and_not_before() {
    let make = || queue_world(&[Write(&["i", "i"]), Finish(2), Join(1)], &[], 0, 2);
    prove_without_heartbeat("Queue, join", bounds(3, 0, 0, 0), &make);
    let killed = || queue_world(&[Write(&["ii"]), Finish(2), FinishRest, Join(2)], &[1], 0, 2);
    let report = prove_to("Queue, join, one that finishes killed", bounds(1, 1, 0, 0), bounds(2, 1, 0, 0), &killed);
    assert!(report.heartbeat_rescues > 0);
}

#[test]
fn queue_controls_are_noticed() {
    let writer = || queue_world(&[Write(&["ib", "b"]), Write(&["i", "b"]), Read(2, 2)], &[0], 0, 6);
    refute("settle", bounds(1, 1, 0, 0).config(), &writer, "are kept by an empty queue");
    let reader = || queue_world(&[Write(&["ibi"]), Read(3, 3)], &[1], 0, 4);
    refute("position-last", bounds(1, 1, 0, 0).config(), &reader, "");
    let alive = |config: Config| Config { rounds: 0, ..config };
    let one = || queue_world(&[Write(&["i", "b"]), Read(2, 1)], &[], 0, 3);
    refute("look-again", alive(bounds(2, 0, 0, 0).config()), &one, "stranded");
    let shut = || queue_world(&[Write(&["i", "b"]), Write(&["i"]), Shut(false)], &[], 1, 4);
    refute("close-first", alive(bounds(2, 0, 0, 0).config()), &shut, "stranded");
    let join = || queue_world(&[Write(&["i", "i"]), Finish(2), Join(1)], &[], 0, 2);
    refute("finished-first", alive(bounds(3, 0, 0, 0).config()), &join, "never finished");
}
