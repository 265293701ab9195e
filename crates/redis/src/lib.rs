//! Milepost's jobs in Redis or Valkey, 7.0 and later: `spec/README.md`, section 14. Shared by the broker and by
//! reporters that report straight to Redis.
//!
//! [`Address`] reads the URL, [`Names`] has keys and channels, [`Call`] is one run of one of the scripts, and
//! [`Client`] runs them. The scripts are the fold, at work where the states are: they pass the fixtures that
//! `milepost-protocol` passes.

mod address;
mod arguments;
mod call;
mod client;
mod connection;
mod failure;
mod job_log;
mod names;
mod published;
mod slots;

pub use address::{Address, InvalidAddress};
pub use call::{Answer, Call, Read, Reply, Report, Retention, Script, ServerId, Source, Taken};
pub use client::Client;
pub use failure::Failure;
pub use job_log::LogRead;
pub use names::{INDEX, Names};
pub use published::{Published, Secret};
pub use slots::{Node, Slots, slot_of};
