//! Which ports `up` takes: the usual ones, and free ones where those are taken.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

/// The ports of both children, all on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// DICOM in clear.
    pub dicom: u16,
    /// DICOM over TLS.
    pub dicom_tls: u16,
    /// HTTPS.
    pub https: u16,
    /// Plain HTTP.
    pub plain: u16,
    /// The key service.
    pub keyd: u16,
}

impl Ports {
    /// Ports that people expect: 11112 is DICOM's registered one; its TLS port 2762 is below what may be taken freely
    /// on some systems, hence ten thousand more.
    pub const PREFERRED: Self = Self { dicom: 11112, dicom_tls: 12762, https: 8443, plain: 8042, keyd: 7443 };

    /// `wanted` where it is free, another free port where it is not. All are held until all are chosen, so no two agree.
    pub fn choose(wanted: Self) -> io::Result<Self> {
        let mut held = Vec::new();
        let mut take = |port: u16| {
            let listener = TcpListener::bind(local(port)).or_else(|_| TcpListener::bind(local(0)))?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            io::Result::Ok(port)
        };
        Ok(Self {
            dicom: take(wanted.dicom)?,
            dicom_tls: take(wanted.dicom_tls)?,
            https: take(wanted.https)?,
            plain: take(wanted.plain)?,
            keyd: take(wanted.keyd)?,
        })
    }
}

/// A port on this machine.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn all(ports: Ports) -> BTreeSet<u16> {
        [ports.dicom, ports.dicom_tls, ports.https, ports.plain, ports.keyd].into()
    }

    const ANY: Ports = Ports { dicom: 0, dicom_tls: 0, https: 0, plain: 0, keyd: 0 };

    #[test]
    fn a_taken_port_is_replaced_by_a_free_one() {
        let taken = TcpListener::bind(local(0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let chosen = Ports::choose(Ports { dicom: port, ..ANY }).unwrap();
        assert!(!all(chosen).contains(&port));
        assert_eq!(all(chosen).len(), 5);
    }

    #[test]
    fn one_port_wanted_twice_is_given_once() {
        let free = TcpListener::bind(local(0)).unwrap().local_addr().unwrap().port();
        let chosen = Ports::choose(Ports { dicom: free, plain: free, ..ANY }).unwrap();
        assert_eq!(all(chosen).len(), 5);
    }
}
