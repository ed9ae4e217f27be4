//! What one request may still use up of something: a running total over all its data sets.
//!
//! A body is bounded by its bytes, and what it becomes is not: a few bytes of metadata make an element, and many elements
//! may point at one part of bulk data.

/// So much is left. Once more was asked for, nothing is ever left again.
#[derive(Debug)]
pub(super) struct Allowance(Option<u64>);

impl Allowance {
    pub(super) const fn of(amount: u64) -> Self {
        Self(Some(amount))
    }

    /// Uses so much of it; `None` when that is more than there is.
    pub(super) fn spend(&mut self, amount: u64) -> Option<()> {
        self.0 = self.0.and_then(|left| left.checked_sub(amount));
        self.0.map(drop)
    }

    /// Whether more was asked for than there was.
    pub(super) const fn is_overdrawn(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_overdrawn_gives_nothing_any_more() {
        let mut left = Allowance::of(3);
        assert!(left.spend(1).is_some() && left.spend(2).is_some() && !left.is_overdrawn());
        assert!(left.spend(1).is_none() && left.is_overdrawn());
        assert!(left.spend(0).is_none(), "not even nothing");
    }
}
