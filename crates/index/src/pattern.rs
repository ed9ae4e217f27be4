//! Wildcard matching (PS3.4 §C.2.2.2.4): `*` for any run of characters, `?` for one. Bounded, by hand, no regular
//! expressions: a pattern costs at most its length times the text's.

use crate::fold::forms;
use leadglass_model::Fault;

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
}

impl QueryError {
    /// Always [`Fault::BadInput`].
    pub const fn fault(&self) -> Fault {
        Fault::BadInput
    }
}

/// A value to match. Compares case; trailing spaces do not count.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Token>);

/// A person name to match: without case and accents, by component groups.
#[derive(Clone, PartialEq, Eq)]
pub struct NamePattern {
    /// For each group of the query the forms that fit; `None` for a group that is not asked for.
    groups: Vec<Option<Vec<Pattern>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Char(char),
}

impl Pattern {
    /// Reads a search value; `None` for an empty one or `*`, which everything matches.
    pub fn parse(text: &str) -> Result<Option<Self>, QueryError> {
        let text = text.trim_end_matches([' ', '\0']).trim_start_matches(' ');
        let pattern = Self::build(text)?;
        Ok((!pattern.is_universal()).then_some(pattern))
    }

    /// Whether the value fits.
    pub fn matches(&self, text: &str) -> bool {
        let text: &str = text.trim_end_matches([' ', '\0']).trim_start_matches(' ');
        let (mut at, mut rest) = (0, text);
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

    fn build(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_TEXT {
            return Err(QueryError::TooLong);
        }
        let mut tokens: Vec<Token> = Vec::with_capacity(text.len());
        let mut wildcards = 0;
        for c in text.chars() {
            match c {
                '*' if tokens.last() == Some(&Token::Any) => {}
                '*' => {
                    wildcards += 1;
                    tokens.push(Token::Any);
                }
                '?' => {
                    wildcards += 1;
                    tokens.push(Token::One);
                }
                c => tokens.push(Token::Char(c)),
            }
        }
        if wildcards > MAX_WILDCARDS { Err(QueryError::TooManyWildcards) } else { Ok(Self(tokens)) }
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
        if text.len() > MAX_TEXT {
            return Err(QueryError::TooLong);
        }
        let groups: Vec<_> = text.splitn(3, '=').map(Self::group).collect::<Result<_, _>>()?;
        Ok(groups.iter().any(Option::is_some).then_some(Self { groups }))
    }

    /// Whether the name fits.
    pub fn matches(&self, name: &str) -> bool {
        let mut values = name.splitn(3, '=');
        match self.groups.as_slice() {
            [Some(wanted)] => values.any(|group| fits(wanted, group)),
            groups => groups.iter().all(|wanted| {
                let group = values.next().unwrap_or("");
                wanted.as_ref().is_none_or(|w| fits(w, group))
            }),
        }
    }

    fn group(text: &str) -> Result<Option<Vec<Pattern>>, QueryError> {
        let (plain, german) = forms(text);
        let mut patterns = Vec::new();
        for form in std::iter::once(plain).chain(german) {
            // `doe^*` also asks for a Doe without given names.
            if let Some(bare) = form.strip_suffix("^*") {
                patterns.push(Pattern::build(bare)?);
            }
            patterns.push(Pattern::build(&form)?);
        }
        Ok((!patterns.iter().any(Pattern::is_universal)).then_some(patterns))
    }
}

fn fits(wanted: &[Pattern], group: &str) -> bool {
    let (plain, german) = forms(group);
    wanted.iter().any(|p| p.matches(&plain) || german.as_ref().is_some_and(|g| p.matches(g)))
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

/// Longer than any PN (3 groups of 64 characters) in UTF-8.
const MAX_TEXT: usize = 1024;
/// A `*` costs a pass over the text each.
const MAX_WILDCARDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_match_as_the_table_says() {
        let table: &[(&str, &str, bool)] = &[
            ("A123", "A123", true),
            ("A123", "a123", false),
            ("A123", "A1234", false),
            ("A123 ", "A123", true),
            ("A123", "A123  ", true),
            ("A*", "A", true),
            ("A*", "A123", true),
            ("*23", "A123", true),
            ("*23", "A1234", false),
            ("A?2*", "A12", true),
            ("A?2*", "A2", false),
            ("*1*2*3*", "xx1yy2zz3", true),
            ("*1*2*3*", "xx1yy3zz2", false),
            ("?", "ü", true),
            ("?", "", false),
            ("a*ab", "aab", true),
            ("a*ab", "aabab", true),
            ("a**b", "ab", true),
        ];
        for (pattern, text, fits) in table {
            assert_eq!(Pattern::parse(pattern).unwrap().unwrap().matches(text), *fits, "{pattern} on {text}");
        }
        assert!(Pattern::parse("").unwrap().is_none());
        assert!(Pattern::parse("**").unwrap().is_none());
    }

    #[test]
    fn names_match_as_the_table_says() {
        let table: &[(&str, &str, bool)] = &[
            ("doe^jane", "DOE^JANE", true),
            ("doe", "DOE^JANE", false),
            ("doe*", "DOE^JANE", true),
            ("doe^*", "DOE^JANE", true),
            ("doe^*", "DOE", true),
            ("doe^*", "DOELL^A", false),
            ("*jane", "DOE^JANE", true),
            ("d?e^jane", "DOE^JANE", true),
            ("Müller*", "MUELLER^A", true),
            ("Mueller*", "Müller^A", true),
            ("Muller*", "Müller^A", true),
            ("Muller*", "Mueller^A", false),
            ("jose*", "José^Luis", true),
            ("JOSÉ*", "jose^luis", true),
            ("obrien*", "O'Brien^P", true),
            ("Yamada*", "Yamada^Tarou=山田^太郎=やまだ^たろう", true),
            ("山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", true),
            ("=山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", true),
            ("=Yamada*", "Yamada^Tarou=山田^太郎=やまだ^たろう", false),
            ("Yamada*=山本*", "Yamada^Tarou=山田^太郎", false),
            ("doe^jane", "DOE^JANE^^^", true),
            ("doe^jane", "DOE ^JANE ", true),
            ("x", "", false),
        ];
        for (pattern, name, fits) in table {
            assert_eq!(NamePattern::parse(pattern).unwrap().unwrap().matches(name), *fits, "{pattern} on {name}");
        }
        for all in ["", "*", "=", "*=*", "^"] {
            assert!(NamePattern::parse(all).unwrap().is_none(), "{all}");
        }
    }

    #[test]
    fn wildcards_and_length_are_bounded() {
        assert!(Pattern::parse("a*b*c*d*e*f*g*h*").is_ok());
        assert_eq!(Pattern::parse("a*b*c*d*e*f*g*h*i*"), Err(QueryError::TooManyWildcards));
        assert_eq!(NamePattern::parse("?????????"), Err(QueryError::TooManyWildcards));
        assert_eq!(Pattern::parse(&"a".repeat(1025)), Err(QueryError::TooLong));
        assert_eq!(NamePattern::parse(&"a".repeat(1025)), Err(QueryError::TooLong));
    }

    #[test]
    fn debug_is_mute() {
        assert_eq!(format!("{:?}", NamePattern::parse("canary").unwrap()), "Some(NamePattern(‹phi›))");
    }
}
