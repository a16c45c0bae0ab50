//! The calling thread's `list_op_pending`: the one word that the kernel looks at besides the robust list when a thread
//! dies. If the word holds the dead thread's id, the kernel marks it OWNER_DIED and wakes one sleeper; if its owner part
//! is 0, it wakes one sleeper.
//!
//! Source: Linux Documentation/locking/robust-futex-ABI.rst; kernel/futex/core.c `handle_futex_death`. libc uses the same
//! field only inside its own robust lock and unlock, never while our thread sleeps here.

use crate::sync::AtomicU32;

#[cfg(not(feature = "model"))]
mod real {
    use crate::sync::AtomicU32;
    use core::cell::Cell;

    #[repr(C)]
    struct Head {
        list: *mut core::ffi::c_void,
        futex_offset: libc::c_long,
        list_op_pending: *mut core::ffi::c_void,
    }

    thread_local! {
        static HEAD: Cell<*mut Head> = const { Cell::new(core::ptr::null_mut()) };
    }

    fn head() -> *mut Head {
        let known = HEAD.get();
        if !known.is_null() {
            return known;
        }
        let mut head: *mut Head = core::ptr::null_mut();
        let mut len: libc::size_t = 0;
        // SAFETY: asks for the calling thread's own list head; both pointers are valid for writes.
        let result = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
        if result != 0 || len != core::mem::size_of::<Head>() {
            return core::ptr::null_mut(); // no robust lists here: the heartbeat finds what the kernel does not tell
        }
        HEAD.set(head);
        head
    }

    pub fn set(word: *const AtomicU32) {
        let head = head();
        if head.is_null() {
            return;
        }
        // SAFETY: the head belongs to this thread and lives as long as it; the kernel reads it only at thread exit.
        unsafe {
            let entry =
                if word.is_null() { core::ptr::null_mut() } else { word.byte_offset(-((*head).futex_offset as isize)) };
            core::ptr::write_volatile(&raw mut (*head).list_op_pending, entry as *mut core::ffi::c_void);
        }
    }
}

/// Names the word that the kernel shall look at if this thread dies now.
pub fn pending_set(word: &AtomicU32) {
    #[cfg(feature = "model")]
    crate::model::pending_set(core::ptr::from_ref(word));
    #[cfg(not(feature = "model"))]
    real::set(core::ptr::from_ref(word));
}

/// Names no word any more.
pub fn pending_clear() {
    #[cfg(feature = "model")]
    crate::model::pending_clear();
    #[cfg(not(feature = "model"))]
    real::set(core::ptr::null());
}
