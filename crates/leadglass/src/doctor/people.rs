//! People: which logins look shared, and which accounts nobody uses any more.
//!
//! The records are sealed, so the running vault is asked.

use super::{Finding, running::Running};
use crate::config::{Config, Oidc};
use serde_json::Value;

/// Whether one secret alone makes a browser an administrator's.
pub(super) fn second_factor(config: &Config) -> Finding {
    if !config.sessions.take_tokens() {
        return Finding::green("tokens-sign-nobody-in", "Nobody signs in without a second factor.");
    }
    Finding::yellow("tokens-sign-in", "A bearer token signs a browser in, without a second factor.")
        .why(
            "Whoever finds one in a script or a backup is signed in as what it was made for, an administrator perhaps.",
        )
        .fix("leadglass person invite for each person, then leave [sessions] from_tokens out")
}

/// Providers whose word about a second factor is not heard.
pub(super) fn providers(config: &Config) -> Option<Finding> {
    let unheard = |oidc: &&Oidc| oidc.acr.is_empty() && oidc.amr.is_empty();
    let names: Vec<_> = config.oidc.iter().filter(unheard).map(|oidc| oidc.id.as_str()).collect();
    let sentence = format!("Whether people showed a second factor is not heard from: {}.", named(&names));
    (!names.is_empty()).then(|| {
        Finding::yellow("oidc-second-factor", sentence)
            .why("If the provider ever lets somebody in with a password alone, nobody here notices.")
            .fix("in [[oidc]]: amr = [\"otp\", \"hwk\", \"mfa\"], or what the provider says")
    })
}

pub(super) async fn look(running: &Running) -> Vec<Finding> {
    match running.list("/api/v1/people").await {
        Ok(people) => judge(&people),
        Err(why) => {
            let sentence = format!("Whether logins are shared or stale was not looked at: {why}.");
            vec![Finding::yellow("people-unknown", sentence).fix("leadglass person list --all")]
        }
    }
}

fn judge(people: &[Value]) -> Vec<Finding> {
    let of = |word: &str| -> Vec<&str> {
        let has =
            |person: &&Value| person["findings"].as_array().is_some_and(|all| all.iter().any(|found| found == word));
        people.iter().filter(has).filter_map(|person| person["login"].as_str()).collect()
    };
    let mut findings = Vec::new();
    for (word, code, said, why, fix) in KINDS {
        let logins = of(word);
        if let Some(first) = logins.first() {
            let fix = fix.replace("LOGIN", first);
            findings.push(Finding::yellow(code, format!("{said}: {}.", named(&logins))).why(why).fix(fix));
        }
    }
    let active = people.iter().filter(|person| person["state"] == "active").count();
    if findings.is_empty() && active > 0 {
        findings.push(Finding::green("people", format!("{active} people have logins of their own, and use them.")));
    }
    findings
}

/// The first few, and how many more.
fn named(logins: &[&str]) -> String {
    let shown = logins.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    match logins.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Word of the list, code, what is said, why it matters, what to do.
const KINDS: [(&str, &str, &str, &str, &str); 4] = [
    (
        "shared",
        "login-shared",
        "In use at two devices in two places at once, so perhaps shared",
        "Where two people use one login, nobody can tell a patient who looked.",
        "leadglass person sessions LOGIN, then leadglass person invite for whoever has none",
    ),
    (
        "stale",
        "login-stale",
        "Not signed in for 90 days",
        "Whoever guesses or finds such a login is noticed by nobody.",
        "leadglass person leave LOGIN",
    ),
    (
        "invitation-unused",
        "invitation-unused",
        "Invited, and the link ended before anybody took it",
        "Either somebody still works with another's login, or the account is not needed.",
        "leadglass person invite LOGIN --again, or leadglass person leave LOGIN",
    ),
    (
        "left-with-tokens",
        "leaver-tokens",
        "Left, and a token was not ended",
        "It opens nothing now, and would again if the same account came back.",
        "leadglass person invite LOGIN --again, then leadglass person leave LOGIN: that ends them",
    ),
];
/// The list itself is in `leadglass person list`.
const MOST_NAMED: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Light;
    use serde_json::json;

    #[test]
    fn a_browser_that_a_token_signs_in_is_told() {
        let mut config = crate::up::tests::vault_config();
        config.sessions.from_tokens = None;
        assert_eq!(second_factor(&config).light, Light::Green);
        config.sessions.from_tokens = Some(true);
        assert_eq!(second_factor(&config).light, Light::Yellow);
    }

    #[test]
    fn a_provider_that_does_not_tell_of_a_second_factor_is_named() {
        let mut config = crate::up::tests::vault_config();
        assert!(providers(&config).is_none());
        let text = |more: &str| {
            format!("id = 'p'\nname = 'P'\nissuer = 'https://p.example'\nclient_id = 'c'\nroles = []\n{more}")
        };
        config.oidc = vec![toml::from_str(&text("amr = ['mfa']")).unwrap()];
        assert!(providers(&config).is_none());
        config.oidc.push(toml::from_str(&text("asks_for_second_factor = true")).unwrap());
        assert!(providers(&config).unwrap().sentence.ends_with(": p."));
    }

    #[test]
    fn shared_and_stale_logins_are_named_in_plain_words() {
        let person = |login: &str, findings: Value| json!({ "login": login, "state": "active", "findings": findings });
        let codes = |people: &[Value]| judge(people).into_iter().map(|f| (f.code, f.light)).collect::<Vec<_>>();
        assert_eq!(codes(&[]), []);
        assert_eq!(codes(&[person("erika", json!([]))]), [("people".to_owned(), Light::Green)]);
        let all = [person("erika", json!(["stale", "shared"])), person("otto", json!(["shared"]))];
        let yellow = |code: &str| (code.to_owned(), Light::Yellow);
        assert_eq!(codes(&all), [yellow("login-shared"), yellow("login-stale")]);
        let words = judge(&all).remove(0);
        assert!(words.sentence.ends_with(": erika, otto."), "{}", words.sentence);
        assert!(words.fix.unwrap().starts_with("leadglass person sessions erika"));
        let gone = [person("anna", json!(["invitation-unused"])), person("gone", json!(["left-with-tokens"]))];
        assert_eq!(codes(&gone), [yellow("invitation-unused"), yellow("leaver-tokens")]);
        let many: Vec<Value> = (0..7).map(|n| person(&format!("p{n}"), json!(["stale"]))).collect();
        assert!(judge(&many)[0].sentence.ends_with("p4 and 2 more."));
    }
}
