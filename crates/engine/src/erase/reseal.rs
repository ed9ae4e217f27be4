//! One object, sealed anew under another key of its study.
//!
//! Name and salt of the new object follow from the new key and the old name, so sealing it twice gives the same bytes under the
//! same name: whoever dies in between does it again and leaves nothing behind.

use super::EraseError;
use crate::{Shared, retrieve::ReadBy};
use bytes::Bytes;
use futures::TryStreamExt;
use leadglass_keys::ObjectLease;
use leadglass_model::{Entropy, ObjectId};
use leadglass_seal::{ContentStart, Corruption, HEADER_LEN, ObjectSealer, SealOptions, SealedName};
use leadglass_store::{StoreError, Upload};
use parking_lot::Mutex;
use std::{mem, sync::Arc};

/// A sealed object as its row pins it.
pub(super) struct Old {
    pub(super) object: ObjectId,
    pub(super) header: [u8; HEADER_LEN],
    pub(super) sealed_len: u64,
}

/// Where the new object goes.
enum Sink {
    /// All of it lies in memory until its end.
    Whole,
    /// Part by part.
    Upload(Box<Upload>),
}

impl Shared {
    /// Seals an object anew; durable when it answers. Answers name, header and length of the new one. Every byte of the old
    /// one authenticates on the way, and what the object says about itself comes along.
    pub(super) async fn reseal(
        self: &Arc<Self>,
        lease: &Arc<ObjectLease>,
        new: &ObjectLease,
        old: &Old,
        by: ReadBy,
    ) -> Result<(ObjectId, [u8; HEADER_LEN], u64), EraseError> {
        let pinned = (old.object, &old.header, old.sealed_len);
        let reader = self.reader_of(lease.clone(), pinned, by, Arc::default())?;
        let tail = reader.tail().await?;
        let records = &tail.opened.records;
        let object_id = new.study_key().derived_object(&new.tenant(), &old.object, FORM);
        let name = SealedName { tenant: new.tenant(), object_id, key_id: new.key_id(), key_gen: new.key_gen() };
        let mut sink = if old.sealed_len <= WHOLE_BYTES {
            Sink::Whole
        } else {
            // No row names it yet. What an earlier try left may not be durable, so nothing is built upon it.
            self.objects.erase(object_id).await?;
            Sink::Upload(Box::new(self.objects.begin(object_id).await?))
        };
        let mut out = Vec::new();
        let start = ContentStart::At(records.layout.map_or(0, |layout| layout.dataset_start));
        let salt = Settled::of(new, &old.object);
        let mut sealer = ObjectSealer::begin(new.study_key(), &name, SealOptions::default(), start, &salt, &mut out);
        let mut pieces = Box::pin(reader.plain(0..tail.footer.body_len));
        while let Some(piece) = pieces.try_next().await? {
            sealer.body(&piece, &mut out)?;
            sink.take(&mut out).await?;
        }
        let digest = sealer.content_digest();
        let sealed = sealer.finish(records, &mut out)?;
        if tail.opened.content_digest.is_some_and(|was| digest != Some(was)) {
            return Err(reader.damaged(Corruption::ContentDigest.into()).into());
        }
        match sink {
            Sink::Whole => {
                self.objects.put(object_id, vec![out.into()]).await?;
            }
            Sink::Upload(mut upload) => {
                upload.write(out.into()).await?;
                upload.finish().await?;
            }
        }
        Ok((object_id, sealed.header, sealed.sealed_len))
    }
}

impl Sink {
    /// Takes what was sealed so far, when it is enough.
    async fn take(&mut self, out: &mut Vec<u8>) -> Result<(), StoreError> {
        match self {
            Self::Upload(upload) if out.len() >= PART_BYTES => {
                let part = mem::replace(out, Vec::with_capacity(PART_BYTES));
                upload.write(Bytes::from(part)).await
            }
            Self::Whole | Self::Upload(_) => Ok(()),
        }
    }
}

/// A salt that follows from the new key and the old object: random to everybody without the key, and the same each time. One
/// plaintext ever lies under it, since an object never changes.
struct Settled(Mutex<blake3::OutputReader>);

impl Settled {
    fn of(new: &ObjectLease, old: &ObjectId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(SALT_LABEL);
        hasher.update(new.study_key().reveal());
        hasher.update(new.tenant().as_bytes());
        hasher.update(old.as_bytes());
        hasher.update(&[FORM]);
        Self(Mutex::new(hasher.finalize_xof()))
    }
}

impl Entropy for Settled {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().fill(out);
    }
}

/// FORMAT §3: the form of an object that is another one, sealed anew. Whoever changes what a writer puts behind BODY takes another
/// form: what lies under a salt may never be anything else.
const FORM: u8 = 2;
const SALT_LABEL: &str = "leadglass 2026 salt of an object that is sealed anew";
/// Up to this length an object is sealed in memory.
const WHOLE_BYTES: u64 = 1 << 20;
/// Sealed bytes handed to the store at a time.
const PART_BYTES: usize = 256 << 10;
