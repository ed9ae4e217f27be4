//! Who may have how much in work at one time: all together, and each of them.
//!
//! Nobody takes more than a part of the places, however slowly it comes or reads: the others of the house, and of other
//! houses, are served beside it. Whoever has a token or is signed in is counted by that, wherever it comes from; the rest
//! by address.

use crate::{App, Problem, app::grant_of, doorman::neighbourhood, session::cookie};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::HeaderMap,
    middleware::Next,
    response::{IntoResponse, Response},
};
use leadglass_model::Fault;
use leadglass_records::Use;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places of one kind, of which each `K` has a share.
#[derive(Debug)]
pub(crate) struct Places<K> {
    all: Arc<Semaphore>,
    /// Kept while somebody of that name is inside or waits.
    shares: Mutex<HashMap<K, Weak<Semaphore>>>,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl<K: Copy + Eq + Hash> Places<K> {
    pub(crate) fn new(all: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), shares: Mutex::default() }
    }

    /// A place of the `share` that is `who`'s; waits for one a while. First its own: whoever waits for that does not stand in
    /// the way of others.
    pub(crate) async fn take(&self, who: K, share: usize) -> Option<Place> {
        let own = self.share(who, share);
        let both = async {
            let own = own.acquire_owned().await.ok()?;
            Some(Place { _own: own, _all: self.all.clone().acquire_owned().await.ok()? })
        };
        tokio::time::timeout(DOOR_TIME, both).await.ok().flatten()
    }

    fn share(&self, who: K, share: usize) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
        if let Some(own) = shares.get(&who).and_then(Weak::upgrade) {
            return own;
        }
        shares.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(share));
        shares.insert(who, Arc::downgrade(&own));
        own
    }
}

/// Who a request is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// A token, or a sign-in.
    Session([u8; 16]),
    /// Nobody known, from there.
    Address(IpAddr),
}

/// Requests in work at one time, of one listener.
#[derive(Debug, Clone)]
pub(crate) struct AtWork {
    app: App,
    places: Arc<Places<Who>>,
}

impl AtWork {
    pub(crate) fn new(app: App) -> Self {
        Self { app, places: Arc::new(Places::new(MAX_REQUESTS)) }
    }
}

/// Lets a request in when there is a place for it.
pub(crate) async fn enter(State(at_work): State<AtWork>, request: Request, next: Next) -> Response {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let (who, share) = match known(&at_work.app, request.headers()) {
        Some(session) => (Who::Session(session), REQUESTS_OF_ONE),
        None => {
            let address = neighbourhood(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
            let share = if address.is_loopback() { REQUESTS_FROM_THIS_HOST } else { REQUESTS_OF_ONE };
            (Who::Address(address), share)
        }
    };
    match at_work.places.take(who, share).await {
        Some(_place) => next.run(request).await,
        None => Problem::new(Fault::Busy, "busy", "Too many of your requests are in work; send this one again later.")
            .into_response(),
    }
}

/// Whose valid token or sign-in a request bears. Whether it counts here is another question, which is asked later.
fn known(app: &App, headers: &HeaderMap) -> Option<[u8; 16]> {
    if let Ok(grant) = grant_of(headers, app) {
        return Some(grant.actor.0);
    }
    Some(app.sessions.resolve(cookie::read(headers)?, Use::Peek).ok()??.session)
}

/// Requests of one listener in work at one time.
const MAX_REQUESTS: usize = 512;
/// Of those, of one caller.
const REQUESTS_OF_ONE: usize = 64;
/// Of those, of nobody known on this host: behind a proxy, all who are not signed in yet.
const REQUESTS_FROM_THIS_HOST: usize = 256;
/// So long a request waits for its place.
const DOOR_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_caller_never_takes_the_places_of_all() {
        let places = Places::new(3);
        let mut greedy = Vec::new();
        while let Some(place) = places.take([1; 16], 2).await {
            greedy.push(place);
        }
        assert_eq!(greedy.len(), 2);
        let other = places.take([2; 16], 2).await;
        assert!(other.is_some(), "there is a place left for somebody else");
        assert!(places.take([3; 16], 2).await.is_none(), "all are taken");
        drop(greedy);
        assert!(places.take([1; 16], 2).await.is_some(), "what was given back can be taken again");
        drop(other);
        let _last = places.take([4; 16], 2).await;
        assert!(places.shares.lock().len() <= 2, "who has left is forgotten");
    }
}
