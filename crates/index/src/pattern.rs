//! Wildcard matching (PS3.4 §C.2.2.2.4): `*` for any run of characters, `?` for one. Bounded, by hand, no regular
//! expressions: a pattern costs at most its length times the text's.
//!
//! Each pattern also has a [signature](Signature): the pairs of letters that every text it fits must have.

use crate::{fold::forms, fuzzy::Fuzzy};
use leadglass_model::Fault;
use unicode_normalization::UnicodeNormalization as _;

/// Why a text cannot be searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Longer than any value.
    #[error("a search value is at most {MAX_TEXT} bytes long")]
    TooLong,
    /// Too many wildcards.
    #[error("a search value holds at most {MAX_WILDCARDS} wildcards")]
    TooManyWildcards,
    /// Not a date or a range of dates.
    #[error("a date is YYYYMMDD, a range is two of them with a hyphen, one of which may be missing")]
    NotADate,
    /// Not a time or a range of times.
    #[error("a time is HHMMSS or the start of it, a range is two of them with a hyphen, one of which may be missing")]
    NotATime,
}

impl QueryError {
    /// Always [`Fault::BadInput`].
    pub const fn fault(&self) -> Fault {
        Fault::BadInput
    }
}

/// A value to match. Compares case; spaces at the edges do not count.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Token>);

/// A person name to match: without case and accents, by component groups.
#[derive(Clone, PartialEq, Eq)]
pub struct NamePattern {
    /// For each group of the query the forms that fit; `None` for a group that is not asked for.
    groups: Vec<Option<Vec<Pattern>>>,
    /// Fits too.
    nearly: Option<Fuzzy>,
}

/// A description to match: without case and accents.
#[derive(Clone, PartialEq, Eq)]
pub struct TextPattern(Vec<Pattern>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Char(char),
}

impl Pattern {
    /// Reads a search value; `None` for an empty one or `*`, which everything matches.
    pub fn parse(text: &str) -> Result<Option<Self>, QueryError> {
        check(text)?;
        let pattern = Self::build(trim(text));
        Ok((!pattern.is_universal()).then_some(pattern))
    }

    /// Whether the value fits.
    pub fn matches(&self, text: &str) -> bool {
        let (mut at, mut rest) = (0, trim(text));
        // Where to go on when what follows the last `*` does not fit: one character later.
        let mut retry: Option<(usize, &str)> = None;
        loop {
            let next = rest.chars().next();
            match (self.0.get(at), next) {
                (Some(Token::Any), _) => {
                    at += 1;
                    retry = Some((at, rest));
                    continue;
                }
                (Some(Token::One), Some(c)) => {
                    at += 1;
                    rest = &rest[c.len_utf8()..];
                    continue;
                }
                (Some(Token::Char(want)), Some(c)) if *want == c => {
                    at += 1;
                    rest = &rest[c.len_utf8()..];
                    continue;
                }
                (None, None) => return true,
                _ => {}
            }
            let Some((after_star, from)) = retry else { return false };
            let Some(skipped) = from.chars().next() else { return false };
            rest = &from[skipped.len_utf8()..];
            at = after_star;
            retry = Some((after_star, rest));
        }
    }

    /// What every text that fits must have.
    pub(crate) fn signature(&self, seed: u32) -> Signature {
        let mut bits = 0;
        let mut before = Some('\0');
        for token in &self.0 {
            before = match *token {
                Token::Char(c) => {
                    bits |= before.map_or(0, |b| pair(seed, b, c));
                    Some(c)
                }
                Token::Any | Token::One => None,
            };
        }
        Signature(bits)
    }

    fn build(text: &str) -> Self {
        let mut tokens: Vec<Token> = Vec::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '*' if tokens.last() == Some(&Token::Any) => {}
                '*' => tokens.push(Token::Any),
                '?' => tokens.push(Token::One),
                c => tokens.push(Token::Char(c)),
            }
        }
        Self(tokens)
    }

    fn is_universal(&self) -> bool {
        matches!(self.0.as_slice(), [] | [Token::Any])
    }
}

impl NamePattern {
    /// Reads a search value; `None` for one that everything matches.
    ///
    /// A query with `=` asks each group for itself; one without asks whether any group fits.
    pub fn parse(text: &str) -> Result<Option<Self>, QueryError> {
        check(text)?;
        let groups: Vec<_> = text.splitn(3, '=').map(patterns).collect();
        Ok(groups.iter().any(Option::is_some).then_some(Self { groups, nearly: None }))
    }

