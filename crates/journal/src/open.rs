//! Opening: which records count, and where the journal ends. JOURNAL.md "Opening" has the steps.

use crate::{
    JournalConfig, JournalError,
    disk::{Disk, DiskFile},
    frame::{SEGMENT_HEADER_BYTES, SegmentHeader},
    mark::{self, MarkFile},
    replay::{Replay, Segment},
    walk::Walk,
    writer::{Live, Writer, segment_name},
};
use leadglass_model::Entropy;
use std::{collections::VecDeque, io, sync::Arc};

/// Reads what stands in `disk` and makes the writer that goes on behind it.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    config: JournalConfig,
    entropy: Arc<dyn Entropy>,
) -> Result<(Writer, Replay), JournalError> {
    config.check()?;
    let names = disk.list().map_err(reading)?;
    if names.iter().any(|name| name == mark::HALF_MADE) {
        disk.remove(mark::HALF_MADE).map_err(writing)?;
    }
    // Names as they are seen now are names that the next power loss leaves.
    disk.sync_dir().map_err(writing)?;
    let mut mark = MarkFile::open(&*disk).map_err(writing)?;
    let mut found = read_headers(&*disk, &names)?;
    let trimmed = found.iter().map(|s| s.header.trimmed).fold(mark.trimmed(), u64::max);
    mark.settle(trimmed).map_err(writing)?;

    // A segment counts up to the first sequence of whatever was brought into use after it.
    let mut end = u64::MAX;
    for segment in found.iter_mut().rev() {
        segment.end = end;
        end = end.min(segment.header.first);
    }
    let mut next = found.first().map_or(1, |s| s.header.first);
    if next > trimmed + 1 {
        let generation = found.first().map_or(0, |s| s.header.generation);
        return Err(JournalError::Damaged { position: trimmed + 1, generation, offset: 0 });
    }
    let last = found.len().saturating_sub(1);
    let mut live = Vec::with_capacity(found.len());
    for (at, segment) in found.iter_mut().enumerate() {
        if segment.header.first > next {
            return Err(JournalError::Damaged { position: next, generation: segment.header.generation, offset: 0 });
        }
        let bytes = settle_end(segment, at == last)?;
        next = next.max(segment.end);
        live.push(Live {
            name: segment_name(segment.header.generation),
            first: segment.header.first,
            end: segment.end,
            file_bytes: segment.header.segment_bytes,
            used_bytes: bytes,
        });
    }
    // Everything was trimmed and its segments are spares again: the mark alone remembers how far the journal was.
    let next = next.max(trimmed + 1);
    let generation = found.last().map_or(0, |s| s.header.generation);
    let spares = usable_spares(&*disk, &names, config.segment_bytes)?;
    let segments: VecDeque<Segment> = found.into_iter().filter(|s| s.end > trimmed + 1).collect();
    let replay = Replay::new(segments, trimmed, next);
    let mut writer = Writer::new(disk, entropy, config, mark, live, spares, generation, next, trimmed);
    writer.retire().map_err(writing)?;
    Ok((writer, replay))
}

/// Every segment, in the order in which they were brought into use.
fn read_headers(disk: &dyn Disk, names: &[String]) -> Result<Vec<Segment>, JournalError> {
    let mut generations: Vec<u64> = names.iter().filter_map(|name| number(name, "seg-")).collect();
    generations.sort_unstable();
    let mut found = Vec::with_capacity(generations.len());
    for generation in generations {
        let file = disk.open(&segment_name(generation)).map_err(reading)?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let header = match file.read_at(&mut bytes, 0) {
            Ok(()) => SegmentHeader::decode(&bytes),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(e) => return Err(reading(e)),
        };
        let len = file.len().map_err(reading)?;
        let header = header.filter(|h| h.generation == generation && h.segment_bytes == len);
        let header = header.ok_or(JournalError::DamagedHeader { generation })?;
        found.push(Segment { file, header, end: u64::MAX });
    }
    Ok(found)
}

/// Walks a segment; sets its end if it is the last one. Answers how many bytes of it are in use.
fn settle_end(segment: &mut Segment, is_last: bool) -> Result<u64, JournalError> {
    let mut walk = Walk::new(segment.file.clone(), &segment.header);
    let mut read = 0_u64;
    while walk.expected() < segment.end {
        if walk.next().map_err(reading)?.is_some() {
            read += 1;
            continue;
        }
        if !is_last || walk.goes_on_behind().map_err(reading)? {
            let generation = segment.header.generation;
            return Err(JournalError::Damaged { position: walk.expected(), generation, offset: walk.offset() });
        }
        segment.end = walk.expected();
    }
    if is_last && read > 0 {
        rewrite(&*segment.file, walk.batch_offset(), walk.offset().min(segment.header.segment_bytes))
            .map_err(writing)?;
    }
    Ok(walk.offset())
}

/// Writes bytes over themselves and syncs them: what the page cache shows is not yet what the disk holds.
fn rewrite(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut buffer = vec![0; REWRITE_BYTES];
    let mut at = from;
    while at < to {
        let some = usize::try_from(to - at).map_or(REWRITE_BYTES, |left| left.min(REWRITE_BYTES));
        file.read_at(&mut buffer[..some], at)?;
        file.write_at(&[&buffer[..some]], at)?;
        at += some as u64;
    }
    file.sync()
}

/// Spares of the right length; others are removed.
fn usable_spares(disk: &dyn Disk, names: &[String], segment_bytes: u64) -> Result<Vec<u64>, JournalError> {
    let mut spares = Vec::new();
    for name in names {
        let Some(spare) = number(name, "spare-") else { continue };
        if disk.open(name).and_then(|file| file.len()).map_err(reading)? == segment_bytes {
            spares.push(spare);
        } else {
            disk.remove(name).map_err(writing)?;
        }
    }
    Ok(spares)
}

fn number(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(".lgj")?;
    if digits.len() == 16 { u64::from_str_radix(digits, 16).ok() } else { None }
}

fn reading(source: io::Error) -> JournalError {
    JournalError::Io { doing: "read", source }
}

fn writing(source: io::Error) -> JournalError {
    JournalError::Io { doing: "write", source }
}

const REWRITE_BYTES: usize = 1 << 20;
