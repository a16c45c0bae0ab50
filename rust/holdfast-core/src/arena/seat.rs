//! Seats: who a thread is, for locks and for reports.
//!
//! ```text
//! owner id (30 bits)   bits 0-22 slot of the seat | bits 23-29 low bits of the slot's generation    0: nobody
//! ORPHAN               the holder died and its seat has been swept
//! ```
//! A seat is freed when its thread ends holding nothing, or by the sweep of its dead process once no lock names it.

use super::layout::{kind, read_text, write_text, Seat, Slot};
use super::Arena;
use crate::error::Result;
use crate::os::identity;
use crate::sync::{broken, SC};

/// Owner id of a holder that died and whose seat was swept.
pub const ORPHAN: u32 = OWNER_MASK;
/// Bits of a lock word that name the owner.
pub const OWNER_MASK: u32 = 0x3fff_ffff;

const SLOT_BITS: u32 = 23;

/// Slot of the seat that an owner id names.
#[must_use]
pub const fn owner_seat(owner: u32) -> u32 {
    owner & ((1 << SLOT_BITS) - 1)
}

const fn owner_id(slot: u32, generation: u32) -> u32 {
    slot | (generation & 0x7f) << SLOT_BITS
}

/// A thread as reports show it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// Process id, 0 if nobody knows any more.
    pub pid: u32,
    /// Kernel thread id.
    pub tid: u32,
    /// multiprocessing's name of the process.
    pub process: String,
    /// Thread name.
    pub thread: String,
    /// Whether the process lives.
    pub alive: bool,
    /// Whether the thread ended while its process lives.
    pub thread_gone: bool,
}

impl Arena {
    /// Makes a seat for the calling thread; the owner id.
    pub(super) fn take_seat(&self, thread_name: &str) -> Result<u32> {
        let process = self.my_process()?;
        let generation = self.process(process).map_or(0, |r| r.generation.load(SC));
        let fill = |slot: &Slot| {
            let seat = slot.as_seat();
            seat.tid.store(identity::thread_id(), SC);
            seat.generation.store(generation, SC);
            write_text(&seat.name, thread_name);
            seat.process.store(process, SC);
        };
        // Filled before it can be seen: a sweep takes a seat without a process for one of process 0, which may be dead.
        let id = self.allocate(kind::SEAT, 0, |slot| {
            if !broken("seat-filled-first") {
                fill(slot)
            }
        })?;
        let Some(seat) = self.seat(id) else { return Err(crate::Error::corrupt("seat")) };
        if let (true, Some(slot)) = (broken("seat-filled-first"), self.slot(id)) {
            fill(slot);
        }
        Ok(owner_id(id, seat.life.load(SC)))
    }

    /// The thread ends: frees its seat, or leaves it to the sweep if something it holds is still locked.
    pub(super) fn give_up_seat(&self, owner: u32) {
        let id = owner_seat(owner);
        let Some(seat) = self.seat(id) else { return };
        if seat.held.load(SC) == seat.released_by_others.load(SC) {
            self.free_slot(id);
        } else {
            seat.gone.store(1, SC);
        }
    }

    /// The seat an owner id names, if it is still that seat.
    #[must_use]
    pub(crate) fn seat_of(&self, owner: u32) -> Option<&Seat> {
        let id = owner_seat(owner);
        let seat = self.seat(id)?;
        (owner_id(id, seat.life.load(SC)) == owner).then_some(seat)
    }

    /// Describes the thread behind an owner id.
    #[must_use]
    pub fn holder(&self, owner: u32) -> Holder {
        let Some(seat) = self.seat_of(owner) else { return Holder::default() };
        let process = seat.process.load(SC);
        let Some(record) = self.process(process) else { return Holder::default() };
        Holder {
            pid: record.pid.load(SC),
            tid: seat.tid.load(SC),
            process: read_text(&record.name),
            thread: read_text(&seat.name),
            alive: self.is_process_alive(process, false) && record.generation.load(SC) == seat.generation.load(SC),
            thread_gone: seat.gone.load(SC) != 0,
        }
    }

    /// The threads that wait for a slot.
    #[must_use]
    pub fn waiters(&self, slot: u32) -> Vec<Holder> {
        let mut found = Vec::new();
        self.each_slot(|id, s| {
            if s.state.load(SC) & 0xff != kind::SEAT {
                return;
            }
            let Some(seat) = self.seat(id) else { return };
            if seat.waiting_for.load(SC) == slot {
                let who = self.holder(owner_id(id, seat.life.load(SC)));
                if who.alive {
                    found.push(who);
                }
            }
        });
        found
    }
}
