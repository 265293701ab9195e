use std::fmt;

/// A key or a token as a client sends it, in the header `Authorization`: without the white space around it, such as the line break at
/// the end of a file. `None` if nothing is left.
///
/// # Errors
/// If it has a character that no header may have.
pub fn sendable(credential: &str) -> Result<Option<&str>, InvalidCredential> {
    let trimmed = credential.trim();
    if trimmed.bytes().any(|byte| !matches!(byte, b'\t' | b' '..=b'~')) {
        return Err(InvalidCredential);
    }
    Ok((!trimmed.is_empty()).then_some(trimmed))
}

/// A key or a token that no header may have. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCredential;

impl fmt::Display for InvalidCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a character that no key or token has: only printable ASCII can be sent")
    }
}

impl std::error::Error for InvalidCredential {}

/// A URL for messages: without what comes before its host, and what follows its path. The one may be a password, the other a token.
pub fn without_password(url: &str) -> String {
    let (before, rest) = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => (format!("{scheme}://…@"), rest),
        _ => (String::new(), url),
    };
    match rest.find(['?', '#']) {
        Some(end) => format!("{before}{}…", &rest[..=end]),
        None => before + rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_credential_is_not_sent() {
        for given in ["abc", "abc\n", " \tabc\r\n", "\u{a0}abc"] {
            assert_eq!(sendable(given), Ok(Some("abc")));
        }
        assert_eq!(sendable("a key of the tests"), Ok(Some("a key of the tests")));
        for given in ["", " \n"] {
            assert_eq!(sendable(given), Ok(None));
        }
        for given in ["a\nb", "ключ", "a\0", "a\u{7f}b", "\u{feff}abc"] {
            assert_eq!(sendable(given), Err(InvalidCredential), "{given:?}");
        }
    }

    #[test]
    fn a_password_or_a_token_is_not_shown() {
        assert_eq!(without_password("http://me:p/w?@d@host/x"), "http://…@host/x");
        assert_eq!(without_password("http://host/x"), "http://host/x");
        assert_eq!(without_password("http://host/x?token=secret"), "http://host/x?…");
        assert_eq!(without_password("http://me:password@host#secret"), "http://…@host#…");
        assert_eq!(without_password("me@host"), "me@host");
    }
}
