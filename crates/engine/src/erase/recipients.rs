//! To whom what is erased had been disclosed before (GDPR Art. 19), and telling those that are peers.
//!
//! Who got the studies of an order is read from what exports wrote down, and written into the order before its rows go:
//! names, dates and counts, no patient. If the officer wants it, each peer among them gets a notice (`notices.rs`).

use super::{EraseError, ErasureId, Order, Stage, notices::Answers};
use crate::{Disclosure, Engine, Handed, Shared};
use leadglass_index::IndexError;
use leadglass_model::{Administer, Permit, StudyRef, TenantId, UnixMillis};
use leadglass_records::Expected;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Somebody who has copies of what was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// A peer of the configuration, or whom the officer named.
    pub name: String,
    /// How it got them.
    pub handed: Handed,
    /// When it first got something.
    pub first: UnixMillis,
    /// When it last did.
    pub last: UnixMillis,
    /// Of how many studies.
    pub studies: u64,
    /// How many instances at most.
    pub instances: u64,
    /// How many of them are known to be there.
    pub certain: u64,
    /// What became of telling it.
    #[serde(default)]
    pub notice: Notice,
    /// When it was told.
    #[serde(default)]
    pub told_at: Option<UnixMillis>,
    /// What kept it from being told, the last time it was tried.
    #[serde(default)]
    pub why: Option<String>,
}

/// What became of telling a recipient by a rejection note.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// Nobody asked for it, or it is no peer: a person tells it.
    #[default]
    None,
    /// It is to be told.
    Waiting,
    /// It took the note.
    Told,
    /// It could not be told, and the officer let the order end: a person tells it.
    GivenUp,
}

/// Whether peers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// By a rejection note each.
    Peers,
    /// By nobody but a person.
    Nobody,
}

impl Engine {
    /// To whom what an order is about had been disclosed: as far as it is known before it begins, from then on for
    /// good.
    pub async fn erasure_recipients(
        &self,
        permit: &Permit<Administer>,
        id: ErasureId,
    ) -> Result<Vec<Recipient>, EraseError> {
        let (order, _) = self.shared.order(permit.tenant(), id).await?;
        if order.recipients_known || order.stage != Stage::Ordered {
            return Ok(order.recipients);
        }
        let going = self.shared.going_instances(permit.tenant(), &order).await?;
        let found = self.shared.recipients_of(permit.tenant(), &order, going.as_ref()).await?;
        Ok(found.into_iter().map(|(recipient, _)| recipient).collect())
    }

    /// Has the peers among the recipients told, or not. It is asked for before the keys are destroyed; what is not told
    /// yet can be given up at any time.
    pub async fn tell_recipients(
        &self,
        permit: &Permit<Administer>,
        id: ErasureId,
        tell: Tell,
    ) -> Result<Order, EraseError> {
        let _turn = self.shared.erased.turn.lock().await;
        let (mut order, version) = self.shared.order(permit.tenant(), id).await?;
        let may = match tell {
            Tell::Peers => matches!(order.stage, Stage::Ordered | Stage::Listed),
            Tell::Nobody => !matches!(order.stage, Stage::Done | Stage::Withdrawn),
        };
        if !may {
            return Err(EraseError::Begun(order.stage));
        }
        // Made once, the notes stay as they are: what they name may not open any more.
        if tell == Tell::Peers && order.tell && order.recipients_known {
            return Ok(order);
        }
        let code = if tell == Tell::Peers { "tell-peers" } else { "tell-nobody" };
        let entry = self.shared.erasure_entry(permit.tenant(), &order, code);
        self.shared.commit_entry(super::desk::by_permit(entry, permit), None).await?;
        order.tell = tell == Tell::Peers;
        for recipient in &mut order.recipients {
            if tell == Tell::Nobody && recipient.notice == Notice::Waiting {
                recipient.notice = Notice::GivenUp;
            }
        }
        // Their notes are made before anything is destroyed.
        order.recipients_known &= tell == Tell::Nobody;
        self.shared.keep_order(permit.tenant(), &order, Expected::Version(version)).await?;
        Ok(order)
    }
}

impl Order {
    /// Whether somebody is still to be told.
    pub(super) fn waits_for_recipients(&self) -> bool {
        self.recipients.iter().any(|recipient| recipient.notice == Notice::Waiting)
    }

    /// Writes down what peers answered that are still to be told.
    pub(super) fn take_answers(&mut self, answers: &Answers, now: UnixMillis) {
        for recipient in self.recipients.iter_mut().filter(|recipient| recipient.notice == Notice::Waiting) {
            match answers.get(&recipient.name) {
                Some(None) => (recipient.notice, recipient.told_at) = (Notice::Told, Some(now)),
                Some(Some(why)) => recipient.why = Some(why.clone()),
                None => {}
            }
        }
    }
}

/// Which instances of a study a peer has: `None` for all of them.
type Has = BTreeMap<StudyRef, Option<BTreeSet<String>>>;

