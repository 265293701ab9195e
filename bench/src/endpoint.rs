/// Where a job is watched or reported.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoint {
    pub(crate) path: String,
    /// If the path does not name the job: the channel that messages name.
    pub(crate) channel: Option<String>,
    /// The key or token to send, if the server asks for one.
    pub(crate) credential: Option<String>,
}

impl Endpoint {
    /// The header that carries the credential, with its line's end; empty without one.
    pub(crate) fn authorization(&self) -> String {
        let line = |credential| format!("Authorization: Bearer {credential}\r\n");
        self.credential.as_ref().map(line).unwrap_or_default()
    }
}
