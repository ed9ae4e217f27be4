//! Who gets in: so many connections at a time and no more, and of one address a part of them, each without Nagle's delay.
//!
//! A connection that only idles costs a file descriptor and some memory; without a bound, whoever can connect decides how
//! many, and without a share, whoever comes first. Over the bound a connection is closed at once, so that those inside are
//! served.

use crate::traffic::{Counted, Traffic, Watched};
use axum_server::accept::Accept;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    future::{Ready, ready},
    io,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// How many connections a listener has at a time.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// From one address; of IPv6 from one network of 64 bits, which is one customer's.
    pub per_address: usize,
    /// From this very host: behind a proxy, those of everybody.
    pub from_this_host: usize,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { per_address: 128, from_this_host: MAX_CONNECTIONS }
    }
}

/// Admits connections while there is room. Clones share the room.
#[derive(Debug, Clone)]
pub(crate) struct Doorman(Arc<Room>);

#[derive(Debug)]
struct Room {
    places: Arc<Semaphore>,
    crowd: Crowd,
    inside: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    from: IpAddr,
    _place: OwnedSemaphorePermit,
}

impl Doorman {
    pub(crate) fn new(crowd: Crowd) -> Self {
        Self::with_places(MAX_CONNECTIONS, crowd)
    }

    fn with_places(places: usize, crowd: Crowd) -> Self {
        Self(Arc::new(Room { places: Arc::new(Semaphore::new(places)), crowd, inside: Mutex::default() }))
    }

    fn admit(&self, from: IpAddr) -> Option<Place> {
        let from = neighbourhood(from);
        let crowd = &self.0.crowd;
        let share = if from.is_loopback() { crowd.from_this_host } else { crowd.per_address };
        let place = self.0.places.clone().try_acquire_owned().ok()?;
        let mut inside = self.0.inside.lock();
        let own = inside.entry(from).or_default();
        if *own >= share {
            return None;
        }
        *own += 1;
        Some(Place { room: self.0.clone(), from, _place: place })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.room.inside.lock();
        match inside.get_mut(&self.from) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(inside.remove(&self.from)),
        }
    }
}

impl<S> Accept<TcpStream, S> for Doorman {
    type Stream = Watched<TcpStream>;
    type Service = Counted<S>;
    type Future = Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let admitted = stream.peer_addr().map(|peer| self.admit(peer.ip()));
        let Ok(Some(place)) = admitted else {
            metrics::counter!("leadglass_http_connections_refused_total").increment(1);
            return ready(Err(io::Error::other("too many connections")));
        };
        let traffic = Traffic::new();
        ready(
            stream
                .set_nodelay(true)
                .map(|()| (Watched::new(stream, traffic.clone(), place), Counted::new(service, traffic))),
        )
    }
}

/// Whom an address is counted with: an IPv6 customer has a whole network of them.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        other => other,
    }
}

/// Connections of one listener at a time.
pub(crate) const MAX_CONNECTIONS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn room(places: usize, per_address: usize) -> Doorman {
        Doorman::with_places(places, Crowd { per_address, from_this_host: places })
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_connection_ends() {
        let doorman = room(1, 1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = async || {
            let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            (near.unwrap(), far.unwrap().0)
        };
        let (_near, far) = connect().await;
        let (first, _) = doorman.accept(far, ()).await.unwrap();
        let (_near, far) = connect().await;
        assert!(doorman.accept(far, ()).await.is_err(), "there is one place");
        drop(first);
        let (_near, far) = connect().await;
        assert!(doorman.accept(far, ()).await.is_ok());
    }

    /// One address once took every place with connections that did nothing.
    #[test]
    fn one_address_never_takes_the_room_of_all() {
        let doorman = room(4, 2);
        let admit = |from: &str| doorman.admit(from.parse().unwrap());
        let first = admit("192.0.2.1");
        let mapped = admit("::ffff:192.0.2.1");
        assert!(first.is_some() && mapped.is_some() && admit("192.0.2.1").is_none(), "an address has two");
        let others = [admit("2001:db8::1"), admit("2001:db8::2")];
        assert!(others.iter().all(Option::is_some), "there is room for others");
        assert!(admit("192.0.2.2").is_none(), "and none is left");
        drop(others);
        let neighbours = [admit("2001:db8::1"), admit("2001:db8::ffff")];
        assert!(neighbours.iter().all(Option::is_some));
        drop((first, mapped));
        assert!(admit("2001:db8::3").is_none(), "neighbours share");
        assert!(admit("192.0.2.1").is_some(), "who has left may come back");
        drop(neighbours);
        assert!(doorman.0.inside.lock().is_empty(), "nobody is remembered");
        let proxied: Vec<_> = (0..4).map_while(|_| admit("127.0.0.1")).collect();
        assert_eq!(proxied.len(), 4, "a proxy on this host brings everybody's");
    }
}
