//! The cookie that bears a session's reference (RFC 6265bis): its name, how it is set, read and taken away.

use axum::http::{HeaderMap, HeaderValue, header};
use leadglass_records::SessionReference;

/// The prefix makes browsers refuse one that another host, or a page without TLS, tries to set.
const NAME: &str = "__Host-leadglass";
const DEPARTURE: &str = "__Host-leadglass-provider";
/// As long as a provider may take.
const DEPARTURE_S: u32 = 10 * 60;
const DEVICE: &str = "__Host-leadglass-device";
/// 400 days: browsers keep nothing longer.
const DEVICE_S: u32 = 400 * 24 * 60 * 60;
/// It ends with the browser; how long it is good for is the session's matter.
const FLAGS: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";

/// The header that hands out a reference.
pub(crate) fn set(reference: &SessionReference) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("{NAME}={}; {FLAGS}", reference.reveal()))
        .expect("base64url and words are fit for a header");
    value.set_sensitive(true);
    value
}

/// The header that makes a device known again. It signs nobody in, and outlasts the browser.
pub(crate) fn set_device(secret: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("{DEVICE}={secret}; {FLAGS}; Max-Age={DEVICE_S}"))
        .expect("base64url and words are fit for a header");
    value.set_sensitive(true);
    value
}

/// The header by which a browser is known that was sent to a provider.
pub(crate) fn set_departure(secret: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("{DEPARTURE}={secret}; {FLAGS}; Max-Age={DEPARTURE_S}"))
        .expect("base64url and words are fit for a header");
    value.set_sensitive(true);
    value
}

/// The header that takes it away.
pub(crate) fn clear() -> HeaderValue {
    HeaderValue::from_str(&format!("{NAME}=; {FLAGS}; Max-Age=0")).expect("words are fit for a header")
}

/// The reference that a request bears. Two different ones are none: somebody has planted one.
pub(crate) fn read(headers: &HeaderMap) -> Option<&str> {
    one(headers, NAME)
}

/// What a request's device says of itself.
pub(crate) fn device(headers: &HeaderMap) -> Option<&str> {
    one(headers, DEVICE)
}

/// What a browser that comes back from a provider says.
pub(crate) fn departure(headers: &HeaderMap) -> Option<&str> {
    one(headers, DEPARTURE)
}

fn one<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let mut found = None;
    for pair in
        headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(';'))
    {
        let Some((name, value)) = pair.trim().split_once('=') else { continue };
        if name == wanted && found.replace(value).is_some_and(|before| before != value) {
            return None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(values: &[&str]) -> HeaderMap {
        let pair = |value: &&str| (header::COOKIE, HeaderValue::from_str(value).unwrap());
        values.iter().map(pair).collect()
    }

    #[test]
    fn the_reference_is_found_among_others_cookies() {
        for values in [
            &["__Host-leadglass=abc"][..],
            &["theme=dark; __Host-leadglass=abc; x"][..],
            &["theme=dark", "__Host-leadglass=abc"][..],
            &["__Host-leadglass=abc; __Host-leadglass=abc"][..],
        ] {
            assert_eq!(read(&cookies(values)), Some("abc"), "{values:?}");
        }
    }

    #[test]
    fn a_planted_second_reference_makes_none() {
        for values in [&[][..], &["leadglass=abc"][..], &["__Host-leadglass=abc; __Host-leadglass=def"][..]] {
            assert_eq!(read(&cookies(values)), None, "{values:?}");
        }
    }

    #[test]
    fn taking_it_away_bears_the_flags_it_was_set_with() {
        let text = clear();
        let text = text.to_str().unwrap();
        for flag in ["__Host-leadglass=;", "Path=/", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=0"] {
            assert!(text.contains(flag), "{flag}");
        }
        assert!(!text.contains("Domain"));
    }
}
