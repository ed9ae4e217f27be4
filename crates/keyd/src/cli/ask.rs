//! What a person types: secrets, which may come from files instead, and a yes.

use crate::{
    disk,
    provider::{Passphrase, ProviderError},
    refusal::Refusal,
};
use leadglass_keys::wire::ProblemCode;
use std::path::Path;
use zeroize::Zeroizing;

/// The passphrase: from the file, else typed without echo.
pub(super) fn passphrase(file: Option<&Path>) -> Result<Passphrase, Refusal> {
    Ok(Passphrase::new(text(file, "Passphrase: ")?)?)
}

/// A new passphrase: typed twice, unless it comes from a file.
pub(super) fn new_passphrase(file: Option<&Path>) -> Result<Passphrase, Refusal> {
    let first = text(file, "New passphrase (at least 12 characters): ")?;
    if file.is_none() {
        let again = Zeroizing::new(text(None, "Again: ")?);
        if *again != first {
            return Err(Refusal::new(ProblemCode::BadRequest, "the two passphrases differ"));
        }
    }
    Ok(Passphrase::new(first)?)
}

/// The bytes of a passphrase, to be sent to a running service.
pub(super) fn passphrase_text(file: Option<&Path>) -> Result<Zeroizing<String>, Refusal> {
    Ok(Zeroizing::new(text(file, "Passphrase: ")?))
}

/// Whether a person types `yes`.
pub(super) fn says_yes(question: &str) -> Result<bool, Refusal> {
    use std::io::{BufRead, Read, Write};
    // A closed stderr is no reason to stop.
    let _closed = write!(std::io::stderr().lock(), "{question}");
    let mut typed = String::new();
    let read = std::io::stdin().lock().take(MAX_YES_BYTES).read_line(&mut typed);
    read.map_err(|error| Refusal::new(ProblemCode::BadRequest, "nobody could be asked").because(error))?;
    Ok(typed.trim() == "yes")
}

fn text(file: Option<&Path>, prompt: &str) -> Result<String, Refusal> {
    match file {
        None => rpassword::prompt_password(prompt).map_err(|error| {
            Refusal::new(
                ProblemCode::BadRequest,
                "no passphrase could be read: use --passphrase-file without a terminal",
            )
            .because(error)
        }),
        Some(path) => {
            let bytes = disk::read_bounded(path, MAX_PASSPHRASE_BYTES)?;
            String::from_utf8(bytes).map_err(|_| Refusal::from(ProviderError::Damaged { what: "not UTF-8 text" }))
        }
    }
}

const MAX_YES_BYTES: u64 = 64;
const MAX_PASSPHRASE_BYTES: u64 = 1024;
