//! Every system call of holdfast, one concern a file. Linux is the platform; the rest of the crate calls only this.

pub mod append;
pub mod beacon;
pub mod clock;
pub mod fault;
pub mod futex;
pub mod identity;
pub mod local;
pub mod memory;
pub mod objects;
pub mod robust;
