//! Reading a segment record by record.

use crate::{
    config::MAX_RECORD_BYTES,
    disk::DiskFile,
    frame::{BLOCK_BYTES, Form, RECORD_ALIGN, RECORD_HEADER_BYTES, RecordHeader, RecordKey, SegmentHeader, align},
};
use bytes::Bytes;
use std::{io, sync::Arc};

/// A place in a segment and the sequence that must stand there.
pub(crate) struct Walk {
    file: Arc<dyn DiskFile>,
    key: RecordKey,
    form: Form,
    end_of_file: u64,
    offset: u64,
    expected: u64,
    batch_begins: bool,
    batch_offset: u64,
}

impl Walk {
    pub(crate) fn new(file: Arc<dyn DiskFile>, header: &SegmentHeader) -> Self {
        Self {
            key: header.key(),
            form: header.form,
            end_of_file: header.segment_bytes,
            offset: BLOCK_BYTES,
            expected: header.first,
            batch_begins: true,
            batch_offset: BLOCK_BYTES,
            file,
        }
    }

    /// The sequence that the next record must have.
    pub(crate) fn expected(&self) -> u64 {
        self.expected
    }

    /// Where the next record must stand.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the batch of the last record that was read begins.
    pub(crate) fn batch_offset(&self) -> u64 {
        self.batch_offset
    }

    /// The next record; nothing if what stands there is not it.
    pub(crate) fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some((header, payload)) = self.valid_at(self.offset, |header| {
            header.sequence == self.expected && header.is_first() == self.batch_begins
        })?
        else {
            return Ok(None);
        };
        if self.batch_begins {
            self.batch_offset = self.offset;
        }
        let end = header.end(self.offset);
        self.batch_begins = header.is_last();
        self.offset = align(end, if header.is_last() { BLOCK_BYTES } else { RECORD_ALIGN });
        self.expected += 1;
        Ok(Some(payload))
    }

    /// Whether a whole first-of-batch record of this use of the file stands behind the place where the walk stopped.
    /// Batches are written one after the other, each after the one before was synced: then the hole is damage.
    pub(crate) fn goes_on_behind(&self) -> io::Result<bool> {
        let mut offset = align(self.offset + 1, BLOCK_BYTES);
        while offset < self.end_of_file {
            let later = self.valid_at(offset, |header| header.sequence > self.expected && header.is_first())?;
            if later.is_some() {
                return Ok(true);
            }
            offset += BLOCK_BYTES;
        }
        Ok(false)
    }

    fn valid_at(
        &self,
        offset: u64,
        wanted: impl FnOnce(&RecordHeader) -> bool,
    ) -> io::Result<Option<(RecordHeader, Bytes)>> {
        if offset + RECORD_HEADER_BYTES > self.end_of_file {
            return Ok(None);
        }
        let mut head = [0; 32];
        self.file.read_at(&mut head, offset)?;
        let header = RecordHeader::claimed(&head);
        let fits = u64::from(header.len) <= MAX_RECORD_BYTES
            && u64::from(header.lead) < BLOCK_BYTES
            && header.end(offset) <= self.end_of_file;
        if !wanted(&header) || !fits {
            return Ok(None);
        }
        let mut payload = vec![0; header.len as usize];
        self.file.read_at(&mut payload, header.payload_at(offset))?;
        let proven = RecordHeader::proves(&head, &self.key, &self.form.summing().sum([&payload[..]]));
        Ok(proven.then(|| (header, payload.into())))
    }
}
