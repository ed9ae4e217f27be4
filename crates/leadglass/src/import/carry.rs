//! One thing from its source into the vault: read, recognised, compared with the ledger, sent, noted.
//!
//! Up to [`SMALL_BYTES`] it is held in memory, so that its digest is known before it is sent and a second try needs no
//! second reading. What is longer goes by in pieces and is read again for a second try.
//!
//! What was sent and not answered is sent again, by this run or the next, and is stored once: the vault knows a DICOM
//! instance by its UID and bytes, and an upload by its key. That is made of what the ledger knows the thing by, under the
//! ledger's own key, so that it says nothing about the content.

use super::{
    destination::{Destination, FIRST_PAUSE, LONGEST_PAUSE},
    item::{Item, Origin, Pieces, SourceError},
    kind::{Kind, SNIFF_BYTES},
    ledger::{Entry, ItemKey, Ledger, Mark, Namer},
    patient::{Finder, NoPatient, Patient},
    stow::{Ending, Letter, Load, Passed, Verdict, about, send},
};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use leadglass_tap::{Limits, Part10Tap};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What carries.
#[derive(Debug)]
pub struct Carrier {
    /// The vault; none in a dry run.
    pub to: Option<Destination>,
    /// What was acknowledged; none in a dry run without a vault.
    pub ledger: Option<Ledger>,
    /// Makes keys where there is no ledger.
    pub namer: Namer,
    /// Says whose photos are.
    pub finder: Finder,
    /// How long a vault may be away or full.
    pub patience: Duration,
    /// Whether an acknowledgement must be on the disk before it is told.
    pub durably: bool,
    /// Ends the waiting.
    pub stop: CancellationToken,
}

/// What came of a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The vault acknowledged it.
    Stored(Carried),
    /// An earlier run brought it in.
    Known(ItemKey),
    /// The vault has the same bytes already.
    Duplicate(Carried),
    /// It would be sent.
    Would(Kind, u64),
    /// It is nothing that is imported.
    Passed(Kind),
    /// It is not known whose it is.
    NoPatient(ItemKey, Kind, NoPatient),
    /// The vault refused it.
    Refused(ItemKey, Kind, String),
    /// It could not be read.
    Unreadable(SourceError),
    /// Nothing goes in any more.
    Ended(Ending),
}

/// What is in the vault now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Its key in the ledger.
    pub key: ItemKey,
    /// What it is.
    pub kind: Kind,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3.
    pub digest: blake3::Hash,
}

