//! Files in shared memory: creation that fails early, mapping, and the shared flock that says "in use".

use super::local::Local;
use crate::error::{Error, Result};
use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

static DIRECTORY: Local<Option<PathBuf>> = Local::new(None);

/// The directory of this user's arenas: `HOLDFAST_DIR`, else `/dev/shm/holdfast-UID`. Decided at the first use, so that a
/// later change of the environment or of the working directory does not tear a program in two.
#[must_use]
pub fn directory() -> PathBuf {
    DIRECTORY
        .lock()
        .get_or_insert_with(|| match std::env::var_os("HOLDFAST_DIR") {
            Some(dir) if !dir.is_empty() => std::path::absolute(&dir).unwrap_or_else(|_| PathBuf::from(dir)),
            _ => PathBuf::from(format!("/dev/shm/holdfast-{}", super::identity::user_id())),
        })
        .clone()
}

/// Decides the directory: that of the program this process belongs to.
pub fn set_directory(dir: &Path) {
    *DIRECTORY.lock() = Some(dir.to_owned());
}

/// Makes the directory (mode 0700) or checks that the one that is there is ours alone.
///
/// # Errors
/// HF502 if it cannot be made or belongs to somebody else, HF501 if there is no space.
pub fn ensure_directory(dir: &Path) -> Result<()> {
    let refuse = |why: String| Error::new("HF502", format!("cannot use {} for shared memory: {why}", dir.display()));
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => return Err(full(dir, &e)),
        Err(e) => return Err(refuse(e.to_string())),
    }
    let meta = std::fs::symlink_metadata(dir).map_err(|e| refuse(e.to_string()))?;
    if !meta.is_dir() {
        return Err(refuse("it is not a directory".into()));
    }
    if meta.uid() != super::identity::user_id() {
        return Err(refuse(format!("it belongs to user {}", meta.uid())));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(refuse(format!("others may write to it (mode {:o}); chmod 700 it", meta.mode() & 0o7777)));
    }
    Ok(())
}

/// The error for "no space".
#[must_use]
pub fn full(at: &Path, why: &io::Error) -> Error {
    Error::new(
        "HF501",
        format!(
            "no space for shared memory in {} ({why}); free some, give the container a larger one (docker run --shm-size), \
             or name another directory in HOLDFAST_DIR",
            at.display()
        ),
    )
}

/// Opens a file for reading and writing, never following a link.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path, create_new: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(create_new)
        .mode(0o600)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
        .open(path)
}

/// Gives a file another name in one step, never replacing one that is there.
///
/// # Errors
/// `AlreadyExists` if the name is taken; otherwise what the system says.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let c_path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
    let (from, to) = (c_path(from)?, c_path(to)?);
    // SAFETY: both paths are zero-terminated and outlive the call.
    let done =
        unsafe { libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::RENAME_NOREPLACE) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A descriptor that somebody may close behind our back (daemons close all they find): it knows which file it was opened
/// for, is checked before each use, and is never closed once the number has become somebody else's.
#[derive(Debug)]
pub struct Kept {
    file: Option<File>,
    is: (u64, u64),
}

impl Kept {
    /// Keeps a descriptor.
    #[must_use]
    pub fn new(file: File) -> Self {
        let is = file.metadata().map_or((0, 0), |m| (m.dev(), m.ino()));
        Self { file: Some(file), is }
    }

    fn is_still_ours(&self) -> bool {
        self.file.as_ref().is_some_and(|f| f.metadata().is_ok_and(|m| (m.dev(), m.ino()) == self.is))
    }

    /// The file, opened again by its path if the descriptor was closed.
    pub fn get(&mut self, path: &Path) -> Option<&File> {
        if !self.is_still_ours() {
            if let Some(gone) = self.file.take() {
                let _ = gone.into_raw_fd(); // the number is not ours any more: it must not be closed
            }
            let again = open(path, false).ok()?;
            let _ = mark_used(&again);
            self.file = Some(again);
            if !self.is_still_ours() {
                self.file = None; // another file has taken the name
            }
        }
        self.file.as_ref()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.is_still_ours() {
            if let Some(gone) = self.file.take() {
                let _ = gone.into_raw_fd();
            }
        }
    }
}

