//! The built-in words of letters: `data/letters/`, a file a language. In it stand the templates, each under `== name`, and
//! last, under `== sentences`, what is put into them, as `key: sentence`.

use super::{Language, TemplateName};
use std::sync::LazyLock;

/// The words of one language.
pub(super) struct Texts {
    templates: Vec<(&'static str, String)>,
    sentences: Vec<(&'static str, &'static str)>,
}

impl Texts {
    /// Those of a language.
    pub(super) fn of(language: Language) -> &'static Self {
        match language {
            Language::En => &EN,
            Language::De => &DE,
            Language::It => &IT,
            Language::Es => &ES,
            Language::Fr => &FR,
        }
    }

    /// The template as it comes with the house.
    pub(super) fn template(&self, name: TemplateName) -> &str {
        let found = self.templates.iter().find(|(title, _)| *title == name.as_str());
        found.map_or("", |(_, text)| text)
    }

    /// The sentence of a key such as `no.17(3)(b)`.
    pub(super) fn sentence(&self, key: &str) -> &'static str {
        self.sentences.iter().find(|(of, _)| *of == key).map_or("", |(_, sentence)| sentence)
    }

    fn read(file: &'static str) -> Self {
        let (mut templates, mut sentences) = (Vec::new(), Vec::new());
        for part in file.split("== ").skip(1) {
            let Some((title, text)) = part.split_once('\n') else { continue };
            if title == SENTENCES {
                sentences = text.lines().filter_map(|line| line.split_once(": ")).collect();
            } else {
                templates.push((title, text.trim_end().to_owned() + "\n"));
            }
        }
        Self { templates, sentences }
    }
}

static EN: LazyLock<Texts> = LazyLock::new(|| Texts::read(include_str!("../../data/letters/en.txt")));
static DE: LazyLock<Texts> = LazyLock::new(|| Texts::read(include_str!("../../data/letters/de.txt")));
static IT: LazyLock<Texts> = LazyLock::new(|| Texts::read(include_str!("../../data/letters/it.txt")));
static ES: LazyLock<Texts> = LazyLock::new(|| Texts::read(include_str!("../../data/letters/es.txt")));
static FR: LazyLock<Texts> = LazyLock::new(|| Texts::read(include_str!("../../data/letters/fr.txt")));
const SENTENCES: &str = "sentences";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::template;

    #[test]
    fn every_language_has_every_template_and_every_sentence_once() {
        let keys = |language| {
            let mut keys: Vec<&str> = Texts::of(language).sentences.iter().map(|(key, _)| *key).collect();
            keys.sort_unstable();
            keys
        };
        let english = keys(Language::En);
        assert!(english.windows(2).all(|pair| pair[0] != pair[1]), "a key stands twice");
        for language in Language::ALL {
            assert_eq!(keys(language), english, "{language}");
            for name in TemplateName::ALL {
                let text = Texts::of(language).template(name);
                template::check(name, text).unwrap_or_else(|error| panic!("{language} {name}: {error}"));
            }
            let foreign = Texts::of(language).sentences.iter().filter(|(key, sentence)| {
                language != Language::En && *sentence == Texts::of(Language::En).sentence(key)
            });
            assert_eq!(foreign.count(), 0, "{language}: a sentence was left in English");
        }
    }
}
