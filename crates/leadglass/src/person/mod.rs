//! `leadglass person`: who works here, asked and changed in a running vault over HTTPS.

use crate::admin::{Client, Vault, print};
use anyhow::{Context, bail};
use leadglass_identity::NewPerson;
use leadglass_model::Role;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Invites people, lists them, changes their roles, ends their access.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everybody who works here has a login of his own, with a second factor. Whoever is invited gets a link that works once and
for seven days: in it he chooses a passkey, or a password with one-time codes. Whoever decides about others (admin, dpo)
needs a passkey.

Changes hold at once: another role with the next request; whoever leaves, and whatever device is lost, is signed out and what
it was being given stops. Each change is an entry in the audit log. They need a running vault, and the role admin.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Invites somebody and prints the link: this is the only time it can be read.
    Invite {
        #[command(flatten)]
        vault: Vault,
        /// The name to sign in with: an e-mail address, or a short name.
        login: String,
        /// How people call him or her; the login unless given.
        #[arg(long)]
        name: Option<String>,
        /// clinician, radiographer, reception, dpo, admin or auditor.
        #[arg(long, default_value = "clinician")]
        role: Role,
        /// Somebody who is known already, and lost the way in, gets another link.
        #[arg(long, conflicts_with_all = ["name", "role"])]
        again: bool,
    },
    /// Lists people.
    ///
    /// Exit code 3 when a login seems to be shared, was not used for 90 days, an invitation was not taken, or somebody who left
    /// has a token.
    List {
        #[command(flatten)]
        vault: Vault,
        /// Those who left, too.
        #[arg(long)]
        all: bool,
    },
    /// Gives somebody another role.
    Role {
        #[command(flatten)]
        vault: Vault,
        /// Login or id.
        person: String,
        /// clinician, radiographer, reception, dpo, admin or auditor.
        role: Role,
    },
    /// Ends somebody's access: he or she does not work here any more.
    Leave {
        #[command(flatten)]
        vault: Vault,
        /// Login or id.
        person: String,
    },
    /// Lists somebody's devices, when they were last used, and what goes on there.
    Sessions {
        #[command(flatten)]
        vault: Vault,
        /// Login or id.
        person: String,
    },
    /// Ends what a lost device could do: its sessions and passkeys.
    Lost {
        #[command(flatten)]
        vault: Vault,
        /// Login or id.
        person: String,
        /// The device's id, from `sessions`; all of them unless given.
        #[arg(long)]
        device: Option<String>,
    },
}

/// Does it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Invite { vault, login, name, role, again } => invite(&vault, login, name, role, again).await,
        Command::List { vault, all } => list(&vault, all).await,
        Command::Role { vault, person, role } => {
            let client = client(&vault)?;
            let url = format!("{}/api/v1/people/{}/role", client.base, id_of(&client, &person).await?);
            let words = format!("{person} is {role} from the next request on.");
            done(&vault, &client, client.http.put(url).json(&json!({ "role": role })), &words).await
        }
        Command::Leave { vault, person } => {
            let client = client(&vault)?;
            let url = format!("{}/api/v1/people/{}", client.base, id_of(&client, &person).await?);
            done(&vault, &client, client.http.delete(url), &format!("{person} is out.")).await
        }
        Command::Sessions { vault, person } => devices(&vault, &person).await,
        Command::Lost { vault, person, device } => {
            let client = client(&vault)?;
            let url = format!("{}/api/v1/people/{}/lost", client.base, id_of(&client, &person).await?);
            let request = client.http.post(url).json(&json!({ "device": device }));
            done(&vault, &client, request, "It is out: its sessions and passkeys are gone.").await
        }
    }
}

async fn invite(
    vault: &Vault,
    login: String,
    name: Option<String>,
    role: Role,
    again: bool,
) -> anyhow::Result<ExitCode> {
    let client = client(vault)?;
    let request = if again {
        client.http.post(format!("{}/api/v1/people/{}/invitation", client.base, id_of(&client, &login).await?))
    } else {
        let new = NewPerson { name: name.unwrap_or_else(|| login.clone()), login, role };
        client.http.post(format!("{}/api/v1/people", client.base)).json(&new)
    };
    let mut invited: Value = client.send(request).await?.json().await?;
    let link = link(&client.base, &invited).context("the vault names no link")?;
    if vault.json {
        invited["link"] = link.into();
        print(&invited.to_string());
    } else {
        eprintln!(
            "Hand this link over in person or by a way that only he or she reads; it works once, for seven days:"
        );
        print(&link);
    }
    Ok(ExitCode::SUCCESS)
}

/// The whole address of an invitation. Passkeys need a name, so this machine's is taken for its address.
pub fn link(base: &str, invited: &Value) -> Option<String> {
    let base = base.replacen("//127.0.0.1", "//localhost", 1);
    invited["path"].as_str().map(|path| format!("{base}{path}"))
}

