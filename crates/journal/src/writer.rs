//! The only one who writes. It is driven by one thread and knows nothing of threads itself.

use crate::{
    CommitError, JournalConfig, TrimError,
    disk::{Disk, DiskFile},
    frame::{
        BLOCK_BYTES, FIRST_OF_BATCH, Form, LAST_OF_BATCH, PayloadSum, RECORD_ALIGN, RECORD_HEADER_BYTES, RecordHeader,
        RecordKey, SegmentHeader, align,
    },
    mark::MarkFile,
};
use bytes::Bytes;
use leadglass_model::Entropy;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A record that waits for its place.
pub(crate) struct Waiting {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) len: u32,
    pub(crate) sum: PayloadSum,
    /// Where in the payload a long piece begins that lies at a multiple of [`BLOCK_BYTES`].
    long: Option<u64>,
}

impl Waiting {
    /// `len` is the length of all pieces together.
    pub(crate) fn new(pieces: Vec<Bytes>, len: u32) -> Self {
        let sum = FORM.summing().sum(pieces.iter().map(|piece| &piece[..]));
        let mut begin = 0;
        let mut long = None;
        for piece in &pieces {
            if piece.len() >= LONG_BYTES && piece.as_ptr().align_offset(ALIGNMENT) == 0 {
                long.get_or_insert(begin);
            }
            begin += piece.len() as u64;
        }
        Self { pieces, len, sum, long }
    }

    /// How many zeros its payload stands behind when it begins at `offset` and may reach up to `limit`: so many that its long
    /// piece lies at a block, to be written from where it is.
    fn lead(&self, offset: u64, limit: u64) -> u16 {
        let Some(long) = self.long else { return 0 };
        let begin = offset + RECORD_HEADER_BYTES;
        let lead = align(begin + long, BLOCK_BYTES) - (begin + long);
        let fits = begin + lead + u64::from(self.len) <= limit;
        u16::try_from(lead).ok().filter(|_| fits).unwrap_or(0)
    }
}

/// A segment with records that may still be needed; the one in use is the last.
pub(crate) struct Live {
    pub(crate) name: String,
    /// The sequence of its first record.
    pub(crate) first: u64,
    /// The sequence behind its last record; `first` if it has none.
    pub(crate) end: u64,
    pub(crate) file_bytes: u64,
    pub(crate) used_bytes: u64,
}

/// Numbers that handles may read at any time.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) used_bytes: AtomicU64,
    pub(crate) next: AtomicU64,
    pub(crate) trimmed: AtomicU64,
}

pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    config: JournalConfig,
    mark: MarkFile,
    live: Vec<Live>,
    spares: Vec<u64>,
    /// Spares whose new name is not durable yet. A spare is written over, so until then it is not handed out.
    resting: Vec<u64>,
    /// The segment that takes batches: the last of `live`.
    active: Option<Active>,
    generation: u64,
    spare_number: u64,
    next: u64,
    trimmed: u64,
    gauges: Arc<Gauges>,
}

struct Active {
    file: Arc<dyn DiskFile>,
    key: RecordKey,
    offset: u64,
    file_bytes: u64,
}

