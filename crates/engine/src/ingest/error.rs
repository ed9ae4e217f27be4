//! Why an instance was not taken in.

use leadglass_index::IndexError;
use leadglass_journal::CommitError;
use leadglass_keys::KeysError;
use leadglass_model::Fault;
use leadglass_records::RecordError;
use leadglass_seal::SealError;
use leadglass_store::StoreError;
use leadglass_tap::{TapError, part10::Part10Error};

/// Why an instance was not taken in. Nothing of it is visible, now or later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// The bytes are not a data set in the announced transfer syntax.
    #[error("the data set cannot be read")]
    NotDicom(#[source] TapError),
    /// A file whose preamble or file meta cannot be read.
    #[error("the head of the file cannot be read")]
    Head(#[source] Part10Error),
    /// A file that does not say how its data set is encoded.
    #[error("the file does not name its transfer syntax")]
    NoTransferSyntax,
    /// The data set names another SOP class or instance than the message did.
    #[error("the data set is not the announced instance")]
    NotAnnounced,
    /// Study, series or SOP Instance UID is missing or is no UID.
    #[error("the data set has no usable {attribute}")]
    NoUid {
        /// The attribute's keyword (PS3.6).
        attribute: &'static str,
    },
    /// Longer than the configuration allows.
    #[error("the instance is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: u64,
    },
    /// No key could be had to seal with.
    #[error("no key to seal with")]
    Keys(#[source] KeysError),
    /// The object store failed.
    #[error("the object could not be stored")]
    Store(#[source] StoreError),
    /// The journal failed or is full.
    #[error("the instance could not be made durable")]
    Journal(#[source] CommitError),
    /// The index failed.
    #[error("the index could not be asked")]
    Index(#[source] IndexError),
    /// The vault's records failed: what names people in the entry could not be sealed.
    #[error("the audit entry could not be sealed")]
    Records(#[source] RecordError),
    /// Sealing failed: an object over its limits.
    #[error("the object could not be sealed")]
    Seal(#[source] SealError),
    /// The instance is known with other bytes, and its sender never corrects.
    #[error("the instance is known with other bytes")]
    Different,
    /// Its sender has corrected the instance so often that nothing more is taken.
    #[error("the instance has as many versions as are kept")]
    TooManyVersions,
    /// Another transfer of the same instance, with other bytes, was quicker.
    #[error("another transfer of the instance was quicker")]
    Overtaken,
    /// It failed before, and its sender went on.
    #[error("the transfer had failed already")]
    GivenUp,
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl IngestError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotDicom(error) => error.fault(),
            Self::Head(error) => error.fault(),
            Self::NotAnnounced | Self::Different | Self::TooManyVersions => Fault::Conflict,
            Self::NoTransferSyntax | Self::NoUid { .. } | Self::TooLong { .. } | Self::GivenUp => Fault::BadInput,
            Self::Keys(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::Journal(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Records(error) => error.fault(),
            Self::Seal(error) => error.fault(),
            Self::Overtaken | Self::Stopping => Fault::Busy,
        }
    }

    /// A stable word for machines and manuals.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotDicom(_) => "not-dicom",
            Self::Head(_) => "not-a-file",
            Self::NoTransferSyntax => "no-transfer-syntax",
            Self::NotAnnounced => "not-announced",
            Self::NoUid { .. } => "no-uid",
            Self::TooLong { .. } => "too-long",
            Self::Keys(_) => "no-key",
            Self::Store(_) => "store",
            Self::Journal(_) => "journal",
            Self::Index(_) => "index",
            Self::Records(_) => "records",
            Self::Seal(_) => "seal",
            Self::Different => "other-bytes",
            Self::TooManyVersions => "too-many-versions",
            Self::Overtaken => "overtaken",
            Self::GivenUp => "given-up",
            Self::Stopping => "stopping",
        }
    }

    /// A sentence that helps the sender. Constant, so that no value of a patient can be in it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::NotDicom(_) => "The data set cannot be read in its transfer syntax.",
            Self::Head(_) => "These bytes are no DICOM file: preamble and file meta information cannot be read.",
            Self::NoTransferSyntax => "The file does not name its transfer syntax (0002,0010).",
            Self::NotAnnounced => "The data set's SOP class or instance is not the announced one.",
            Self::NoUid { .. } => "Study, series or SOP Instance UID is missing.",
            Self::TooLong { .. } => "The instance is longer than this node takes.",
            Self::Keys(_) => "The key service gives no key now; send again later.",
            Self::Store(_) | Self::Journal(_) | Self::Index(_) | Self::Records(_) => {
                "It cannot be stored now; send again later."
            }
            Self::Seal(_) => "The instance is over a limit of the sealed format.",
            Self::Different => "Under the same name something else is stored already, and it stays.",
            Self::TooManyVersions => {
                "This instance was sent with other contents 64 times already; send it under a SOP Instance UID of its own."
            }
            Self::Overtaken => "The same instance came from elsewhere at the same time; send again.",
            Self::GivenUp => "The transfer had failed already; send it again.",
            Self::Stopping => "The node is stopping; send again later.",
        }
    }
}
