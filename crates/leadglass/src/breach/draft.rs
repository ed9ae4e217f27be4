//! The draft of a notification to the authority (GDPR Art. 33(3)), of `data/breach`. It counts and names nobody; what only a
//! person knows or decides stands in square brackets.

use super::{Counts, list, number, text};
use crate::audit::time;
use leadglass_engine::{Language, fill_template};
use serde_json::Value;

/// What is said in one language: the draft, and sentences for it and for the list of whom to write to.
pub(super) struct Words {
    draft: &'static str,
    sentences: &'static str,
}

impl Words {
    pub(super) fn of(language: Language) -> Self {
        let file = match language {
            Language::En => include_str!("../../data/breach/en.txt"),
            Language::De => include_str!("../../data/breach/de.txt"),
            Language::It => include_str!("../../data/breach/it.txt"),
            Language::Es => include_str!("../../data/breach/es.txt"),
            Language::Fr => include_str!("../../data/breach/fr.txt"),
        };
        let (draft, sentences) = file.split_once("== sentences\n").unwrap_or((file, ""));
        Self { draft: draft.trim_start_matches("== draft\n"), sentences }
    }

    pub(super) fn sentence(&self, key: &str) -> &'static str {
        let lines = self.sentences.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(of, _)| *of == key).map_or("", |(_, sentence)| sentence)
    }

    /// A sentence about so many; nothing about none.
    fn about(&self, key: &str, n: u64) -> String {
        if n == 0 { String::new() } else { fill_template(self.sentence(key), &[("n", n.to_string())]) }
    }

    fn persons(&self, n: u64) -> String {
        let key = if n == 1 { "person" } else { "persons" };
        fill_template(self.sentence(key), &[("n", n.to_string())])
    }
}

/// The draft.
pub(super) fn notification(scope: &Value, language: Language) -> String {
    let words = Words::of(language);
    let counts = Counts::of(scope);
    let at = |field: &str| time(number(&scope[field]));
    let said = |field: &str, missing: &str| {
        let said = scope[field].as_str().filter(|text| !text.is_empty());
        said.unwrap_or(words.sentence(missing)).to_owned()
    };
    let kind = text(&scope["by"]);
    let values = [
        ("controller", said("controller", "controller")),
        ("contact", said("contact", "contact")),
        ("aware", at("aware_ms")),
        ("deadline", at("deadline_ms")),
        ("from", at("from_ms")),
        ("to", at("to_ms")),
        ("kind", words.sentence(&format!("kind.{kind}")).to_owned()),
        ("id", text(&scope["id"]).to_owned()),
        ("opened_persons", words.persons(counts.opened.patients)),
        ("opened_studies", counts.opened.studies.to_string()),
        ("opened_images", counts.opened.instances.to_string()),
        ("sealed_persons", words.persons(counts.sealed.patients)),
        ("sealed_studies", counts.sealed.studies.to_string()),
        ("sealed_images", counts.sealed.instances.to_string()),
        ("gone", words.about("gone", counts.gone)),
        ("unaccounted", words.about("unaccounted", list(&scope["unaccounted"]).len() as u64)),
        ("node", if kind == "node" { words.sentence("node").to_owned() } else { String::new() }),
    ];
    fill_template(words.draft, &values) + "\n"
}
