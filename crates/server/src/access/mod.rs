//! Access control.
//!
//! - [`Gate`]: the keys and the keys of tokens, and whether a credential is one of them.
//! - [`Grant`]: what a request or a connection is allowed.
//! - `layer`: checks that each request has the permission that its route declares in `router.rs`.
//! - [`Audit`]: the log of who did what to which job.
//! - [`Hosts`] and [`Origins`]: the names and the pages from which the server may be reached.

mod audit;
mod credential;
mod decision;
mod ending;
pub(crate) mod exposure;
pub(crate) mod foreign_page;
mod gate;
mod grant;
pub(crate) mod host;
mod jwks;
mod layer;
pub(crate) mod origin;
mod secret;
mod settings;

pub(crate) use audit::Audit;
pub(crate) use credential::chosen_subprotocol;
pub(crate) use decision::Decision;
pub(crate) use ending::Ending;
pub(crate) use gate::Gate;
pub(crate) use grant::{Grant, Granted};
pub(crate) use host::Hosts;
pub(crate) use layer::{Guarded, Need, SocketRefused, grant};
pub(crate) use origin::Origins;
pub use secret::Secret;
