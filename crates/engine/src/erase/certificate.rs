//! What an erasure can prove, for the file and for anybody who asks.
//!
//! The text states dates and nothing else: since when no running component opens the keys, since when no earlier backup
//! does, when the encrypted objects were gone, when the recovery material was. A date that has not come is absent. It holds
//! the key service's own receipts, so it says nothing that the key service did not sign. Two stages: 1 until every date
//! stands, 2 then. Ed25519 (RFC 8032) over [`CONTEXT`] and the text's bytes, by the key that signs the vault's log.

use super::{EraseError, ErasureId, Level, Order, Recipient, Stage};
use crate::Engine;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use leadglass_audit::{CodeWord, PublicKey};
use leadglass_keys::wire::{self, DestroyStatement, EpochStatement, Hex32, SecretName, SignedStatement, json_from};
use leadglass_model::{Administer, Fault, Permit, TenantId, UnixMillis};
use serde::{Deserialize, Serialize};

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateText {
    /// Always [`FORMAT`].
    pub format: String,
    /// 1 while dates are open, 2 when all stand.
    pub stage: u8,
    /// When this text was made.
    pub issued_at: UnixMillis,
    /// The order.
    pub order: ErasureId,
    /// Whose studies.
    pub tenant: TenantId,
    /// How much it covered.
    pub level: Level,
    /// The person, as a keyed token that says nothing without the vault's key.
    pub subject_reference: Option<String>,
    /// The legal ground.
    pub ground: String,
    /// Who ordered it; a pseudonym of the log.
    pub ordered_by: String,
    /// When.
    pub ordered_at: UnixMillis,
    /// Who approved it; pseudonyms of the log.
    pub approved_by: Vec<String>,
    /// Studies, and cases of quarantine with them.
    pub studies: u64,
    /// Instances, earlier versions counted.
    pub instances: u64,
    /// Encrypted objects.
    pub objects: u64,
    /// Keys that were destroyed.
    pub keys: u64,
    /// Since when no running component could open them.
    pub live_erased_at: UnixMillis,
    /// The epoch under which backups could.
    pub epoch: u32,
    /// Since when no backup from before opens.
    pub epoch_destroyed_at: Option<UnixMillis>,
    /// `S`: the epoch's key was kept in software. `H`: in hardware.
    pub class: Option<char>,
    /// When the encrypted objects were looked for and none was there.
    pub ciphertext_deleted_at: Option<UnixMillis>,
    /// When the recovery material that could re-create the epoch's key will end.
    pub recovery_ends_at: Option<UnixMillis>,
    /// When it did.
    pub backup_erased_at: Option<UnixMillis>,
    /// What this erasure does not reach.
    pub not_covered: Vec<String>,
    /// What is kept.
    pub retained: Vec<String>,
    /// Who had got copies before (Art. 19).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies_with: Vec<CopiesWith>,
    /// The key service's receipt of the destruction.
    pub receipt: SignedStatement,
    /// The key service's statement on the end of the epoch.
    pub epoch_receipt: Option<SignedStatement>,
}

/// Somebody who had got copies before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopiesWith {
    /// Who.
    pub name: String,
    /// When first.
    pub first: UnixMillis,
    /// When last.
    pub last: UnixMillis,
    /// How many instances at most.
    pub instances: u64,
    /// When it took the note that they are not to be used any more.
    pub told_at: Option<UnixMillis>,
}

/// The public keys that a certificate is held against.
#[derive(Debug, Clone, Default)]
pub struct CertificateKeys {
    /// The vault's log key.
    pub vault: Option<PublicKey>,
    /// The key service's receipt key.
    pub receipts: Option<Hex32>,
}

/// Why a certificate does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It is not a certificate.
    #[error("this is not an erasure certificate")]
    Unreadable,
    /// It was altered, or signed by nobody.
    #[error("the certificate's signature does not hold: it was altered")]
    NotSigned,
    /// Somebody else signed it.
    #[error("the certificate is signed by another vault than the one whose key was given")]
    OtherVault,
    /// A receipt in it was altered.
    #[error("a receipt of the key service in the certificate does not hold")]
    Receipt,
    /// Somebody else signed a receipt.
    #[error("a receipt is signed by another key service than the one whose key was given")]
    OtherKeyService,
    /// It says something that the receipts do not.
    #[error("the certificate says something else than the receipts in it: {0}")]
    Contradicts(&'static str),
}

