/// Why updates are not accepted now: of a [`Notice`](crate::Notice).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// No server answers, or what answers is none of Milepost's.
    NoAnswer,
    /// The server, or a proxy before it, answers that it cannot do it now: it is full, limits its clients, or is partly unavailable.
    Busy,
    /// The server refuses the credential. A process whose environment has it does not get another one.
    Credential,
}
