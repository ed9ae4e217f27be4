//! Whether a picture bears a colour profile (PS3.18 §8.3.5.1.5).
//!
//! `no`, or nothing said: none. `yes`: the instance's own, or that of sRGB where it has none. `srgb`: that of sRGB, where the
//! samples are in it: those of an instance without a profile, or with one of that name. Samples are never computed from one
//! space into another; who wishes for that, or for a profile of a grey picture, gets the picture without and a warning.

use super::{Known, PictureError};
use crate::{App, Problem, app::Caller};
use bytes::Bytes;
use leadglass_imaging::{render::Colours, srgb_profile, with_profile};
use leadglass_model::{Fault, Permit, Read};

/// What is wished for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    None,
    Own,
    Srgb,
    /// Another.
    Other,
}

impl Profile {
    /// What a query says; a word that the standard does not know is refused.
    pub(super) fn asked(query: Option<&str>) -> Result<Self, Problem> {
        let mut pairs = url::form_urlencoded::parse(query.unwrap_or("").as_bytes());
        Ok(match pairs.find(|(name, _)| name == "iccprofile").as_ref().map(|(_, value)| &**value) {
            None | Some("no") => Self::None,
            Some("yes") => Self::Own,
            Some("srgb") => Self::Srgb,
            Some("adobergb" | "rommrgb" | "displayp3") => Self::Other,
            Some(_) => {
                let sentence = "The parameter iccprofile is no, yes, srgb, adobergb, rommrgb or displayp3.";
                return Err(Problem::new(Fault::BadInput, "parameter", sentence));
            }
        })
    }
}

impl Known {
    /// The picture with the profile, where it can bear one, and whether it does.
    pub(super) async fn profiled(
        &self,
        app: &App,
        caller: &Caller,
        permit: &Permit<Read>,
        wished: Profile,
        picture: Bytes,
    ) -> Result<(Bytes, bool), PictureError> {
        let colours = match wished {
            Profile::None | Profile::Other => None,
            Profile::Own | Profile::Srgb => self.metadata()?.colours(),
        };
        let profile = match (wished, colours) {
            (_, None) => return Ok((picture, false)),
            (_, Some(Colours { profile: None, .. })) => srgb_profile(),
            (Profile::Srgb, Some(Colours { space, .. })) if space.as_deref() == Some("SRGB") => srgb_profile(),
            (Profile::Srgb, _) => return Ok((picture, false)),
            (_, Some(Colours { profile: Some(Err(bytes)), .. })) => bytes,
            (_, Some(Colours { profile: Some(Ok(path)), .. })) => {
                self.table(app, caller, permit, &path).await?.to_vec()
            }
        };
        Ok(match with_profile(&picture, &profile) {
            Some(borne) => (borne.into(), true),
            None => (picture, false),
        })
    }
}
