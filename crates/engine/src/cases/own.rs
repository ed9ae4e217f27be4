//! A practice's own templates of letters. One that was put in takes the place of the built-in one until it is taken back.

use super::{CaseError, Language, Stamp, TemplateName, template::check, texts::Texts};
use crate::{Engine, Shared};
use leadglass_audit::{CodeWord, Event, NewEntry, Outcome};
use leadglass_model::{Administer, Permit, Purpose, TenantId};
use leadglass_records::{Expected, RecordError, Table};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A template in the list.
#[derive(Debug, Clone)]
pub struct TemplateLine {
    /// What it is for.
    pub name: TemplateName,
    /// In which language.
    pub language: Language,
    /// Who put the practice's own in, and when; `None`: the built-in one.
    pub own: Option<Stamp>,
}

/// A template with its text.
#[derive(Debug, Clone)]
pub struct LetterTemplate {
    /// What it is for, and whose it is.
    pub line: TemplateLine,
    /// The text that letters are made of.
    pub text: String,
    /// The text that comes with the house.
    pub built_in: String,
}

/// As it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnTemplate {
    text: String,
    stamp: Stamp,
}

impl Engine {
    /// All templates of letters, and which are the practice's own.
    pub async fn letter_templates(&self, permit: &Permit<Administer>) -> Result<Vec<TemplateLine>, CaseError> {
        let mut lines = Vec::new();
        for language in Language::ALL {
            for name in TemplateName::ALL {
                let own = self.shared.own_template(permit.tenant(), name, language).await?;
                lines.push(TemplateLine { name, language, own: own.map(|own| own.stamp) });
            }
        }
        Ok(lines)
    }

    /// One template with its text.
    pub async fn letter_template(
        &self,
        permit: &Permit<Administer>,
        name: TemplateName,
        language: Language,
    ) -> Result<LetterTemplate, CaseError> {
        let built_in = Texts::of(language).template(name).to_owned();
        let own = self.shared.own_template(permit.tenant(), name, language).await?;
        let (text, own) = own.map_or_else(|| (built_in.clone(), None), |own| (own.text, Some(own.stamp)));
        Ok(LetterTemplate { line: TemplateLine { name, language, own }, text, built_in })
    }

    /// Puts the practice's own in. That it was is recorded.
    ///
    /// Cancel safety: dropping the future may leave an entry about a change that was not made; so when it is taken back.
    pub async fn set_letter_template(
        &self,
        permit: &Permit<Administer>,
        name: TemplateName,
        language: Language,
        text: &str,
    ) -> Result<LetterTemplate, CaseError> {
        let text = text.replace("\r\n", "\n");
        check(name, &text)?;
        let stamp = self.shared.stamp(permit);
        self.shared.record_template(permit, "letter-template-set", &stamp).await?;
        let own = OwnTemplate { text, stamp };
        let value = Zeroizing::new(serde_json::to_vec(&own).expect("a template has string keys and plain fields"));
        let records = self.shared.case_records(permit.tenant()).ok_or(CaseError::Missing)?;
        records.put(Table::Cases, &row(name, language), value, Expected::Anything).await?;
        self.letter_template(permit, name, language).await
    }

    /// Goes back to the built-in one.
    pub async fn reset_letter_template(
        &self,
        permit: &Permit<Administer>,
        name: TemplateName,
        language: Language,
    ) -> Result<(), CaseError> {
        let tenant = permit.tenant();
        self.shared.own_template(tenant, name, language).await?.ok_or(CaseError::Missing)?;
        self.shared.record_template(permit, "letter-template-reset", &self.shared.stamp(permit)).await?;
        let records = self.shared.case_records(tenant).ok_or(CaseError::Missing)?;
        records.delete(Table::Cases, &row(name, language)).await?;
        Ok(())
    }
}

impl Shared {
    /// The text of a template: the practice's own, else the built-in one.
    pub(super) async fn template_text(
        &self,
        tenant: TenantId,
        name: TemplateName,
        language: Language,
    ) -> Result<String, CaseError> {
        let own = self.own_template(tenant, name, language).await?;
        Ok(own.map_or_else(|| Texts::of(language).template(name).to_owned(), |own| own.text))
    }

    async fn own_template(
        &self,
        tenant: TenantId,
        name: TemplateName,
        language: Language,
    ) -> Result<Option<OwnTemplate>, CaseError> {
        let Some(records) = self.case_records(tenant) else { return Ok(None) };
        let record = records.get(Table::Cases, &row(name, language)).await?;
        // One that cannot be read is not passed over for another text.
        let read = |value: &[u8]| serde_json::from_slice(value).map_err(|_| CaseError::from(RecordError::NotAuthentic));
        record.map(|record| read(record.value.expose())).transpose()
    }

    async fn record_template(
        self: &Arc<Self>,
        permit: &Permit<Administer>,
        code: &str,
        stamp: &Stamp,
    ) -> Result<(), CaseError> {
        let mut entry = NewEntry::new(stamp.entry_id(), stamp.at, Event::PatientRecord, Outcome::Success);
        entry.tenant = Some(permit.tenant());
        entry.actor = Some(permit.actor());
        entry.role = Some(permit.role());
        entry.purpose = Some(Purpose::SubjectRequest);
        entry.code = CodeWord::parse(code);
        Ok(self.commit_entry(entry, None).await?)
    }
}

fn row(name: TemplateName, language: Language) -> Vec<u8> {
    format!("letter:{name}:{language}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `CASES.md` writes it.
    const ROW: &str = r#"{"text":"{letter}\n","stamp":{"by":"07","at":1,"entry":"0a"}}"#;

    #[test]
    fn a_row_is_read_and_written_as_documented() {
        let own: OwnTemplate = serde_json::from_str(ROW).unwrap();
        assert_eq!(serde_json::to_string(&own).unwrap(), ROW);
        assert!(serde_json::from_str::<OwnTemplate>(&ROW.replace("\"text\"", "\"more\"")).is_err());
        assert_eq!(row(TemplateName::BreachNotTold, Language::Fr), b"letter:breach-not-told:fr");
    }
}
