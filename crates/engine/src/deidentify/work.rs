//! Reading and writing anew: once to know what comes of it, and again for whoever takes it.

use super::{
    Deidentified, DeidentifiedId, DeidentifyAsked, DeidentifyBy, HeldBack, MAX_NAMELESS, Stays,
    job::{Held, Item, LASTS_S, report},
};
use crate::{Announced, ExportError, RetrieveError, Shared, WhatToExport, retrieve};
use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use leadglass_audit::{CodeWord, Counts, Event, NewEntry, Outcome};
use leadglass_deidentify::{Deidentifier, DeidentifyError, Doubt, Findings, Job, JobKey, Plan};
use leadglass_index::StudyEntry;
use leadglass_model::{EntryId, Phi, SopClassUid, SopInstanceUid, StudyRef, TransferSyntaxUid};
use leadglass_policy::Use;
use leadglass_tap::part10::write_head;
use retrieve::{Instance, Target};
use std::{collections::BTreeSet, pin::Pin, sync::Arc};
use zeroize::Zeroizing;

/// A job in the hands of whoever began it.
#[derive(Clone)]
pub(crate) struct Nameless {
    shared: Arc<Shared>,
    by: DeidentifyBy,
    held: Arc<Held>,
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, ExportError>> + Send>>;

impl Shared {
    pub(super) async fn deidentify(
        self: &Arc<Self>,
        by: &DeidentifyBy,
        asked: DeidentifyAsked,
    ) -> Result<Deidentified, ExportError> {
        let _turn = self.deidentified.turns.clone().try_acquire_owned().map_err(|_| ExportError::Busy)?;
        let tenant = by.permit.tenant();
        let found = self.clone().to_export(tenant, asked.what.clone()).await?;
        let first = found.first().ok_or(ExportError::Missing)?;
        let issuers: BTreeSet<&String> =
            found.iter().filter_map(|study| study.row.issuer.as_ref()).map(Phi::expose).collect();
        if issuers.len() > 1 {
            return Err(ExportError::Ambiguous);
        }
        let (mut secret, mut id) = (Zeroizing::new([0; 32]), [0; 16]);
        self.entropy.fill(secret.as_mut_slice());
        self.entropy.fill(&mut id);
        let (job, id) = (Arc::new(Job::new(JobKey::new(secret), asked.preset)), DeidentifiedId(id));
        let (mut items, mut held, mut studies) = (Vec::new(), Vec::new(), Vec::new());
        for study in &found {
            let target = match &asked.what {
                WhatToExport::Instance(study, series, instance) => {
                    Target::Instance(study.clone(), series.clone(), instance.clone())
                }
                _ => Target::Study(study.row.uid.clone()),
            };
            let located = match self.locate_as(&by.permit, by.session, &target, Use::Nameless).await {
                Err(RetrieveError::Missing) => continue,
                located => located?,
            };
            if items.len() + held.len() + located.len() > MAX_NAMELESS {
                return Err(ExportError::TooMany);
            }
            studies.push(study.study_ref);
            for instance in located {
                match self.survey(&job, study, &asked, instance).await? {
                    Ok(item) => items.push(item),
                    Err(one) => held.push(one),
                }
            }
        }
        if studies.is_empty() {
            return Err(ExportError::Missing);
        }
        name_files(&mut items);
        let code = format!("nameless-{}", asked.preset.word());
        self.commit_entry(self.nameless_entry(by, &code, first, &studies, items.len()), None).await?;
        let now = self.clock.now();
        let report = report(id, now, &job, &items, &held);
        let (actor, until) = (by.permit.actor(), now.plus_secs(LASTS_S));
        let kept = Held { tenant, actor, until, job, items, studies };
        self.deidentified.jobs.lock().put(id, Arc::new(kept));
        Ok(Deidentified { id, report, held })
    }

