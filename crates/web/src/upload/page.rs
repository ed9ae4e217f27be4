//! The page that sends photos, and its two assets. Nothing comes from elsewhere, no script stands in the page.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

/// `GET /photo`
pub(crate) async fn photo() -> Response {
    asset("text/html; charset=utf-8", include_str!("../../pages/photo.html"))
}

/// `GET /assets/upload.js`
pub(crate) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("../../pages/upload.js"))
}

/// `GET /assets/upload.css`
pub(crate) async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("../../pages/upload.css"))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    (headers, text).into_response()
}

/// `blob:` shows the pictures that were chosen and not sent yet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob:; connect-src 'self'; \
     form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_holds_no_script_no_style_and_no_address_of_its_own() {
        let page = include_str!("../../pages/photo.html");
        for word in ["<style", " style=", "onclick", "onload", "javascript:", "http://", "https://"] {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains("<script src=\"/assets/upload.js\" defer></script>"));
        for name in ["innerHTML", "eval(", "document.write"] {
            assert!(!include_str!("../../pages/upload.js").contains(name), "{name}");
        }
    }
}
