//! Randomness, as a parameter.

/// Where random bytes come from. Keys, salts, nonces and names are all drawn here.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]);
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        // Without randomness no key is safe: to stop is the only right answer.
        getrandom::fill(out).expect("the operating system gives random bytes");
    }
}
