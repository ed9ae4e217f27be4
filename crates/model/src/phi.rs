//! The wrapper around everything that names a patient.

use zeroize::Zeroize;

/// A value that names a patient or a visit (GDPR Art. 9).
///
/// It has no `Display` and no `Serialize`, and its `Debug` prints `‹phi›`, so that it cannot reach a log, an error or an
/// answer by accident. Reading it is [`Phi::expose`], a word that is easy to search for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Phi<T>(T);

impl<T> Phi<T> {
    /// Takes a value into custody.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Reads the value. Each caller answers for where it goes.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// Takes the value out of custody.
    pub fn into_exposed(self) -> T {
        self.0
    }

    /// Applies `f` without leaving custody.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Phi<U> {
        Phi(f(self.0))
    }
}

impl<T> std::fmt::Debug for Phi<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("‹phi›")
    }
}

impl<T: Zeroize> Zeroize for Phi<T> {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl<C, T: minicbor::Encode<C>> minicbor::Encode<C> for Phi<T> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.0.encode(e, ctx)
    }
}

impl<'b, C, T: minicbor::Decode<'b, C>> minicbor::Decode<'b, C> for Phi<T> {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        T::decode(d, ctx).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_mute() {
        assert_eq!(format!("{:?}", Phi::new("CANARY^NEVER")), "‹phi›");
    }
}
