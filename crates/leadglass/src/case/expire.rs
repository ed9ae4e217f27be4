//! `leadglass case expire`: closed cases whose time is over.

use super::{client, named, word};
use crate::admin::{Vault, print};
use serde_json::{Value, json};

/// Lists them, and deletes them where that is wanted: each by itself, so that it can be said again.
pub(super) async fn run(vault: &Vault, delete: bool) -> anyhow::Result<()> {
    let client = client(vault)?;
    let cases = client.get("/api/v1/cases").await?;
    let is_over = |case: &&Value| case["expired"] == true;
    let over: Vec<&Value> = cases.as_array().map_or(&[][..], Vec::as_slice).iter().filter(is_over).collect();
    for case in &over {
        if delete {
            let path = format!("{}/api/v1/cases/{}", client.base, named(word(case, "id"))?);
            client.send(client.http.delete(path)).await?;
        }
        if !vault.json {
            let (id, kind, until) = (word(case, "id"), word(case, "type"), word(case, "kept_until"));
            print(&format!("{id}  {kind:<13}  kept until {until}{}", if delete { "  deleted" } else { "" }));
        }
    }
    if vault.json {
        let ids: Vec<&str> = over.iter().map(|case| word(case, "id")).collect();
        print(&json!({ "expired": ids, "deleted": delete }).to_string());
    } else if delete {
        eprintln!("{} cases deleted.", over.len());
    } else {
        eprintln!("{} cases are over; --delete deletes them for good.", over.len());
    }
    Ok(())
}
