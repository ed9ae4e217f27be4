//! Who hears of alarms, and what is unusual.

use serde::{Deserialize, Serialize};

/// `[alarms]`. Alarms stand in the program's log, in `leadglass_alarms_total` and in the audit log in any case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alarms {
    /// An address that is told by HTTPS POST: kind, time and the entry's name, no patient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// The authority of its certificate, PEM, when the system does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_ca: Option<std::path::PathBuf>,
    /// Different patients whose studies one person may open in an hour before it may be unusual.
    pub patients_per_hour: usize,
    /// It is unusual when it is more than so many times that person's usual hour.
    pub times_the_usual: usize,
}

impl Default for Alarms {
    fn default() -> Self {
        Self { webhook: None, webhook_ca: None, patients_per_hour: 60, times_the_usual: 3 }
    }
}