impl CertificateError {
    /// Always [`Fault::Corrupt`].
    pub const fn fault(self) -> Fault {
        Fault::Corrupt
    }
}

impl Engine {
    /// The certificate of an erasure, as far as it is.
    ///
    /// Cancel safety: yes; that it was issued may stand in the log.
    pub async fn erasure_certificate(
        &self,
        permit: &Permit<Administer>,
        id: ErasureId,
    ) -> Result<SignedStatement, EraseError> {
        let tenant = permit.tenant();
        let (order, _) = self.shared.order(tenant, id).await?;
        let receipt = order.receipt.clone().filter(|_| order.stage != Stage::Withdrawn).ok_or(EraseError::NotYet)?;
        let said: DestroyStatement = read(&receipt).map_err(|_| EraseError::Receipt)?;
        let epochs = self.shared.keys.service().epochs().await?.epochs;
        let ended = epochs.into_iter().filter_map(|signed| read::<EpochStatement>(&signed).ok().map(|s| (signed, s)));
        // The epoch of the erasure itself: its end is what kills the backups that were taken before.
        let ended = ended.into_iter().find(|(_, statement)| statement.old == said.epoch);
        let text = text_of(tenant, &order, receipt, &said, ended, self.shared.clock.now());
        let mut entry = self.shared.erasure_entry(tenant, &order, "certificate");
        entry.code = CodeWord::parse(if text.stage == 2 { "certificate-final" } else { "certificate-interim" });
        self.shared.commit_entry(super::desk::by_permit(entry, permit), None).await?;
        let seed = self.shared.keys.secret(wire::INSTALLATION, SecretName::AuditLog).await?;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| EraseError::Receipt)?;
        sign(&pair, &text).ok_or(EraseError::Receipt)
    }
}

/// What can be said of an order now.
fn text_of(
    tenant: TenantId,
    order: &Order,
    receipt: SignedStatement,
    said: &DestroyStatement,
    ended: Option<(SignedStatement, EpochStatement)>,
    now: UnixMillis,
) -> CertificateText {
    let epoch = ended.as_ref().map(|(_, statement)| statement);
    let destroyed = epoch.and_then(|e| e.epoch_destroyed_at);
    let recovery = epoch.and_then(|e| e.backup_erased_at);
    let whole = destroyed.is_some() && recovery.is_some() && order.ciphertext_deleted_at.is_some();
    CertificateText {
        format: FORMAT.to_owned(),
        stage: if whole { 2 } else { 1 },
        issued_at: now,
        order: order.id,
        tenant,
        level: order.level,
        subject_reference: order.subject.clone(),
        ground: order.ground.in_words().to_owned(),
        ordered_by: order.ordered_by.clone(),
        ordered_at: order.ordered_at,
        approved_by: order.approvals.iter().map(|given| given.by.clone()).collect(),
        studies: order.studies.len() as u64,
        instances: order.instances,
        objects: order.objects,
        keys: said.key_ids.len() as u64,
        live_erased_at: said.live_erased_at,
        epoch: said.epoch,
        epoch_destroyed_at: destroyed,
        class: destroyed.and(epoch).map(|e| e.class),
        ciphertext_deleted_at: order.ciphertext_deleted_at,
        recovery_ends_at: epoch.and_then(|e| e.capsule_until),
        backup_erased_at: recovery,
        not_covered: NOT_COVERED.map(str::to_owned).to_vec(),
        retained: RETAINED.map(str::to_owned).to_vec(),
        copies_with: order.recipients.iter().map(copies_with).collect(),
        receipt,
        epoch_receipt: ended.map(|(signed, _)| signed),
    }
}

fn copies_with(recipient: &Recipient) -> CopiesWith {
    let Recipient { name, first, last, instances, told_at, .. } = recipient;
    CopiesWith { name: name.clone(), first: *first, last: *last, instances: *instances, told_at: *told_at }
}

