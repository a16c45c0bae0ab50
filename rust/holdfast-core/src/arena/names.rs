//! Named objects: the same for every process of a user.
//!
//! They live in an arena of their own. Looking up or making one happens under that arena's name lock, so that two
//! processes never make two objects of one name.

use super::layout::{kind, phase, read_text, state, write_text, Slot};
use super::{files, heap::Handle, Arena, Me, REGISTRY};
use crate::error::{Error, Result};
use crate::lock::mutex;
use crate::os::futex::Watch;
use crate::sync::SC;

/// How a name was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedHow {
    /// The object was there.
    Found,
    /// The object was made.
    Made,
}

/// Name as stored: up to 32 bytes as they are, else 23 bytes and a hash.
#[must_use]
pub fn stored(name: &str) -> String {
    if name.len() <= 32 {
        return name.to_owned();
    }
    let mut end = 15;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    // FNV-1a, 64 bit. Source: Fowler, Noll, Vo.
    let h = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{}~{h:016x}", &name[..end])
}

impl Arena {
    /// The arena for named objects.
    ///
    /// # Errors
    /// HF501 to HF505.
    pub fn named() -> Result<&'static Self> {
        let mut registry = REGISTRY.lock();
        if let Some(known) = registry.iter().find(|a| a.name == files::NAMED) {
            return Ok(known);
        }
        files::named(&mut registry)
    }

    /// Finds the object of that kind and name, or makes it with `fill`.
    ///
    /// # Errors
    /// HF111 if the name belongs to an object of another kind; HF501 if there is no memory.
    pub fn find_or_make(
        &self,
        me: &Me<'_>,
        name: &str,
        of: u32,
        class: usize,
        fill: impl Fn(&Slot),
    ) -> Result<(Handle, NamedHow)> {
        let lock = &self.header().names;
        let mut watch = Watch::default();
        mutex::acquire_words(me, &lock.word, &lock.seat, &mut watch)?;
        let done = self.find_or_make_locked(&stored(name), name, of, class, fill);
        mutex::release_words(me, &lock.word);
        done
    }

    fn find_or_make_locked(
        &self,
        short: &str,
        name: &str,
        of: u32,
        class: usize,
        fill: impl Fn(&Slot),
    ) -> Result<(Handle, NamedHow)> {
        let mut found = None;
        self.each_slot(|id, slot| {
            let (k, at) = (slot.state.load(SC) & 0xff, slot.state.load(SC) >> 8 & 0xff);
            if k > kind::SITES && at == phase::LIVE && read_text(&slot.name) == short {
                found = Some((Handle { slot: id, generation: slot.generation.load(SC) }, k));
            }
        });
        if let Some((handle, k)) = found {
            if k != of {
                return Err(Error::new(
                    "HF111",
                    format!("the name {name:?} belongs to a {}, not to a {}", kind::name(k), kind::name(of)),
                ));
            }
            if self.take_hold(handle, of).is_ok() {
                return Ok((handle, NamedHow::Found));
            }
        }
        let id = self.allocate(of, class, |slot| {
            write_text(&slot.name, short);
            fill(slot);
        })?;
        let generation = self.slot(id).map_or(0, |s| s.generation.load(SC));
        Ok((Handle { slot: id, generation }, NamedHow::Made))
    }

    /// Makes an object without a name in this arena.
    ///
    /// # Errors
    /// HF501 if there is no memory.
    pub fn make(&self, of: u32, class: usize, fill: impl Fn(&Slot)) -> Result<Handle> {
        let id = self.allocate(of, class, fill)?;
        let slot = self.slot(id).ok_or_else(|| Error::corrupt("slot"))?;
        debug_assert_eq!(slot.state.load(SC), state(of, phase::LIVE, 0));
        Ok(Handle { slot: id, generation: slot.generation.load(SC) })
    }
}
