//! Why a call is refused: the stable code and the sentence that go onto the wire, and the cause that goes into the log.

use crate::{
    backup::BackupError, capsule::CapsuleError, config::ConfigError, disk::DiskError, keyring::KeyringError,
    provider::ProviderError, store::StoreError,
};
use leadglass_keys::wire::{Problem, ProblemCode};
use leadglass_model::Fault;
use std::{error::Error, fmt, sync::Arc};

/// A call that was not done.
#[derive(Debug, Clone)]
pub struct Refusal {
    problem: Box<Problem>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl Refusal {
    /// Refuses with a code and a sentence that holds no value from outside.
    pub fn new(code: ProblemCode, sentence: &str) -> Self {
        Self { problem: Box::new(Problem::new(code, sentence)), cause: None }
    }

    /// Says when it may be worth asking again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.problem.retry_after_s = Some(seconds);
        self
    }

    /// Says what the witness has seen.
    #[must_use]
    pub fn known_size(mut self, size: u64) -> Self {
        self.problem.known_size = Some(size);
        self
    }

    /// Names the cause, for the service's own log only.
    #[must_use]
    pub fn because(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// A defect or a broken machine.
    pub fn broken(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::new(ProblemCode::Internal, "the key service failed; its log says why").because(cause)
    }

    /// What a running service answered.
    pub fn from_problem(problem: Problem) -> Self {
        Self { problem: Box::new(problem), cause: None }
    }

    /// The service did not unseal.
    pub fn from_open(error: crate::service::OpenError) -> Self {
        from_fault(error.fault(), error)
    }

    /// What goes onto the wire.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The stable code.
    pub fn code(&self) -> ProblemCode {
        self.problem.code
    }

    /// What kind of failure, for exit codes.
    pub fn fault(&self) -> Fault {
        match self.problem.code {
            ProblemCode::BadRequest => Fault::BadInput,
            code => code.fault(),
        }
    }

    /// The causes, outermost first, for the log.
    pub fn causes(&self) -> String {
        let mut text = String::new();
        let mut next: Option<&dyn Error> = self.cause.as_deref().map(|e| e as &dyn Error);
        while let Some(error) = next {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.title)
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error.fault() {
            Fault::Busy => Self::new(ProblemCode::Busy, "the key database takes no more right now").because(error),
            _ => Self::new(ProblemCode::Internal, "the key database failed").because(error),
        }
    }
}

impl From<leadglass_audit::AppendError> for Refusal {
    fn from(error: leadglass_audit::AppendError) -> Self {
        // What cannot be logged is not done.
        Self::new(ProblemCode::Busy, "the key service cannot write its log").because(error)
    }
}

impl From<KeyringError> for Refusal {
    fn from(error: KeyringError) -> Self {
        from_fault(error.fault(), error)
    }
}

impl From<DiskError> for Refusal {
    fn from(error: DiskError) -> Self {
        from_fault(error.fault(), error)
    }
}

impl From<ProviderError> for Refusal {
    fn from(error: ProviderError) -> Self {
        from_fault(error.fault(), error)
    }
}

impl From<CapsuleError> for Refusal {
    fn from(error: CapsuleError) -> Self {
        from_fault(error.fault(), error)
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        from_fault(error.fault(), error)
    }
}

impl From<BackupError> for Refusal {
    fn from(error: BackupError) -> Self {
        from_fault(error.fault(), error)
    }
}

/// These errors are our own words and hold no value from outside, so their sentence may be told.
fn from_fault(fault: Fault, error: impl Error + Send + Sync + 'static) -> Refusal {
    let code = match fault {
        Fault::BadInput => ProblemCode::BadRequest,
        Fault::Denied => ProblemCode::Forbidden,
        Fault::Missing => ProblemCode::NotFound,
        Fault::Conflict => ProblemCode::Conflict,
        Fault::Busy => ProblemCode::Busy,
        Fault::Corrupt | Fault::Broken => ProblemCode::Internal,
    };
    let sentence = error.to_string();
    Refusal::new(code, &sentence).because(error)
}
