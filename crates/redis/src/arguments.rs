//! The one argument of the report script: `MessagePack` values, one after the other, in the order in which `report.lua` names
//! them. The Python package has the same encoder; both are held to `spec/fixtures/redis-arguments.json`.

use crate::meta::{NIL, push_bytes, push_number};

/// The arguments of `report.lua`, encoded. A missing one is nil.
#[derive(Debug)]
pub(crate) struct Arguments {
    bytes: Vec<u8>,
    /// Recorded only in tests, which compare them with the script's.
    names: Option<Vec<&'static str>>,
}

impl Default for Arguments {
    fn default() -> Self {
        /// Most updates fit into this many bytes, so the buffer is allocated once.
        const USUAL: usize = 768;
        Self { bytes: Vec::with_capacity(USUAL), names: cfg!(test).then(Vec::new) }
    }
}

impl Arguments {
    /// Appends a text, which the script calls `name`.
    pub(crate) fn text(self, name: &'static str, value: Option<&str>) -> Self {
        self.bytes(name, value.map(str::as_bytes))
    }

    /// Appends bytes, in the same way.
    pub(crate) fn bytes(mut self, name: &'static str, value: Option<&[u8]>) -> Self {
        self.note(name);
        match value {
            Some(value) => push_bytes(&mut self.bytes, value),
            None => self.bytes.push(NIL),
        }
        self
    }

    /// Appends a number, which the script calls `name`.
    pub(crate) fn number(mut self, name: &'static str, value: Option<u64>) -> Self {
        self.note(name);
        match value {
            Some(value) => push_number(&mut self.bytes, value),
            None => self.bytes.push(NIL),
        }
        self
    }

    pub(crate) fn flag(mut self, name: &'static str, value: bool) -> Self {
        self.note(name);
        self.bytes.push(if value { 0xc3 } else { 0xc2 });
        self
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The names, in order.
    #[cfg(test)]
    pub(crate) fn names(&self) -> &[&'static str] {
        self.names.as_deref().unwrap_or_default()
    }

    fn note(&mut self, name: &'static str) {
        if let Some(names) = &mut self.names {
            names.push(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn encodes_what_the_fixtures_say() {
        let text = include_str!("../../../spec/fixtures/redis-arguments.json");
        let fixture: Value = serde_json::from_str(text).unwrap();
        let cases = fixture["cases"].as_array().unwrap();
        assert!(cases.len() > 3);
        for case in cases {
            let given = case["values"].as_array().unwrap();
            let arguments =
                given.iter().fold(Arguments::default(), |arguments, value| match value {
                    Value::Number(number) => arguments.number("", number.as_u64()),
                    Value::Bool(flag) => arguments.flag("", *flag),
                    value => arguments.text("", value.as_str()),
                });
            let hex: Vec<_> =
                arguments.into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex.concat(), case["hex"].as_str().unwrap());
        }
    }
}
