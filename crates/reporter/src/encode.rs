//! Encodes the values that a worker passes. An error or a panic of `Serialize` or `Display` does not reach
//! the job.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use milepost_protocol::MAX_UPDATE_BYTES;
use serde::Serialize;
use serde_json::value::RawValue;

/// The value as JSON. Encoding stops at [`MAX_UPDATE_BYTES`], so a huge value costs neither time nor memory.
///
/// # Errors
/// Why it cannot be sent: it is too large, not JSON or nested too deep, or its `Serialize` panics.
pub(crate) fn json(value: &impl Serialize) -> Result<Box<RawValue>, String> {
    let mut bytes = Bounded::default();
    let written = catch_unwind(AssertUnwindSafe(|| serde_json::to_writer(&mut bytes, value)));
    match written {
        Err(_) => return Err("its serialisation panicked".to_owned()),
        Ok(Err(_)) if bytes.is_full => {
            return Err(format!("it is larger than {MAX_UPDATE_BYTES} bytes"));
        }
        Ok(Err(error)) => return Err(format!("it is not JSON: {error}")),
        Ok(Ok(())) => {}
    }
    String::from_utf8(bytes.written)
        .map_err(|error| error.to_string())
        .and_then(|json| RawValue::from_string(json).map_err(|error| error.to_string()))
        .map_err(|error| format!("it is not JSON: {error}"))
}

/// A value's text: at most `limit` bytes and one more character, which shows that it was longer.
pub(crate) fn text(value: &impl Display, limit: usize) -> String {
    let mut bounded = BoundedText { written: String::new(), limit };
    match catch_unwind(AssertUnwindSafe(|| write!(bounded, "{value}"))) {
        // The bound stops formatting with an error. On any other error, the text ends here.
        Ok(_) => bounded.written,
        Err(_) => format!("{} (its Display panicked)", bounded.written).trim_start().to_owned(),
    }
}

#[derive(Default)]
struct Bounded {
    written: Vec<u8>,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.len() + bytes.len() > MAX_UPDATE_BYTES {
            self.is_full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct BoundedText {
    written: String,
    limit: usize,
}

impl fmt::Write for BoundedText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.written.len() > self.limit {
                return Err(fmt::Error);
            }
            self.written.push(character);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Endless<'a>(&'a Cell<usize>);

    impl Serialize for Endless<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer
                .collect_seq(std::iter::repeat_with(|| self.0.set(self.0.get() + 1)).map(|()| 1))
        }
    }

    impl Display for Endless<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                self.0.set(self.0.get() + 1);
                f.write_str("more and ")?;
            }
        }
    }

    struct Panics;

    impl Serialize for Panics {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("a fault of the worker's own")
        }
    }

    impl Display for Panics {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("so far")?;
            panic!("a fault of the worker's own")
        }
    }

    #[test]
    fn what_never_ends_is_read_up_to_the_bound() {
        let items = Cell::new(0);
        assert!(json(&Endless(&items)).unwrap_err().contains("larger than 65536 bytes"));
        assert!(items.get() <= MAX_UPDATE_BYTES);
        let pieces = Cell::new(0);
        assert_eq!(text(&Endless(&pieces), 100).len(), 101);
        assert!(pieces.get() < 20);
    }

    #[test]
    fn what_panics_or_is_no_json_is_an_error_in_words() {
        assert_eq!(json(&Panics).unwrap_err(), "its serialisation panicked");
        assert_eq!(text(&Panics, 100), "so far (its Display panicked)");
        let keys = std::collections::HashMap::from([((1, 2), 3)]);
        assert!(json(&keys).unwrap_err().starts_with("it is not JSON"));
        assert_eq!(json(&f64::NAN).unwrap().get(), "null");
    }
}
