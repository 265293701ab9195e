//! The JSON that passes through: fields in the order given, values as the text that was given.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object's fields, borrowed from its text.
pub(crate) struct Fields<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::with_capacity(12);
                while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
                    fields.push((name, map.next_value::<&'de RawValue>()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The first field whose value is nested deeper than `most` levels.
pub(crate) fn too_deep<'f>(fields: &'f Fields<'_>, most: usize) -> Option<&'f str> {
    // A level is two characters at least.
    let may_be = |value: &RawValue| value.get().len() > 2 * most;
    let mut fields = fields.0.iter();
    fields.find(|(_, value)| may_be(value) && depth(value.get()) > most).map(|(name, _)| &**name)
}

/// How deeply valid JSON is nested.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A field's name: borrowed, unless it is written with escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The first name that stands twice, if one does.
pub(crate) fn duplicate<'f>(fields: &'f Fields<'_>) -> Option<&'f str> {
    const FEW: usize = 24;
    let names = fields.0.iter().map(|(name, _)| name.as_ref());
    if fields.0.len() <= FEW {
        // A bit for each length and first letter: names that share none with an earlier name are compared with none.
        let mut seen = 0_u64;
        for (i, name) in names.clone().enumerate() {
            let first = name.bytes().next().unwrap_or(0);
            let bit = 1 << ((name.len() * 7 + usize::from(first)) % 64);
            if seen & bit != 0 && names.clone().take(i).any(|earlier| earlier == name) {
                return Some(name);
            }
            seen |= bit;
        }
        return None;
    }
    let mut seen = std::collections::HashSet::with_capacity(fields.0.len());
    names.into_iter().find(|name| !seen.insert(*name))
}

/// The text of a JSON string in which nothing is escaped; none if something is, or if it is another value.
pub(crate) fn plain_text(json: &str) -> Option<&str> {
    let text = json.strip_prefix('"')?.strip_suffix('"')?;
    (!any(text, |b| b == b'\\')).then_some(text)
}

/// Appends `text` as a JSON string.
pub(crate) fn push_string(out: &mut String, text: &str) {
    if !any(text, |b| b < b' ' || b == b'"' || b == b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else if let Ok(quoted) = serde_json::to_string(text) {
        // Only I/O can fail here, and a String has none.
        out.push_str(&quoted);
    }
}

/// Whether there is a line break, between tokens: inside JSON strings they are escaped.
pub(crate) fn has_line_break(json: &str) -> bool {
    any(json, |b| b == b'\n' || b == b'\r')
}

/// Whether a byte is such. Looks at all of them, so that the compiler compares many at once.
fn any(text: &str, is_such: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(false, |found, b| found | is_such(b))
}

/// The same JSON without the line breaks between its tokens, which would cut a server-sent event or an
/// NDJSON line in two. Inside JSON strings there are none: they are escaped there.
pub(crate) fn on_one_line(json: &str) -> Cow<'_, str> {
    if has_line_break(json) {
        Cow::Owned(json.chars().filter(|&c| c != '\n' && c != '\r').collect())
    } else {
        Cow::Borrowed(json)
    }
}

/// A finite number, as the float nearest to its digits.
pub(crate) fn number(json: &str) -> Option<f64> {
    let is_number = json.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    json.parse().ok().filter(|number: &f64| is_number && number.is_finite())
}

/// The text of a JSON string.
pub(crate) fn text(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    if let Some(text) = plain_text(json) {
        return Some(Cow::Borrowed(text));
    }
    json.starts_with('"').then(|| serde_json::from_str(json).ok().map(|Text(text)| text))?
}

/// Whether it is a JSON string of 1 to `max_bytes` bytes of text.
pub(crate) fn is_text(json: &str, max_bytes: usize) -> bool {
    text(json).is_some_and(|text| (1..=max_bytes).contains(&text.len()))
}

/// A progress that the fold works out: within 0…1, with at most six decimals, so that it is written the same wherever
/// the fold runs.
pub(crate) struct Ratio(pub(crate) f64);

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clamped = if self.0 > 0.0 { self.0.min(1.0) } else { 0.0 };
        let decimals = format!("{clamped:.6}");
        let short = decimals.trim_end_matches('0');
        let point = if short.ends_with('.') { "0" } else { "" };
        write!(f, "{short}{point}")
    }
}
