//! The key that this node's session service signs with: who acts, for the key service.
//!
//! It lies sealed in the records of the node's first tenant, so that the disk alone does not give it, and a stolen certificate
//! without the disk neither. The key service takes its public half once.

use crate::node::patiently;
use anyhow::{Context, bail};
use leadglass_keys::{ActorSigner, Keys, wire};
use leadglass_model::{Entropy, Fault};
use leadglass_records::{Expected, Table, TenantRecords};
use zeroize::Zeroizing;

/// Reads the key, or makes it, tells the key service, and signs with it from now on.
pub async fn sign(keys: &Keys, tenants: &[TenantRecords], entropy: &dyn Entropy) -> anyhow::Result<()> {
    let records = tenants.first().context("the node has no tenant")?;
    let seed = match records.get(Table::Settings, NAME).await.context("cannot read the key of the sessions")? {
        Some(record) => Zeroizing::new(record.value.expose().to_vec()),
        None => {
            let mut fresh = Zeroizing::new(vec![0; 32]);
            entropy.fill(&mut fresh);
            let written = records.put(Table::Settings, NAME, fresh.clone(), Expected::Absent).await;
            written.context("cannot write the key of the sessions")?;
            fresh
        }
    };
    let seed: &[u8; 32] = seed.as_slice().try_into().context("the key of the sessions is damaged")?;
    let signer = ActorSigner::from_seed(seed).context("the key of the sessions is no key")?;
    let request = wire::RegisterActors { public_key: wire::Hex32(signer.public_key()) };
    let told = patiently("the key service", || async {
        match keys.service().register_actors(&request).await {
            Err(error) if error.fault() == Fault::Conflict => Ok(false),
            told => Ok(told.map(|()| true)?),
        }
    });
    if !told.await? {
        bail!(
            "the key service knows another key for this node's sessions: were its records put back or made anew? After an \
             honest loss: `leadglass-keyd approve --readmit actor-key:NODE` on the key host, NODE being the first 32 digits of \
             this node's key hash in `leadglass-keyd client list`"
        );
    }
    keys.sign_actors(signer);
    Ok(())
}

const NAME: &[u8] = b"actor-key";
