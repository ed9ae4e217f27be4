//! Descriptions without what nobody foresaw (PS3.15 §E.3.5, Clean Descriptors).
//!
//! No list of names is ever complete, so this goes the other way: only words on a list of words of the trade come
//! through (`data/words.txt`), and numbers of at most two digits. Everything else is left out.

use std::{collections::HashSet, sync::LazyLock};

/// What of a description may stay; empty when nothing may.
pub(crate) fn cleaned(text: &[u8]) -> String {
    // Behind an escape (PS3.5 §6.1.2.3) bytes that look like letters may be parts of others.
    if text.contains(&0x1B) {
        return String::new();
    }
    let mut out = String::new();
    for word in text.split(|b| !b.is_ascii_alphanumeric() && b.is_ascii()) {
        if is_harmless(word) {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(&String::from_utf8_lossy(word));
        }
    }
    out
}

fn is_harmless(word: &[u8]) -> bool {
    if word.iter().all(u8::is_ascii_digit) {
        return (1..=2).contains(&word.len());
    }
    std::str::from_utf8(word).is_ok_and(|word| WORDS.contains(word.to_ascii_lowercase().as_str()))
}

static WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("../data/words.txt").lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_ascii_whitespace).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_trade_stay_and_names_go() {
        assert_eq!(cleaned(b"CT Thorax with contrast, MEIER^ANNA 19710203"), "CT Thorax with contrast");
        assert_eq!(cleaned(b"T2 TSE sag 3 mm"), "T2 TSE sag 3 mm");
        assert_eq!(cleaned("Schädel Müller".as_bytes()), "");
        assert_eq!(cleaned(b"\x1b$BKnee Axial"), "");
        assert_eq!(cleaned(b"4711 / 0815"), "");
        assert_eq!(cleaned(b""), "");
    }

    #[test]
    fn the_list_is_in_small_letters() {
        assert!(WORDS.len() > 300);
        for word in WORDS.iter() {
            assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{word}");
        }
    }
}
