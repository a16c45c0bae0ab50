//! The core of holdfast: shared memory and waiting. It knows nothing of Python.
//!
//! Storeys, each using only those before it: [`sync`] (atomics, or the model checker's), [`os`] (every system call),
//! [`arena`] (the shared segment: processes, seats of threads, slots), [`wait`] (the turnstile every waiter goes
//! through), [`lock`] (one file per primitive), [`ring`] (blocks of any size, and queues made of them), [`claim`] (who does
//! which task of a batch), [`watch`] (the one thread that waits for all tasks of a process).
//!
//! What is robust against what: any process may be SIGKILLed between any two instructions. Every change of shared state
//! that matters is one atomic write by which the new owner is known, so whoever looks next can tell what happened and
//! finish it; whoever sleeps is woken by the kernel when the holder dies, and looks again by himself at every heartbeat.

pub mod arena;
pub mod claim;
pub mod error;
pub mod lock;
pub mod os;
pub mod ring;
pub mod sync;
pub mod wait;
pub mod watch;

#[cfg(feature = "model")]
pub mod model;

pub use arena::{Arena, Me};
pub use error::{Error, Result};
