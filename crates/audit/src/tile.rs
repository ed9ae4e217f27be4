//! Names and bytes of tiles and entry bundles (C2SP tlog-tiles).
//!
//! Units: a *hash tile* at level `l` holds up to 256 roots of complete subtrees of 256^l leaves, 32 bytes each; an *entry
//! bundle* holds up to 256 leaves, each behind its length as a 16-bit big-endian integer. `width` counts what is inside;
//! 256 is a full tile, which never changes again.

use crate::Hash;

/// Hashes in a full tile, leaves in a full bundle.
pub(crate) const WIDTH: u64 = 256;

/// `tile/<level>/<index>[.p/<width>]`.
pub(crate) fn hash_tile_path(level: u32, index: u64, width: u64) -> String {
    format!("tile/{level}/{}", suffix(index, width))
}

/// `tile/entries/<index>[.p/<width>]`.
pub(crate) fn bundle_path(index: u64, width: u64) -> String {
    format!("tile/entries/{}", suffix(index, width))
}

/// `detail/<index>`: sealed details of the entries of one bundle. Ours, not part of tlog-tiles.
pub(crate) fn detail_path(index: u64) -> String {
    format!("detail/{}", suffix(index, WIDTH))
}

/// How many hashes stand at `level` in a tree of `size` leaves, as (full tiles, width of the partial one).
pub(crate) const fn tiles_at(level: u32, size: u64) -> (u64, u64) {
    let hashes = match size.checked_shr(8 * level) {
        Some(n) => n,
        None => 0,
    };
    (hashes / WIDTH, hashes % WIDTH)
}

/// The hash tiles' bytes.
pub(crate) fn hash_tile_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|h| h.0).collect()
}

/// The hashes in a tile of exactly `width`; `None` for any other length.
pub(crate) fn parse_hash_tile(bytes: &[u8], width: u64) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && hashes.len() as u64 == width).then(|| hashes.iter().map(|h| Hash(*h)).collect())
}

/// The bundle's bytes. Each leaf is at most 65,535 bytes long, as `entry` sees to.
pub(crate) fn bundle_bytes<'a>(leaves: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for leaf in leaves {
        let len = u16::try_from(leaf.len()).expect("a leaf is at most MAX_ENTRY_BYTES long");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(leaf);
    }
    out
}

/// The leaves in a bundle of exactly `width`; `None` for anything else.
pub(crate) fn parse_bundle(mut bytes: &[u8], width: u64) -> Option<Vec<Vec<u8>>> {
    let mut leaves = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_first_chunk::<2>()?;
        let (leaf, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        leaves.push(leaf.to_vec());
        bytes = rest;
    }
    (leaves.len() as u64 == width).then_some(leaves)
}

fn suffix(index: u64, width: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    if width < WIDTH {
        path.push_str(&format!(".p/{width}"));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        assert_eq!(hash_tile_path(0, 0, 256), "tile/0/000");
        assert_eq!(hash_tile_path(1, 1_234_067, 256), "tile/1/x001/x234/067");
        assert_eq!(hash_tile_path(0, 1000, 7), "tile/0/x001/000.p/7");
        assert_eq!(bundle_path(273, 112), "tile/entries/273.p/112");
    }

    /// The example of the specification: a tree of 70,000 leaves.
    #[test]
    fn seventy_thousand_leaves_stand_in_the_named_tiles() {
        assert_eq!(tiles_at(0, 70_000), (273, 112));
        assert_eq!(tiles_at(1, 70_000), (1, 17));
        assert_eq!(tiles_at(2, 70_000), (0, 1));
        assert_eq!(tiles_at(3, 70_000), (0, 0));
        assert_eq!(tiles_at(8, u64::MAX), (0, 0));
    }

    #[test]
    fn a_bundle_comes_back_only_with_its_width() {
        let bytes = bundle_bytes([&b"one"[..], b"", b"three"]);
        assert_eq!(parse_bundle(&bytes, 3).unwrap(), [b"one".to_vec(), vec![], b"three".to_vec()]);
        assert_eq!(parse_bundle(&bytes, 2), None);
        assert_eq!(parse_bundle(&bytes[..bytes.len() - 1], 3), None);
    }
}
