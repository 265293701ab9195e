use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use milepost_protocol::{InvalidCredential, sendable};

/// What the program's function returns.
pub(crate) type Supplying = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// Where the token of a connection comes from.
#[derive(Clone, Default)]
pub(crate) enum TokenSource {
    #[default]
    None,
    Fixed(String),
    Function(Arc<dyn Fn() -> Supplying + Send + Sync>),
}

impl TokenSource {
    pub(crate) fn function<F, S, E>(supply: F) -> Self
    where
        F: Fn() -> S + Send + Sync + 'static,
        S: Future<Output = Result<String, E>> + Send + 'static,
        E: fmt::Display,
    {
        Self::Function(Arc::new(move || {
            let supplying = supply();
            Box::pin(async move { supplying.await.map_err(|error| error.to_string()) })
        }))
    }

    /// The token for a connection that is about to be made, or to go on, as it is sent.
    pub(crate) async fn ask(self) -> Result<Option<String>, String> {
        let token = match self {
            Self::None => return Ok(None),
            Self::Fixed(token) => token,
            Self::Function(supply) => supply().await?,
        };
        match sendable(&token) {
            Ok(token) => Ok(token.map(str::to_owned)),
            Err(InvalidCredential) => Err(format!("it has {InvalidCredential}")),
        }
    }
}
