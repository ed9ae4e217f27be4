//! A list that S3 answers, read for what it says of one name (Amazon S3 API Reference).

use quick_xml::{Reader, events::Event};

/// What a list is called, which of its elements count, and what tells them apart.
pub(super) struct Listing {
    pub(super) root: &'static str,
    pub(super) items: &'static [&'static str],
    pub(super) id: &'static str,
}

impl Listing {
    /// The ids of the items of exactly that name; nothing if it is not the answer that was asked for, or not all of it.
    pub(super) fn ids(&self, answer: &[u8], name: &str) -> Option<Vec<String>> {
        let is_item = |tag: &[u8]| self.items.iter().any(|item| item.as_bytes() == tag);
        let mut reader = Reader::from_reader(answer);
        let (mut found, mut path) = (Vec::new(), Vec::new());
        let (mut key, mut id) = (String::new(), String::new());
        let (mut is_list, mut is_whole) = (false, false);
        loop {
            match reader.read_event().ok()? {
                Event::Start(tag) => {
                    path.push(tag.local_name().as_ref().to_vec());
                    is_list |= path.len() == 1 && path[0] == self.root.as_bytes();
                    if path.len() > DEPTH_MAX {
                        return None;
                    }
                    if path.len() == 2 {
                        (key, id) = (String::new(), String::new());
                    }
                }
                Event::Text(text) => {
                    let field = match path.iter().map(Vec::as_slice).collect::<Vec<_>>()[..] {
                        [_, item, b"Key"] if is_item(item) => &mut key,
                        [_, item, field] if is_item(item) && field == self.id.as_bytes() => &mut id,
                        _ => continue,
                    };
                    field.push_str(&text.decode().ok()?);
                }
                Event::End(_) => {
                    let tag = path.pop()?;
                    if path.len() == 1 && is_item(&tag) && key == name && !id.is_empty() {
                        found.push(std::mem::take(&mut id));
                    }
                    is_whole |= path.is_empty();
                }
                // Nothing is listed, in one tag.
                Event::Empty(tag) if path.is_empty() => {
                    is_list |= tag.local_name().as_ref() == self.root.as_bytes();
                    is_whole |= is_list;
                }
                Event::Eof => return (is_list && is_whole).then_some(found),
                _ => {}
            }
        }
    }
}

const DEPTH_MAX: usize = 8;
