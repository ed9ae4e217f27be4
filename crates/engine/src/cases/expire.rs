//! How long a closed case is kept: it is the proof of what was asked and answered, and it names the patient.

use super::{CaseError, CaseId, RightsCase};
use crate::{Day, Engine};
use leadglass_model::{Administer, Permit, TenantId};
use parking_lot::Mutex;
use std::collections::HashMap;

/// Years of each tenant.
#[derive(Debug, Default)]
pub(crate) struct KeepTimes(Mutex<HashMap<TenantId, u8>>);

impl KeepTimes {
    pub(super) fn of(&self, tenant: TenantId) -> u8 {
        self.0.lock().get(&tenant).copied().unwrap_or(DEFAULT_CASE_YEARS)
    }
}

impl RightsCase {
    /// The last day on which a closed case is kept; `None` while it is open.
    pub(super) fn kept_until(&self, years: u8) -> Option<Day> {
        Some(Day::of(self.closed.as_ref()?.stamp.at).plus_years(u16::from(years)))
    }
}

impl Engine {
    /// So many years closed cases of a tenant are kept.
    pub fn set_case_years(&self, tenant: TenantId, years: u8) {
        self.shared.case_times.0.lock().insert(tenant, years.clamp(MIN_CASE_YEARS, MAX_CASE_YEARS));
    }

    /// Deletes a closed case whose time is over. That it was deleted stays in the log.
    pub async fn expire_case(&self, permit: &Permit<Administer>, id: CaseId) -> Result<(), CaseError> {
        let (shared, tenant) = (&self.shared, permit.tenant());
        let (case, _) = shared.case(tenant, id).await?;
        let until = case.kept_until(shared.case_times.of(tenant)).ok_or(CaseError::NotClosed)?;
        if shared.clock.now() < until.end() {
            return Err(CaseError::Kept(until));
        }
        shared.record_step(permit, &case, "case-expired", &shared.stamp(permit)).await?;
        // A closed case is not written any more: what is deleted is what was looked at.
        shared.drop_case(tenant, id).await
    }
}

/// Whoever claims that an answer was wrong has, from his knowing it, three years to the end of the year in Germany (BGB
/// §§ 195, 199) and five in France (Code civil Art. 2224) and Spain (Código Civil Art. 1964); Italy counts five for claims
/// and fines (Codice civile Art. 2947, Law 689/1981 Art. 28). Five covers these, and no more is needed (Art. 5(1)(e)).
pub const DEFAULT_CASE_YEARS: u8 = 5;
/// Fewer would end before a complaint does.
pub const MIN_CASE_YEARS: u8 = 1;
/// As long as the longest of the retention rules.
pub const MAX_CASE_YEARS: u8 = 30;

#[cfg(test)]
mod tests {
    use super::super::{CaseType, Channel, Stamp, Written};
    use super::*;
    use leadglass_model::UnixMillis;

    #[test]
    fn a_case_is_kept_to_the_day_of_its_closing_so_many_years_later() {
        let stamp = |at| Stamp { by: "07".into(), at, entry: String::new() };
        let mut case = RightsCase {
            id: CaseId([7; 16]),
            kind: CaseType::Breach,
            patient: None,
            received: "2024-02-01".parse().unwrap(),
            known_at: None,
            channel: Channel::Email,
            opened: stamp(UnixMillis(0)),
            identity: vec![],
            extension: None,
            decisions: vec![],
            links: vec![],
            notes: vec![],
            closed: None,
        };
        assert_eq!(case.kept_until(5), None);
        let leap: Day = "2024-02-29".parse().unwrap();
        case.closed = Some(Written { reason: None, stamp: stamp(UnixMillis(leap.end().0 - 1)) });
        assert_eq!(case.kept_until(4).unwrap().to_string(), "2028-02-29");
        assert_eq!(case.kept_until(5).unwrap().to_string(), "2029-03-01");
        let times = KeepTimes::default();
        assert_eq!(times.of(leadglass_model::TenantId::from_bytes([1; 16])), DEFAULT_CASE_YEARS);
    }
}
