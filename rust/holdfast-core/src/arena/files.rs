//! Arena files: made, attached, removed, and swept when nobody uses them any more.
//!
//! Everybody who maps a file keeps a shared flock on it (the dead man's switch of SQLite's WAL); who gets it exclusively
//! knows that nobody is left. Source: SQLite `os_unix.c`, UNIX_SHM_DMS.

use super::layout::{CHUNK, CHUNKS_AT, MAGIC, MAX_CHUNKS, SPAN, VERSION};
use super::Arena;
use crate::error::{Error, Result};
use crate::os::{fault, identity, memory};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// File of the arena for named objects.
pub const NAMED: &str = "named";
const NEW: &str = "new-";
/// How often a file is made that other programs, which start just then, sweep away before it is marked as used.
const TRIES: u32 = 1000;

/// Makes this program's arena.
pub(super) fn create(registry: &mut Vec<&'static Arena>) -> Result<&'static Arena> {
    let dir = memory::directory();
    memory::ensure_directory(&dir)?;
    sweep_directory(&dir);
    let name = format!("{}-{:016x}", std::process::id(), identity::random_u64());
    create_named(&dir, &name, registry)?
        .ok_or_else(|| Error::new("HF502", format!("an arena called {name} is already in {}", dir.display())))
}

/// Makes an arena under a temporary name and gives it its name in one step. `None`: the name is taken.
fn create_named(dir: &Path, name: &str, registry: &mut Vec<&'static Arena>) -> Result<Option<&'static Arena>> {
    let path = dir.join(name);
    let refuse = |e: io::Error| match e.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::ENOMEM) => memory::full(dir, &e),
        _ => Error::new("HF502", format!("cannot make shared memory in {}: {e}", dir.display())),
    };
    let (temporary, file) = unfinished(dir).map_err(refuse)?;
    let made = (|| {
        memory::allocate(&file, (CHUNKS_AT + CHUNK) as u64)?;
        let base = memory::map(&file, SPAN)?;
        Ok(Arena::from_mapping(base, name.to_owned(), path.clone(), Some(file), MAX_CHUNKS))
    })();
    let arena = match made {
        Ok(arena) => arena,
        Err(e) => {
            remove(&temporary);
            return Err(refuse(e));
        }
    };
    arena.format();
    match memory::rename_new(&temporary, &path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            remove(&temporary);
            // SAFETY: nothing refers to this mapping yet.
            unsafe { memory::unmap(arena.base, SPAN) };
            return Ok(None);
        }
        Err(e) => {
            remove(&temporary);
            return Err(refuse(e));
        }
    }
    Ok(Some(enter(arena, registry)?))
}

/// A new file under a temporary name, which nobody sweeps away any more.
fn unfinished(dir: &Path) -> io::Result<(PathBuf, File)> {
    for _ in 0..TRIES {
        let temporary = dir.join(format!("{NEW}{}-{:016x}", std::process::id(), identity::random_u64()));
        let file = memory::open(&temporary, true)?;
        if memory::mark_used(&file) && memory::has_name(&file) {
            return Ok((temporary, file));
        }
        remove(&temporary); // another program has come upon it between open and flock, and sweeps it, or has
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}

fn enter(arena: Arena, registry: &mut Vec<&'static Arena>) -> Result<&'static Arena> {
    super::install_fork_hook();
    fault::guard(arena.base, SPAN);
    arena.join_table()?;
    let arena: &'static Arena = Box::leak(Box::new(arena));
    registry.push(arena);
    Ok(arena)
}

/// Maps an arena that exists.
pub(super) fn attach(name: &str, registry: &mut Vec<&'static Arena>) -> Result<&'static Arena> {
    let dir = memory::directory();
    let gone = |why: &str| {
        Error::new(
            "HF401",
            format!(
                "this object belongs to a program that is not running here any more ({why}; arena {name:?} in {})",
                dir.display()
            ),
        )
    };
    if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
        return Err(gone("its arena has an impossible name"));
    }
    let path = dir.join(name);
    let file = match memory::open(&path, false) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(gone("its shared memory is gone")),
        Err(e) => return Err(Error::new("HF502", format!("cannot open {}: {e}", path.display()))),
    };
    check_file(&file, &path)?;
    if !memory::mark_used(&file) || !memory::has_name(&file) {
        return Err(gone("its shared memory is being removed"));
    }
    let base =
        memory::map(&file, SPAN).map_err(|e| Error::new("HF501", format!("cannot map {}: {e}", path.display())))?;
    enter(Arena::from_mapping(base, name.to_owned(), path, Some(file), MAX_CHUNKS), registry)
}

fn check_file(file: &File, path: &Path) -> Result<()> {
    let mut head = [0u8; 16];
    let len = file.metadata().map_or(0, |m| m.len());
    let read = file.read_exact_at(&mut head, 0);
    let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if read.is_err() || head[..8] != MAGIC.to_ne_bytes() {
        return Err(Error::corrupt(format!("{} does not start as it must", path.display())));
    }
    if word(8) != VERSION {
        return Err(Error::new(
            "HF503",
            format!(
                "{} was made by another version of holdfast (layout {}, this one has {VERSION}); use one version in all processes",
                path.display(),
                word(8)
            ),
        ));
    }
    let chunks = word(12) as usize;
    if chunks == 0 || chunks > MAX_CHUNKS || len < (CHUNKS_AT + chunks * CHUNK) as u64 {
        return Err(Error::corrupt(format!("{} is shorter than it says", path.display())));
    }
    Ok(())
}

/// The arena for named objects of this user, made if there is none.
pub(super) fn named(registry: &mut Vec<&'static Arena>) -> Result<&'static Arena> {
    let dir = memory::directory();
    memory::ensure_directory(&dir)?;
    for _ in 0..1000 {
        match attach(NAMED, registry) {
            Err(e) if e.code == "HF401" => {}
            done => return done,
        }
        if let Some(arena) = create_named(&dir, NAMED, registry)? {
            return Ok(arena);
        }
        std::thread::yield_now(); // taken, but being removed: the name is free in a moment
    }
    Err(Error::new("HF502", format!("the arena for named objects in {} comes and goes", dir.display())))
}

/// Removes a file; that it is gone already is as good.
pub(super) fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// Removes an arena's file and the blocks that belong to it.
pub(super) fn remove_arena(path: &Path) {
    remove(path);
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return };
    let prefix = format!("{}{}-", super::blocks::PREFIX, name.to_string_lossy());
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            remove(&entry.path());
        }
    }
}

/// Removes what killed programs left: every arena here that nobody marks as used, with the blocks that belong to it.
fn sweep_directory(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(super::blocks::PREFIX) {
            continue;
        }
        let Ok(file) = memory::open(&entry.path(), false) else { continue };
        if memory::claim_unused(&file) {
            remove_arena(&entry.path());
        }
    }
}
