//! Places in source code ("file:line"), stored once per arena and named by a small number.
//!
//! A table is a slot of class 2 with one 128-byte entry per place: a state word (0 free, else hash | 1) and text. Entries
//! are only ever added, under the arena's name lock, so a reader needs no lock.

use super::layout::{kind, read_text, write_text};
use super::{Arena, Me};
use crate::lock::mutex;
use crate::os::futex::Watch;
use crate::sync::{AtomicU32, SC};

/// Number of a place; 0 is "unknown".
pub type SiteId = u32;

const WORDS: usize = 32;

fn hash(text: &str) -> u32 {
    // FNV-1a. Source: Fowler, Noll, Vo.
    text.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193)) | 1
}

fn entries(cells: &[AtomicU32]) -> impl Iterator<Item = &[AtomicU32]> {
    cells.chunks_exact(WORDS)
}

impl Arena {
    /// The number of a place, added if it is new. 0 when the tables are full or there is no memory.
    #[must_use]
    pub fn intern_site(&self, me: &Me<'_>, text: &str) -> SiteId {
        let room = (WORDS - 1) * 4;
        let mut from = text.len().saturating_sub(room);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        let text = &text[from..];
        let tag = hash(text);
        if let Some(id) = self.find_site(text, tag) {
            return id;
        }
        let lock = &self.header().names;
        let mut watch = Watch::default();
        if mutex::acquire_words(me, &lock.word, &lock.seat, &mut watch).is_err() {
            return 0;
        }
        let id = self.find_site(text, tag).or_else(|| self.add_site(text, tag)).unwrap_or(0);
        mutex::release_words(me, &lock.word);
        id
    }

    fn find_site(&self, text: &str, tag: u32) -> Option<SiteId> {
        for (t, table) in self.header().sites.iter().enumerate() {
            let slot = table.load(SC);
            if slot == 0 {
                return None;
            }
            for (i, entry) in entries(self.cells(slot)).enumerate() {
                match entry[0].load(SC) {
                    0 => return None,
                    found if found == tag && read_text(&entry[1..]) == text => return Some((t * 256 + i + 1) as u32),
                    _ => {}
                }
            }
        }
        None
    }

    fn add_site(&self, text: &str, tag: u32) -> Option<SiteId> {
        for (t, table) in self.header().sites.iter().enumerate() {
            if table.load(SC) == 0 {
                table.store(self.allocate(kind::SITES, 2, |_| {}).ok()?, SC);
            }
            for (i, entry) in entries(self.cells(table.load(SC))).enumerate() {
                if entry[0].load(SC) == 0 {
                    write_text(&entry[1..], text);
                    entry[0].store(tag, SC);
                    return Some((t * 256 + i + 1) as u32);
                }
            }
        }
        None
    }

    /// The text of a place.
    #[must_use]
    pub fn site(&self, id: SiteId) -> Option<String> {
        let at = id.checked_sub(1)? as usize;
        let table = self.header().sites.get(at / 256)?.load(SC);
        let entry = entries(self.cells(table)).nth(at % 256)?;
        (table != 0 && entry[0].load(SC) != 0).then(|| read_text(&entry[1..]))
    }
}
