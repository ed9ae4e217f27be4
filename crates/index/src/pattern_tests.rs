//! The matching rules, a row each, and the matcher against one that is too simple to be wrong.

use super::*;
use proptest::prelude::*;

#[test]
fn values_match_as_the_table_says() {
    let table: &[(&str, &str, bool)] = &[
        ("A123", "A123", true),
        ("A123", "a123", false),
        ("A123", "A1234", false),
        ("A123 ", "A123", true),
        ("A123", "A123  ", true),
        ("A123", " A123\0", true),
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
    let yamada = "Yamada^Tarou=山田^太郎=やまだ^たろう";
    let table: &[(&str, &str, bool)] = &[
        // Case, and single values against whole groups.
        ("doe^jane", "DOE^JANE", true),
        ("doe", "DOE^JANE", false),
        // Wildcards, within a component and across.
        ("doe*", "DOE^JANE", true),
        ("doe^*", "DOE^JANE", true),
        ("doe^*", "DOE", true),
        ("doe^*", "DOELL^A", false),
        ("*jane", "DOE^JANE", true),
        ("*^jane", "DOE^JANE", true),
        ("d?e^jane", "DOE^JANE", true),
        ("*KIM*", "Akimov^Pavel", true),
        // Five components: family, given, middle, prefix, suffix.
        ("doe^jane^ann^dr^phd", "Doe^Jane^Ann^Dr^PhD", true),
        ("doe^*^dr*", "Doe^Jane^Ann^Dr", true),
        ("doe^jane", "DOE^JANE^^^", true),
        ("doe^jane^^^", "DOE^JANE", true),
        ("doe^jane", "DOE ^JANE ", true),
        ("doe^jane", "  DOE^JANE", true),
        ("van der berg^*", "VAN  DER  BERG^Jan", true),
        // Umlauts as u and as ue.
        ("Müller*", "MUELLER^A", true),
        ("Mueller*", "Müller^A", true),
        ("Muller*", "Müller^A", true),
        ("Müller*", "Mu\u{308}ller^A", true),
        ("Muller*", "Mueller^A", false),
        // Accents and letters with a body of their own.
        ("jose*", "José^Luis", true),
        ("JOSÉ*", "jose^luis", true),
        ("sorensen", "Sørensen", true),
        ("Sørensen", "SORENSEN", true),
        ("lukasz", "Łukasz", true),
        ("dordevic", "Đorđević", true),
        ("aero", "Ærø", true),
        ("coeur", "Cœur", true),
        ("thora", "Þóra", true),
        ("weiss", "Weiß", true),
        ("WEISS", "WEIẞ", true),
        // Apostrophes and hyphens: as they are, otherwise drawn, and left out.
        ("obrien*", "O'Brien^P", true),
        ("O'Brien*", "OBRIEN^P", true),
        ("O’Brien*", "O'Brien^P", true),
        ("O?Brien*", "O'Brien^P", true),
        ("smith-jones", "Smithjones", true),
        ("smithjones", "Smith‐Jones", true),
        ("smith?jones", "Smith-Jones", true),
        // Greek: the sigma at the end.
        ("ΝΙΚΟΣ*", "Νίκος^Α", true),
        // Groups: each for itself; a query without `=` asks them all.
        ("Yamada*", yamada, true),
        ("山田*", yamada, true),
        ("やまだ*", yamada, true),
        ("=山田*", yamada, true),
        ("=Yamada*", yamada, false),
        ("==やまだ*", yamada, true),
        ("yamada*=山田*=やまだ*", yamada, true),
        ("Yamada*=山本*", yamada, false),
        ("=*太郎", yamada, true),
        ("ヤマダ*", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", true),
        ("홍^길?", "Hong^Gildong=洪^吉洞=홍^길동", true),
        ("=洪*", "Hong^Gildong=洪^吉洞=홍^길동", true),
        ("люкс*", "Люксембург", true),
        ("x", "", false),
    ];
    for (pattern, name, fits) in table {
        let parsed = NamePattern::parse(pattern).unwrap().unwrap();
        assert_eq!(parsed.matches(name), *fits, "{pattern} on {name}");
        if *fits {
            let signature = Signature::of_name(name);
            let may = |forms: &Vec<Signature>| forms.iter().any(|form| signature.may_fit(*form));
            assert!(parsed.signatures().iter().all(may), "the signature of {name} hides it from {pattern}");
        }
    }
    for all in ["", "*", "=", "*=*", "^"] {
        assert!(NamePattern::parse(all).unwrap().is_none(), "{all}");
    }
}

#[test]
fn descriptions_match_without_case_and_know_no_groups() {
    let fits = |pattern: &str, text: &str| TextPattern::parse(pattern).unwrap().unwrap().matches(text);
    assert!(fits("*CT st*", "Low dose ct Study"));
    assert!(fits("knie*", "KNIE links"));
    assert!(fits("a=b*", "A=B and more"));
    assert!(!fits("b*", "A=B and more"));
}

#[test]
fn wildcards_and_length_are_bounded() {
    assert!(Pattern::parse("a*b*c*d*e*f*g*h*").is_ok());
    assert_eq!(Pattern::parse("a*b*c*d*e*f*g*h*i*"), Err(QueryError::TooManyWildcards));
    assert_eq!(NamePattern::parse("?????????"), Err(QueryError::TooManyWildcards));
    assert_eq!(NamePattern::parse("*a*b*c=*a*b*c=*a*b*c"), Err(QueryError::TooManyWildcards));
    assert_eq!(NamePattern::parse("＊a＊b＊c＊d＊e＊f＊g＊h＊"), Err(QueryError::TooManyWildcards));
    assert_eq!(Pattern::parse(&"a".repeat(1025)), Err(QueryError::TooLong));
    assert_eq!(NamePattern::parse(&"a".repeat(1025)), Err(QueryError::TooLong));
    assert_eq!(TextPattern::parse(&"a".repeat(1025)), Err(QueryError::TooLong));
}

#[test]
fn debug_is_mute() {
    assert_eq!(format!("{:?}", NamePattern::parse("canary").unwrap()), "Some(NamePattern(‹phi›))");
    assert_eq!(format!("{:?}", TextPattern::parse("canary").unwrap()), "Some(TextPattern(‹phi›))");
}

/// Matching by definition, exponential and all.
fn slow(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|n| slow(rest, &text[n..])),
        ['?', rest @ ..] => !text.is_empty() && slow(rest, &text[1..]),
        [c, rest @ ..] => text.first() == Some(c) && slow(rest, &text[1..]),
    }
}

