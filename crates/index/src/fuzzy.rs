//! Names that are nearly the ones that were asked for (PS3.18 §8.3.4.2: how is left to the server).
//!
//! A name fits when each word of the query fits one of the name's words, in any order and of any component group. A word
//! fits another that begins with it, where one letter may be wrong, missing, too many or changed with its neighbour in a
//! word of four letters, and two in one of eight. Case, accents, apostrophes and hyphens are folded as everywhere.
//!
//! Bounded: so many words, of so many letters each; a comparison costs their product.

use crate::fold::forms;

/// The words of a query.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Fuzzy(Vec<Vec<char>>);

impl Fuzzy {
    /// Of a search value; wildcards say nothing here. `None` where no word is left.
    pub(crate) fn read(text: &str) -> Option<Self> {
        // Of several forms the first: the name brings its own.
        let form = forms(&text.replace(['*', '?'], " ")).into_iter().next()?;
        let words: Vec<Vec<char>> =
            words(&form).take(MAX_WORDS).map(|word| word.chars().take(MAX_LETTERS).collect()).collect();
        (!words.is_empty()).then_some(Self(words))
    }

    /// Whether a name fits.
    pub(crate) fn fits(&self, name: &str) -> bool {
        let forms: Vec<String> = name.splitn(3, '=').flat_map(forms).collect();
        let held: Vec<Vec<char>> = forms
            .iter()
            .flat_map(|form| words(form))
            .take(MAX_NAME_WORDS)
            .map(|word| word.chars().take(MAX_LETTERS).collect())
            .collect();
        self.0.iter().all(|wanted| held.iter().any(|word| begins_nearly(word, wanted)))
    }
}

fn words(form: &str) -> impl Iterator<Item = &str> {
    form.split(['^', '=', ' ', ',', '-', '.']).filter(|word| !word.is_empty())
}

/// How many letters may be wrong in a word of so many.
const fn slack(letters: usize) -> usize {
    match letters {
        0..4 => 0,
        4..8 => 1,
        _ => 2,
    }
}

/// Whether a word begins with the wanted one, more or less: the distance of Damerau and Levenshtein to any of its
/// beginnings, neighbours changed at most once.
fn begins_nearly(word: &[char], wanted: &[char]) -> bool {
    let slack = slack(wanted.len());
    if slack == 0 {
        return word.starts_with(wanted);
    }
    let word = &word[..word.len().min(wanted.len() + slack)];
    // Rows of the table: the beginnings of what is wanted against those of the word.
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=word.len()).collect());
    for (i, letter) in wanted.iter().enumerate() {
        let mut row = Vec::with_capacity(last.len());
        row.push(i + 1);
        for (j, held) in word.iter().enumerate() {
            let mut cost = (last[j] + usize::from(letter != held)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == word[j - 1] && wanted[i - 1] == *held {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.into_iter().min().is_some_and(|cost| cost <= slack)
}

const MAX_WORDS: usize = 8;
const MAX_NAME_WORDS: usize = 48;
const MAX_LETTERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_nearly_right_are_found_and_others_are_not() {
        let table: &[(&str, &str, bool)] = &[
            ("Müller", "Mueller^Anna", true),
            ("Mueller", "Müller^Anna", true),
            ("Muler", "Müller^Anna", true),
            ("Mulelr", "Müller^Anna", true),
            ("anna muller", "Müller^Anna", true),
            ("Muller, A", "Müller^Anna", true),
            ("Müll", "Müller^Anna", true),
            ("Maier", "Meier^Jo", true),
            ("Mayer", "Meier^Jo", false),
            ("Schwarzeneger", "Schwarzenegger^A", true),
            ("Swarzeneger", "Schwarzenegger^A", false),
            ("Do*", "Doe^Jane", true),
            ("Dae", "Doe^Jane", false),
            ("Jones Smith", "Smith-Jones^Al", true),
            ("obrian", "O'Brien^Pat", true),
            ("yamada", "Yamada^Tarou=山田^太郎", true),
            ("山田", "Yamada^Tarou=山田^太郎", true),
            ("山本", "Yamada^Tarou=山田^太郎", false),
            ("Doe", "", false),
        ];
        for (wanted, name, fits) in table {
            assert_eq!(Fuzzy::read(wanted).unwrap().fits(name), *fits, "{wanted} in {name}");
        }
        assert!(Fuzzy::read("").is_none() && Fuzzy::read("*^?").is_none());
    }

    #[test]
    fn long_words_and_many_of_them_are_cut() {
        let fuzzy = Fuzzy::read(&"ab ".repeat(300)).unwrap();
        assert_eq!(fuzzy.0.len(), MAX_WORDS);
        let long = "x".repeat(1_000);
        assert!(Fuzzy::read(&long).unwrap().fits(&long));
    }
}
