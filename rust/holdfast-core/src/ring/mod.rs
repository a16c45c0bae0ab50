//! Queues: a ring of messages that its users fill and empty themselves, and the store its memory comes from.
//!
//! [`store`] hands out blocks of any size; [`queue`] is the protocol over them; [`words`] says where its words lie.

pub mod hands;
pub mod queue;
pub mod store;
pub mod words;
