//! The end of a study's rows.

use super::{Catalog, PAGE};
use crate::{Batch, IndexError, Table};
use leadglass_model::{StudyRef, TenantId};

impl Catalog {
    /// Removes every row of a study, whether it still opens or not, from memory and from the engine. Answers how many the
    /// engine held. Nothing may be on its way from the journal for this study, or it comes back.
    ///
    /// Cancel safety: run it again; it goes on.
    pub async fn erase(&self, tenant: TenantId, study_ref: StudyRef) -> Result<u64, IndexError> {
        self.forget(tenant, study_ref);
        let mut removed = 0;
        // The study's own row last: as long as it stands, the others are looked for.
        for table in [Table::Meta, Table::Instance, Table::Series, Table::Study] {
            loop {
                let page = self.index.scan(tenant, table, Some(study_ref), None, PAGE).await?;
                if page.is_empty() {
                    break;
                }
                removed += page.len() as u64;
                let deletes = page.into_iter().map(|(key, _)| (tenant, key)).collect();
                self.write(Batch { deletes, ..Batch::default() }).await?;
            }
        }
        Ok(removed)
    }
}
