//! Texts that many rows share, kept once: descriptions, physicians, body parts. A text goes when its last row goes.

use hashbrown::HashTable;
use std::hash::{BuildHasher as _, RandomState};

/// Shared texts, named by small numbers.
#[derive(Default)]
pub(crate) struct Words {
    words: Vec<Word>,
    free: Vec<u32>,
    table: HashTable<u32>,
    hasher: RandomState,
}

struct Word {
    text: Box<str>,
    uses: u32,
}

impl Words {
    /// The number of a text, used once more.
    pub(crate) fn take(&mut self, text: &str) -> u32 {
        let hash = self.hasher.hash_one(text);
        if let Some(at) = self.table.find(hash, |at| &*self.words[*at as usize].text == text) {
            self.words[*at as usize].uses += 1;
            return *at;
        }
        let word = Word { text: text.into(), uses: 1 };
        let at = match self.free.pop() {
            Some(at) => {
                self.words[at as usize] = word;
                at
            }
            None => {
                self.words.push(word);
                u32::try_from(self.words.len() - 1).expect("fewer texts than rows, fewer rows than 2^32")
            }
        };
        let Self { words, table, hasher, .. } = self;
        table.insert_unique(hash, at, |at| hasher.hash_one(&*words[*at as usize].text));
        at
    }

    /// The text.
    pub(crate) fn text(&self, at: u32) -> &str {
        self.words.get(at as usize).map_or("", |word| &word.text)
    }

    /// One use less.
    pub(crate) fn release(&mut self, at: u32) {
        let Some(word) = self.words.get_mut(at as usize) else { return };
        word.uses = word.uses.saturating_sub(1);
        if word.uses > 0 {
            return;
        }
        let hash = self.hasher.hash_one(&*word.text);
        if let Ok(entry) = self.table.find_entry(hash, |held| *held == at) {
            entry.remove();
        }
        word.text = "".into();
        self.free.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_goes_with_its_last_use() {
        let mut words = Words::default();
        let (a, b) = (words.take("Knee"), words.take("Chest"));
        assert_eq!(words.take("Knee"), a);
        assert_eq!((words.text(a), words.text(b)), ("Knee", "Chest"));
        words.release(a);
        assert_eq!(words.text(a), "Knee");
        words.release(a);
        assert_eq!(words.text(a), "");
        assert_eq!(words.take("Hand"), a);
        assert_eq!(words.take("Chest"), b);
        words.release(99);
    }
}