impl Writer {
    #[allow(clippy::too_many_arguments, reason = "what opening found out, handed over once")]
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        entropy: Arc<dyn Entropy>,
        config: JournalConfig,
        mark: MarkFile,
        live: Vec<Live>,
        spares: Vec<u64>,
        generation: u64,
        next: u64,
        trimmed: u64,
    ) -> Self {
        let spare_number = spares.iter().copied().max().unwrap_or(0);
        let gauges = Arc::default();
        let (active, resting) = (None, Vec::new());
        let writer = Self {
            disk,
            entropy,
            config,
            mark,
            live,
            spares,
            resting,
            active,
            generation,
            spare_number,
            next,
            trimmed,
            gauges,
        };
        writer.show();
        writer
    }

    pub(crate) fn gauges(&self) -> Arc<Gauges> {
        self.gauges.clone()
    }

    /// Makes the records durable, in their order; answers each with its position.
    pub(crate) fn commit(&mut self, waiting: &[Waiting]) -> Vec<Result<u64, CommitError>> {
        let mut answers = Vec::with_capacity(waiting.len());
        while let Some(head) = waiting.get(answers.len()) {
            let left = &waiting[answers.len()..];
            match self.room_for(head) {
                Err(e) => answers.push(Err(e)),
                Ok(room) => {
                    let batch = &left[..how_many_fit(left, room)];
                    match self.write_batch(batch) {
                        Ok(first) => answers.extend((first..).take(batch.len()).map(Ok)),
                        Err(e) => answers.extend(batch.iter().map(|_| Err(e.clone()))),
                    }
                }
            }
        }
        self.show();
        answers
    }

    /// Makes it durable that nothing up to `upto` needs a replay.
    pub(crate) fn trim(&mut self, upto: u64) -> Result<(), TrimError> {
        let upto = upto.min(self.next - 1);
        if upto > self.trimmed {
            self.mark.write(upto)?;
            self.trimmed = upto;
        }
        let retired = self.retire();
        self.show();
        Ok(retired?)
    }

    /// Prepares the next segment while nobody waits. What fails here is met again, and reported, by the commit that needs it.
    pub(crate) fn prepare(&mut self) {
        if self.spares.is_empty() && self.total_bytes() + self.config.segment_bytes <= self.config.max_bytes {
            let _ = self.create_spare();
        }
    }

    /// Turns segments that nobody needs, or that never got a record, into spares.
    pub(crate) fn retire(&mut self) -> io::Result<()> {
        let kept = usize::from(self.active.is_some());
        let mut at = 0;
        while at + kept < self.live.len() {
            let live = &self.live[at];
            if live.end > self.trimmed + 1 && live.end > live.first {
                at += 1;
            } else {
                self.retire_one(at)?;
            }
        }
        if !self.resting.is_empty() {
            self.disk.sync_dir()?;
            self.spares.append(&mut self.resting);
        }
        Ok(())
    }

    fn retire_one(&mut self, at: usize) -> io::Result<()> {
        let name = &self.live[at].name;
        let outcome = if self.live[at].file_bytes == self.config.segment_bytes {
            self.spare_number += 1;
            let spare = spare_name(self.spare_number);
            let outcome = self.disk.rename(name, &spare);
            // An error does not say that nothing was done; the sync of the directory settles it.
            if outcome.is_ok() || self.disk.open(&spare).is_ok() {
                self.resting.push(self.spare_number);
            }
            outcome
        } else {
            self.disk.remove(name)
        };
        if outcome.is_err() && !is_missing(&*self.disk, name) {
            return outcome;
        }
        self.live.remove(at);
        Ok(())
    }

    /// How many bytes the segment in use still takes; brings another into use if `record` does not fit.
    fn room_for(&mut self, record: &Waiting) -> Result<u64, CommitError> {
        let needed = RECORD_HEADER_BYTES + u64::from(record.len);
        if BLOCK_BYTES + needed > self.config.segment_bytes {
            return Err(CommitError::TooLong { len: u64::from(record.len), max: self.config.max_record_bytes() });
        }
        if let Some(active) = self.active.as_ref().filter(|a| a.offset + needed <= a.file_bytes) {
            return Ok(active.file_bytes - active.offset);
        }
        if self.spares.is_empty() && self.total_bytes() + self.config.segment_bytes > self.config.max_bytes {
            return Err(CommitError::Full);
        }
        let active = self.bring_into_use()?;
        let room = active.file_bytes - active.offset;
        self.active = Some(active);
        Ok(room)
    }

    fn bring_into_use(&mut self) -> Result<Active, CommitError> {
        // From here on the old segment takes nothing more, whatever happens: the new one's header, once it reaches the
        // disk, cuts the old one at `next`.
        self.active = None;
        // A segment without a record is not kept for its emptiness.
        let _ = self.retire();
        if self.spares.is_empty() {
            self.create_spare()?;
        }
        let Some(spare) = self.spares.pop() else { return Err(CommitError::Full) };
        self.generation += 1;
        let made = self.make_segment(spare, self.generation);
        let name = segment_name(self.generation);
        let (first, file_bytes) = (self.next, self.config.segment_bytes);
        if made.is_err() {
            let _ = self.disk.remove(&spare_name(spare));
            let _ = self.disk.remove(&name);
            // It holds no record, but left behind it would claim those of a later segment that is gone before it.
            if !is_missing(&*self.disk, &name) {
                self.live.push(Live { name, first, end: first, file_bytes, used_bytes: 0 });
            }
        } else {
            self.live.push(Live { name, first, end: first, file_bytes, used_bytes: BLOCK_BYTES });
        }
        Ok(made?)
    }

    fn make_segment(&self, spare: u64, generation: u64) -> io::Result<Active> {
        let segment_bytes = self.config.segment_bytes;
        let mut file_id = [0; 16];
        self.entropy.fill(&mut file_id);
        let header =
            SegmentHeader { form: FORM, file_id, generation, first: self.next, trimmed: self.trimmed, segment_bytes };
        let file = self.disk.open(&spare_name(spare))?;
        // A spare may stem from a crash in the middle of its making.
        file.allocate(segment_bytes)?;
        file.write_at(&[&header.encode()], 0)?;
        file.sync()?;
        self.disk.rename(&spare_name(spare), &segment_name(generation))?;
        self.disk.sync_dir()?;
        Ok(Active { file, key: header.key(), offset: BLOCK_BYTES, file_bytes: segment_bytes })
    }

    fn create_spare(&mut self) -> io::Result<()> {
        self.spare_number += 1;
        let name = spare_name(self.spare_number);
        let made = self.disk.create(&name).and_then(|file| file.allocate(self.config.segment_bytes));
        if made.is_err() {
            let _ = self.disk.remove(&name);
        }
        made?;
        self.spares.push(self.spare_number);
        Ok(())
    }

    /// Writes and syncs one batch. An error abandons the segment: what of the batch is on disk is unknown for good.
    fn write_batch(&mut self, batch: &[Waiting]) -> Result<u64, CommitError> {
        let Some(active) = self.active.take() else { return Err(CommitError::Closed) };
        let first = self.next;
        let (mut heads, mut gaps) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        let mut end = active.offset;
        for (record, sequence) in batch.iter().zip(first..) {
            let is_last = heads.len() + 1 == batch.len();
            let mut flags = if is_last { LAST_OF_BATCH } else { 0 };
            if heads.is_empty() {
                flags |= FIRST_OF_BATCH;
            }
            let header = RecordHeader { len: record.len, flags, lead: record.lead(end, active.file_bytes), sequence };
            heads.push(header.encode(&active.key, &record.sum));
            let unpadded = header.end(end);
            end = if is_last { unpadded } else { align(unpadded, RECORD_ALIGN) };
            gaps.push((zeros(header.lead.into()), zeros(end - unpadded)));
        }
        let mut slices: Vec<&[u8]> = Vec::with_capacity(batch.len() * 5);
        for ((record, head), (lead, gap)) in batch.iter().zip(&heads).zip(&gaps) {
            slices.extend([&head[..], lead]);
            slices.extend(record.pieces.iter().map(|piece| &piece[..]));
            slices.push(gap);
        }
        slices.retain(|slice| !slice.is_empty());
        active.file.write_at(&slices, active.offset)?;
        active.file.sync()?;
        self.next += batch.len() as u64;
        let offset = align(end, BLOCK_BYTES);
        if let Some(live) = self.live.last_mut() {
            live.end = self.next;
            live.used_bytes = offset;
        }
        self.active = Some(Active { offset, ..active });
        Ok(first)
    }

    fn total_bytes(&self) -> u64 {
        let live: u64 = self.live.iter().map(|live| live.file_bytes).sum();
        live + (self.spares.len() + self.resting.len()) as u64 * self.config.segment_bytes
    }

    fn show(&self) {
        self.gauges.used_bytes.store(self.live.iter().map(|live| live.used_bytes).sum(), Ordering::Relaxed);
        self.gauges.next.store(self.next, Ordering::Relaxed);
        self.gauges.trimmed.store(self.trimmed, Ordering::Relaxed);
    }
}

