//! Names of objects in a store.

use leadglass_model::ObjectId;
use object_store::path::Path;

/// `o/{hh}/{32 hex}`: 256 folders, so that none grows too long.
pub(crate) fn of(id: ObjectId) -> Path {
    let hex = id.to_string();
    Path::from_iter([ROOT, &hex[..2], &hex])
}

/// The object of that name; nothing for any other name.
pub(crate) fn parse(path: &Path) -> Option<ObjectId> {
    let id: ObjectId = path.filename()?.parse().ok()?;
    (of(id) == *path).then_some(id)
}

/// The folder of all objects.
pub(crate) fn root() -> Path {
    Path::from(ROOT)
}

/// The folders that objects lie in.
pub(crate) fn folders() -> impl Iterator<Item = Path> {
    (0..=u8::MAX).map(|first| Path::from_iter([ROOT, &format!("{first:02x}")]))
}

const ROOT: &str = "o";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_and_no_other_name_does() {
        let id = ObjectId::from_bytes([0xab; 16]);
        let hex = "ab".repeat(16);
        assert_eq!(of(id).as_ref(), format!("o/ab/{hex}"));
        assert_eq!(parse(&of(id)), Some(id));
        for bad in [format!("o/aa/{hex}"), format!("a/ab/{hex}"), format!("o/ab/{hex}0"), format!("o/ab/{hex}#1")] {
            assert_eq!(parse(&Path::from(bad.as_str())), None, "{bad}");
        }
    }
}
