//! Bulk data: the values that the metadata only point at (`BulkDataURI`), one ranged read each.
//!
//! Where such a value lies is not kept: the data set is walked up to it, once, and its place remembered
//! ([`Tables`](super::Tables)). Pixel data need no walk, the object says where they are. What the metadata do not name is
//! not looked for.

use super::{
    Instance, Pixels, RetrieveError, Target,
    cut::{Cut, Items, Swap},
    frame_map::{PIXELS, pixel_value, turned},
    frames::{Frame, Place},
    inflate::{Short, inflated},
    metadata::Asker,
    reader::Reader,
    tables::Weigh,
};
use crate::{Engine, Shared, access::Given};
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use leadglass_index::{FrameLayout, InstanceRow};
use leadglass_model::{Permit, Read, SeriesUid, SopInstanceUid, StudyUid, TransferSyntaxUid};
use leadglass_seal::{Corruption, OpenError};
use leadglass_tap::{BulkForm, Framing, Limits, Syntax, Tap};
use std::{pin::Pin, sync::Arc};

/// Which value: tags and item numbers, as in the `BulkDataURI` behind `bulkdata/` (`00420011`, `52009229/0/00281201`).
/// It names nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkPath(String);

impl BulkPath {
    /// Reads a path; `None` for what no metadata hold.
    pub fn parse(text: &str) -> Option<Self> {
        let tag = |part: &str| part.len() == 8 && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        let item = |part: &str| (1..=10).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let fits = text.len() <= MAX_PATH
            && text.split('/').count() % 2 == 1
            && text.split('/').enumerate().all(|(n, part)| if n % 2 == 0 { tag(part) } else { item(part) });
        fits.then(|| Self(format!("bulkdata/{text}")))
    }
}

/// What lies under a path.
#[derive(Debug)]
pub enum Bulk {
    /// A value.
    Value {
        /// Its bytes, little endian; read like a frame's.
        value: Frame,
        /// What they are, where the instance says so (MIME Type of Encapsulated Document), in lower case.
        media_type: Option<String>,
    },
    /// Encapsulated pixel data: frame by frame.
    Frames(Box<Pixels>),
    /// Encapsulated pixel data whose frames cannot be told apart: the fragments, joined. A video, as a rule.
    Stream {
        /// The bytes.
        value: Frame,
        /// How they are encoded.
        encoding: TransferSyntaxUid,
    },
}

/// Where the values of one object lie in its data set, as far as it was walked.
#[derive(Debug)]
pub(super) struct BulkMap(Vec<(String, Spot)>);

#[derive(Debug, Clone, Copy)]
struct Spot {
    offset: u64,
    len: u64,
    form: BulkForm,
}

impl Weigh for BulkMap {
    fn bytes(&self) -> usize {
        self.0.iter().map(|(path, _)| path.capacity() + size_of::<(String, Spot)>()).sum()
    }
}

impl Engine {
    /// A value that the metadata of an instance point at. [`RetrieveError::NoSuchBulk`] for any other.
    ///
    /// Cancel safety: dropping the future may leave an access recorded that nobody used.
    pub async fn bulk(
        &self,
        permit: &Permit<Read>,
        session: [u8; 16],
        instance: (&StudyUid, &SeriesUid, &SopInstanceUid),
        path: &BulkPath,
    ) -> Result<Bulk, RetrieveError> {
        let (study, series, sop) = instance;
        let target = Target::Instance(study.clone(), series.clone(), sop.clone());
        self.shared.bulk(permit, session, &target, path).await
    }
}

impl Shared {
    async fn bulk(
        self: &Arc<Self>,
        permit: &Permit<Read>,
        session: [u8; 16],
        target: &Target,
        path: &BulkPath,
    ) -> Result<Bulk, RetrieveError> {
        let study = self.study_of(permit, target)?;
        let instance = self.locate_one(permit, session, target).await?;
        let row = instance.row.clone();
        let document =
            self.document(&instance.access, Asker::within(permit, &instance.access), study.study_ref, row).await?;
        let json = document.ok_or(RetrieveError::NoSuchBulk)?.json;
        let json = json.expose();
        let named = format!("\"BulkDataURI\":\"{}\"", path.0);
        if !json.windows(named.len()).any(|window| window == named.as_bytes()) {
            return Err(RetrieveError::NoSuchBulk);
        }
        let syntax = Syntax::of(&instance.row.transfer_syntax);
        if PIXELS.contains(&path.0.as_str()) {
            if syntax.framing != Framing::Native {
                return self.encapsulated(instance).await;
            }
            if let Some((offset, len)) = native(&instance.row, &instance.reader, syntax).await? {
                let at = instance.row.dataset_start.saturating_add(offset);
                let form = match turned(&instance.row, &instance.reader, syntax, at).await? {
                    width @ 2.. if len.is_multiple_of(width as u64) => BulkForm::BigEndian(width),
                    _ => BulkForm::Plain,
                };
                let value = value(instance, Spot { offset, len, form }, syntax);
                return Ok(Bulk::Value { value, media_type: None });
            }
        }
        let spot = self.spot(&instance.row, &instance.reader, syntax, path).await?;
        let media_type = if path.0 == DOCUMENT { document_type(json) } else { None };
        Ok(Bulk::Value { value: value(instance, spot, syntax), media_type })
    }