async fn list(vault: &Vault, all: bool) -> anyhow::Result<ExitCode> {
    let people = client(vault)?.get("/api/v1/people").await?;
    let people: Vec<&Value> =
        people.as_array().into_iter().flatten().filter(|person| all || person["state"] != "left").collect();
    if vault.json {
        print(&serde_json::to_string(&people)?);
    } else {
        people.iter().for_each(|person| print(&line(person)));
        if people.is_empty() {
            eprintln!("Nobody has a login of his own yet: `leadglass person invite --help`.");
        }
    }
    let found = people.iter().any(|person| person["findings"].as_array().is_some_and(|found| !found.is_empty()));
    Ok(if found { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn line(person: &Value) -> String {
    let text = |field: &str| person[field].as_str().unwrap_or("-").to_owned();
    let finding = |word: &str| person["findings"].as_array().is_some_and(|all| all.iter().any(|found| found == word));
    let ways = match (person["passkeys"].as_u64().unwrap_or(0), person["password"] == true) {
        (0, false) => String::new(),
        (0, true) => "password".to_owned(),
        (keys, false) => format!("{keys} passkeys"),
        (keys, true) => format!("{keys} passkeys, password"),
    };
    let mut line = format!(
        "{}  {:<32} {:<12} {:<8} {:>2} sessions  {ways}",
        text("id"),
        text("login"),
        text("role"),
        text("state"),
        person["sessions"]
    );
    for (word, said) in FINDINGS {
        if finding(word) {
            line.push_str("  ");
            line.push_str(said);
        }
    }
    line.trim_end().to_owned()
}

/// What is said of a finding.
const FINDINGS: [(&str, &str); 4] = [
    ("stale", "NOT USED for 90 days"),
    ("shared", "SHARED? in use in two places at once"),
    ("invitation-unused", "NOT JOINED: the invitation is over"),
    ("left-with-tokens", "LEFT, and a token was not ended"),
];

async fn devices(vault: &Vault, person: &str) -> anyhow::Result<ExitCode> {
    let client = client(vault)?;
    let account = client.get(&format!("/api/v1/people/{}", id_of(&client, person).await?)).await?;
    if vault.json {
        print(&account.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    for device in account["devices"].as_array().into_iter().flatten() {
        let text = |field: &str| device[field].as_str().unwrap_or("-").to_owned();
        let (id, label) = (text("id"), text("label"));
        let (sessions, passkeys, last) = (&device["sessions"], &device["passkeys"], &device["last_ms"]);
        print(&format!("{id}  {label:<28} {sessions} sessions, {passkeys} passkeys, last used {last} ms"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn done(
    vault: &Vault,
    client: &Client,
    request: reqwest::RequestBuilder,
    words: &str,
) -> anyhow::Result<ExitCode> {
    let done: Value = client.send(request).await?.json().await?;
    if vault.json {
        print(&done.to_string());
    } else {
        eprintln!("{words}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The id of the person with this login or id.
async fn id_of(client: &Client, name: &str) -> anyhow::Result<String> {
    let people = client.get("/api/v1/people").await?;
    let login = name.trim().to_lowercase();
    let is = |person: &&Value| person["login"] == *login || person["id"] == *login;
    match people.as_array().into_iter().flatten().find(is).and_then(|person| person["id"].as_str()) {
        Some(id) => Ok(id.to_owned()),
        None => bail!("nobody is called {name}; `leadglass person list --all` names everybody"),
    }
}

fn client(vault: &Vault) -> anyhow::Result<Client> {
    Client::for_admin(vault).context("the vault cannot be asked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_a_person_has_to_look_at() {
        let person = |findings: Value| {
            json!({ "id": "00", "login": "erika", "role": "clinician", "state": "active", "sessions": 2, "passkeys": 1,
                "password": false, "findings": findings })
        };
        assert!(line(&person(json!([]))).ends_with("2 sessions  1 passkeys"));
        assert!(line(&person(json!(["stale"]))).ends_with("NOT USED for 90 days"));
        assert!(line(&person(json!(["shared"]))).contains("SHARED?"));
        let two = line(&person(json!(["invitation-unused", "left-with-tokens"])));
        assert!(two.ends_with("NOT JOINED: the invitation is over  LEFT, and a token was not ended"), "{two}");
    }

    #[test]
    fn a_link_names_this_machine_so_that_passkeys_work() {
        let invited = json!({ "path": "/invitation#abc" });
        assert_eq!(link("https://127.0.0.1:8443", &invited).unwrap(), "https://localhost:8443/invitation#abc");
        assert_eq!(link("https://vault.example", &invited).unwrap(), "https://vault.example/invitation#abc");
    }
}
