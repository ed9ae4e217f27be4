//! Association negotiation, without I/O (PS3.8 §7.1, §9.3; PS3.7 Annex D.3).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::{
    AeTitle, Allowed,
    limits::{ADVERTISED_PDU_BYTES, MAX_CONTEXTS, MAX_USER_ITEMS},
    service::{Roles, Service},
    sop::IMPLICIT_VR_LITTLE_ENDIAN,
};
use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult as RjResult,
    AssociationRJServiceProviderASCEReason as AcseReason,
    AssociationRJServiceProviderPresentationReason as PresentationReason, AssociationRJServiceUserReason as UserReason,
    AssociationRJSource as RjSource, AssociationRQ, PresentationContextProposed, PresentationContextResult,
    PresentationContextResultReason as ContextReason, RequestorRoles, UserVariableItem,
};
use leadglass_tap::part10::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use std::{collections::BTreeMap, sync::Arc};

/// The one application context of DICOM (PS3.7 §A.2.1).
pub(crate) const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";

/// Smallest P-DATA-TF a peer may ask for; nothing useful fits below.
pub(crate) const MIN_PEER_PDU_BYTES: u32 = 128;

/// Why a request does not become an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Bit 0 of the protocol version is not set.
    #[error("the protocol version is not supported")]
    ProtocolVersion,
    /// Not DICOM's application context.
    #[error("the application context is not supported")]
    ApplicationContext,
    /// The called title is malformed or nobody's.
    #[error("the called AE title is not recognised")]
    CalledAe,
    /// The calling title is malformed, or not enrolled for this address.
    #[error("the calling AE title is not recognised")]
    CallingAe,
    /// Devices cannot be looked up.
    #[error("temporary congestion")]
    Congestion,
    /// As many associations as allowed are open: in all, from this address, or of this device.
    #[error("a local limit is exceeded")]
    LocalLimit,
    /// What the peer proposes cannot be worked with.
    #[error("no reason given")]
    Unworkable,
}

impl Rejection {
    /// The A-ASSOCIATE-RJ (PS3.8 §9.3.4).
    pub(crate) fn pdu(self) -> AssociationRJ {
        let (result, source) = match self {
            Self::ProtocolVersion => {
                (RjResult::Permanent, RjSource::ServiceProviderASCE(AcseReason::ProtocolVersionNotSupported))
            }
            Self::ApplicationContext => {
                (RjResult::Permanent, RjSource::ServiceUser(UserReason::ApplicationContextNameNotSupported))
            }
            Self::CalledAe => (RjResult::Permanent, RjSource::ServiceUser(UserReason::CalledAETitleNotRecognized)),
            Self::CallingAe => (RjResult::Permanent, RjSource::ServiceUser(UserReason::CallingAETitleNotRecognized)),
            Self::Congestion => {
                (RjResult::Transient, RjSource::ServiceProviderPresentation(PresentationReason::TemporaryCongestion))
            }
            Self::LocalLimit => {
                (RjResult::Transient, RjSource::ServiceProviderPresentation(PresentationReason::LocalLimitExceeded))
            }
            Self::Unworkable => (RjResult::Permanent, RjSource::ServiceUser(UserReason::NoReasonGiven)),
        };
        AssociationRJ { result, source }
    }

    /// The word in metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::ProtocolVersion => "protocol-version",
            Self::ApplicationContext => "application-context",
            Self::CalledAe => "called-ae",
            Self::CallingAe => "calling-ae",
            Self::Congestion => "congestion",
            Self::LocalLimit => "local-limit",
            Self::Unworkable => "unworkable",
        }
    }
}

/// Why a request is answered with an A-ABORT: it breaks PS3.8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No presentation context.
    #[error("the association request proposes nothing")]
    NoContext,
    /// An even or repeated context number, or more than there are.
    #[error("the association request numbers its presentation contexts wrongly")]
    ContextNumbers,
    /// Too many user items.
    #[error("the association request has too many user items")]
    UserItems,
}

/// A context that was agreed on.
pub(crate) struct Context {
    pub(crate) abstract_syntax: Arc<str>,
    pub(crate) transfer_syntax: Arc<str>,
    pub(crate) service: Arc<dyn Service>,
}

/// What came of a request.
pub(crate) struct Agreement {
    pub(crate) answer: AssociationAC,
    pub(crate) contexts: BTreeMap<u8, Context>,
    /// Largest P-DATA-TF the peer takes, by its length field.
    pub(crate) peer_pdu_bytes: u32,
}