    /// Reads an instance to its end: what it becomes, or why it stays.
    async fn survey(
        &self,
        job: &Arc<Job>,
        study: &StudyEntry,
        asked: &DeidentifyAsked,
        instance: Instance,
    ) -> Result<Result<Item, HeldBack>, ExportError> {
        let (series, sop) = instance.uids();
        let uids = (study.row.uid.clone(), series.clone(), sop.clone());
        let (stamp, syntax, patient) = (instance.stamp(), instance.transfer_syntax().clone(), patient(study));
        let texts = [uids.0.expose(), uids.1.expose(), uids.2.expose()].map(str::to_owned);
        let reviewed = texts.iter().skip(1).any(|uid| asked.reviewed.contains(uid));
        let stays = |why| Ok(Err(HeldBack { uids: Phi::new(texts.clone()), why }));
        let again = instance.clone();
        let range = instance.data_set();
        let (mut len, findings) = match measured(job, &syntax, &patient, Plan::default(), instance.read(range)).await? {
            Ok(measured) => measured,
            Err(why) => return stays(why),
        };
        let Ok(boxes) = asked.rules.boxes(&findings) else { return Err(ExportError::TooMany) };
        let shown = job.preset().has_pixels();
        let plan = Plan { boxes, reviewed: reviewed && shown && findings.pixels };
        let mut done = findings.counts;
        if plan != Plan::default() {
            let range = again.data_set();
            match measured(job, &syntax, &patient, plan.clone(), again.read(range)).await? {
                Ok((planned, findings)) => (len, done) = (planned, findings.counts),
                Err(why) => return stays(why),
            }
        }
        // Without pixels there is nothing to be seen; speech is no pixels.
        let doubt = Doubt::of(&findings).filter(|doubt| shown || *doubt == Doubt::Voice);
        if let Some(doubt) = doubt.filter(|_| !reviewed) {
            return stays(Stays::Review(doubt));
        }
        let (Ok(class), Ok(new_uid)) =
            (SopClassUid::parse(findings.sop_class()), SopInstanceUid::parse(&job.uid(uids.2.expose())))
        else {
            return stays(Stays::Broken);
        };
        let new_syntax = Deidentifier::syntax_of(&syntax);
        let head = write_head(&class, &new_uid, &new_syntax, None);
        Ok(Ok(Item { uids, patient, class, new_uid, new_syntax, stamp, plan, head, len, done, file: String::new() }))
    }

    /// A job of whoever asks, while it is held.
    pub(super) fn nameless(self: &Arc<Self>, by: &DeidentifyBy, id: DeidentifiedId) -> Result<Nameless, ExportError> {
        let mut jobs = self.deidentified.jobs.lock();
        let held = jobs.get(&id).cloned().ok_or(ExportError::Missing)?;
        if held.until <= self.clock.now() {
            jobs.pop(&id);
            return Err(ExportError::Missing);
        }
        if held.tenant != by.permit.tenant() || held.actor != by.permit.actor() {
            return Err(ExportError::Missing);
        }
        Ok(Nameless { shared: self.clone(), by: by.clone(), held })
    }

    pub(super) fn forget_nameless(self: &Arc<Self>, by: &DeidentifyBy, id: DeidentifiedId) -> Result<(), ExportError> {
        self.nameless(by, id)?;
        self.deidentified.jobs.lock().pop(&id);
        Ok(())
    }

    /// An entry about a job (DCM 110106).
    pub(super) fn nameless_entry(
        &self,
        by: &DeidentifyBy,
        code: &str,
        about: &StudyEntry,
        studies: &[StudyRef],
        instances: usize,
    ) -> NewEntry {
        let id = EntryId::random(&*self.entropy);
        let mut entry = NewEntry::new(id, self.clock.now(), Event::Export, Outcome::Success);
        entry.tenant = Some(by.permit.tenant());
        entry.actor = Some(by.permit.actor());
        entry.role = Some(by.permit.role());
        entry.purpose = Some(by.permit.purpose());
        entry.subject = self.subject_token(by.permit.tenant(), &crate::patient_key(about));
        entry.study = if let [only] = studies { Some(*only) } else { None };
        entry.code = CodeWord::parse(code);
        entry.counts = Counts { studies: studies.len() as u64, instances: instances as u64, ..Counts::default() };
        entry
    }
}

impl Nameless {
    pub(crate) fn len(&self) -> usize {
        self.held.items.len()
    }

    pub(super) fn studies(&self) -> &[StudyRef] {
        &self.held.studies
    }

    pub(crate) fn announced(&self, number: usize) -> Option<Announced> {
        let item = self.held.items.get(number)?;
        Some(Announced {
            sop_class: item.class.clone(),
            sop_instance: item.new_uid.clone(),
            transfer_syntax: item.new_syntax.clone(),
        })
    }

    pub(crate) fn file_len(&self, number: usize) -> Option<u64> {
        let item = self.held.items.get(number)?;
        Some(item.head.len() as u64 + item.len)
    }

    /// The file of an instance, and its length.
    pub(crate) async fn file(&self, number: usize) -> Result<(u64, Pieces), ExportError> {
        let (len, pieces) = self.data_set(number).await?;
        let item = self.held.items.get(number).ok_or(ExportError::Missing)?;
        let head = Bytes::from(item.head.clone());
        let whole = head.len() as u64 + len;
        let pieces = futures::StreamExt::chain(stream::once(std::future::ready(Ok(head))), pieces);
        Ok((whole, Box::pin(pieces)))
    }

