//! Reading the end of an object: FOOTER, then INDEX, without BODY.
//!
//! One suffix GET holds FOOTER always and INDEX nearly always; a long frame table takes one range GET more.
//! Source: FORMAT.md §5 and §6.

use crate::{
    error::{Corruption, OpenError},
    footer::{FOOTER_LEN, Footer},
    key::wipe,
    opener::Opener,
    range::RangePlan,
    records::{ObjectRecords, OpenedRecords},
    suite::TAG_LEN,
};

/// FOOTER and INDEX of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// Lengths and digest of BODY.
    pub footer: Footer,
    /// What the object says about itself.
    pub opened: OpenedRecords,
}

/// What a suffix was enough for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailStep {
    /// All of it.
    Complete(Box<Tail>),
    /// FOOTER only: fetch `index.sealed()` and call [`Opener::read_index`].
    NeedsIndex {
        /// Lengths and digest of BODY.
        footer: Footer,
        /// INDEX.
        index: RangePlan,
    },
}

impl Opener {
    /// Reads FOOTER, and INDEX if it is there, from the last bytes of the sealed object: at least
    /// [`suffix_len`](crate::ChunkSize::suffix_len) of them, or the whole object.
    pub fn read_tail(&self, suffix: &[u8]) -> Result<TailStep, OpenError> {
        let geometry = self.geometry();
        let plain_len = geometry.plain_len();
        let footer_start = plain_len.checked_sub(FOOTER_LEN as u64).ok_or(Corruption::Footer)?;
        let bytes = self.open_in_suffix(footer_start..plain_len, suffix)?;
        let mut plain = bytes.ok_or(OpenError::NotARun { first_chunk: 0, given: suffix.len() })?;
        let footer = footer_bytes(&plain).and_then(|bytes| Footer::parse(&bytes, plain_len));
        wipe(&mut plain);
        let footer = footer?;
        let index = geometry.plan(footer.body_len..footer_start).map_err(|_| Corruption::Lengths)?;
        match self.open_in_suffix(index.plain(), suffix)? {
            Some(mut plain) => {
                let opened = ObjectRecords::parse(&plain, footer.body_len);
                wipe(&mut plain);
                Ok(TailStep::Complete(Box::new(Tail { footer, opened: opened? })))
            }
            None => Ok(TailStep::NeedsIndex { footer, index }),
        }
    }

    /// Reads INDEX from the sealed bytes that [`TailStep::NeedsIndex`] asked for.
    pub fn read_index(&self, footer: &Footer, index: &RangePlan, sealed: &[u8]) -> Result<Tail, OpenError> {
        let mut plain = Vec::new();
        let range = self.open_range(index, sealed, &mut plain)?;
        let opened = ObjectRecords::parse(&plain[range], footer.body_len);
        wipe(&mut plain);
        Ok(Tail { footer: *footer, opened: opened? })
    }

    /// `None` where the suffix does not reach back far enough.
    fn open_in_suffix(&self, plain: std::ops::Range<u64>, suffix: &[u8]) -> Result<Option<Vec<u8>>, OpenError> {
        let geometry = self.geometry();
        let plan = geometry.plan(plain).map_err(|_| Corruption::Lengths)?;
        if plan.chunks() == 0 {
            return Ok(Some(Vec::new()));
        }
        let suffix_start = geometry.sealed_len().saturating_sub(suffix.len() as u64);
        let within = |at: u64| at.checked_sub(suffix_start).and_then(|at| usize::try_from(at).ok());
        let (Some(start), Some(end)) = (within(plan.sealed().start), within(plan.sealed().end)) else {
            return Ok(None);
        };
        let Some(sealed) = suffix.get(start..end) else {
            return Ok(None);
        };
        let mut run = Vec::with_capacity(sealed.len().saturating_sub(TAG_LEN));
        let asked = self.open_range(&plan, sealed, &mut run)?;
        let bytes = run[asked].to_vec();
        wipe(&mut run);
        Ok(Some(bytes))
    }
}

fn footer_bytes(plain: &[u8]) -> Result<[u8; FOOTER_LEN], Corruption> {
    plain.try_into().map_err(|_| Corruption::Footer)
}