/// How many of `waiting` fit `room`, which begins at a block; at least one, which was made sure of before.
fn how_many_fit(waiting: &[Waiting], room: u64) -> usize {
    let mut used = 0;
    let fitting = waiting.iter().take_while(|record| {
        used = align(used, RECORD_ALIGN);
        used += RECORD_HEADER_BYTES + u64::from(record.lead(used, room)) + u64::from(record.len);
        used <= room
    });
    fitting.count().max(1)
}

fn is_missing(disk: &dyn Disk, name: &str) -> bool {
    disk.open(name).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

pub(crate) fn segment_name(generation: u64) -> String {
    format!("seg-{generation:016x}.lgj")
}

fn spare_name(number: u64) -> String {
    format!("spare-{number:016x}.lgj")
}

/// So many zeros, fewer than a block.
fn zeros(bytes: u64) -> &'static [u8] {
    const ZEROS: &[u8] = &[0; ALIGNMENT];
    usize::try_from(bytes).ok().and_then(|bytes| ZEROS.get(..bytes)).unwrap_or(ZEROS)
}

/// What is written; the others are only read.
const FORM: Form = Form::Third;
/// What a piece lies at that is written without a copy: [`BLOCK_BYTES`].
const ALIGNMENT: usize = 4096;
/// From this length on a copy costs more than half a block of zeros.
const LONG_BYTES: usize = 64 << 10;
