//! Data sets for tests, and a job to write them anew in.

#![allow(dead_code, reason = "each test binary uses a part")]

use leadglass_deidentify::{Deidentifier, DeidentifyError, Findings, Job, JobKey, Plan, Preset};
use leadglass_model::TransferSyntaxUid;
use leadglass_tap::Vr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// How elements are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Explicit,
    Implicit,
    Big,
}

impl Form {
    pub(crate) fn syntax(self) -> &'static str {
        match self {
            Self::Explicit => "1.2.840.10008.1.2.1",
            Self::Implicit => "1.2.840.10008.1.2",
            Self::Big => "1.2.840.10008.1.2.2",
        }
    }

    fn u16(self, n: u16) -> [u8; 2] {
        if self == Self::Big { n.to_be_bytes() } else { n.to_le_bytes() }
    }

    fn u32(self, n: u32) -> [u8; 4] {
        if self == Self::Big { n.to_be_bytes() } else { n.to_le_bytes() }
    }

    pub(crate) fn tag(self, group: u16, element: u16) -> Vec<u8> {
        [self.u16(group), self.u16(element)].concat()
    }

    pub(crate) fn header(self, (group, element): (u16, u16), vr: &[u8; 2], len: u32) -> Vec<u8> {
        let mut out = self.tag(group, element);
        match self {
            Self::Implicit => out.extend(self.u32(len)),
            _ if Vr(*vr).is_wide() => {
                out.extend([vr[0], vr[1], 0, 0]);
                out.extend(self.u32(len));
            }
            _ => {
                out.extend(vr);
                out.extend(self.u16(u16::try_from(len).unwrap()));
            }
        }
        out
    }

    pub(crate) fn element(self, tag: (u16, u16), vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut value = value.to_vec();
        if value.len() % 2 == 1 {
            value.push(if vr == b"UI" { 0 } else { b' ' });
        }
        [self.header(tag, vr, u32::try_from(value.len()).unwrap()), value].concat()
    }

    /// A sequence of one item, both of defined or both of undefined length.
    pub(crate) fn sequence(self, tag: (u16, u16), item: &[u8], defined: bool) -> Vec<u8> {
        let len = u32::try_from(item.len()).unwrap();
        if defined {
            let item = [self.tag(0xFFFE, 0xE000), self.u32(len).to_vec(), item.to_vec()].concat();
            return [self.header(tag, b"SQ", len + 8), item].concat();
        }
        let open = [self.tag(0xFFFE, 0xE000), vec![0xFF; 4]].concat();
        let end = |n| [self.tag(0xFFFE, n), vec![0; 4]].concat();
        [self.header(tag, b"SQ", u32::MAX), open, item.to_vec(), end(0xE00D), end(0xE0DD)].concat()
    }
}

pub(crate) fn job(preset: Preset) -> Arc<Job> {
    Arc::new(Job::new(JobKey::new(Zeroizing::new([7; 32])), preset))
}

/// Writes a data set anew, in one piece and in small ones: both have to give the same.
pub(crate) fn written(
    job: &Arc<Job>,
    syntax: &str,
    data: &[u8],
    plan: &Plan,
) -> Result<(Vec<u8>, Findings), DeidentifyError> {
    let whole = pieces(job, syntax, data, plan, data.len().max(1));
    assert_eq!(pieces(job, syntax, data, plan, 7), whole);
    whole
}

fn pieces(
    job: &Arc<Job>,
    syntax: &str,
    data: &[u8],
    plan: &Plan,
    cut: usize,
) -> Result<(Vec<u8>, Findings), DeidentifyError> {
    let syntax = TransferSyntaxUid::parse(syntax).unwrap();
    let mut deidentifier = Deidentifier::new(job.clone(), &syntax, "ID\nISSUER", plan.clone());
    let mut out = Vec::new();
    for piece in data.chunks(cut) {
        deidentifier.feed(piece, &mut out)?;
    }
    let findings = deidentifier.finish(&mut out)?;
    Ok((out, findings))
}

pub(crate) fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}
