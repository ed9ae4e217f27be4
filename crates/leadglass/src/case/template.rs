//! `leadglass case template`: the letters' texts, as the practice wants them.

use super::{client, word};
use crate::admin::{Vault, print};
use anyhow::Context;
use serde_json::json;
use std::path::PathBuf;

/// Takes templates of letters out, and puts a practice's own in.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
  leadglass case template export refused --language de > refused.txt
  … change refused.txt …
  leadglass case template import refused --language de refused.txt
  leadglass case template list
  leadglass case template reset refused --language de

The letter `frame` stands around all others: address, greeting, end. {placeholders} stand for what the case says; `export`
names those that there are. A line whose placeholders all stand for nothing is left out.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists templates, and which are the practice's own.
    List {
        #[command(flatten)]
        vault: Vault,
    },
    /// Writes a template to standard output, and says which placeholders it may hold.
    Export {
        #[command(flatten)]
        vault: Vault,
        #[command(flatten)]
        which: Which,
        /// The text that comes with the house, also where the practice has its own.
        #[arg(long)]
        built_in: bool,
    },
    /// Puts the practice's own template in, from a file.
    Import {
        #[command(flatten)]
        vault: Vault,
        #[command(flatten)]
        which: Which,
        /// A file that holds the template.
        file: PathBuf,
    },
    /// Goes back to the built-in template.
    Reset {
        #[command(flatten)]
        vault: Vault,
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Which letter.
    #[arg(value_parser = ["frame", "received", "identity", "extended", "granted", "partly", "refused", "breach-known",
        "breach-told", "breach-not-told"])]
    letter: String,
    /// In which language.
    #[arg(long, value_parser = super::LANGUAGES, default_value = "en")]
    language: String,
}

impl Which {
    fn path(&self) -> String {
        format!("/api/v1/letters/{}/{}", self.letter, self.language)
    }
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List { vault } => {
            let templates = client(&vault)?.get("/api/v1/letters").await?;
            if vault.json {
                print(&templates.to_string());
                return Ok(());
            }
            for template in templates.as_array().map_or(&[][..], Vec::as_slice) {
                let whose = match template["at_ms"].as_u64() {
                    Some(at) => format!("own, by {} at {}", word(template, "by"), crate::audit::time(at)),
                    None => "built-in".to_owned(),
                };
                print(&format!("{:<15}  {}  {whose}", word(template, "letter"), word(template, "language")));
            }
        }
        Command::Export { vault, which, built_in } => {
            let template = client(&vault)?.get(&which.path()).await?;
            if vault.json {
                print(&template.to_string());
                return Ok(());
            }
            print(word(&template, if built_in { "built_in" } else { "text" }).trim_end());
            let words = |field: &str| {
                let words = template[field].as_array().map_or(&[][..], Vec::as_slice);
                let words = words.iter().filter_map(|word| word.as_str()).map(|word| format!("{{{word}}}"));
                words.collect::<Vec<_>>().join(" ")
            };
            eprintln!("May hold {}; has to hold {}.", words("may_hold"), words("must_hold"));
        }
        Command::Import { vault, which, file } => {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let client = client(&vault)?;
            let request = client.http.put(format!("{}{}", client.base, which.path())).json(&json!({ "text": text }));
            let answer = client.send(request).await?.text().await.context("the vault stopped answering")?;
            if vault.json {
                print(&answer);
            } else {
                eprintln!("Letters are written by it from now on. Look at one before it goes out.");
            }
        }
        Command::Reset { vault, which } => {
            let client = client(&vault)?;
            client.send(client.http.delete(format!("{}{}", client.base, which.path()))).await?;
            if vault.json {
                print(&json!({ "letter": which.letter, "language": which.language, "own": false }).to_string());
            } else {
                eprintln!("Letters are written by the built-in template again.");
            }
        }
    }
    Ok(())
}
