//! The bytes of one file of a package, from some byte on: each is what was listed, or the stream ends with an error.

use super::{
    ExportBy, ExportError,
    job::{Job, Source, Sum, sums_head},
};
use crate::{
    Shared,
    access::Access,
    retrieve::{Instance, Target},
};
use aws_lc_rs::{
    digest::{Context, SHA256},
    signature::Ed25519KeyPair,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, future, stream, stream::BoxStream};
use leadglass_export::Checked;
use leadglass_keys::wire::{self, SecretName};
use leadglass_model::{SeriesUid, StudyUid};
use leadglass_policy::Use;
use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
};

/// One giving out.
pub(super) struct Run {
    pub(super) shared: Arc<Shared>,
    pub(super) job: Arc<Job>,
    pub(super) by: ExportBy,
    /// Held to the end: so whoever ends the reader's session ends this, too.
    pub(super) access: Arc<Access>,
}

type Pieces = BoxStream<'static, Result<Bytes, ExportError>>;

impl Run {
    /// The bytes of a member from `from` on.
    pub(super) fn body(self: &Arc<Self>, member: usize, from: u64) -> Pieces {
        let whole = match self.job.sources.get(member) {
            Some(Source::Paper(n)) => {
                let paper = self.job.list.papers.get(*n).map(|paper| Bytes::copy_from_slice(&paper.bytes));
                once(future::ready(paper.ok_or(ExportError::Changed)))
            }
            Some(Source::Directory) => once(future::ready(Ok(self.job.directory.clone()))),
            Some(Source::Instance(study, series, n)) => {
                let (run, at) = (self.clone(), (*study, *series, *n));
                let opened = async move {
                    Ok::<_, ExportError>(run.instance(at).await?.read(from..u64::MAX).map_err(ExportError::from))
                };
                return self.watched(stream::once(opened).try_flatten());
            }
            Some(Source::Metadata(study, series)) => {
                let (run, at) = (self.clone(), (*study, *series));
                stream::once(async move { run.metadata(at).await }).try_flatten().boxed()
            }
            Some(Source::Preview(study, series, n)) => {
                let (run, at) = (self.clone(), (*study, *series, *n));
                once(async move { run.preview(at).await })
            }
            Some(Source::Sums) => {
                let run = self.clone();
                once(async move { run.sums(member).await })
            }
            Some(Source::Signature) => {
                let run = self.clone();
                once(async move { run.signature(member).await })
            }
            None => once(future::ready(Err(ExportError::Changed))),
        };
        let mut skip = from;
        self.watched(whole.map_ok(move |mut piece| {
            let cut = usize::try_from(skip).map_or(piece.len(), |skip| skip.min(piece.len()));
            skip -= cut as u64;
            piece.split_off(cut)
        }))
    }

    /// Stops when the reader may read no more.
    pub(super) fn watched(
        self: &Arc<Self>,
        pieces: impl Stream<Item = Result<Bytes, ExportError>> + Send + 'static,
    ) -> Pieces {
        let access = self.access.clone();
        let watched = pieces.map(move |piece| {
            if access.over.load(Ordering::Relaxed) {
                return Err(ExportError::Read(crate::RetrieveError::SignedOut));
            }
            piece
        });
        watched.boxed()
    }

    pub(super) async fn instance(&self, at: (usize, usize, usize)) -> Result<Instance, ExportError> {
        let (study, series, instance) = self.job.uids(at).ok_or(ExportError::Changed)?;
        let part = self.job.part(at).ok_or(ExportError::Changed)?;
        let target = Target::Instance(study, series, instance);
        let mut found = self.shared.locate_as(&self.by.permit, self.by.session, &target, Use::Taken).await?;
        let found = found.pop().ok_or(ExportError::Changed)?;
        if found.stamp() != part.stamp || found.len() != part.len {
            return Err(ExportError::Changed);
        }
        Ok(found)
    }

