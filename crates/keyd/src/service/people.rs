//! People whose passkeys approve: added on the key host, enrolled through the vault, confirmed on the key host.
//!
//! The vault brings credential and public key with a code, and that is all it can do: a passkey counts only when somebody at
//! the key host has compared its fingerprint with what the person sees and confirmed it. Each step is an entry.
//!
//! **Limit:** the person sees the fingerprint on a page that the vault draws. Whoever owns the vault at the hour of an enrolment
//! can bring a passkey of his own and show its fingerprint. A security key whose own tool lists its credentials shows what the
//! vault cannot alter: the credential's id, which stands beside the fingerprint.

use super::{Caller, Service, approvals};
use crate::{
    keyring::ClientRole,
    passkey::PublicKey,
    refusal::Refusal,
    store::{Credential, PersonRole, PersonRow, Snapshot, Table, Tx},
};
use leadglass_audit::{CodeWord, Event, NewEntry, Outcome};
use leadglass_keys::wire::{ApprovalState, EnrolPerson, Enrolled, ProblemCode, Word};
use leadglass_model::{ActorRef, TenantId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Somebody to be added.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewOfficer {
    /// Whose jobs.
    pub tenant: TenantId,
    /// Which of them.
    pub role: PersonRole,
    /// What the key host calls him.
    pub label: String,
}

/// Somebody, as `people list` shows him.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficerInfo {
    /// His id.
    pub id: Word,
    /// Whose jobs.
    pub tenant: TenantId,
    /// Which of them.
    pub role: PersonRole,
    /// What the key host calls him.
    pub label: String,
    /// `invited`, `unconfirmed` or `confirmed`.
    pub state: String,
    /// What is compared.
    pub fingerprint: Option<String>,
    /// What the authenticator calls his passkey, hexadecimal.
    pub credential_id: Option<String>,
    /// Until when his code is good, where he has not used it.
    pub code_until_ms: Option<u64>,
    /// When he approved last.
    pub last_ms: Option<u64>,
}

impl Service {
    /// Adds somebody; gives his id and the code, which stands nowhere else. Blocks.
    pub fn add_person(&self, new: NewOfficer) -> Result<(Word, Zeroizing<String>), Refusal> {
        let label = new.label.trim().to_owned();
        if !(1..=MAX_LABEL_CHARS).contains(&label.chars().count()) || label.chars().any(char::is_control) {
            return Err(Refusal::new(ProblemCode::BadRequest, "a label is 1 to 64 characters"));
        }
        if self.keyring().tenant(new.tenant).is_none() {
            return Err(Refusal::new(ProblemCode::NotFound, "no such tenant"));
        }
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        let code = self.fresh_code();
        let now = self.clock.now();
        let row = PersonRow {
            tenant: new.tenant,
            role: new.role,
            label,
            added_at_ms: now.0,
            code_hash: code_hash(code.as_bytes()).to_vec(),
            code_until_ms: now.plus_secs(CODE_GOOD_S).0,
            credential: None,
            confirmed_at_ms: 0,
            counter: 0,
            last_ms: 0,
        };
        self.store.write_blocking::<(), Refusal, _>(move |tx| {
            if tx.names(Table::People, b"", None, MAX_PEOPLE)?.len() == MAX_PEOPLE {
                return Err(Refusal::new(ProblemCode::Busy, "too many people are kept"));
            }
            Ok(tx.put_row(Table::People, &id, &row)?)
        })?;
        self.report_blocking(vec![self.about(ActorRef(id), new.tenant, "person-added")])?;
        Ok((word(&id), code))
    }

    /// Everybody, oldest first.
    pub fn people(&self) -> Result<Vec<OfficerInfo>, Refusal> {
        let mut all = everybody(&self.store.snapshot()?)?;
        all.sort_by_key(|(_, row)| row.added_at_ms);
        Ok(all.iter().map(|(id, row)| info(id, row)).collect())
    }