proptest! {
    #[test]
    fn the_matcher_agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
        let slow = slow(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
        let parsed = Pattern::parse(&pattern).unwrap();
        // An empty value asks for everything, not for nothing.
        prop_assert_eq!(parsed.as_ref().is_none_or(|p| p.matches(&text)), slow || pattern.is_empty());
        if slow && let Some(p) = parsed {
            prop_assert!(Signature::of_text(&text, 7).may_fit(p.signature(7)));
        }
    }

    #[test]
    fn a_name_is_found_by_any_spelling_and_its_signature_never_hides_it(
        name in "[A-Za-zäöüßéøŁ' -]{1,8}(\\^[A-Za-zäöüé'-]{1,6})?(=[山田太郎]{1,3})?",
        cut in 0usize..6,
    ) {
        let group = name.split('=').next().unwrap();
        let start: String = group.chars().take(cut + 1).collect();
        let start = start.trim();
        for query in [group.to_owned(), group.to_uppercase(), format!("{start}*"), format!("*{start}*")] {
            let Some(pattern) = NamePattern::parse(&query).unwrap() else { continue };
            prop_assert!(pattern.matches(&name), "{} on {}", query, name);
            let signature = Signature::of_name(&name);
            prop_assert!(pattern.signatures().iter().all(|g| g.iter().any(|s| signature.may_fit(*s))));
        }
    }
}