    /// An array of DICOM JSON objects, a batch at a time.
    async fn metadata(self: &Arc<Self>, at: (usize, usize)) -> Result<Pieces, ExportError> {
        let run = self.clone();
        let study = self.job.list.studies.get(at.0).ok_or(ExportError::Changed)?;
        let series = study.series.get(at.1).ok_or(ExportError::Changed)?;
        let uid = StudyUid::parse(&study.uid).map_err(|_| ExportError::Changed)?;
        let of = SeriesUid::parse(&series.uid).map_err(|_| ExportError::Changed)?;
        let target = match self.job.uids((at.0, at.1, 0)) {
            Some((study, series, instance)) if self.job.list.alone => Target::Instance(study, series, instance),
            _ => Target::Series(uid, of),
        };
        let documents = self.shared.metadata(&self.by.permit, self.by.session, &target, Use::Taken).await?.documents();
        let mut next = 0;
        let texts = documents.map_err(ExportError::from).and_then(move |batch| {
            let mut text = Vec::new();
            for document in batch {
                // What came since belongs to another export.
                let Some(part) = run.job.part((at.0, at.1, next)) else { continue };
                if part.uid != document.instance.expose() {
                    continue;
                }
                if let Err(error) = part.metadata.holds(document.json.expose()) {
                    return future::ready(Err(error));
                }
                text.push(if next == 0 { b'[' } else { b',' });
                text.extend_from_slice(document.json.expose());
                next += 1;
            }
            future::ready(Ok(Bytes::from(text)))
        });
        Ok(texts.chain(once(future::ready(Ok(Bytes::from_static(b"]"))))).boxed())
    }

    async fn preview(&self, at: (usize, usize, usize)) -> Result<Bytes, ExportError> {
        let (study, series, instance) = self.job.uids(at).ok_or(ExportError::Changed)?;
        let wanted = self.job.part(at).and_then(|part| part.preview).ok_or(ExportError::Changed)?;
        let picture = self.by.previews.preview(study, series, instance).await?.ok_or(ExportError::Changed)?;
        wanted.holds(&picture)?;
        Ok(picture)
    }

    /// SHA256SUMS: of every file before it. What did not go by in this process is read for it.
    async fn sums(self: &Arc<Self>, member: usize) -> Result<Bytes, ExportError> {
        let mut text = sums_head(&self.job.head);
        for before in 0..member {
            let sum = Box::pin(self.sum(before)).await?;
            // Writing into a String does not fail.
            let _ = writeln!(text, "{}  {}", hex::encode(sum.sha), self.job.zip.members()[before].name);
        }
        Ok(Bytes::from(text))
    }

    async fn signature(self: &Arc<Self>, member: usize) -> Result<Bytes, ExportError> {
        let sums = self.sums(member - 1).await?;
        let seed = self.shared.keys.secret(wire::INSTALLATION, SecretName::AuditLog).await?;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| ExportError::Sealing)?;
        Ok(Bytes::copy_from_slice(pair.sign(&sums).as_ref()))
    }

    /// CRC and digest of a member: remembered, or read for it.
    pub(super) async fn sum(self: &Arc<Self>, member: usize) -> Result<Sum, ExportError> {
        if let Some(sum) = self.job.sums.lock()[member] {
            return Ok(sum);
        }
        let (mut body, mut hashing) = (self.body(member, 0), Hashing::default());
        while let Some(piece) = body.next().await {
            hashing.update(&piece?);
        }
        self.remember(member, hashing)
    }

    /// All of a member went by.
    pub(super) fn remember(&self, member: usize, hashing: Hashing) -> Result<Sum, ExportError> {
        if hashing.len != self.job.zip.members()[member].len {
            return Err(ExportError::Changed);
        }
        let sum = hashing.finish();
        self.job.sums.lock()[member] = Some(sum);
        Ok(sum)
    }
}

/// CRC, SHA-256 and length of what goes by.
pub(super) struct Hashing {
    crc: Checked,
    sha: Context,
    pub(super) len: u64,
}

impl Default for Hashing {
    fn default() -> Self {
        Self { crc: Checked::default(), sha: Context::new(&SHA256), len: 0 }
    }
}

impl Hashing {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.sha.update(bytes);
        self.len += bytes.len() as u64;
    }

    fn finish(self) -> Sum {
        let mut sha = [0; 32];
        sha.copy_from_slice(self.sha.finish().as_ref());
        Sum { crc: self.crc.finish(), sha }
    }
}

fn once(bytes: impl Future<Output = Result<Bytes, ExportError>> + Send + 'static) -> Pieces {
    stream::once(bytes).boxed()
}
