//! A part's headers (RFC 2046 §5.1, RFC 2557).

use super::MultipartError;
use leadglass_model::Phi;

/// What a part says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PartHead {
    /// Content-Type as written; empty where it is absent.
    pub(crate) content_type: String,
    /// Content-Location (RFC 2557): the name by which metadata refer to the part. It may hold UIDs.
    pub(crate) location: Option<Phi<String>>,
    /// A Content-Encoding or Content-Transfer-Encoding that changes the bytes: such a part cannot be read.
    pub(crate) is_encoded: bool,
}

/// The headers that matter. A line that begins with a blank goes on where the one before ended (RFC 822 folding).
pub(super) fn read(bytes: &[u8]) -> Result<PartHead, MultipartError> {
    let mut head = PartHead::default();
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match lines.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => lines.push(line.to_owned()),
        }
    }
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(MultipartError::Header)?;
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "content-type" => {
                if value.get(..10).is_some_and(|t| t.eq_ignore_ascii_case("multipart/")) {
                    return Err(MultipartError::Nested);
                }
                value.clone_into(&mut head.content_type);
            }
            "content-location" => head.location = Some(Phi::new(value.to_owned())),
            "content-encoding" | "content-transfer-encoding" => {
                let plain = ["identity", "binary", "8bit", "7bit", ""];
                head.is_encoded |= !plain.iter().any(|word| value.eq_ignore_ascii_case(word));
            }
            _ => {}
        }
    }
    Ok(head)
}
