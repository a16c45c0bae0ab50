//! Who a process is: pid, start time and pid namespace, never a bare pid.

/// A process as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Process id in its own pid namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start: u64,
    /// Inode of the pid namespace, 0 if unknown.
    pub pidns: u64,
}

/// The calling process.
#[must_use]
pub fn myself() -> Identity {
    if cfg!(feature = "model") {
        return Identity { pid: thread_id(), start: 1, pidns: pid_namespace() };
    }
    let pid = std::process::id();
    Identity { pid, start: start_time("self").unwrap_or(0), pidns: pid_namespace() }
}

/// The kernel's id of the calling thread.
#[must_use]
pub fn thread_id() -> u32 {
    #[cfg(feature = "model")]
    return crate::model::tid();
    #[cfg(not(feature = "model"))]
    // SAFETY: gettid has no arguments and cannot fail.
    unsafe {
        libc::syscall(libc::SYS_gettid) as u32
    }
}

/// The id of this process's pid namespace, 0 if /proc does not say.
#[must_use]
pub fn pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    if cfg!(feature = "model") {
        return 1; // the checker asks a hundred thousand times a second
    }
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |m| m.ino())
}

/// Start time of a process in clock ticks; `None` if it is gone or only a zombie.
#[must_use]
pub fn start_time(pid: &str) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &stat[stat.rfind(')')? + 2..];
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Whether that process is still there, asked of /proc. Where its namespace is not ours the answer is "yes": a pid of
/// another namespace says nothing.
#[must_use]
pub fn is_alive(who: &Identity, my_pidns: u64) -> bool {
    if who.pidns != my_pidns || who.pidns == 0 {
        return true;
    }
    #[cfg(feature = "model")]
    return crate::model::is_alive(who.pid);
    #[cfg(not(feature = "model"))]
    start_time(&who.pid.to_string()).is_some_and(|start| who.start == 0 || start == who.start)
}

/// Whether a thread id of this pid namespace exists at all.
#[must_use]
pub fn thread_exists(tid: u32) -> bool {
    #[cfg(feature = "model")]
    return crate::model::is_alive(tid);
    #[cfg(not(feature = "model"))]
    std::path::Path::new(&format!("/proc/{tid}")).exists()
}

/// Uid the files belong to.
#[must_use]
pub fn user_id() -> u32 {
    // SAFETY: geteuid cannot fail.
    unsafe { libc::geteuid() }
}

/// Eight random bytes.
#[must_use]
pub fn random_u64() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is valid for 8 bytes; a short read only makes the value less random.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    u64::from_ne_bytes(bytes)
}