fn sign(pair: &Ed25519KeyPair, text: &CertificateText) -> Option<SignedStatement> {
    let statement = serde_json::to_string(text).ok()?;
    let signature = hex::encode(pair.sign(&[CONTEXT, statement.as_bytes()].concat()).as_ref());
    let signer = Hex32(pair.public_key().as_ref().try_into().ok()?);
    Some(SignedStatement { statement, signer, signature })
}

/// Reads a certificate's text without believing it.
pub fn certificate_text(certificate: &SignedStatement) -> Result<CertificateText, CertificateError> {
    let text: CertificateText =
        json_from(certificate.statement.as_bytes(), MAX_BYTES).map_err(|_| CertificateError::Unreadable)?;
    if text.format == FORMAT { Ok(text) } else { Err(CertificateError::Unreadable) }
}

/// Checks a certificate without any service: its signature, the receipts in it, and that it says what they say.
pub fn verify_certificate(
    certificate: &SignedStatement,
    keys: &CertificateKeys,
) -> Result<CertificateText, CertificateError> {
    if !holds(certificate, CONTEXT) {
        return Err(CertificateError::NotSigned);
    }
    if keys.vault.as_ref().is_some_and(|key| *key.as_bytes() != certificate.signer.0) {
        return Err(CertificateError::OtherVault);
    }
    let text = certificate_text(certificate)?;
    for receipt in [Some(&text.receipt), text.epoch_receipt.as_ref()].into_iter().flatten() {
        if !holds(receipt, b"") || receipt.signer != text.receipt.signer {
            return Err(CertificateError::Receipt);
        }
        if keys.receipts.is_some_and(|key| key != receipt.signer) {
            return Err(CertificateError::OtherKeyService);
        }
    }
    let said: DestroyStatement = read(&text.receipt).map_err(|_| CertificateError::Receipt)?;
    let contradicts = |is: bool, what| if is { Ok(()) } else { Err(CertificateError::Contradicts(what)) };
    contradicts(said.order_id.as_str() == text.order.to_string(), "another order")?;
    contradicts(said.tenant == text.tenant, "another tenant")?;
    contradicts(said.live_erased_at == text.live_erased_at, "live_erased_at")?;
    contradicts(said.epoch == text.epoch && said.key_ids.len() as u64 == text.keys, "epoch or keys")?;
    let ended = text.epoch_receipt.as_ref().map(read::<EpochStatement>).transpose();
    let ended = ended.map_err(|_| CertificateError::Receipt)?;
    contradicts(ended.as_ref().is_none_or(|e| e.old == text.epoch), "another epoch")?;
    contradicts(ended.as_ref().and_then(|e| e.epoch_destroyed_at) == text.epoch_destroyed_at, "epoch_destroyed_at")?;
    contradicts(ended.as_ref().and_then(|e| e.backup_erased_at) == text.backup_erased_at, "backup_erased_at")?;
    Ok(text)
}

fn holds(signed: &SignedStatement, context: &[u8]) -> bool {
    let Ok(signature) = hex::decode(&signed.signature) else { return false };
    let message = [context, signed.statement.as_bytes()].concat();
    UnparsedPublicKey::new(&ED25519, signed.signer.0).verify(&message, &signature).is_ok()
}

fn read<T: serde::de::DeserializeOwned>(signed: &SignedStatement) -> Result<T, CertificateError> {
    json_from(signed.statement.as_bytes(), MAX_BYTES).map_err(|_| CertificateError::Receipt)
}

