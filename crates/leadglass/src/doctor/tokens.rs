//! Bearer tokens: which of them never end.

use super::Finding;
use crate::{config::Config, token};
use leadglass_records::TokenInfo;

/// The vault holds its records while it runs, so tokens can be looked at when it is stopped.
pub(super) async fn look(config: &Config) -> Finding {
    let unknown = |sentence: &str| {
        Finding::yellow("tokens-unknown", sentence)
            .fix("leadglass doctor, or leadglass token list, while the vault is stopped")
    };
    if !config.data.join("records.redb").exists() {
        return Finding::green("tokens-none", "No token was issued.");
    }
    let Ok(tokens) = token::open(config) else {
        return unknown("Whether there are tokens that never end cannot be told while the vault runs.");
    };
    match tokens.list(None).await {
        Ok(all) => judge(&all),
        Err(_) => unknown("The tokens cannot be read."),
    }
}

fn judge(all: &[TokenInfo]) -> Finding {
    let endless: Vec<&TokenInfo> =
        all.iter().filter(|token| token.revoked.is_none() && token.expires.is_none()).collect();
    let Some(first) = endless.first() else {
        return Finding::green("tokens", "Every token ends.");
    };
    let (count, label) = (endless.len(), &first.grant.label);
    Finding::yellow("tokens-endless", format!("Tokens that never end: {count}, the oldest is \"{label}\"."))
        .why("A token that leaked, in a script or a backup, opens studies until somebody notices.")
        .fix(format!(
            "leadglass token issue --days 90 …, then leadglass token revoke --tenant {} {}",
            first.grant.tenant, first.grant.actor
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::{ActorRef, Role, TenantId, UnixMillis};
    use leadglass_records::TokenGrant;

    #[test]
    fn only_living_tokens_without_an_end_are_named() {
        let token = |expires, revoked| TokenInfo {
            grant: TokenGrant {
                actor: ActorRef([1; 16]),
                tenant: TenantId::from_bytes([2; 16]),
                role: Role::Clinician,
                label: "viewer".to_owned(),
            },
            issued: UnixMillis(1),
            expires,
            revoked,
            seat: None,
        };
        let then = Some(UnixMillis(2));
        for (tokens, code) in [
            (vec![], "tokens"),
            (vec![token(then, None), token(None, then)], "tokens"),
            (vec![token(then, None), token(None, None)], "tokens-endless"),
        ] {
            assert_eq!(judge(&tokens).code, code);
        }
        assert!(judge(&[token(None, None)]).sentence.contains("never end: 1,"));
    }
}
