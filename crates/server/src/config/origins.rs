//! Settings that name the origins of pages.

use super::ConfigError;

/// An origin as browsers send it (RFC 6454, section 6.2): in lower case, without a slash at its end.
pub(super) fn parse(text: &str) -> Result<String, ConfigError> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let bad = |why: &str| ConfigError::new(format!("cors_origins has {text:?}; {why}"));
    let origin = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let (scheme, host) =
        origin.split_once("://").ok_or_else(|| bad("an origin is like https://app.example.com"))?;
    if host.contains('*') {
        return Err(bad("a part of a host cannot be *: name each origin"));
    }
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if host.is_empty()
        || !host.bytes().all(is_host)
        || scheme.is_empty()
        || !scheme.bytes().all(is_scheme)
    {
        return Err(bad("an origin is a scheme, a host and perhaps a port, and nothing else"));
    }
    Ok(origin)
}

/// A source of `frame-ancestors`; what would end the directive or the header is refused.
pub(super) fn check_frame_ancestor(source: &str) -> Result<(), ConfigError> {
    let is_source = |byte: u8| byte.is_ascii_graphic() && !b",;".contains(&byte);
    if !source.is_empty() && source.bytes().all(is_source) {
        return Ok(());
    }
    let error = format!(
        "frame_ancestors has {source:?}; a source is 'self', 'none' or like https://app.example.com"
    );
    Err(ConfigError::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_understood_or_refused() {
        let parsed = |text| parse(text).ok();
        for same in
            ["https://app.example.com", "https://app.example.com/", "HTTPS://App.Example.com"]
        {
            assert_eq!(parsed(same).as_deref(), Some("https://app.example.com"), "{same}");
        }
        for good in ["*", "http://localhost:3000", "http://[::1]:3000", "chrome-extension://abc"] {
            assert_eq!(parsed(good).as_deref(), Some(good));
        }
        for bad in [
            "",
            "app.example.com",
            "https://*.example.com",
            "\"https://a\"",
            "https://a/b",
            "https://",
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
