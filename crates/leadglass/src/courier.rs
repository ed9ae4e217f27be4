//! Brings exports to other houses by C-STORE, or by STOW-RS: instances as they came, nothing re-encoded, nothing kept.

mod stow;

use crate::{
    config::{Peer, PeerWay},
    send::{Duplex, Way, connector},
};
use anyhow::Context;
use futures::{FutureExt, TryStreamExt, future::BoxFuture};
use leadglass_dimse::{
    AeTitle,
    send::{Proposal, Requestor, SendConfig, SendError},
};
use leadglass_engine::{Announced, Brought, Courier, CourierError, Parcel};
use leadglass_model::TenantId;
use std::{collections::BTreeMap, io, sync::Arc};
use stow::Stow;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

/// The peers of the configuration.
pub struct Couriers(BTreeMap<String, Arc<Route>>);

struct Route {
    tenant: Option<TenantId>,
    road: Road,
}

enum Road {
    Store(Store),
    Stow(Stow),
}

/// By C-STORE.
struct Store {
    way: Way,
    config: SendConfig,
}

impl Couriers {
    /// Reads what each peer needs: authorities and our certificates.
    pub fn new(peers: &[Peer]) -> anyhow::Result<Self> {
        let route = |peer: &Peer| {
            let named = || format!("[[peers]] {}", peer.name);
            let road = match peer.way()? {
                PeerWay::Stow(address) => Road::Stow(Stow::new(peer, address).with_context(named)?),
                PeerWay::Store { host, port, aet } => {
                    let own = peer.certificate.as_deref().zip(peer.key.as_deref());
                    let tls = peer.ca.as_deref().map(|ca| connector(ca, own)).transpose().with_context(named)?;
                    let config = SendConfig::new(AeTitle::parse(&peer.calling_aet)?, AeTitle::parse(aet)?);
                    Road::Store(Store { way: Way { host: host.to_owned(), port, tls }, config })
                }
            };
            Ok((peer.name.clone(), Arc::new(Route { tenant: peer.tenant, road })))
        };
        peers.iter().map(route).collect::<anyhow::Result<_>>().map(Self)
    }
}

impl Courier for Couriers {
    fn knows(&self, tenant: TenantId, peer: &str) -> bool {
        self.0.get(peer).is_some_and(|route| route.tenant.is_none_or(|only| only == tenant))
    }

    fn bring(
        &self,
        peer: &str,
        parcel: Parcel,
        told: mpsc::Sender<Brought>,
    ) -> BoxFuture<'static, Result<(), CourierError>> {
        let route = self.0.get(peer).cloned();
        async move {
            let route = route.ok_or_else(|| CourierError("there is no such peer".to_owned()))?;
            match &route.road {
                Road::Store(store) => store.bring(&parcel, &told).await,
                Road::Stow(stow) => stow.bring(Arc::new(parcel), &told).await,
            }
        }
        .boxed()
    }
}

impl Store {
    /// One association after the other; one that broke in the middle is opened anew for what is left.
    async fn bring(&self, parcel: &Parcel, told: &mpsc::Sender<Brought>) -> Result<(), CourierError> {
        let (mut next, mut tries) = (0, 0);
        while next < parcel.len() {
            let before = next;
            match self.associate(parcel, &mut next, told).await {
                Ok(()) => {}
                Err(Ended::Way(error)) => {
                    tries = if next > before { 0 } else { tries + 1 };
                    if tries >= TRIES {
                        return Err(CourierError(format!("{error}")));
                    }
                }
                Err(Ended::Source(words)) => return Err(CourierError(words)),
            }
        }
        Ok(())
    }

    /// An association for as many of the next instances as have room in its presentation contexts.
    async fn associate(&self, parcel: &Parcel, next: &mut usize, told: &mpsc::Sender<Brought>) -> Result<(), Ended> {
        let mut proposals: Vec<Proposal> = Vec::new();
        let mut end = *next;
        while let Some(instance) = parcel.announced(end).filter(|_| end - *next < MAX_INSTANCES) {
            let proposal = proposal(&instance);
            if !proposals.contains(&proposal) {
                if proposals.len() == MAX_CONTEXTS {
                    break;
                }
                proposals.push(proposal);
            }
            end += 1;
        }
        if end == *next {
            return Err(Ended::Source("an instance has no name that fits".to_owned()));
        }
        let stream = self.way.open().await?;
        let mut association = Requestor::open(stream, &self.config, &proposals).await?;
        while *next < end {
            let refused = match self.store(&mut association, parcel, *next).await {
                Ok(refused) => refused,
                Err(error) => {
                    association.abort().await;
                    return Err(error);
                }
            };
            let _ = told.send(Brought { number: *next, refused }).await;
            *next += 1;
        }
        // Every answer is here; how the peer takes leave changes nothing.
        let _released = association.release().await;
        Ok(())
    }

    /// What kept the peer from taking it, if anything did. The peer's own comment may name a patient, so it is not told.
    async fn store(
        &self,
        association: &mut Requestor<Box<dyn Duplex>>,
        parcel: &Parcel,
        number: usize,
    ) -> Result<Option<String>, Ended> {
        let Some(Announced { sop_class, sop_instance, transfer_syntax }) = parcel.announced(number) else {
            return Err(Ended::Source("an instance has no name that fits".to_owned()));
        };
        if !association.accepts(&sop_class, &transfer_syntax) {
            return Ok(Some(format!("it does not take {sop_class} in {transfer_syntax}")));
        }
        let (len, pieces) = match parcel.data_set(number).await {
            Ok(opened) => opened,
            Err(error) => return Err(Ended::Source(format!("an instance cannot be read: {error}"))),
        };
        let data = StreamReader::new(Box::pin(pieces.map_err(io::Error::other)));
        let answer = association.store(&sop_class, &sop_instance, &transfer_syntax, data, len, |_| {}).await?;
        Ok((!answer.status.is_done()).then(|| format!("it answered {}", answer.status)))
    }
}

/// Why an association is over before its time.
enum Ended {
    /// The way: it may be better the next time.
    Way(SendError),
    /// What is brought cannot be read, or may not be any more.
    Source(String),
}

impl From<SendError> for Ended {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Source(error) => Self::Source(format!("an instance cannot be read: {error}")),
            error => Self::Way(error),
        }
    }
}

fn proposal(instance: &Announced) -> Proposal {
    Proposal {
        abstract_syntax: instance.sop_class.as_str().to_owned(),
        transfer_syntaxes: vec![instance.transfer_syntax.as_str().to_owned()],
    }
}

/// Presentation contexts of one association (PS3.8 §9.3.2.2: odd numbers up to 255).
const MAX_CONTEXTS: usize = 128;
/// Instances of one association.
const MAX_INSTANCES: usize = 1_000;
/// Attempts without an answer in between.
const TRIES: u32 = 3;
