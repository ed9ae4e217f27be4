//! The first people of `up`: links for a clinician and an administrator, until somebody takes them.

use super::summary::Summary;
use crate::{admin::Client, person};
use leadglass_identity::NewPerson;
use leadglass_model::Role;
use serde_json::Value;

/// Words for the page: a link for each of the first people who has not come yet. Nobody else is invited once there are others.
pub async fn words(summary: &Summary) -> anyhow::Result<String> {
    let client = Client::at(&summary.http.base, &summary.tokens.admin, Some(&summary.ca))?;
    let people = client.get("/api/v1/people").await?;
    let known = people.as_array().map_or(&[][..], Vec::as_slice);
    let mut words = String::new();
    for (login, name, role) in FIRST {
        let asked = match known.iter().find(|person| person["login"] == login) {
            Some(person) if person["state"] == "invited" => {
                let id = person["id"].as_str().unwrap_or_default();
                client.http.post(format!("{}/api/v1/people/{id}/invitation", client.base))
            }
            None if known.is_empty() => {
                let new = NewPerson { login: login.to_owned(), name: name.to_owned(), role };
                client.http.post(format!("{}/api/v1/people", client.base)).json(&new)
            }
            _ => continue,
        };
        let invited: Value = client.send(asked).await?.json().await?;
        if let Some(link) = person::link(&client.base, &invited) {
            words.push_str(&format!("  {login:<7} {link}\n"));
        }
    }
    if words.is_empty() {
        return Ok(words);
    }
    Ok(format!("People  (each link makes one login of its own; `leadglass person invite` makes more)\n{words}\n"))
}

const FIRST: [(&str, &str, Role); 2] =
    [("doctor", "First clinician", Role::Clinician), ("admin", "First administrator", Role::Admin)];
