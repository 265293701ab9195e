//! Milepost's jobs in Redis or Valkey, 7.0 and later: `spec/README.md`, section 14. Shared by the broker and by
//! reporters that report straight to Redis.
//!
//! [`Address`] reads the URL, [`Names`] has keys and channels, [`Call`] is one run of one of the scripts, and
//! [`Client`] runs them. The scripts are the fold, at work where the states are: they pass the fixtures that
//! `milepost-protocol` passes.

mod address;
mod answer;
mod arguments;
mod call;
mod client;
mod connection;
mod failure;
mod meta;
mod names;
mod published;
mod read;
mod reply;
mod report;
mod retention;
mod script;
mod shared_connection;
mod slots;
mod swap;

pub use address::{Address, InvalidAddress};
pub use answer::Answer;
pub use call::Call;
pub use client::{Checked, Client, LogRead};
pub use failure::Failure;
pub use names::{INDEX, Names};
pub use published::{Published, Secret};
pub use read::Read;
pub use reply::{Accepted, Reply};
pub use report::{Past, Report, ServerId, Source};
pub use retention::Retention;
pub use script::Script;
pub use slots::{Node, Slots, slot_of};
