//! A practice's own identity provider.

use anyhow::{Context, ensure};
use leadglass_model::{Role, TenantId};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, path::PathBuf};

/// `[[oidc]]`: people of a tenant sign in through their practice's own identity provider (OpenID Connect). Its client there is of the
/// type *web*, with the redirect address `https://HOST/provider`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// A short name for addresses: letters, digits, hyphens.
    pub id: String,
    /// What stands on the button of the sign-in page.
    pub name: String,
    /// Whose people it vouches for. Without it: of the first tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The issuer, `https://…`; on this very host also `http://`, for an evaluation.
    pub issuer: String,
    /// What the provider calls this vault.
    pub client_id: String,
    /// Where the secret lies that it gave this vault. A client without one is protected by PKCE alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretFile>,
    /// The authority of its certificate, PEM, when the system does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// What is asked for beyond `openid` and `profile`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The claim of the ID token that names somebody's groups.
    #[serde(default = "groups")]
    pub groups_claim: String,
    /// Which group has which role here; the first that fits holds. Whoever is in none of them is not let in.
    pub roles: Vec<GroupRole>,
    /// What the provider must say in `acr`, one of these: how strongly somebody signed in. It is asked for it, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acr: Vec<String>,
    /// What it must say in `amr`, one of these: `otp`, `hwk`, `mfa` (RFC 8176).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// Without `acr` and `amr` nobody here sees a second factor. Whoever says that this provider lets nobody in without one
    /// answers for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks_for_second_factor: bool,
    /// What it must say in `acr`, one of these, of whoever becomes an administrator or a data protection officer: where a passkey
    /// was shown there, as it would be here (`phr`, `phrh`). It is asked for it, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strong_acr: Vec<String>,
    /// The same in `amr`: `hwk`. Without either of the two nobody gets these roles through it; a one-time code is not enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strong_amr: Vec<String>,
}

/// A secret that stands in a file of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFile {
    /// Where. White space around it does not count.
    pub file: PathBuf,
}

/// A group and its role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRole {
    /// As the provider names it.
    pub group: String,
    /// What its people may do here.
    pub role: Role,
}

fn groups() -> String {
    "groups".to_owned()
}

impl Oidc {
    /// Whether it is on this very host, where it may do without TLS.
    pub fn is_here(&self) -> bool {
        self.issuer.strip_prefix("http://").is_some_and(|rest| {
            let host = rest.split('/').next().unwrap_or_default();
            let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
            host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        })
    }

    /// What must hold beyond the types.
    pub fn check(&self, tenants: &[TenantId]) -> anyhow::Result<()> {
        let id = &self.id;
        let fits = (1..=32).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        ensure!(fits, "oidc.id {id:?}: 1 to 32 letters, digits and hyphens");
        let issuer: reqwest::Url =
            self.issuer.parse().with_context(|| format!("oidc {id}: the issuer is no address"))?;
        ensure!(issuer.scheme() == "https" || self.is_here(), "oidc {id}: the issuer is asked over https only");
        ensure!(
            self.asks_for_second_factor || !(self.acr.is_empty() && self.amr.is_empty()),
            "oidc {id}: staff sign in with a second factor. Say in amr or acr by which word the provider tells of one, such as \
             amr = [\"otp\", \"hwk\", \"mfa\"], or asks_for_second_factor = true if it lets nobody in without"
        );
        ensure!(!self.roles.is_empty(), "oidc {id}: no [[oidc.roles]], so nobody could sign in");
        for given in &self.roles {
            let role = given.role;
            ensure!(
                !matches!(role, Role::Device | Role::Patient),
                "oidc {id}: {role} is no role of those who work here"
            );
        }
        if let Some(tenant) = self.tenant {
            ensure!(tenants.contains(&tenant), "oidc {id} names an unknown tenant");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(issuer: &str, role: &str, more: &str) -> String {
        format!(
            "id = 'p'\nname = 'P'\nissuer = '{issuer}'\nclient_id = 'c'\nroles = [{{ group = 'g', role = '{role}' }}]\n{more}\n"
        )
    }

    #[test]
    fn somebody_answers_for_a_second_factor() {
        let check = |more: &str| {
            toml::from_str::<Oidc>(&provider("https://login.example", "clinician", more)).unwrap().check(&[]).is_ok()
        };
        assert!(!check("") && !check("strong_amr = ['hwk']") && !check("asks_for_second_factor = false"));
        assert!(check("amr = ['mfa']") && check("acr = ['phr']") && check("asks_for_second_factor = true"));
    }

    #[test]
    fn a_provider_is_asked_over_tls_and_gives_no_device_a_role() {
        let text = |issuer: &str, role: &str| provider(issuer, role, "amr = ['otp']");
        let check = |issuer: &str, role: &str| toml::from_str::<Oidc>(&text(issuer, role)).unwrap().check(&[]).is_ok();
        assert!(check("https://login.example/realms/p", "clinician") && check("http://127.0.0.1:8080", "admin"));
        for (issuer, role) in [
            ("http://login.example", "clinician"),
            ("http://127.0.0.1.evil.example", "clinician"),
            ("nonsense", "clinician"),
            ("https://login.example", "device"),
        ] {
            assert!(!check(issuer, role), "{issuer} {role}");
        }
    }
}
