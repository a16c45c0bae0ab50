//! One line to the end of a file that many processes write to: the short way, when nothing is in its way.

use crate::sync::{AtomicU64, Ordering};
use core::ffi::CStr;
use core::mem::MaybeUninit;

/// The file as the caller knows it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Open for appending.
    pub fd: i32,
    /// Its name, to see whether it still is the file of that name.
    pub path: &'a CStr,
    /// Inode that the caller has opened.
    pub inode: u64,
    /// Device that it is on.
    pub device: u64,
    /// Bytes that it must not grow beyond unless it is empty; 0: no limit.
    pub limit: u64,
}

/// What the holder of the file's lock is about to write; shared by all its writers.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Intent {
    /// Where the line begins, plus one; 0: nothing is under way.
    pub start: AtomicU64,
    /// Its length in bytes.
    pub length: AtomicU64,
    /// The inode it goes to.
    pub inode: AtomicU64,
}

/// Appends a line, with the file's lock held by the caller.
///
/// Returns false if that needs more than a write: somebody died while writing, the file was moved or is full, or the
/// write failed. Nothing of the line is in the file then.
#[must_use]
pub fn append(target: &Target<'_>, line: &[u8], intent: &Intent) -> bool {
    if intent.start.load(Ordering::SeqCst) != 0 {
        return false;
    }
    let Some(now) = status(target.path) else { return false };
    if now.inode != target.inode || now.device != target.device {
        return false;
    }
    let (size, more) = (now.size, line.len() as u64);
    if target.limit != 0 && size != 0 && size + more > target.limit {
        return false;
    }
    intent.length.store(more, Ordering::SeqCst);
    intent.inode.store(target.inode, Ordering::SeqCst);
    intent.start.store(size + 1, Ordering::SeqCst);
    // SAFETY: the pointer and the length are those of a slice.
    let written = unsafe { libc::write(target.fd, line.as_ptr().cast(), line.len()) };
    let whole = written == line.len() as isize;
    if written > 0 && !whole {
        // SAFETY: takes numbers only. If it fails, the intent tells the next writer what to cut off.
        if unsafe { libc::ftruncate(target.fd, size as i64) } != 0 {
            return false;
        }
    }
    intent.start.store(0, Ordering::SeqCst);
    whole
}

/// Inode, device and size of a file by its name; without its times, whose asking would make the next write dearer.
fn status(path: &CStr) -> Option<Status> {
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    let mask = libc::STATX_INO | libc::STATX_SIZE;
    // SAFETY: the path ends with a zero byte; the structure has room for what is written.
    let failed = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), 0, mask, found.as_mut_ptr()) };
    // SAFETY: every byte was zero before the call, which is a valid value.
    let found = unsafe { found.assume_init() };
    (failed == 0 && found.stx_mask & mask == mask).then(|| Status {
        inode: found.stx_ino,
        device: libc::makedev(found.stx_dev_major, found.stx_dev_minor),
        size: found.stx_size,
    })
}

struct Status {
    inode: u64,
    device: u64,
    size: u64,
}
