//! Bytes of any size: small ones lie in the slot, larger ones in a file of their own beside the arena's.
//!
//! The file is named after arena, slot and generation; it is removed when the slot is reclaimed or, after a kill of the
//! whole program, by the sweep that removes the arena.

use super::layout::{kind, CLASS_UNITS, UNIT};
use super::{heap::Handle, Arena, Me};
use crate::error::{Error, Result};
use crate::os::{fault, memory};
use crate::sync::SC;
use std::path::PathBuf;

/// First letters of a block's file name; the arena's name follows.
pub(super) const PREFIX: &str = "b-";

/// The class of slots that has room for so many bytes; none for a file of its own.
fn class_for(len: usize) -> Option<usize> {
    (1..3).find(|c| (CLASS_UNITS[*c] - 1) * UNIT >= len)
}

impl Arena {
    /// Makes `len` zero bytes.
    ///
    /// # Errors
    /// HF501 if there is no memory.
    pub fn make_bytes(&self, len: usize) -> Result<Handle> {
        let class = class_for(len);
        let handle = self.make(kind::BYTES, class.unwrap_or(0), |slot| {
            slot.value.store(len as u64, SC);
        })?;
        if class.is_none() {
            if let Err(e) = self.make_block(handle, len) {
                self.let_go(handle.slot);
                return Err(e);
            }
        }
        Ok(handle)
    }

    /// Finds the bytes of that name, or makes `len` zero bytes.
    ///
    /// # Errors
    /// HF111 if the name belongs to something else or to bytes of another length; HF501 if there is no memory.
    pub fn find_or_make_bytes(&self, me: &Me<'_>, name: &str, len: usize) -> Result<Handle> {
        let class = class_for(len).unwrap_or(0);
        let (handle, _) = self.find_or_make(me, name, kind::BYTES, class, |slot| {
            slot.value.store(len as u64, SC);
        })?;
        let found = self.slot(handle.slot).map_or(0, |s| s.value.load(SC)) as usize;
        if found == len {
            return Ok(handle);
        }
        self.let_go(handle.slot);
        Err(Error::new("HF111", format!("the name {name:?} belongs to {found} bytes, not to {len}")))
    }

    fn block_path(&self, slot: u32, generation: u32) -> PathBuf {
        self.path.with_file_name(format!("{PREFIX}{}-{slot}-{generation}", self.name))
    }

    fn make_block(&self, handle: Handle, len: usize) -> Result<()> {
        let path = self.block_path(handle.slot, handle.generation);
        // A named block may be made by two finders at once; making it twice does no harm.
        let file = memory::open(&path, true)
            .or_else(|_| memory::open(&path, false))
            .map_err(|e| Error::new("HF502", format!("cannot make {}: {e}", path.display())))?;
        memory::allocate(&file, len as u64).map_err(|e| {
            super::files::remove(&path);
            memory::full(&path, &e)
        })
    }

    /// Maps the bytes behind a handle this process holds: address, length, and whether the mapping must be taken back.
    ///
    /// # Errors
    /// HF504 if the block is missing or shorter than it was made.
    pub fn map_bytes(&self, handle: Handle) -> Result<(*mut u8, usize, bool)> {
        let slot = self.slot(handle.slot).ok_or_else(Error::gone)?;
        let len = slot.value.load(SC) as usize;
        let cells = self.cells(handle.slot);
        if !cells.is_empty() {
            if len > cells.len() * 4 {
                return Err(Error::corrupt("bytes longer than their slot"));
            }
            return Ok((cells.as_ptr().cast::<u8>().cast_mut(), len, false));
        }
        let path = self.block_path(handle.slot, handle.generation);
        if slot.name[0].load(SC) != 0 {
            self.make_block(handle, len)?; // by whoever maps it first: it is zero in any case
        }
        let file =
            memory::open(&path, false).map_err(|e| Error::corrupt(format!("cannot open {}: {e}", path.display())))?;
        if file.metadata().map_or(0, |m| m.len()) < len as u64 {
            return Err(Error::corrupt(format!("{} was cut off", path.display())));
        }
        let base = memory::map(&file, len.max(1))
            .map_err(|e| Error::new("HF501", format!("cannot map {}: {e}", path.display())))?;
        fault::guard(base, len.max(1));
        Ok((base, len, true))
    }

    /// Takes back a mapping of [`Self::map_bytes`].
    ///
    /// # Safety
    /// Nothing refers to it any more.
    pub unsafe fn unmap_bytes(base: *mut u8, len: usize) {
        fault::unguard(base);
        // SAFETY: by the caller's promise.
        unsafe { memory::unmap(base, len.max(1)) };
    }

    pub(super) fn remove_block(&self, slot: u32, generation: u32) {
        if self.cells(slot).is_empty() {
            super::files::remove(&self.block_path(slot, generation));
        }
    }
}