    /// Takes a passkey that comes with a code. It counts for nothing yet.
    ///
    /// Cancel safety: a dropped call may have used the code; `people list` shows it.
    pub async fn enrol_person(&self, caller: &Caller, ask: EnrolPerson) -> Result<Enrolled, Refusal> {
        caller.needs(ClientRole::Vault)?;
        let entry = self.entry_by(caller, Event::EnrolmentChange, Outcome::Success);
        let rp_id = self.config.passkeys.as_ref().map(|passkeys| passkeys.rp_id.as_str());
        if rp_id.map(str::as_bytes) != Some(ask.rp_id.expose()) {
            let refusal = Refusal::new(ProblemCode::Forbidden, "passkeys of this name are not taken here");
            return self.refuse(entry, "passkey-rp-id", refusal).await;
        }
        let id = ask.credential_id.expose().to_vec();
        if id.is_empty() || PublicKey::parse(ask.public_key.expose()).is_none() {
            let refusal = Refusal::new(ProblemCode::BadRequest, "the passkey is of no kind that is taken here");
            return self.refuse(entry, "passkey-kind", refusal).await;
        }
        let now = self.clock.now();
        let credential = Credential {
            id,
            public_key: ask.public_key.expose().to_vec(),
            rp_id: rp_id.unwrap_or_default().to_owned(),
            enrolled_at_ms: now.0,
            through: caller.node(),
        };
        let (asking, hash) = (caller.clone(), code_hash(&plain_code(ask.code.expose())));
        let enrolled: Result<([u8; 16], PersonRow), Refusal> = self
            .store
            .write(move |tx| {
                let all = everybody_in(tx)?;
                let no_code = || Refusal::new(ProblemCode::Forbidden, "the code does not fit, or is over");
                let (id, mut row) = all
                    .iter()
                    .find(|(_, row)| asking.may(row.tenant) && row.takes_code(&hash, now))
                    .cloned()
                    .ok_or_else(no_code)?;
                if all.iter().any(|(_, row)| row.credential.as_ref().is_some_and(|c| c.id == credential.id)) {
                    return Err(Refusal::new(ProblemCode::Conflict, "this passkey is enrolled already"));
                }
                row.credential = Some(credential);
                row.code_hash.clear();
                tx.put_row(Table::People, &id, &row)?;
                Ok((id, row))
            })
            .await;
        let (id, row) = match enrolled {
            Ok(enrolled) => enrolled,
            Err(refusal) => return self.refuse(entry, "passkey-code", refusal).await,
        };
        tracing::warn!(alarm = "passkey", person = %word(&id), "A passkey was enrolled and waits for `people confirm`");
        let client = entry.client;
        self.report(vec![NewEntry { client, ..self.about(ActorRef(id), row.tenant, "passkey-enrolled") }]).await?;
        Ok(Enrolled { id: word(&id), fingerprint: row.fingerprint().unwrap_or_default() })
    }

    /// Confirms the passkey with this fingerprint: from now on it approves. Blocks.
    pub fn confirm_person(&self, id: &Word, fingerprint: &str) -> Result<OfficerInfo, Refusal> {
        let (key, compared, now) = (key_of(id)?, plain_code(fingerprint.as_bytes()), self.clock.now());
        let row = self.store.write_blocking::<PersonRow, Refusal, _>(move |tx| {
            let mut row: PersonRow = tx.row(Table::People, &key)?.ok_or_else(nobody)?;
            let Some(shown) = row.fingerprint() else {
                return Err(Refusal::new(ProblemCode::Conflict, "no passkey was enrolled for this person yet"));
            };
            if plain_code(shown.as_bytes()) != compared {
                return Err(Refusal::new(ProblemCode::Forbidden, "the fingerprint is another one: remove this person"));
            }
            if row.confirmed_at_ms == 0 {
                row.confirmed_at_ms = now.0;
                tx.put_row(Table::People, &key, &row)?;
            }
            Ok(row)
        });
        let row = match row {
            Ok(row) => row,
            Err(refusal) => {
                let entry = self.entry(Event::EnrolmentChange, Outcome::Refused);
                let code = CodeWord::parse("person-confirmed");
                self.report_blocking(vec![NewEntry { actor: Some(ActorRef(key)), code, ..entry }])?;
                return Err(refusal);
            }
        };
        self.report_blocking(vec![self.about(ActorRef(key), row.tenant, "person-confirmed")])?;
        Ok(info(&key, &row))
    }