/// Checks the parts of a request that need no knowledge of devices.
pub(crate) fn check(request: &AssociationRQ) -> Result<Result<(AeTitle, AeTitle), Rejection>, RequestError> {
    let contexts = &request.presentation_contexts;
    if contexts.is_empty() {
        return Err(RequestError::NoContext);
    }
    let mut seen = std::collections::BTreeSet::new();
    if contexts.len() > MAX_CONTEXTS || !contexts.iter().all(|c| c.id & 1 == 1 && seen.insert(c.id)) {
        return Err(RequestError::ContextNumbers);
    }
    if request.user_variables.len() > MAX_USER_ITEMS {
        return Err(RequestError::UserItems);
    }
    if request.protocol_version & 1 == 0 {
        return Ok(Err(Rejection::ProtocolVersion));
    }
    if request.application_context_name.trim_matches([' ', '\0']) != APPLICATION_CONTEXT {
        return Ok(Err(Rejection::ApplicationContext));
    }
    if (1..MIN_PEER_PDU_BYTES).contains(&max_length(&request.user_variables)) {
        return Ok(Err(Rejection::Unworkable));
    }
    let Ok(called) = AeTitle::parse(&request.called_ae_title) else { return Ok(Err(Rejection::CalledAe)) };
    let Ok(calling) = AeTitle::parse(&request.calling_ae_title) else { return Ok(Err(Rejection::CallingAe)) };
    Ok(Ok((called, calling)))
}

/// Answers a request that passed [`check`], of a device that may send what is `allowed`.
pub(crate) fn agree(request: &AssociationRQ, services: &[Arc<dyn Service>], allowed: &Allowed) -> Agreement {
    let mut contexts = BTreeMap::new();
    let mut results = Vec::with_capacity(request.presentation_contexts.len());
    for proposed in &request.presentation_contexts {
        let (reason, transfer_syntax) = match choose(proposed, services, allowed) {
            Ok(context) => {
                let transfer_syntax = context.transfer_syntax.to_string();
                contexts.insert(proposed.id, context);
                (ContextReason::Acceptance, transfer_syntax)
            }
            // Not significant then (PS3.8 §9.3.3.2), but some readers want one.
            Err(reason) => (reason, IMPLICIT_VR_LITTLE_ENDIAN.to_owned()),
        };
        results.push(PresentationContextResult { id: proposed.id, reason, transfer_syntax });
    }
    let mut user_variables = vec![
        UserVariableItem::MaxLength(ADVERTISED_PDU_BYTES),
        UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
    ];
    user_variables.extend(request.user_variables.iter().filter_map(|item| answer_item(item, &contexts)));
    let peer_pdu_bytes = match max_length(&request.user_variables) {
        0 => ADVERTISED_PDU_BYTES,
        length => length.min(ADVERTISED_PDU_BYTES),
    };
    let answer = AssociationAC {
        protocol_version: 1,
        calling_ae_title: request.calling_ae_title.clone(),
        called_ae_title: request.called_ae_title.clone(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results,
        user_variables,
    };
    Agreement { answer, contexts, peer_pdu_bytes }
}

fn choose(
    proposed: &PresentationContextProposed,
    services: &[Arc<dyn Service>],
    allowed: &Allowed,
) -> Result<Context, ContextReason> {
    let abstract_syntax = trim(&proposed.abstract_syntax);
    let service = services.iter().find(|s| allowed.class(abstract_syntax) && s.serves(abstract_syntax));
    let service = service.ok_or(ContextReason::AbstractSyntaxNotSupported)?;
    let transfer_syntax = proposed
        .transfer_syntaxes
        .iter()
        .map(|uid| trim(uid))
        .find(|uid| allowed.transfer_syntax(abstract_syntax, uid) && service.accepts_transfer_syntax(uid))
        .ok_or(ContextReason::TransferSyntaxesNotSupported)?;
    Ok(Context {
        abstract_syntax: abstract_syntax.into(),
        transfer_syntax: transfer_syntax.into(),
        service: Arc::clone(service),
    })
}

/// Answers one user item. The asynchronous window stays at one by silence (PS3.7 §D.3.3.3); a user identity is neither
/// checked nor confirmed (§D.3.3.7).
fn answer_item(item: &UserVariableItem, contexts: &BTreeMap<u8, Context>) -> Option<UserVariableItem> {
    let serving = |uid: &str| contexts.values().find(|c| &*c.abstract_syntax == trim(uid)).map(|c| &c.service);
    match item {
        UserVariableItem::ScuScpRoleSelectionSubItem(uid, asked) => {
            let granted = serving(uid)?.roles(trim(uid), Roles { scu: asked.scu, scp: asked.scp });
            let roles = RequestorRoles { scu: granted.scu && asked.scu, scp: granted.scp && asked.scp };
            Some(UserVariableItem::ScuScpRoleSelectionSubItem(uid.clone(), roles))
        }
        UserVariableItem::SopClassExtendedNegotiationSubItem(uid, asked) => {
            let answer = serving(uid)?.extended(trim(uid), asked)?;
            Some(UserVariableItem::SopClassExtendedNegotiationSubItem(uid.clone(), answer))
        }
        _ => None,
    }
}

/// Maximum length received; 0 means no limit, and so does silence.
pub(crate) fn max_length(items: &[UserVariableItem]) -> u32 {
    items.iter().find_map(|item| if let UserVariableItem::MaxLength(n) = item { Some(*n) } else { None }).unwrap_or(0)
}

fn trim(uid: &str) -> &str {
    uid.trim_matches([' ', '\0'])
}
