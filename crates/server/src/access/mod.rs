//! Who may do what: by which name and from whose pages the server is reached.

mod exposure;
pub(crate) mod host;
pub(crate) mod origin;

pub(crate) use host::Hosts;