enum Trouble {
    Source(SourceError),
    Ending(Ending),
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl Carrier {
    /// Makes the keys of items.
    fn namer(&self) -> &Namer {
        self.ledger.as_ref().map_or(&self.namer, Ledger::namer)
    }

    fn sameness(&self, digest: &blake3::Hash, patient: Option<&Patient>) -> [u8; 16] {
        self.namer().sameness(digest, patient.map(|patient| patient.id.expose().as_str()))
    }

    /// What the vault knows an upload by: the same for the same bytes of the same patient, or, of what is not read before it
    /// is sent, for the same thing of the source. Another word about the patient makes another upload.
    fn upload_key(&self, key: ItemKey, digest: Option<&blake3::Hash>, patient: &Patient) -> String {
        let (word, what) = match digest {
            Some(digest) => (&b"bytes"[..], digest.as_bytes().to_vec()),
            None => (&b"thing"[..], key.hex().into_bytes()),
        };
        let about = about(patient);
        let mut parts = vec![b"upload", word, &what];
        for (name, value) in &about {
            parts.push(name.as_bytes());
            parts.push(value.as_deref().unwrap_or_default().as_bytes());
        }
        self.namer().name(&parts).hex()
    }

    /// Whether an earlier run brought it in.
    fn has(&self, key: ItemKey) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.has_item(key))
    }

    /// Carries one thing.
    ///
    /// Cancel safety: safe; what was sent and not noted is sent again by the next run, and the vault stores it once.
    pub async fn carry(&self, item: &Item) -> Outcome {
        match self.attempt(item).await {
            Ok(outcome) => outcome,
            Err(Trouble::Source(error)) => Outcome::Unreadable(error),
            Err(Trouble::Ending(ending)) => Outcome::Ended(ending),
        }
    }

    async fn attempt(&self, item: &Item) -> Result<Outcome, Trouble> {
        if let Some(key) = item.early_key(self.namer()).filter(|key| self.has(*key)) {
            return Ok(Outcome::Known(key));
        }
        let stamp = item.stamp();
        let (mut held, mut pieces) = self.begin(item).await?;
        let first = held.bytes.get(..SNIFF_BYTES).unwrap_or(&held.bytes);
        let key = item.key(self.namer(), first)?;
        if self.has(key) {
            return Ok(Outcome::Known(key));
        }
        let kind = Kind::of(first);
        if !kind.is_dicom() && !kind.needs_patient() {
            return Ok(Outcome::Passed(kind));
        }
        let patient = if kind.needs_patient() {
            match self.patient(item) {
                Ok(patient) => Some(patient),
                Err(why) => return Ok(Outcome::NoPatient(key, kind, why)),
            }
        } else {
            None
        };
        let instance = kind.announces(first);
        held.fill(&mut pieces, SMALL_BYTES + 1).await?;
        let Some(to) = &self.to else {
            return Ok(match held.over {
                true if kind == Kind::Headless && !is_dicom(&held.bytes) => Outcome::Passed(Kind::Other),
                true => Outcome::Would(kind, held.bytes.len() as u64),
                false => Outcome::Would(kind, item.bytes),
            });
        };
        let digest = held.over.then(|| blake3::hash(&held.bytes));
        let upload_key = patient.as_ref().map(|patient| self.upload_key(key, digest.as_ref(), patient));
        let letter = Letter {
            kind,
            patient: patient.as_ref(),
            key: upload_key.as_deref(),
            instance: instance.as_ref(),
            bytes: item.bytes,
        };
        let task = Task { to, item, letter };
        let carried = if let Some(digest) = digest {
            let bytes = held.bytes.freeze();
            if kind == Kind::Headless && !is_dicom(&bytes) {
                return Ok(Outcome::Passed(Kind::Other));
            }
            let carried = Carried { key, kind, bytes: bytes.len() as u64, digest };
            if self.ledger.as_ref().is_some_and(|ledger| ledger.has_content(&self.sameness(&digest, patient.as_ref())))
            {
                self.note(&task, &carried, Mark::Duplicate, None).await?;
                return Ok(Outcome::Duplicate(carried));
            }
            self.deliver(&task, Some(bytes), None).await?
        } else {
            let rest = stream::iter([Ok(held.bytes.freeze())]).chain(pieces).boxed();
            self.deliver(&task, None, Some(rest)).await?
        };
        if stamp != item.stamp() {
            return Err(SourceError::Changed.into());
        }
        match carried {
            Delivered::Stored(passed) => {
                let carried = Carried { key, kind, bytes: passed.bytes, digest: passed.digest };
                let same = self.sameness(&passed.digest, patient.as_ref());
                let known = self.ledger.as_ref().is_some_and(|ledger| ledger.has_content(&same));
                let mark = if known { Mark::Duplicate } else { Mark::Stored };
                self.note(&task, &carried, mark, None).await?;
                Ok(if known { Outcome::Duplicate(carried) } else { Outcome::Stored(carried) })
            }
            Delivered::Refused(code, passed) => {
                let carried = Carried { key, kind, bytes: passed.bytes, digest: passed.digest };
                self.note(&task, &carried, Mark::Refused, Some(code.clone())).await?;
                Ok(Outcome::Refused(key, kind, code))
            }
        }
    }

    /// The first bytes, and the rest to come. A source over the network may need a second asking.
    async fn begin(&self, item: &Item) -> Result<(Held, Pieces), Trouble> {
        let mut tries = 0;
        loop {
            let begun = async {
                let mut pieces = item.open().await?;
                let mut held = Held::default();
                held.fill(&mut pieces, SNIFF_BYTES).await?;
                Ok((held, pieces))
            };
            match begun.await {
                Err(SourceError::Away) if tries < SOURCE_TRIES => self.wait(FIRST_PAUSE * (1 << tries)).await?,
                other => return other.map_err(Trouble::Source),
            }
            tries += 1;
        }
    }

    fn patient(&self, item: &Item) -> Result<Patient, NoPatient> {
        match &item.origin {
            Origin::File(path) => self.finder.by_file(path.expose()),
            _ => item.name().map_or(Err(NoPatient::Unknown), |name| self.finder.by_name(name.expose())),
        }
    }

    /// Sends until the vault answers for good.
    async fn deliver(
        &self,
        task: &Task<'_>,
        whole: Option<Bytes>,
        mut begun: Option<Pieces>,
    ) -> Result<Delivered, Trouble> {
        let since = Instant::now();
        let mut pause = FIRST_PAUSE;
        let (mut cut_off, mut broken, mut source) = (0, 0, 0);
        loop {
            let load = match (&whole, begun.take()) {
                (Some(bytes), _) => Load::Whole(bytes.clone()),
                (None, Some(pieces)) => Load::Streamed(pieces),
                (None, None) => Load::Streamed(task.item.open().await?),
            };
            let (verdict, passed) = send(task.to, task.letter, load).await;
            let (why, after) = match verdict {
                Verdict::Stored => return Ok(Delivered::Stored(passed)),
                Verdict::Refused(code) => return Ok(Delivered::Refused(code, passed)),
                Verdict::Ends(ending) => return Err(Trouble::Ending(ending)),
                Verdict::Source(SourceError::Away) if source < SOURCE_TRIES => {
                    source += 1;
                    (Ending::Source, None)
                }
                Verdict::Source(error) => return Err(Trouble::Source(error)),
                Verdict::Later { after, why } => (why, after),
                Verdict::Broken(code) => {
                    broken += 1;
                    if broken >= TRIES {
                        return Ok(Delivered::Refused(code, passed));
                    }
                    (Ending::Full, None)
                }
                Verdict::CutOff => {
                    cut_off += 1;
                    // It may be this one thing that the vault, or something on the way, breaks off at.
                    if cut_off >= TRIES && task.to.is_alive().await {
                        return Ok(Delivered::Refused("connection-broken".to_owned(), passed));
                    }
                    (Ending::Away, None)
                }
            };
            let wait = after.unwrap_or(pause);
            if since.elapsed() + wait > self.patience {
                return Err(Trouble::Ending(why));
            }
            self.wait(wait).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn wait(&self, pause: Duration) -> Result<(), Trouble> {
        tokio::select! {
            () = self.stop.cancelled() => Err(Trouble::Ending(Ending::Stopped)),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    async fn note(&self, task: &Task<'_>, carried: &Carried, mark: Mark, code: Option<String>) -> Result<(), Trouble> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let Carried { key, bytes, digest, .. } = *carried;
        let sameness = self.sameness(&digest, task.letter.patient);
        let entry = Entry { item: key, digest, sameness, bytes, mark, code };
        let noted = if self.durably { ledger.note_durably(&entry).await } else { ledger.note(&entry).await };
        noted.map_err(|_| Trouble::Ending(Ending::Ledger))
    }
}

struct Task<'a> {
    to: &'a Destination,
    item: &'a Item,
    letter: Letter<'a>,
}

enum Delivered {
    Stored(Passed),
    Refused(String, Passed),
}

/// The start of a thing.
#[derive(Default)]
struct Held {
    bytes: BytesMut,
    /// There is no more.
    over: bool,
}

impl Held {
    async fn fill(&mut self, pieces: &mut Pieces, enough: usize) -> Result<(), SourceError> {
        while !self.over && self.bytes.len() < enough {
            match pieces.next().await {
                Some(piece) => self.bytes.extend_from_slice(&piece?),
                None => self.over = true,
            }
        }
        Ok(())
    }
}

/// Whether bytes without a preamble are DICOM to their end.
fn is_dicom(bytes: &[u8]) -> bool {
    let limits = Limits { kept_bytes: 0, fragments: 0, table_bytes: 0, ..Limits::default() };
    let mut tap = Part10Tap::new(limits);
    tap.feed(bytes).is_ok() && tap.finish().is_ok()
}

/// What is held in memory, for each thing in flight.
pub const SMALL_BYTES: usize = 4 << 20;
/// Requests that broke off, or answers that tell of a defect, before a thing is given up.
const TRIES: u32 = 6;
/// Askings of a source that does not answer.
const SOURCE_TRIES: u32 = 5;