    /// The same, where names fit too that are nearly right: words in another order, beginnings, a wrong letter.
    pub fn parse_nearly(text: &str) -> Result<Option<Self>, QueryError> {
        let parsed = Self::parse(text)?;
        Ok(parsed.map(|parsed| Self { nearly: Fuzzy::read(text), ..parsed }))
    }

    /// Whether the name fits.
    pub fn matches(&self, name: &str) -> bool {
        self.nearly.as_ref().is_some_and(|nearly| nearly.fits(name)) || self.fits(name)
    }

    fn fits(&self, name: &str) -> bool {
        let mut values = name.splitn(3, '=');
        match self.groups.as_slice() {
            [Some(wanted)] => values.any(|group| fits(wanted, group)),
            groups => groups.iter().all(|wanted| {
                let group = values.next().unwrap_or("");
                wanted.as_ref().is_none_or(|w| fits(w, group))
            }),
        }
    }

    /// For each group that is asked for: what a name must have to fit one of its forms. What is nearly right may have
    /// other letters.
    pub(crate) fn signatures(&self) -> Vec<Vec<Signature>> {
        if self.nearly.is_some() {
            return Vec::new();
        }
        let asked = self.groups.iter().flatten();
        asked.map(|forms| forms.iter().map(|pattern| pattern.signature(NAME_SEED)).collect()).collect()
    }
}

impl TextPattern {
    /// Reads a search value; `None` for one that everything matches.
    pub fn parse(text: &str) -> Result<Option<Self>, QueryError> {
        check(text)?;
        Ok(patterns(text).map(Self))
    }

    /// Whether the text fits.
    pub fn matches(&self, text: &str) -> bool {
        fits(&self.0, text)
    }
}

/// Pairs of neighbouring letters as 64 bits, the first letter paired with the start. If a pattern fits a text, every bit
/// of the pattern's signature is in the text's; the other way round it is only likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Signature(pub(crate) u64);

impl Signature {
    /// Of a name, in all its groups and forms.
    pub(crate) fn of_name(name: &str) -> Self {
        let forms = name.splitn(3, '=').flat_map(forms);
        Self(forms.fold(0, |bits, form| bits | Self::of_text(&form, NAME_SEED).0))
    }

    /// Of a text that is compared as it stands.
    pub(crate) fn of_text(text: &str, seed: u32) -> Self {
        let pairs = std::iter::once('\0').chain(trim(text).chars()).zip(trim(text).chars());
        Self(pairs.fold(0, |bits, (a, b)| bits | pair(seed, a, b)))
    }

    /// Whether a text of this signature may fit a pattern of that one.
    pub(crate) const fn may_fit(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

const fn pair(seed: u32, a: char, b: char) -> u64 {
    let mixed = (a as u32).wrapping_mul(0x9e37_79b1) ^ (b as u32).wrapping_add(seed).wrapping_mul(0x85eb_ca77);
    1 << (mixed.wrapping_mul(0xc2b2_ae3d) >> 26)
}

fn check(text: &str) -> Result<(), QueryError> {
    if text.len() > MAX_TEXT {
        return Err(QueryError::TooLong);
    }
    let mut before = ' ';
    let mut wildcards = 0;
    // As folded: a full-width asterisk becomes a plain one.
    for c in text.nfkd() {
        // Stars in a row are one.
        wildcards += usize::from(c == '?' || (c == '*' && before != '*'));
        before = c;
    }
    if wildcards > MAX_WILDCARDS { Err(QueryError::TooManyWildcards) } else { Ok(()) }
}

fn trim(text: &str) -> &str {
    text.trim_end_matches([' ', '\0']).trim_start_matches(' ')
}

/// The forms of a search value; `None` when everything fits.
fn patterns(text: &str) -> Option<Vec<Pattern>> {
    let mut patterns = Vec::new();
    for form in forms(text) {
        // `doe^*` also asks for a Doe without given names.
        patterns.extend(form.strip_suffix("^*").map(Pattern::build));
        patterns.push(Pattern::build(&form));
    }
    (!patterns.iter().any(Pattern::is_universal)).then_some(patterns)
}

fn fits(wanted: &[Pattern], value: &str) -> bool {
    let values = forms(value);
    wanted.iter().any(|pattern| values.iter().any(|value| pattern.matches(value)))
}

// A search value names a patient as much as the name that it finds.
impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pattern(‹phi›)")
    }
}

impl std::fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NamePattern(‹phi›)")
    }
}

impl std::fmt::Debug for TextPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TextPattern(‹phi›)")
    }
}

/// Longer than any PN (3 groups of 64 characters) in UTF-8.
const MAX_TEXT: usize = 1024;
/// A `*` costs a pass over the text each.
const MAX_WILDCARDS: usize = 8;
const NAME_SEED: u32 = 0;

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