    async fn encapsulated(self: &Arc<Self>, instance: Instance) -> Result<Bulk, RetrieveError> {
        let encoding = instance.row.transfer_syntax.clone();
        let Instance { access, row, reader } = instance;
        let (again, body_len) = ((access.clone(), reader.clone()), row.body_len);
        let pixels = self.pixels(Instance { access, row, reader }).await?;
        if pixels.count().is_some() {
            return Ok(Bulk::Frames(Box::new(pixels)));
        }
        let (access, reader) = again;
        let layout = reader.tail().await?.opened.records.layout;
        let at = layout.and_then(|layout| layout.pixel_value).ok_or(RetrieveError::NoSuchBulk)?;
        // Where the value starts, or in older objects its header, which is no item.
        let head: Vec<Bytes> = reader.plain(at..at.saturating_add(4)).try_collect().await?;
        let skip = if head.concat() == ITEM { 0 } else { EXPLICIT_HEAD };
        let value = Frame {
            access,
            reader,
            place: Place::Body(at..body_len),
            cut: Cut::Items(Items::all(skip)),
            len: None,
            counts: Given::default(),
        };
        Ok(Bulk::Stream { value, encoding })
    }

    /// Finds a value of the data set.
    async fn spot(
        &self,
        row: &InstanceRow,
        reader: &Reader,
        syntax: Syntax,
        path: &BulkPath,
    ) -> Result<Spot, RetrieveError> {
        let known = |map: &BulkMap| map.0.iter().find(|(known, _)| *known == path.0).map(|(_, spot)| *spot);
        if let Some(spot) = self.tables.bulk.get(reader.object()).and_then(|map| known(&map)) {
            return Ok(spot);
        }
        let body = row.dataset_start..row.body_len;
        let (mut pieces, mut tap): (Pin<Box<dyn Stream<Item = _> + Send>>, _) = if syntax.deflated {
            let all = 0..Limits::default().inflated_bytes;
            let pieces = inflated(reader.clone(), body, all, Short::Ends);
            (Box::pin(pieces), Tap::with_syntax(Syntax::EXPLICIT_LE, Limits::default()))
        } else {
            (Box::pin(reader.plain(body)), Tap::with_syntax(syntax, Limits::default()))
        };
        while let Some(piece) = pieces.try_next().await? {
            tap.feed(&piece).map_err(|_| damaged(reader))?;
            if tap.bulk_so_far().iter().any(|value| value.path == path.0) {
                break;
            }
        }
        let found = tap.bulk_so_far().iter();
        let found = found.map(|v| (v.path.clone(), Spot { offset: v.offset, len: v.len, form: v.form })).collect();
        let map = self.tables.bulk.put(reader.object(), BulkMap(found));
        known(&map).ok_or(RetrieveError::NoSuchBulk)
    }
}

/// Pixel data that are not encapsulated: first byte in the body, and length. `None` where only a walk tells.
async fn native(row: &InstanceRow, reader: &Reader, syntax: Syntax) -> Result<Option<(u64, u64)>, RetrieveError> {
    let at = match row.frames {
        FrameLayout::Native { offset, .. } => Some(offset),
        FrameLayout::None | FrameLayout::Table { .. } if syntax.deflated => None,
        FrameLayout::None | FrameLayout::Table { .. } => {
            reader.tail().await?.opened.records.layout.and_then(|layout| layout.pixel_value)
        }
    };
    match at {
        // Into an offset of the data set.
        Some(at) => {
            let found = pixel_value(reader, syntax, at).await?;
            Ok(found.and_then(|(at, len)| Some((at.checked_sub(row.dataset_start)?, len))))
        }
        None => Ok(None),
    }
}

fn value(instance: Instance, spot: Spot, syntax: Syntax) -> Frame {
    let Instance { access, row, reader } = instance;
    let end = spot.offset.saturating_add(spot.len);
    let place = if syntax.deflated {
        Place::Inflated { body: row.dataset_start..row.body_len, wanted: spot.offset..end }
    } else {
        Place::Body(row.dataset_start.saturating_add(spot.offset)..row.dataset_start.saturating_add(end))
    };
    let (cut, len) = match spot.form {
        BulkForm::BigEndian(width) if spot.len.is_multiple_of(width.max(1) as u64) => {
            (Cut::Swap(Swap::new(width)), Some(spot.len))
        }
        BulkForm::Plain | BulkForm::BigEndian(_) => (Cut::Plain, Some(spot.len)),
        // Of an icon, for example.
        BulkForm::Fragments => (Cut::Items(Items::all(0)), None),
    };
    Frame { access, reader, place, cut, len, counts: Given::default() }
}

/// MIME Type of Encapsulated Document (0042,0012).
fn document_type(json: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    Some(json["00420012"]["Value"][0].as_str()?.trim().to_ascii_lowercase())
}

fn damaged(reader: &Reader) -> RetrieveError {
    reader.damaged(OpenError::Corrupt { what: Corruption::ContentDigest })
}

/// Encapsulated Document (0042,0011).
const DOCUMENT: &str = "bulkdata/00420011";
/// `FFFE,E000`.
const ITEM: [u8; 4] = [0xFE, 0xFF, 0x00, 0xE0];
/// Header of Pixel Data in explicit VR.
const EXPLICIT_HEAD: u64 = 12;
/// More than the tap's depth brings.
const MAX_PATH: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_tags_with_item_numbers_in_between() {
        for good in ["00420011", "52009229/0/00281201", "7FE00010", "00091010/12/00091011/0/00091012"] {
            assert_eq!(BulkPath::parse(good).map(|p| p.0), Some(format!("bulkdata/{good}")));
        }
        for bad in
            ["", "0042001", "00420011/", "00420011/0", "/00420011", "7fe00010", "00420011/x/00420011", "../00420011"]
        {
            assert_eq!(BulkPath::parse(bad), None, "{bad}");
        }
        assert!(BulkPath::parse(&["00420011"; 101].join("/0/")).is_some_and(|path| path.0.len() < MAX_PATH));
        assert_eq!(BulkPath::parse(&["00420011"; 1_001].join("/0/")), None);
    }
}