    /// The data set of an instance, written anew while it is read, and its length.
    pub(crate) async fn data_set(&self, number: usize) -> Result<(u64, Pieces), ExportError> {
        let item = self.held.items.get(number).ok_or(ExportError::Missing)?;
        let (study, series, sop) = item.uids.clone();
        let target = Target::Instance(study, series, sop);
        let mut found = self.shared.locate_as(&self.by.permit, self.by.session, &target, Use::Nameless).await?;
        let instance = found.pop().ok_or(ExportError::Changed)?;
        if instance.stamp() != item.stamp {
            return Err(ExportError::Changed);
        }
        let syntax = instance.transfer_syntax().clone();
        let deidentifier = Deidentifier::new(self.held.job.clone(), &syntax, item.patient.expose(), item.plan.clone());
        let range = instance.data_set();
        let state = Writing {
            pieces: Box::pin(instance.read(range).map_err(ExportError::from)),
            deidentifier: Some(deidentifier),
            left: item.len,
        };
        let written = stream::try_unfold(state, |mut state| async move {
            let piece = state.next().await?;
            Ok(piece.map(|piece| (piece, state)))
        });
        Ok((item.len, Box::pin(written)))
    }
}

/// One writing.
struct Writing {
    pieces: Pieces,
    deidentifier: Option<Deidentifier>,
    left: u64,
}

impl Writing {
    /// The next bytes; it ends only where as many came as were measured.
    async fn next(&mut self) -> Result<Option<Bytes>, ExportError> {
        let mut out = Vec::new();
        while out.is_empty() {
            let Some(deidentifier) = &mut self.deidentifier else {
                return if self.left == 0 { Ok(None) } else { Err(ExportError::Changed) };
            };
            match self.pieces.try_next().await? {
                Some(piece) => deidentifier.feed(&piece, &mut out).map_err(|_| ExportError::Changed)?,
                None => {
                    let deidentifier = self.deidentifier.take().ok_or(ExportError::Changed)?;
                    deidentifier.finish(&mut out).map_err(|_| ExportError::Changed)?;
                }
            }
            // Many pieces of what is left out may pass without a wait.
            tokio::task::consume_budget().await;
        }
        self.left = self.left.checked_sub(out.len() as u64).ok_or(ExportError::Changed)?;
        Ok(Some(Bytes::from(out)))
    }
}

/// Writes an instance into nothing: how long it becomes and what it said, or why it stays.
async fn measured(
    job: &Arc<Job>,
    syntax: &TransferSyntaxUid,
    patient: &Phi<String>,
    plan: Plan,
    pieces: impl Stream<Item = Result<Bytes, RetrieveError>>,
) -> Result<Result<(u64, Findings), Stays>, ExportError> {
    let mut deidentifier = Deidentifier::new(job.clone(), syntax, patient.expose(), plan);
    let stays = |error| match error {
        DeidentifyError::Refused(refusal) => Stays::Refused(refusal),
        _ => Stays::Broken,
    };
    let (mut len, mut out) = (0, Vec::new());
    let mut pieces = std::pin::pin!(pieces);
    while let Some(piece) = pieces.try_next().await? {
        if let Err(error) = deidentifier.feed(&piece, &mut out) {
            return Ok(Err(stays(error)));
        }
        len += out.len() as u64;
        out.clear();
        tokio::task::consume_budget().await;
    }
    Ok(deidentifier.finish(&mut out).map(|findings| (len + out.len() as u64, findings)).map_err(stays))
}

/// Whose study it is, as far as the job's key goes. Those without a number are nobody's but their study's.
fn patient(study: &StudyEntry) -> Phi<String> {
    let row = &study.row;
    let text = |text: &Option<Phi<String>>| text.as_ref().map_or(String::new(), |text| text.expose().clone());
    let id = text(&row.patient_id);
    Phi::new(if id.is_empty() { format!("\n{}", row.uid.expose()) } else { format!("{id}\n{}", text(&row.issuer)) })
}

/// Names that say in which series an instance is, and nothing else.
fn name_files(items: &mut [Item]) {
    let (mut study, mut series, mut number) = (0, 0, 0);
    let mut last: Option<(String, String)> = None;
    for item in items {
        let now = (item.uids.0.expose().to_owned(), item.uids.1.expose().to_owned());
        match &last {
            Some(last) if *last == now => number += 1,
            Some(last) if last.0 == now.0 => (series, number) = (series + 1, 1),
            _ => (study, series, number) = (study + 1, 1, 1),
        }
        last = Some(now);
        item.file = format!("DICOM/ST{study:06}/SE{series:06}/IM{number:06}");
    }
}