impl Shared {
    /// Writes down who got what goes, and makes the notes for those that are to be told. Dying here, it is done again:
    /// nothing has left yet.
    pub(super) async fn know_recipients(&self, tenant: TenantId, order: &mut Order) -> Result<(), EraseError> {
        let going = self.going_instances(tenant, order).await?;
        let mut found = self.recipients_of(tenant, order, going.as_ref()).await?;
        self.forget_notes(tenant, order.id).await?;
        let mut notes = 0;
        if order.tell {
            for (recipient, has) in found.iter_mut().filter(|(recipient, _)| recipient.handed == Handed::Peer) {
                for (study, only) in has.iter() {
                    let before = notes;
                    match self.make_notes(tenant, order, &recipient.name, (*study, only.as_ref()), &mut notes).await {
                        Ok(()) if notes == before => {
                            recipient.why = Some("nothing of what went there can be named any more".to_owned());
                        }
                        Ok(()) => recipient.notice = Notice::Waiting,
                        // The key service destroyed them before this node heard it: nobody reads their names any more.
                        Err(EraseError::Index(IndexError::NoKey { .. })) => {
                            recipient.why = Some("what went there does not open any more".to_owned());
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        order.recipients = found.into_iter().map(|(recipient, _)| recipient).collect();
        order.recipients_known = true;
        Ok(())
    }

    /// Who got something since, while the order waited for the key host, is written down, too. No note says that: what
    /// it would name does not open any more. Dying here, it is done again.
    pub(super) async fn add_recipients(&self, tenant: TenantId, order: &mut Order) -> Result<(), EraseError> {
        let going = self.going_instances(tenant, order).await?;
        for (found, _) in self.recipients_of(tenant, order, going.as_ref()).await? {
            let is_same = |known: &&mut Recipient| known.name == found.name && known.handed == found.handed;
            let Some(known) = order.recipients.iter_mut().find(is_same) else {
                order.recipients.push(found);
                continue;
            };
            let why = if known.notice == Notice::Waiting && known.last != found.last {
                Some("what went there after the order began is not in its note".to_owned())
            } else {
                known.why.take()
            };
            *known = Recipient { notice: known.notice, told_at: known.told_at, why, ..found };
        }
        Ok(())
    }

    /// Tokens of the instances that go, where a part of a study does; hexadecimal.
    async fn going_instances(&self, tenant: TenantId, order: &Order) -> Result<Option<BTreeSet<String>>, EraseError> {
        let (Some(_), Some(study)) = (&order.part, order.studies.first()) else { return Ok(None) };
        // Once they are written down, their rows need not open.
        if order.stage != Stage::Ordered {
            let listed = self.listed_rows(tenant, order.id).await?;
            return Ok(Some(listed.iter().map(|going| hex::encode(going.instance)).collect()));
        }
        let rows = self.catalog.instances(tenant, *study).await?;
        let rows = rows.iter().filter(|row| self.goes(tenant, order, row));
        let tokens = rows.filter_map(|row| self.instance_token(tenant, &row.sop_uid));
        Ok(Some(tokens.map(hex::encode).collect()))
    }

    /// Who got something of what goes, and which of it.
    async fn recipients_of(
        &self,
        tenant: TenantId,
        order: &Order,
        going: Option<&BTreeSet<String>>,
    ) -> Result<Vec<(Recipient, Has)>, EraseError> {
        let mut found: BTreeMap<(Handed, String), (Recipient, Has)> = BTreeMap::new();
        for study in &order.studies {
            for disclosure in self.disclosures(tenant, *study).await? {
                let Disclosure { recipient, handed, at, instances, certain, only } = disclosure;
                let concerns = match (&only, going) {
                    (Some(only), Some(going)) => going.contains(only),
                    _ => true,
                };
                if !concerns {
                    continue;
                }
                let most = going.map_or(u64::MAX, |going| going.len() as u64);
                let (known, has) = found.entry((handed, recipient.clone())).or_insert_with(|| {
                    let known = Recipient {
                        name: recipient,
                        handed,
                        first: at,
                        last: at,
                        studies: 0,
                        instances: 0,
                        certain: 0,
                        notice: Notice::None,
                        told_at: None,
                        why: None,
                    };
                    (known, Has::new())
                });
                known.first = known.first.min(at);
                known.last = known.last.max(at);
                known.instances += instances.min(most);
                // Of a study of which a part goes, nobody wrote down which of its instances arrived.
                let all_arrived = certain == instances;
                known.certain += if going.is_none() || all_arrived { certain.min(most) } else { 0 };
                let before = has.get(study).cloned();
                let all = match (before, only) {
                    (Some(None), _) | (_, None) => None,
                    (before, Some(only)) => Some(before.flatten().into_iter().flatten().chain([only]).collect()),
                };
                has.insert(*study, all);
                known.studies = has.len() as u64;
            }
        }
        Ok(found.into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_reads_back_and_one_from_before_it_could_be_told_does() {
        let old = r#"{"name":"colleague","handed":"peer","first":1,"last":2,"studies":1,"instances":3,"certain":3}"#;
        let mut recipient: Recipient = serde_json::from_str(old).unwrap();
        assert_eq!(recipient.notice, Notice::None);
        recipient.notice = Notice::GivenUp;
        let text = serde_json::to_string(&recipient).unwrap();
        assert!(text.contains(r#""notice":"given-up""#));
        assert_eq!(serde_json::from_str::<Recipient>(&text).unwrap(), recipient);
    }
}
