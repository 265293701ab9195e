use std::fmt;

/// A key or a value of the configuration that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    text: String,
    is_wrong_type: bool,
}

impl ConfigError {
    pub(crate) fn new(text: String) -> Self {
        Self { text, is_wrong_type: false }
    }

    /// Whether the value has another type than the setting, such as a text where it must be a number.
    pub fn is_wrong_type(&self) -> bool {
        self.is_wrong_type
    }
}

impl From<toml::de::Error> for ConfigError {
    fn from(error: toml::de::Error) -> Self {
        let message = error.message();
        let mismatch = ["invalid type: ", "invalid value: "]
            .into_iter()
            .find_map(|kind| message.strip_prefix(kind)?.rsplit_once(", expected "));
        if let Some((found, choices)) = message
            .strip_prefix("unknown variant ")
            .and_then(|rest| rest.rsplit_once(", expected "))
        {
            let text =
                format!("is {}; it must be {}", found.replace('`', "\""), choices.replace('`', ""));
            return Self::new(text);
        }
        match mismatch {
            Some((found, expected)) => Self {
                text: format!("is {}; it must be {}", value(found), in_words(expected)),
                is_wrong_type: true,
            },
            // The only setting that serde reads as an address with its port.
            None if message == "invalid socket address syntax" => {
                Self::new("is not an address; it must be like 127.0.0.1:9184".to_owned())
            }
            None => Self::new(message.to_owned()),
        }
    }
}

/// The value in a message of serde's, without the name of its type: "integer `7`".
fn value(found: &str) -> &str {
    match found {
        "sequence" => "a list",
        "map" => "a table",
        found => found
            .strip_prefix("string ")
            .or_else(|| Some(found.split_once('`')?.1.trim_end_matches('`')))
            .unwrap_or(found),
    }
}

/// What serde expects, for people who do not know Rust.
fn in_words(expected: &str) -> String {
    let whole = |least: &str, most: u64| format!("a whole number from {least} to {most}");
    match expected {
        "u8" => whole("0", u8::MAX.into()),
        "u16" => whole("0", u16::MAX.into()),
        "u32" => whole("0", u32::MAX.into()),
        "a nonzero u32" => whole("1", u32::MAX.into()),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "a nonzero u64" | "a nonzero usize" => "a whole number, 1 or more".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "path string" => "text".to_owned(),
        "a sequence" => "a list of texts".to_owned(),
        other => other.to_owned(),
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // toml spreads some messages over several lines. An error is printed as one.
        f.write_str(&self.text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl std::error::Error for ConfigError {}
