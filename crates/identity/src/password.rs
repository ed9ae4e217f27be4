//! Passwords: which are good enough, and what is kept of them.
//!
//! Kept is HMAC(pepper, label ‖ person ‖ Argon2id(password, salt)): the pepper stays in the key service, so whoever has the
//! records and their key cannot try a single password without asking it each time, and it never sees one.

use argon2::{Algorithm, Argon2, Params, Version};
use leadglass_model::{ActorRef, Entropy};
use std::sync::LazyLock;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// What is kept of a password.
#[derive(Clone, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct Verifier {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) salt: [u8; 16],
    #[n(1)]
    cost: Cost,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) mac: [u8; 32],
}

/// What Argon2id is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct Cost {
    #[n(0)]
    memory_kib: u32,
    #[n(1)]
    passes: u32,
    #[n(2)]
    lanes: u32,
}

/// OWASP's password storage cheat sheet: the first of its equals.
pub(crate) const COST: Cost = Cost { memory_kib: 19_456, passes: 2, lanes: 1 };

impl Verifier {
    pub(crate) fn fresh_salt(entropy: &dyn Entropy) -> [u8; 16] {
        let mut salt = [0; 16];
        entropy.fill(&mut salt);
        salt
    }

    pub(crate) const fn new(salt: [u8; 16], mac: [u8; 32]) -> Self {
        Self { salt, cost: COST, mac }
    }

    pub(crate) const fn cost(&self) -> Cost {
        self.cost
    }
}

/// The slow part. Blocks for a tenth of a second or so, in 19 MiB.
pub(crate) fn slow(password: &str, salt: &[u8; 16], cost: Cost) -> Option<Zeroizing<[u8; 32]>> {
    let text: Zeroizing<String> = Zeroizing::new(password.nfkc().collect());
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).ok()?;
    let mut out = Zeroizing::new([0; 32]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(text.as_bytes(), salt, &mut out[..]).ok()?;
    Some(out)
}

/// What the key service computes its MAC over.
pub(crate) fn to_pepper(person: ActorRef, slow: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([LABEL, &person.0[..], slow].concat())
}

/// Whether a person may have this password; otherwise why not, for him to read.
pub(crate) fn is_good(password: &str, login: &str, name: &str) -> Result<(), &'static str> {
    let text: Zeroizing<String> = Zeroizing::new(password.nfkc().collect());
    match text.chars().count() {
        ..MIN_CHARS => {
            return Err("A password has at least 12 characters; four words that do not belong together are good.");
        }
        MAX_CHARS.. => return Err("A password has at most 128 characters."),
        _ => {}
    }
    let plain: Zeroizing<String> = Zeroizing::new(text.to_lowercase());
    let own = login.split(['@', '.', '-', '_']).chain(name.split_whitespace()).chain(["leadglass"]);
    // What is left without the own names and what people put around a word.
    let mut rest = plain.to_string();
    for word in own.map(str::to_lowercase).filter(|word| word.chars().count() >= 3) {
        rest = rest.replace(&word, "");
    }
    let core = rest.trim_matches(|c: char| !c.is_alphabetic());
    let unleet: String = core.chars().map(letter).collect();
    if is_common(&plain)
        || is_common(core)
        || is_common(&unleet)
        || is_common(&rest)
        || rest.chars().count() < MIN_OWN_CHARS
    {
        return Err("This password is one of those that are tried first. Take four words that do not belong together.");
    }
    if repeats(&rest) || runs(&rest) {
        return Err("This password repeats or counts. Take four words that do not belong together.");
    }
    Ok(())
}

fn is_common(text: &str) -> bool {
    text.is_empty() || COMMON.binary_search(&text).is_ok()
}

/// What people write in place of a letter.
const fn letter(c: char) -> char {
    match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    }
}

/// Whether a text is some short piece over and over.
fn repeats(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    (1..=chars.len() / 2).any(|len| chars.iter().zip(&chars[len..]).all(|(a, b)| a == b))
}

/// Whether most of a text counts up or down.
fn runs(text: &str) -> bool {
    let codes: Vec<i64> = text.chars().map(|c| i64::from(u32::from(c))).collect();
    let steps = codes.windows(2).filter(|pair| (pair[1] - pair[0]).abs() <= 1).count();
    codes.len() > 2 && steps * 4 >= codes.len() * 3
}

/// `data/README.md` says where they come from. Sorted.
static COMMON: LazyLock<Vec<&'static str>> = LazyLock::new(|| include_str!("../data/common.txt").lines().collect());

const LABEL: &[u8] = b"leadglass password v1\0";
const MIN_CHARS: usize = 12;
const MAX_CHARS: usize = 129;
/// Beside the own names.
const MIN_OWN_CHARS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_large() {
        assert!(COMMON.is_sorted() && COMMON.len() > 10_000);
    }

    #[test]
    fn what_is_tried_first_is_refused_and_four_words_are_not() {
        let good = |password: &str| is_good(password, "erika.muster@praxis.example", "Dr. Erika Muster").is_ok();
        for bad in [
            "short",
            "elevenchars",
            "123456789012",
            "passwordpassword",
            "Password123456",
            "P@ssw0rd!2024",
            "qwertyuiop123",
            "aaaaaaaaaaaa",
            "abcabcabcabc",
            "erika.muster@praxis.example",
            "muster-erika-1",
            "leadglass-erika",
            "abcdefghijklmnop",
            "Sommer2024!!",
        ] {
            assert!(!good(bad), "{bad}");
        }
        for password in
            ["kiefer-tasse-wolke-nagel", "correct horse battery staple", "Größe7 Äpfel, bitte", "xK9#mQ2$vL7p"]
        {
            assert!(good(password), "{password}");
        }
        let long = ["ab9".repeat(50), "x".repeat(200)];
        assert!(!good(&long[0]) && !good(&long[1]));
    }

    #[test]
    fn a_password_typed_in_another_form_of_the_same_letters_is_the_same() {
        let salt = [1; 16];
        let cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
        let hash = |text: &str| slow(text, &salt, cost).unwrap();
        assert_eq!(hash("Gr\u{fc}ße"), hash("Gru\u{308}ße"));
        assert_ne!(hash("a"), hash("b"));
        assert_ne!(hash("a"), slow("a", &[2; 16], cost).unwrap());
    }
}
