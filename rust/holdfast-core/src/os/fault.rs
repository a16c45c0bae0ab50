//! A truncated arena file must not crash the interpreter.
//!
//! Touching a page beyond the end of a file is SIGBUS. The handler puts zero pages in place of the arena it hit and marks
//! it as lost; every operation that looks at the mark then reports HF504 instead of going on. Faults elsewhere go to
//! whoever handled SIGBUS before.

use crate::sync::local::{AtomicBool, AtomicUsize, Ordering};

const RANGES: usize = 64;
static BASE: [AtomicUsize; RANGES] = [const { AtomicUsize::new(0) }; RANGES];
static LEN: [AtomicUsize; RANGES] = [const { AtomicUsize::new(0) }; RANGES];
static LOST: AtomicBool = AtomicBool::new(false);
static mut BEFORE: core::mem::MaybeUninit<libc::sigaction> = core::mem::MaybeUninit::uninit();
static READY: AtomicBool = AtomicBool::new(false);

/// Whether an arena of this process was cut off under it.
#[inline]
#[must_use]
pub fn lost() -> bool {
    // Relaxed pairs with the store in `on_bus_error`, made by the very thread that reads it next.
    LOST.load(Ordering::Relaxed)
}

/// Guards a mapping.
pub fn guard(base: *mut u8, len: usize) {
    for (b, l) in BASE.iter().zip(&LEN) {
        l.store(len, Ordering::SeqCst);
        if b.compare_exchange(0, base as usize, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            break;
        }
    }
    if READY.swap(true, Ordering::SeqCst) {
        return;
    }
    // SAFETY: `handler` only makes async-signal-safe calls; BEFORE is written once, here, before the handler can run.
    unsafe {
        let mut new: libc::sigaction = core::mem::zeroed();
        new.sa_sigaction = on_bus_error as *const () as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        libc::sigemptyset(&raw mut new.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const new, (&raw mut BEFORE).cast());
    }
}

/// Stops guarding a mapping that is about to go.
pub fn unguard(base: *mut u8) {
    for b in &BASE {
        if b.compare_exchange(base as usize, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            break;
        }
    }
}

extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo for SA_SIGINFO handlers.
    let at = unsafe { (*info).si_addr() } as usize;
    for (b, l) in BASE.iter().zip(&LEN) {
        let (base, len) = (b.load(Ordering::SeqCst), l.load(Ordering::SeqCst));
        if base != 0 && at >= base && at - base < len {
            LOST.store(true, Ordering::SeqCst);
            let page = at & !4095;
            // SAFETY: replaces pages of our own mapping by zero pages; mmap is a plain system call.
            let put = unsafe {
                libc::mmap(
                    page as *mut libc::c_void,
                    base + len - page,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            if put != libc::MAP_FAILED {
                return;
            }
        }
    }
    // SAFETY: BEFORE was filled when the handler was installed; the fault repeats under the earlier action.
    unsafe { libc::sigaction(signal, (&raw const BEFORE).cast(), core::ptr::null_mut()) };
}
