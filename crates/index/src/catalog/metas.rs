//! Metadata of instances: sealed rows that no search reads, fetched when they are asked for.

use super::Catalog;
use crate::{IndexError, RowKey, sealed, versions};
use bytes::Bytes;
use leadglass_model::{KeyGen, KeyId, SopInstanceUid, StudyRef, TenantId, UnixMillis};
use leadglass_seal::{MetaKey, RowHeader};

impl Catalog {
    /// Seals the metadata of an instance: opaque bytes, under the study's meta key, which the catalog never keeps.
    pub fn seal_meta(
        &self,
        tenant: TenantId,
        key: &RowKey,
        key_id: KeyId,
        key_gen: KeyGen,
        meta_key: &MetaKey,
        plain: &[u8],
    ) -> Bytes {
        let header = sealed::new_header(key_id, key_gen, self.versions.next(self.clock.now()));
        sealed::seal(meta_key, tenant, key, header, &*self.entropy, plain)
    }

    /// The sealed metadata of an instance, and the key it is under.
    ///
    /// Cancel safety: reads only.
    pub async fn meta(
        &self,
        tenant: TenantId,
        study_ref: StudyRef,
        uid: &SopInstanceUid,
    ) -> Result<Option<SealedMeta>, IndexError> {
        let Some(key) = self.meta_key(tenant, study_ref, uid) else { return Ok(None) };
        let Some(bytes) = self.fetch(tenant, key).await? else { return Ok(None) };
        let header = sealed::header(&key, &bytes)?;
        Ok(Some(SealedMeta { tenant, key, header, bytes }))
    }

    /// The sealed metadata of several instances of a study, in the order asked for; of the first ones only, where they are
    /// longer than `max_bytes` together. At least one is answered for.
    ///
    /// Cancel safety: reads only.
    pub async fn metas(
        &self,
        tenant: TenantId,
        study_ref: StudyRef,
        uids: &[&SopInstanceUid],
        max_bytes: usize,
    ) -> Result<Vec<Option<SealedMeta>>, IndexError> {
        let keys: Option<Vec<RowKey>> = uids.iter().map(|uid| self.meta_key(tenant, study_ref, uid)).collect();
        let Some(keys) = keys else { return Ok(uids.iter().map(|_| None).collect()) };
        let rows = self.rows(tenant, &keys, max_bytes).await?;
        let sealed = keys.into_iter().zip(rows).map(|(key, row)| {
            let Some(bytes) = row else { return Ok(None) };
            Ok(Some(SealedMeta { tenant, key, header: sealed::header(&key, &bytes)?, bytes }))
        });
        sealed.collect()
    }

    /// Rows by their keys: what waits to be committed before what is. Of the first ones only, where they
    /// reach `max_bytes`.
    async fn rows(
        &self,
        tenant: TenantId,
        keys: &[RowKey],
        max_bytes: usize,
    ) -> Result<Vec<Option<Bytes>>, IndexError> {
        let mut rows: Vec<Option<Bytes>> = {
            let overlay = self.overlay.read();
            keys.iter().map(|key| overlay.row(tenant, *key)).collect()
        };
        let (places, missing): (Vec<usize>, Vec<RowKey>) = keys
            .iter()
            .zip(&rows)
            .enumerate()
            .filter(|(_, (_, row))| row.is_none())
            .map(|(n, (key, _))| (n, *key))
            .unzip();
        if !missing.is_empty() {
            let stored = self.index.fetch_many(tenant, &missing, max_bytes).await?;
            let answered = places.get(stored.len()).copied().unwrap_or(rows.len());
            places.into_iter().zip(stored).for_each(|(n, found)| rows[n] = found);
            rows.truncate(answered);
        }
        let mut bytes = 0;
        let enough = rows.iter().position(|row| {
            bytes += row.as_ref().map_or(0, Bytes::len);
            bytes >= max_bytes
        });
        rows.truncate(enough.map_or(rows.len(), |last| last + 1));
        Ok(rows)
    }
}

/// Sealed metadata of an instance, to be opened with the meta key that a lease brings.
#[derive(Debug, Clone)]
pub struct SealedMeta {
    tenant: TenantId,
    key: RowKey,
    header: RowHeader,
    bytes: Bytes,
}

impl SealedMeta {
    /// The study key whose meta key opens it.
    pub const fn key_id(&self) -> KeyId {
        self.header.key_id
    }

    /// That key's generation.
    pub const fn key_gen(&self) -> KeyGen {
        self.header.key_gen
    }

    /// Its bytes, sealed.
    #[expect(clippy::len_without_is_empty, reason = "a sealed row has its header")]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it was sealed at this time or later: metadata of an instance are not older than the instance.
    pub const fn is_since(&self, time: UnixMillis) -> bool {
        versions::time_of(self.header.row_version).0 >= time.0
    }

    /// The metadata as it was given to [`Catalog::seal_meta`].
    pub fn open(&self, meta_key: &MetaKey) -> Result<Vec<u8>, IndexError> {
        sealed::open(meta_key, self.tenant, &self.key, self.header, &self.bytes)
    }
}
