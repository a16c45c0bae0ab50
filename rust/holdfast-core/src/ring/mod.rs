//! Queues: a ring of messages that its users fill and empty themselves, and the store its memory comes from.
//!
//! [`store`] hands out blocks of any size; [`queue`] is the protocol over them, [`ends`] its two sides while they are held,
//! [`hands`] who has taken what; [`words`] says where the words of a queue lie.

pub mod ends;
pub mod hands;
pub mod queue;
pub mod store;
pub mod words;