    /// Removes somebody, and ends what his passkey approved and is not used up. Blocks.
    pub fn remove_person(&self, id: &Word) -> Result<(), Refusal> {
        let (key, name) = (key_of(id)?, id.clone());
        let row = self.store.write_blocking::<PersonRow, Refusal, _>(move |tx| {
            let row: PersonRow = tx.row(Table::People, &key)?.ok_or_else(nobody)?;
            let mut given = Vec::new();
            for approval in approvals::all_in(tx)? {
                if approval.given_by.as_ref() == Some(&name) && approval.state == ApprovalState::Approved {
                    given.push(approval);
                }
            }
            for mut approval in given {
                approval.state = ApprovalState::Ended;
                approvals::put(tx, &approval)?;
            }
            tx.delete(Table::People, &key)?;
            Ok(row)
        })?;
        self.report_blocking(vec![self.about(ActorRef(key), row.tenant, "person-removed")])
    }

    fn about(&self, person: ActorRef, tenant: TenantId, code: &str) -> NewEntry {
        let entry = self.entry(Event::EnrolmentChange, Outcome::Success);
        NewEntry { actor: Some(person), tenant: Some(tenant), code: CodeWord::parse(code), ..entry }
    }

    /// Twenty letters and digits, a hundred bits, without those that look like others.
    fn fresh_code(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 20]);
        self.entropy.fill(&mut bytes[..]);
        let mut code = Zeroizing::new(String::with_capacity(24));
        for (at, byte) in bytes.iter().enumerate() {
            if at > 0 && at % 5 == 0 {
                code.push('-');
            }
            code.push(char::from(CODE_LETTERS[usize::from(byte & 31)]));
        }
        code
    }
}

/// Everybody, inside a write.
pub(super) fn everybody_in(tx: &Tx<'_>) -> Result<Vec<([u8; 16], PersonRow)>, Refusal> {
    let mut all = Vec::new();
    for name in tx.names(Table::People, b"", None, MAX_PEOPLE)? {
        let id: [u8; 16] = name.as_slice().try_into().map_err(Refusal::broken)?;
        if let Some(row) = tx.row(Table::People, &id)? {
            all.push((id, row));
        }
    }
    Ok(all)
}

fn everybody(snapshot: &Snapshot) -> Result<Vec<([u8; 16], PersonRow)>, Refusal> {
    let mut all = Vec::new();
    for (name, _) in snapshot.scan(Table::People, b"", None, MAX_PEOPLE)? {
        let id: [u8; 16] = name.as_slice().try_into().map_err(Refusal::broken)?;
        if let Some(row) = snapshot.row(Table::People, &id)? {
            all.push((id, row));
        }
    }
    Ok(all)
}

fn info(id: &[u8; 16], row: &PersonRow) -> OfficerInfo {
    OfficerInfo {
        id: word(id),
        tenant: row.tenant,
        role: row.role,
        label: row.label.clone(),
        state: row.state().to_owned(),
        fingerprint: row.fingerprint(),
        credential_id: row.credential.as_ref().map(|c| hex::encode(&c.id)),
        code_until_ms: row.credential.is_none().then_some(row.code_until_ms),
        last_ms: (row.last_ms != 0).then_some(row.last_ms),
    }
}

/// A person's id as a word.
pub(super) fn word(id: &[u8; 16]) -> Word {
    Word::new(&hex::encode(id)).expect("32 hexadecimal digits are a word")
}

fn key_of(id: &Word) -> Result<[u8; 16], Refusal> {
    let mut key = [0; 16];
    hex::decode_to_slice(id.as_str(), &mut key).map_err(|_| nobody())?;
    Ok(key)
}

fn nobody() -> Refusal {
    Refusal::new(ProblemCode::NotFound, "no such person")
}

/// As it was typed, without what stands there for the eye.
fn plain_code(typed: &[u8]) -> Zeroizing<Vec<u8>> {
    let letters = typed.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase);
    Zeroizing::new(letters.collect())
}

fn code_hash(code: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"leadglass enrolment v1\0");
    hash.update(&*plain_code(code));
    hash.finalize().into()
}

/// Without `i`, `l`, `o` and `u`.
const CODE_LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// A code that was not used is over after a day.
const CODE_GOOD_S: u64 = 24 * 3600;
/// People of all tenants.
const MAX_PEOPLE: usize = 256;
const MAX_LABEL_CHARS: usize = 64;
