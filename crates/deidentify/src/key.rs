//! What replaces UIDs, names and days, by the key of a job.
//!
//! BLAKE3 in its keyed mode: under one key the same value always becomes the same one, so references between instances
//! and the time between two visits stay; under another key, another one. Whoever lacks the key cannot even try values
//! out.

use time::Duration;
use zeroize::Zeroizing;

/// The secret of one job. With it everything can be linked again: it is held in memory only and forgotten with the job.
pub struct JobKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for JobKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JobKey(‹secret›)")
    }
}

impl JobKey {
    /// From random bytes.
    pub const fn new(random: Zeroizing<[u8; 32]>) -> Self {
        Self(random)
    }

    /// The UID that stands for this one: `2.25.` and the integer of a UUID (PS3.5 §B.2).
    pub fn uid(&self, uid: &str) -> String {
        let mut uuid = self.digest(b"uid", uid);
        uuid[6] = uuid[6] & 0x0F | 0x80;
        uuid[8] = uuid[8] & 0x3F | 0x80;
        format!("2.25.{}", u128::from_be_bytes(uuid))
    }

    /// The name that stands for a patient; 12 characters, fit for every value representation.
    pub fn pseudonym(&self, patient: &str) -> String {
        let [a, b, c, d, e, ..] = self.digest(b"patient", patient);
        format!("P-{a:02X}{b:02X}{c:02X}{d:02X}{e:02X}")
    }

    /// By how much a patient's days are moved: back, by one day up to five years.
    pub fn shift(&self, patient: &str) -> Duration {
        let [a, b, c, d, ..] = self.digest(b"days", patient);
        let days = u32::from_be_bytes([a, b, c, d]).checked_rem(LONGEST_SHIFT_DAYS).unwrap_or_default();
        Duration::days(i64::from(days).saturating_add(1).saturating_neg())
    }

    fn digest(&self, what: &[u8], value: &str) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(what).update(&[0]).update(value.as_bytes());
        let mut out = [0; 16];
        hasher.finalize_xof().fill(&mut out);
        out
    }
}

/// Five years. What was long ago stays long ago, and nothing comes to lie in the future.
const LONGEST_SHIFT_DAYS: u32 = 5 * 365;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> JobKey {
        JobKey::new(Zeroizing::new([seed; 32]))
    }

    #[test]
    fn the_same_becomes_the_same_under_one_key_only() {
        assert_eq!(key(1).uid("1.2.3"), key(1).uid("1.2.3"));
        assert_ne!(key(1).uid("1.2.3"), key(1).uid("1.2.4"));
        assert_ne!(key(1).uid("1.2.3"), key(2).uid("1.2.3"));
        assert_eq!(key(1).pseudonym("A"), key(1).pseudonym("A"));
        assert_ne!(key(1).pseudonym("A"), key(2).pseudonym("A"));
    }

    #[test]
    fn what_comes_out_is_a_uid_and_a_day_in_the_past() {
        for n in 0..500_u32 {
            let uid = key(7).uid(&format!("1.2.{n}"));
            assert!(uid.len() <= 64 && uid.starts_with("2.25.") && !uid.starts_with("2.25.0"), "{uid}");
            assert!(uid.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
            let days = key(7).shift(&format!("{n}")).whole_days();
            assert!((-1825..=-1).contains(&days), "{days}");
        }
    }
}
