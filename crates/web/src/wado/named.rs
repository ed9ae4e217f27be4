//! What an address names: a study, a series of it, or an instance of that.

use super::{instance_uid, series_uid, study_uid};
use crate::Problem;
use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use leadglass_engine::Target;

/// The target of an address with `{study}`, and as far as it goes on, `{series}` and `{instance}`. What is no UID names
/// nothing: 404. Let it stand behind the caller, so that nobody unknown learns even that.
#[derive(Debug)]
pub(crate) struct Named(pub(crate) Target);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| Problem::not_found())?;
        let text = |name: &str| params.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        target(text("study"), text("series"), text("instance")).map(Self)
    }
}

fn target(study: Option<&str>, series: Option<&str>, instance: Option<&str>) -> Result<Target, Problem> {
    let study = study_uid(study.unwrap_or_default())?;
    Ok(match (series, instance) {
        (None, _) => Target::Study(study),
        (Some(series), None) => Target::Series(study, series_uid(series)?),
        (Some(series), Some(instance)) => Target::Instance(study, series_uid(series)?, instance_uid(instance)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::{SeriesUid, SopInstanceUid, StudyUid};

    #[test]
    fn an_address_names_what_its_parts_name() {
        let (study, series) = (StudyUid::parse("1.2").unwrap(), SeriesUid::parse("1.3").unwrap());
        let instance = SopInstanceUid::parse("1.4").unwrap();
        assert_eq!(target(Some("1.2"), None, None).unwrap(), Target::Study(study.clone()));
        assert_eq!(target(Some("1.2"), Some("1.3"), None).unwrap(), Target::Series(study.clone(), series.clone()));
        assert_eq!(target(Some("1.2"), Some("1.3"), Some("1.4")).unwrap(), Target::Instance(study, series, instance));
        for (study, series, instance) in [
            (None, None, None),
            (Some(""), None, None),
            (Some("x"), None, None),
            (Some("1.2"), Some(""), None),
            (Some("1.2"), Some("1.3"), Some("..")),
        ] {
            assert!(target(study, series, instance).is_err());
        }
    }
}
