//! A list is made: one look at the rows, metadata and pixels of what is to go out.

use super::{
    Begun, ExportAsked, ExportBy, ExportError, ExportId, ExportView, MAX_INSTANCES, WhatToExport,
    disclosed::{Disclosure, stated_recipient},
    job::{
        FORM, Fixed, Head, InstancePart, LASTS_S, List, Paper, Secrets, SeriesPart, StudyPart, preview_name,
        record_keys,
    },
    same_patient,
};
use crate::{Day, PatientAsked, Shared, ingest::PatientKey, retrieve::Target};
use futures::TryStreamExt;
use leadglass_audit::{CodeWord, Counts, Event, NewEntry, Outcome};
use leadglass_export::{
    EnvelopeSecrets,
    papers::{self, Contents},
    passphrase,
};
use leadglass_index::StudyEntry;
use leadglass_model::{EntryId, Phi, SeriesUid, SopInstanceUid, StudyRef, TenantId, UnixMillis};
use leadglass_policy::Use;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use zeroize::Zeroizing;

impl Shared {
    pub(super) async fn begin_export(self: &Arc<Self>, by: ExportBy, asked: ExportAsked) -> Result<Begun, ExportError> {
        let _turn = self.exports.turns.clone().try_acquire_owned().map_err(|_| ExportError::Busy)?;
        by.may_begin(&asked)?;
        let tenant = by.permit.tenant();
        self.drop_exports(tenant, &[]).await?;
        let found = self.clone().to_export(tenant, asked.what.clone()).await?;
        let Some(first) = found.first() else { return Err(ExportError::Missing) };
        // Nobody is to get the images of somebody else who has the same number elsewhere.
        let issuers: BTreeSet<&String> =
            found.iter().filter_map(|study| study.row.issuer.as_ref()).map(Phi::expose).collect();
        if issuers.len() > 1 {
            return Err(ExportError::Ambiguous);
        }
        let now = self.clock.now();
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        let id = ExportId(id);
        let (mut studies, mut keys) = (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()));
        let mut total = 0;
        for study in &found {
            // A study that came without an instance that may be seen is none.
            match self.study_part(&by, study, &asked.what, &mut total).await {
                Ok((part, key)) => {
                    studies.push(part);
                    keys.push((study.study_ref, key));
                }
                Err(ExportError::Missing) => {}
                Err(error) => return Err(error),
            }
        }
        if studies.is_empty() {
            return Err(ExportError::Missing);
        }
        let text = |text: &Option<Phi<String>>| text.as_ref().map_or(String::new(), |text| text.expose().clone());
        let row = &first.row;
        let patient = [&row.patient_name, &row.patient_id, &row.birth_date, &row.sex].map(text);
        let recipient = asked.recipient.as_ref().map(|said| stated_recipient(said, &patient)).transpose()?;
        let alone = matches!(asked.what, WhatToExport::Instance(..));
        let mut list = List { made_ms: now.0, patient, studies, papers: Vec::new(), envelope: None, alone };
        let passphrase = if asked.sealed { Some(self.envelope_of(&mut list).await?) } else { None };
        let refs: Vec<StudyRef> = keys.iter().map(|(study, _)| *study).collect();
        let view = ExportView {
            id: id.to_string(),
            by: by.permit.actor().to_string(),
            made_ms: now.0,
            until_ms: now.plus_secs(LASTS_S).0,
            studies: refs.len(),
            instances: total,
            bytes: 0,
            sealed: asked.sealed,
            hand_out: asked.hand_out,
            recipient,
        };
        // The report comes last: it tells of this very reading.
        let entry = self.export_entry(&by, "begun", first, &refs, total);
        self.commit_entry(entry, None).await?;
        let papers_of = (first, refs.as_slice());
        self.write_papers(tenant, &mut list, &view, &asked, papers_of).await?;
        let head = Head { view, studies: keys, pieces: 0, form: FORM };
        let job = self.keep_job(&by, head, list).await?;
        Ok(Begun { view: job.view(), passphrase })
    }

    /// The studies that are meant, by date. One look at every study in memory.
    pub(crate) async fn to_export(
        self: Arc<Self>,
        tenant: TenantId,
        what: WhatToExport,
    ) -> Result<Vec<StudyEntry>, ExportError> {
        let look = move || match what {
            WhatToExport::Study(uid) | WhatToExport::Instance(uid, ..) => {
                self.catalog.study(tenant, &uid).into_iter().collect()
            }
            WhatToExport::Patient { id, issuer } => {
                let patient = PatientKey { id, issuer };
                let all = self.catalog.study_refs(tenant).into_iter();
                let entries = all.filter_map(|study| self.catalog.study_by_ref(tenant, study));
                let mut found: Vec<StudyEntry> = entries
                    .filter(|entry| entry.row.quarantine.is_none())
                    .filter(|entry| same_patient(&crate::patient_key(entry), &patient))
                    .collect();
                let text = |text: &Option<Phi<String>>| text.as_ref().map(|text| text.expose().clone());
                found.sort_by_cached_key(|entry| {
                    (text(&entry.row.date), text(&entry.row.time), entry.row.uid.expose().to_owned())
                });
                found
            }
        };
        tokio::task::spawn_blocking(look).await.map_err(|_| ExportError::Stopping)
    }

    /// What goes out of a study, and the key that the list hangs on.
    async fn study_part(
        self: &Arc<Self>,
        by: &ExportBy,
        study: &StudyEntry,
        what: &WhatToExport,
        total: &mut usize,
    ) -> Result<(StudyPart, String), ExportError> {
        let tenant = by.permit.tenant();
        let target = match what {
            WhatToExport::Instance(study, series, instance) => {
                Target::Instance(study.clone(), series.clone(), instance.clone())
            }
            _ => Target::Study(study.row.uid.clone()),
        };
        let metadata = self.metadata(&by.permit, by.session, &target, Use::Taken).await.map_err(missing)?;
        let rows = metadata.rows().to_vec();
        *total += rows.len();
        if *total > MAX_INSTANCES {
            return Err(ExportError::TooMany);
        }
        let key = rows.first().map(|row| row.key_id.to_string()).ok_or(ExportError::Missing)?;
        let text = |text: &Option<Phi<String>>| text.as_ref().map_or(String::new(), |text| text.expose().clone());
        let row = &study.row;
        let words = [&row.date, &row.time, &row.id, &row.accession_number, &row.description].map(text);
        let mut part = StudyPart { uid: row.uid.expose().to_owned(), words, series: Vec::new() };
        let series_rows = self.catalog.series(tenant, study.study_ref);
        let mut rows = rows.into_iter();
        let mut documents = std::pin::pin!(metadata.documents());
        while let Some(batch) = documents.try_next().await? {
            for document in batch {
                let row = rows.next().ok_or(ExportError::Changed)?;
                if row.sop_uid != document.instance {
                    return Err(ExportError::Changed);
                }
                let json = document.json.expose();
                let instance = InstancePart {
                    uid: row.sop_uid.expose().to_owned(),
                    class: row.sop_class.as_str().to_owned(),
                    syntax: row.transfer_syntax.as_str().to_owned(),
                    number: row.instance_number,
                    stamp: crate::retrieve::stamp_of(&row),
                    len: row.body_len,
                    metadata: Fixed::of(json),
                    keys: record_keys(row.sop_class.as_str(), json),
                    preview: None,
                };
                let uid = row.series_uid.expose();
                if part.series.last().is_none_or(|series| series.uid != uid) {
                    let known = series_rows.iter().find(|known| known.uid == row.series_uid);
                    part.series.push(SeriesPart {
                        uid: uid.to_owned(),
                        modality: known.and_then(|known| known.modality.clone()).unwrap_or_default(),
                        number: known.and_then(|known| known.number),
                        description: known.map_or(String::new(), |known| text(&known.description)),
                        instances: Vec::new(),
                    });
                }
                if let Some(series) = part.series.last_mut() {
                    series.instances.push(instance);
                }
            }
        }
        self.previews(by, study, &mut part).await?;
        Ok((part, key))
    }

    /// Makes the pictures once, to know how long they are. Of long series some, evenly spread.
    async fn previews(&self, by: &ExportBy, study: &StudyEntry, part: &mut StudyPart) -> Result<(), ExportError> {
        for series in &mut part.series {
            let uid = SeriesUid::parse(&series.uid).map_err(|_| ExportError::Changed)?;
            let (count, wanted) = (series.instances.len(), series.instances.len().min(PREVIEWS));
            for n in 0..wanted {
                let at = n * count / wanted;
                let instance = &mut series.instances[at];
                let sop = SopInstanceUid::parse(&instance.uid).map_err(|_| ExportError::Changed)?;
                let picture = by.previews.preview(study.row.uid.clone(), uid.clone(), sop).await?;
                instance.preview = picture.map(|picture| Fixed::of(&picture));
            }
        }
        Ok(())
    }

    /// Draws a passphrase, and what it opens.
    async fn envelope_of(&self, list: &mut List) -> Result<Zeroizing<String>, ExportError> {
        let (mut words, mut random) = (Zeroizing::new([0; 12]), Zeroizing::new([0; 48]));
        self.entropy.fill(words.as_mut_slice());
        self.entropy.fill(random.as_mut_slice());
        let passphrase = passphrase(&words);
        let given = passphrase.clone();
        let work = tokio::task::spawn_blocking(move || EnvelopeSecrets::new(&given, &random));
        let secrets = work.await.map_err(|_| ExportError::Stopping)?.ok_or(ExportError::Sealing)?;
        let (file_key, nonce, header) = (secrets.file_key, secrets.nonce, secrets.header.clone());
        list.envelope = Some(Secrets { file_key, nonce, header });
        Ok(passphrase)
    }

    /// What a person reads, and the report.
    async fn write_papers(
        self: &Arc<Self>,
        tenant: TenantId,
        list: &mut List,
        view: &ExportView,
        asked: &ExportAsked,
        (first, studies): (&StudyEntry, &[StudyRef]),
    ) -> Result<(), ExportError> {
        let printer = self.exports.printer.lock().clone();
        let mut papers: Vec<(String, Vec<u8>)> = Vec::new();
        let mut has_report = false;
        if let (Some(permit), Some(id)) = (&asked.report, &first.row.patient_id) {
            let whom = PatientAsked { id: id.clone(), issuer: first.row.issuer.clone(), from_ms: None, to_ms: None };
            let mut report = self.access_report(permit, whom).await?;
            let named = |actor: &String| {
                report.accesses.iter().any(|a| a.actor == *actor) || report.others.iter().any(|o| o.actor == *actor)
            };
            let people = asked.people.iter().filter(|(actor, _)| named(actor));
            report.people = people.map(|(actor, name)| (actor.clone(), name.clone())).collect();
            let json = serde_json::to_vec(&report).map_err(|_| ExportError::Sealing)?;
            papers.push(("ACCESS/REPORT.JSN".to_owned(), json));
            for (name, bytes) in printer.iter().flat_map(|printer| printer.report(&report)) {
                papers.push((format!("ACCESS/{name}"), bytes));
            }
            has_report = true;
        }
        let practice = self.exports.practices.lock().get(&tenant).cloned().unwrap_or_default();
        let [name, id, ..] = &list.patient;
        let words = |study: &StudyPart| format!("{} {}", study.words[0], study.words[4]).trim().to_owned();
        let count = |study: &StudyPart| study.series.iter().map(|series| series.instances.len() as u64).sum();
        let modalities: BTreeSet<&String> =
            list.studies.iter().flat_map(|study| &study.series).map(|series| &series.modality).collect();
        let previews = list.instances().filter(|(_, part)| part.preview.is_some()).map(|(at, _)| preview_name(at));
        let contents = Contents {
            id: view.id.clone(),
            made: papers::moment(view.made_ms),
            patient: format!("{} ({id})", name.replace('^', " ").trim()),
            studies: list.studies.iter().map(|study| (words(study), count(study))).collect(),
            modalities: modalities.into_iter().cloned().collect(),
            instances: view.instances as u64,
            previews: previews.collect(),
            report: has_report,
            copies: self.copies_with(tenant, view, studies).await?,
        };
        let information = papers::information(&contents, &practice);
        let lines = information.iter().flat_map(|(heading, text)| [(*heading).to_owned(), text.clone(), String::new()]);
        let lines: Vec<String> = lines.collect();
        let json = serde_json::json!({ "contents": contents, "information": information });
        papers.push(("INFO/INFO.HTM".to_owned(), papers::information_page(&information).into_bytes()));
        papers.push(("INFO/INFO.JSN".to_owned(), json.to_string().into_bytes()));
        if let Some(printer) = &printer {
            papers.push(("INFO/INFO.PDF".to_owned(), printer.pdf(&lines)));
        }
        papers.push(("KEY.PEM".to_owned(), self.key_pem()));
        papers.insert(0, ("INDEX.HTM".to_owned(), papers::index(&contents).into_bytes()));
        papers.insert(0, ("README.TXT".to_owned(), papers::readme(&contents, &practice).into_bytes()));
        list.papers = papers.into_iter().map(|(name, bytes)| Paper { name, bytes }).collect();
        Ok(())
    }

    /// Who has copies (GDPR Art. 15(1)(c)). It is for the patient: another recipient is told of nobody else.
    async fn copies_with(
        &self,
        tenant: TenantId,
        view: &ExportView,
        studies: &[StudyRef],
    ) -> Result<Vec<String>, ExportError> {
        let mut first: BTreeMap<String, UnixMillis> = BTreeMap::new();
        for study in studies.iter().filter(|_| view.recipient.is_none()) {
            for Disclosure { recipient, at, .. } in self.disclosures(tenant, *study).await? {
                first.entry(recipient).and_modify(|known| *known = at.min(*known)).or_insert(at);
            }
        }
        Ok(first.into_iter().map(|(name, at)| format!("{} ({})", papers::plain(&name), Day::of(at))).collect())
    }

    /// The log's public key as SubjectPublicKeyInfo (RFC 8410 §4), PEM.
    fn key_pem(&self) -> Vec<u8> {
        let der = [&ED25519_SPKI[..], self.log.public_key().as_bytes()].concat();
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n").into_bytes()
    }

    /// An entry about an export (DCM 110106).
    pub(super) fn export_entry(
        &self,
        by: &ExportBy,
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

fn missing(error: crate::RetrieveError) -> ExportError {
    match error {
        crate::RetrieveError::Missing => ExportError::Missing,
        error => ExportError::Read(error),
    }
}

/// Pictures of one series.
const PREVIEWS: usize = 24;
/// SEQUENCE { SEQUENCE { 1.3.101.112 }, BIT STRING of 32 bytes }.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00];