const FORMAT: &str = "leadglass erasure certificate 1";
/// Stands before the text where it is signed, so that no other signature of this key is one of a certificate.
const CONTEXT: &[u8] = b"leadglass erasure certificate v1\0";
const MAX_BYTES: usize = 1 << 20;
const NOT_COVERED: [&str; 5] = [
    "copies that were handed out or sent elsewhere before",
    "the imaging device, prints and discs",
    "copies and versions that the operator of the object store keeps on his own (ciphertext without a key)",
    "memory of running programs until the lease of a key ended, at most five minutes after live_erased_at",
    "physical remanence on the medium of an epoch's key of class S",
];
const RETAINED: [&str; 2] = [
    "this record and the audit entries that an erasure took place, by pseudonym (Art. 5(2), 17(3)(b) GDPR)",
    "a keyed token of each Study Instance UID for 90 days, so that what comes again is set aside",
];

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_keys::wire::Word;
    use leadglass_model::KeyId;

    fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn signed(seed: u8, statement: &impl Serialize) -> SignedStatement {
        let statement = serde_json::to_string(statement).unwrap();
        let signature = hex::encode(pair(seed).sign(statement.as_bytes()).as_ref());
        let signer = Hex32(pair(seed).public_key().as_ref().try_into().unwrap());
        SignedStatement { statement, signer, signature }
    }

    fn certificate() -> (SignedStatement, CertificateText) {
        let id = ErasureId([7; 16]);
        let tenant = TenantId::from_bytes([1; 16]);
        let said = DestroyStatement {
            tenant,
            order_id: Word::new(&id.to_string()).unwrap(),
            approval: Word::new("a").unwrap(),
            key_ids: vec![KeyId::from_bytes([2; 16])],
            live_erased_at: UnixMillis(1_000),
            epoch: 4,
        };
        let ended = EpochStatement {
            old: 4,
            new: 5,
            provider: Word::new("key-file").unwrap(),
            class: 'S',
            approval: None,
            backup_sha256: None,
            began_at: UnixMillis(2_000),
            held_until: None,
            epoch_destroyed_at: Some(UnixMillis(3_000)),
            capsule_until: Some(UnixMillis(9_000)),
            backup_erased_at: None,
        };
        let order: Order = serde_json::from_value(serde_json::json!({
            "id": id, "level": "study", "ground": "objection", "reason": "", "ordered_by": "x", "ordered_at": 1,
            "not_before": 1, "needs": 0, "approvals": [], "studies": [], "uid_tokens": [], "subject": null,
            "stage": "done", "ciphertext_deleted_at": 2_500,
        }))
        .unwrap();
        let epoch = (signed(2, &ended), ended);
        let text = text_of(tenant, &order, signed(2, &said), &said, Some(epoch), UnixMillis(4_000));
        (sign(&pair(1), &text).unwrap(), text)
    }

    #[test]
    fn a_certificate_verifies_offline_and_states_only_dates_that_stand() {
        let (certificate, text) = certificate();
        assert_eq!(verify_certificate(&certificate, &CertificateKeys::default()).unwrap(), text);
        assert_eq!((text.stage, text.backup_erased_at), (1, None));
        assert_eq!(text.epoch_destroyed_at, Some(UnixMillis(3_000)));
        let keys = CertificateKeys { vault: None, receipts: Some(text.receipt.signer) };
        assert!(verify_certificate(&certificate, &keys).is_ok());
        let other = CertificateKeys { vault: None, receipts: Some(Hex32([9; 32])) };
        assert_eq!(verify_certificate(&certificate, &other), Err(CertificateError::OtherKeyService));
        let other = CertificateKeys { vault: Some(PublicKey::new("x", [9; 32]).unwrap()), receipts: None };
        assert_eq!(verify_certificate(&certificate, &other), Err(CertificateError::OtherVault));
    }

    #[test]
    fn an_altered_certificate_does_not_verify() {
        let (certificate, _) = certificate();
        for at in (0..certificate.statement.len()).step_by(11) {
            let mut altered = certificate.clone();
            let mut bytes = altered.statement.into_bytes();
            bytes[at] ^= 1;
            altered.statement = String::from_utf8_lossy(&bytes).into_owned();
            assert!(verify_certificate(&altered, &CertificateKeys::default()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_vault_that_claims_more_than_its_receipts_is_caught() {
        let (_, text) = certificate();
        let claims: [fn(&mut CertificateText); 4] = [
            |text| text.live_erased_at = UnixMillis(1),
            |text| text.backup_erased_at = Some(UnixMillis(5)),
            |text| text.epoch_receipt = None,
            |text| text.order = ErasureId([8; 16]),
        ];
        for claim in claims {
            let mut text = text.clone();
            claim(&mut text);
            let found = verify_certificate(&sign(&pair(1), &text).unwrap(), &CertificateKeys::default());
            assert!(matches!(found, Err(CertificateError::Contradicts(_))));
        }
    }
}
