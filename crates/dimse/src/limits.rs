//! How much a peer may ask of us, and how long it may take.

use std::time::Duration;

/// Largest P-DATA-TF we ask peers to send, in bytes of the PDU length field. Past this size little speed is gained.
pub const ADVERTISED_PDU_BYTES: u32 = 131_072;

/// Largest P-DATA-TF we take, in bytes of the PDU length field: some peers send more than they were told.
pub const MAX_PDATA_BYTES: u32 = 262_144;

/// Largest A-ASSOCIATE-RQ or -AC: 128 contexts with every transfer syntax of the standard fit.
pub const MAX_ASSOCIATE_BYTES: u32 = 262_144;

/// Largest of all other PDUs; the standard gives them four bytes.
pub const MAX_CONTROL_BYTES: u32 = 64;

/// Presentation contexts of one association: the odd numbers of a byte (PS3.8 §7.1.1.13).
pub const MAX_CONTEXTS: usize = 128;

/// Transfer syntaxes proposed in one presentation context.
pub const MAX_TRANSFER_SYNTAXES: usize = 128;

/// Sub-items of the user information item.
pub const MAX_USER_ITEMS: usize = 64;

/// Bytes of one command set. Real ones have a few hundred.
pub const MAX_COMMAND_BYTES: usize = 65_536;

/// Presentation data values without content, one after the other.
pub const MAX_EMPTY_RUN: u32 = 64;

/// Connections over the limit that are still told so with an A-ASSOCIATE-RJ; beyond it the socket is closed at once.
pub const WAITING_ROOM: usize = 16;

/// Numbers and deadlines that an installation may change. All hold for one [`Listener`](crate::Listener).
#[derive(Debug, Clone)]
pub struct Limits {
    /// Associations at once.
    pub associations: usize,
    /// Associations at once from one address.
    pub associations_per_ip: usize,
    /// Associations at once from a loopback address, where all local programs look alike.
    pub associations_per_loopback_ip: usize,
    /// Associations at once of one device.
    pub associations_per_ae: usize,
    /// From the accepted connection to the negotiated association, TLS handshake included.
    pub negotiation_timeout: Duration,
    /// How long a peer may take to close the connection after a release, a rejection or an abort (ARTIM, PS3.8 §9.1.5).
    pub artim_timeout: Duration,
    /// From the end of one message to the end of the next command set.
    pub idle_timeout: Duration,
    /// From the negotiated association to its end; a message under way is cut.
    pub association_timeout: Duration,
    /// How long a peer may take to accept an answer.
    pub write_timeout: Duration,
    /// Inside a data set: the time over which the rate is measured. Only waiting for the peer counts.
    pub rate_window: Duration,
    /// Inside a data set: the least a peer must send, in bytes per second.
    pub min_bytes_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            associations: 64,
            associations_per_ip: 8,
            associations_per_loopback_ip: 8,
            associations_per_ae: 8,
            negotiation_timeout: Duration::from_secs(10),
            artim_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            association_timeout: Duration::from_secs(2 * 60 * 60),
            write_timeout: Duration::from_secs(30),
            rate_window: Duration::from_secs(30),
            min_bytes_per_second: 8 * 1024,
        }
    }
}
