/// How long an input is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Duration {
    Seconds(f64),
    /// A single picture.
    Picture,
}