/// Makes sure that the first `len` bytes exist: a full file system is an error now, not a SIGBUS later.
///
/// # Errors
/// What the system says (ENOSPC, EFBIG, ...).
pub fn allocate(file: &File, len: u64) -> io::Result<()> {
    allocate_range(file, 0, len)
}

/// Makes sure that `len` bytes from `from` on exist.
///
/// # Errors
/// What the system says (ENOSPC, EFBIG, ...).
pub fn allocate_range(file: &File, from: u64, len: u64) -> io::Result<()> {
    // SAFETY: plain system call on an open descriptor.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), from as libc::off_t, len as libc::off_t) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Gives the memory behind a range back to the system; it reads as zeros then. Where the file system cannot, nothing
/// happens.
pub fn punch(file: &File, from: u64, len: u64) {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: plain system call on an open descriptor.
    unsafe { libc::fallocate(file.as_raw_fd(), mode, from as libc::off_t, len as libc::off_t) };
}

/// Bytes of the file system that a file lies in; the most there can be if it does not say.
#[must_use]
pub fn size_of_system(path: &Path) -> usize {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return usize::MAX };
    let mut told = core::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path is zero-terminated; `told` is valid for writes and read only if the call has filled it.
    unsafe {
        if libc::statvfs(path.as_ptr(), told.as_mut_ptr()) != 0 {
            return usize::MAX;
        }
        let told = told.assume_init();
        match (told.f_blocks as usize).saturating_mul(told.f_frsize as usize) {
            0 => usize::MAX, // a file system without a limit
            size => size,
        }
    }
}

/// Maps `len` bytes of the file, shared; the file may still be shorter.
///
/// # Errors
/// What the system says.
pub fn map(file: &File, len: usize) -> io::Result<*mut u8> {
    // SAFETY: a new mapping at an address the kernel chooses.
    let base = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_NORESERVE,
            file.as_raw_fd(),
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(base.cast())
}

/// Takes back a mapping.
///
/// # Safety
/// Nothing refers to the mapping any more.
pub unsafe fn unmap(base: *mut u8, len: usize) {
    // SAFETY: by the caller's promise.
    unsafe { libc::munmap(base.cast(), len) };
}

/// Marks the file as used by this process (and by its forked children, while they keep the descriptor).
#[must_use]
pub fn mark_used(file: &File) -> bool {
    // SAFETY: plain system call on an open descriptor.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_SH | libc::LOCK_NB) == 0 }
}

/// Whether nobody marks the file as used; if so it stays ours alone until the descriptor is closed.
#[must_use]
pub fn claim_unused(file: &File) -> bool {
    // SAFETY: plain system call on an open descriptor.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

fn sweeper_lock(file: &File, command: libc::c_int, kind: libc::c_int) -> Option<libc::c_int> {
    // SAFETY: zero is a valid (empty) flock, filled below.
    let mut lock: libc::flock = unsafe { core::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_len = 1;
    // SAFETY: plain system call on an open descriptor; `lock` is valid for reads and writes.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
    (done == 0).then_some(libc::c_int::from(lock.l_type))
}

/// Tries to become the one sweeper that has no process record; the kernel ends it with the process.
#[must_use]
pub fn start_unseated_sweep(file: &File) -> bool {
    sweeper_lock(file, libc::F_OFD_SETLK, libc::F_WRLCK).is_some()
}

/// Ends what [`start_unseated_sweep`] began.
pub fn end_unseated_sweep(file: &File) {
    sweeper_lock(file, libc::F_OFD_SETLK, libc::F_UNLCK);
}

/// Whether another process sweeps without a record.
#[must_use]
pub fn is_unseated_sweep_running(file: &File) -> bool {
    sweeper_lock(file, libc::F_OFD_GETLK, libc::F_WRLCK).is_some_and(|kind| kind != libc::F_UNLCK)
}

/// Whether the file still has a name.
#[must_use]
pub fn has_name(file: &File) -> bool {
    file.metadata().is_ok_and(|m| m.nlink() > 0)
}
