//! A cipher that only copies: what ingest costs without encryption.
//!
//! `benches/null.sh` builds the vault a second time with `--cfg leadglass_null_cipher`, and only then does
//! `crates/seal/src/suite.rs` include this file. No feature, no configuration and no argument selects it, and
//! `tests/tests/deploy.rs` looks that nothing in the tree sets the cfg.
//!
//! It is AES-GCM's place and not its work: the same lengths, a tag of zeros, so that everything around it does what it
//! always does. What it wrote authenticates nothing and hides nothing.

use super::{Refused, TAG_LEN};

/// Copies `plain` into `body` and leaves a tag of zeros.
pub(super) fn seal(plain: &[u8], body: &mut [u8], tag: &mut [u8]) {
    body.copy_from_slice(plain);
    tag.fill(0);
}

/// Copies `body` into `out`, if the tag is ours.
pub(super) fn open(body: &[u8], tag: &[u8], out: &mut [u8]) -> Result<(), Refused> {
    check(tag)?;
    out.copy_from_slice(body);
    Ok(())
}

/// Whether the tag is ours; in place, there is nothing else to do.
pub(super) fn check(tag: &[u8]) -> Result<(), Refused> {
    if tag == [0; TAG_LEN] { Ok(()) } else { Err(Refused) }
}
