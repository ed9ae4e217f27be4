//! What went wrong, in the seven words that a caller can act on.

/// The kind of a failure. Each error enum of the house maps to one; each edge maps it to one DIMSE status or problem type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// What was sent cannot be understood or breaks a limit; sending it again will not help.
    BadInput,
    /// Not allowed.
    Denied,
    /// Not there, or not for this caller: the two look alike on purpose.
    Missing,
    /// It contradicts what is already there.
    Conflict,
    /// Not now: full, over budget, a service is away. Sending it again later will help.
    Busy,
    /// Bytes at rest are not what was written. An alarm goes with it.
    Corrupt,
    /// A defect or a broken machine.
    Broken,
}
