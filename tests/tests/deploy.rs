//! What is handed to an operator: units, containers, front, board and alerts are what they say they are.
//!
//! What needs a program that a machine may lack (systemd-analyze, strace, caddy) says so and passes there; `tests/all` brings
//! them all and sets `LEADGLASS_ALL_TOOLS`, under which a missing one fails.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::Ask;
use leadglass_tests::peers::{run_python, said};
use leadglass_tests::process::{signal, until};
use leadglass_tests::vault::{Vault, program};
use leadglass_tests::{scratch, workspace_root};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const UNITS: [&str; 2] = ["leadglass.service", "leadglass-keyd.service"];

/// How long a front may take to begin, and a vault to end.
const PATIENCE: Duration = Duration::from_secs(60);

fn deploy(name: &str) -> PathBuf {
    workspace_root().join("deploy").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap_or_else(|error| panic!("deploy/{name}: {error}"))
}

/// A program of this machine, or `None` with a word on why the test stops here.
fn tool(name: &str) -> Option<PathBuf> {
    let given = std::env::var_os(format!("LEADGLASS_{}", name.to_uppercase().replace('-', "_"))).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = workspace_root().join("target/tools/usr/bin");
    let found = given.or_else(|| std::env::split_paths(&path).chain([own]).map(|d| d.join(name)).find(|p| p.is_file()));
    assert!(
        found.is_some() || std::env::var_os("LEADGLASS_ALL_TOOLS").is_none(),
        "{name} is missing: run tests/all, or install it"
    );
    if found.is_none() {
        eprintln!("{name} is not on this machine: not looked at");
    }
    found
}

/// What SECURITY wants of both units, whatever systemd's own score says.
#[test]
fn both_units_shut_every_door_they_do_not_use() {
    const WANTED: &[&str] = &[
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "ProtectProc=invisible",
        "ProcSubset=pid",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        "RemoveIPC=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources @debug @mount",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "UMask=0077",
        "StateDirectoryMode=0700",
        "IPAddressDeny=any",
        "LimitCORE=0",
        "MemorySwapMax=0",
    ];
    for unit in UNITS {
        let text = text(unit);
        let missing: Vec<_> = WANTED.iter().filter(|wanted| !text.lines().any(|line| line == **wanted)).collect();
        assert!(missing.is_empty(), "{unit} lacks {missing:?}");
        assert!(text.contains("\nMemoryMax=") && text.contains("\nTasksMax="), "{unit} bounds memory and tasks");
    }
    assert!(text(UNITS[1]).contains("\nPrivateUsers=yes\n") && text(UNITS[1]).contains("\nCapabilityBoundingSet=\n"));
}

#[test]
fn systemd_finds_little_exposed_in_both_units() {
    let Some(analyze) = tool("systemd-analyze") else { return };
    for unit in UNITS {
        let output = Command::new(&analyze)
            .args(["security", "--offline=true", "--no-pager", "--threshold=20"])
            .arg(deploy(unit))
            .output()
            .unwrap();
        // Over the threshold (in tenths) its exit code is not zero.
        assert!(output.status.success(), "{unit}: {}", said(&output));
        let verdict = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
        assert!(verdict.contains("Overall exposure level"), "{unit}: {}", said(&output));
    }
}

/// The names in a group of system calls, groups within groups taken apart.
fn group(analyze: &Path, name: &str, names: &mut BTreeSet<String>) {
    let output = Command::new(analyze).args(["syscall-filter", "--no-pager", name]).output().unwrap();
    assert!(output.status.success(), "{name}: {}", said(&output));
    for word in String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.strip_prefix("    ")) {
        if word.starts_with('@') {
            group(analyze, word, names);
        } else if !word.starts_with('#') {
            names.insert(word.to_owned());
        }
    }
}

fn expanded(analyze: &Path, groups: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for name in groups {
        group(analyze, name, &mut names);
    }
    names
}

/// Both programs at work, under `up`: keys made, images taken in, drained, read back, an orderly end.
fn calls_at_work(strace: &Path) -> BTreeSet<String> {
    let scratch = scratch();
    let (counts, data) = (scratch.path().join("calls"), scratch.path().join("data"));
    let mut child = Command::new(strace)
        .args(["-f", "-c", "-o"])
        .args([counts.as_os_str(), program().as_os_str()])
        .args(["up", "--json", "--data"])
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let up: Value = serde_json::from_str(&line).expect("the vault came up under strace");
    let words = |path: &[&str]| path.iter().fold(&up, |value, name| &value[*name]).as_str().unwrap().to_owned();
    let ca = fs::read(words(&["ca"])).unwrap();
    let http = leadglass_tests::http::Http::trusting(Some(&ca));
    let token = words(&["token"]);
    let ask = |accept| Ask { token: Some(&token), accept: Some(accept), range: None };
    let found = http.get(&format!("{}/studies", words(&["http", "dicomweb"])), ask("application/dicom+json")).json();
    let study = found[0]["0020000D"]["Value"][0].as_str().expect("a sample study").to_owned();
    let url = format!("{}/studies/{study}", words(&["http", "dicomweb"]));
    let all = http.get(&url, ask("multipart/related; type=\"application/dicom\"; transfer-syntax=*"));
    assert_eq!(all.status, 200, "{}", all.text());

    let tracer = child.id();
    let children = fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).unwrap();
    let traced: u32 = children.split_whitespace().next().expect("strace's child").parse().unwrap();
    signal(traced, rustix::process::Signal::TERM);
    assert!(until(PATIENCE, || child.try_wait().unwrap().is_some()), "it ends");
    // % time, seconds, usecs/call, calls, perhaps errors, name; a heading and a total.
    let table = fs::read_to_string(counts).unwrap();
    table
        .lines()
        .filter(|line| line.ends_with(char::is_alphanumeric))
        .filter_map(|line| line.split_whitespace().last())
        .filter(|name| !["syscall", "total"].contains(name))
        .map(str::to_owned)
        .collect()
}

/// Neither the allocator nor the thread pool calls what the units forbid: under the filter such a call would fail.
#[test]
fn at_work_the_programs_call_nothing_that_the_units_forbid() {
    let (Some(analyze), Some(strace)) = (tool("systemd-analyze"), tool("strace")) else { return };
    if !Command::new(&strace).args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success()) {
        eprintln!("this machine lets nobody trace: not looked at");
        return;
    }
    let mut allowed = expanded(&analyze, &["@system-service"]);
    for name in expanded(&analyze, &["@privileged", "@resources", "@debug", "@mount"]) {
        allowed.remove(&name);
    }
    assert!(allowed.contains("mlockall") && !allowed.contains("mount") && !allowed.contains("sched_setaffinity"));
    let called = calls_at_work(&strace);
    assert!(called.contains("fdatasync") && called.len() > 40, "the trace saw the work: {called:?}");
    let forbidden: Vec<_> = called.difference(&allowed).collect();
    assert!(forbidden.is_empty(), "the units forbid {forbidden:?}");
}

/// YAML as Python reads it.
fn yaml(name: &str) -> Value {
    let program = "import json,sys,yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let output = run_python(program, &[deploy(name).to_string_lossy().into_owned()]);
    assert!(output.status.success(), "deploy/{name}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn in_the_compose_file_only_the_vault_reaches_the_bucket_and_the_key_service() {
    let compose = yaml("compose/compose.yaml");
    let services = compose["services"].as_object().unwrap();
    let names: Vec<_> = services.keys().map(String::as_str).collect();
    assert_eq!(names, ["keyd", "s3", "s3-volume", "vault"]);
    let networks = |service: &str| compose["services"][service]["networks"].clone();
    assert_eq!(networks("vault"), json!(["front", "keys", "bucket"]));
    assert_eq!((networks("keyd"), networks("s3")), (json!(["keys"]), json!(["bucket"])));
    for inner in ["keys", "bucket"] {
        assert_eq!(compose["networks"][inner]["internal"], true, "{inner} leads nowhere else");
    }
    for (name, service) in services {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]), "{name}");
        // What gives a volume away once, before anything runs, must be root, and can do nothing else.
        let once = (&service["profiles"], &service["network_mode"], &service["cap_add"], &service["entrypoint"][0])
            == (&json!(["prepare"]), &json!("none"), &json!(["CHOWN"]), &json!("chown"));
        assert_eq!(once, name == "s3-volume");
        assert!(once || !service["user"].as_str().unwrap().starts_with('0'), "{name} is not root");
        assert!(once || service.get("cap_add").is_none(), "{name}");
        assert_eq!(service["ulimits"]["core"], 0, "{name}");
        assert!(service.get("ports").is_none() || name == "vault", "{name} is open to the outside");
        let image = service["image"].as_str().unwrap();
        assert!(!image.contains('.') || image.split('/').all(|part| !part.split(':').next().unwrap().contains('.')));
    }
    for secret in services.values().filter_map(|service| service["secrets"].as_array()).flatten() {
        let source = secret["source"].as_str().unwrap();
        let file = compose["secrets"][source]["file"].as_str().unwrap_or_else(|| panic!("no secret {source}"));
        let made = file.strip_prefix("./made/").expect("secrets are made, and git does not see them");
        assert!(text("compose/prepare").contains(made.trim_end_matches("-key.pem")), "prepare makes {made}");
    }
    assert_eq!(text("compose/.gitignore").trim(), "/made/");
}

#[test]
fn images_are_pinned_and_run_as_nobody() {
    let text = text("Containerfile");
    let stages: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    let mut own = vec!["build", "base"];
    for stage in &stages {
        let image = stage.split_whitespace().next().unwrap();
        let pinned = image.split_once(':').is_some_and(|(name, tag)| !name.contains(['.', '/']) && tag != "latest");
        assert!(pinned || own.contains(&image), "{image}: a name with a version, and no registry");
        own.extend(stage.split_whitespace().nth(2));
    }
    assert_eq!(text.matches("\nUSER ").count(), 2, "both images have an account");
    assert!(!text.contains("USER 0") && !text.contains("USER root") && !text.contains("ADD "));
}

#[test]
fn the_samples_for_the_vault_are_usable() {
    for sample in ["vault.toml", "compose/vault.toml"] {
        let output = Command::new(program()).args(["config", "check"]).arg(deploy(sample)).output().unwrap();
        assert!(output.status.success(), "{sample}: {}", said(&output));
    }
}

/// Names of metrics as the source gives them to the recorder.
fn recorded() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![workspace_root().join("crates")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                names.extend(source.split('"').filter(|word| word.starts_with("leadglass_")).map(str::to_owned));
            }
        }
    }
    names
}

/// Names of metrics in expressions. A summary has two more of its own.
fn asked_for(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("leadglass_"))
        .map(|word| {
            let seconds = word.strip_suffix("_sum").or_else(|| word.strip_suffix("_count"));
            seconds.filter(|name| name.ends_with("_seconds")).unwrap_or(word)
        })
        .collect()
}

#[test]
fn the_board_and_the_alerts_ask_for_metrics_that_there_are() {
    let (board, alerts) = (text("grafana/leadglass.json"), text("prometheus/leadglass-alerts.yaml"));
    let parsed: Value = serde_json::from_str(&board).unwrap();
    let panels = parsed["panels"].as_array().unwrap();
    assert!(panels.len() > 10 && panels.iter().all(|panel| !panel["targets"].as_array().unwrap().is_empty()));
    let recorded = recorded();
    for (file, text) in [("the board", &board), ("the alerts", &alerts)] {
        let asked = asked_for(text);
        assert!(asked.len() > 5, "{file}: {asked:?}");
        let unknown: Vec<_> = asked.iter().filter(|name| !recorded.contains(**name)).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}, which nobody records");
    }
    for rule in yaml("prometheus/leadglass-alerts.yaml")["groups"][0]["rules"].as_array().unwrap() {
        let name = rule["alert"].as_str().expect("every rule is an alert");
        assert!(rule["expr"].is_string() && rule["annotations"]["description"].is_string(), "{name} says what to do");
        assert!(["page", "ticket"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
    }
    assert_eq!(yaml("prometheus/scrape.yaml")["scrape_configs"][0]["job_name"], "leadglass");
}

/// A front of the test's own: deploy/Caddyfile with other addresses and the vault's certificate.
struct Front {
    child: Child,
    base: String,
    log: PathBuf,
}

impl Front {
    fn start(caddy: &Path, folder: &Path, certificates: &Path, upstream: &str) -> Self {
        let port = free_port();
        let put = |text: String, from: &str, to: &str| {
            assert!(text.contains(from), "deploy/Caddyfile holds {from:?}");
            text.replace(from, to)
        };
        let (chain, key) = (certificates.join("server.pem"), certificates.join("server-key.pem"));
        let site = format!("\nhttps://localhost:{port} {{\n\ttls {} {}\n", chain.display(), key.display());
        let config = put(text("Caddyfile"), "\npacs.practice.example {\n", &site);
        let config = put(config, "127.0.0.1:8042", upstream);
        let config = put(config, "admin off\n", "admin off\n\tauto_https disable_redirects\n\tskip_install_trust\n");
        let path = folder.join("Caddyfile");
        fs::write(&path, config).unwrap();

        let command = |word: &str| {
            let mut command = Command::new(caddy);
            command.args([word, "--adapter", "caddyfile", "--config"]).arg(&path);
            command.env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder).stdin(Stdio::null());
            command
        };
        let valid = command("validate").output().unwrap();
        assert!(valid.status.success(), "{}", said(&valid));
        let log = folder.join("log");
        let write = || fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = command("run").stdout(write()).stderr(write()).spawn().unwrap();
        Self { child, base: format!("https://localhost:{port}"), log }
    }

    /// All that it wrote; it is over then.
    fn words(mut self) -> String {
        signal(self.child.id(), rustix::process::Signal::TERM);
        let _status = self.child.wait().unwrap();
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

#[test]
fn the_front_passes_studies_on_and_says_nothing_about_them() {
    let Some(caddy) = tool("caddy") else { return };
    let vault = Vault::up();
    let f = Fixture::named(&Fixture::all()[0].file);
    vault.store_fixture(&f);
    let certificates = Path::new(&vault.up.ca).parent().unwrap();
    let upstream = vault.up.http.plain_dicomweb.clone().unwrap();
    let upstream = upstream.strip_prefix("http://").unwrap().strip_suffix("/dicomweb").unwrap();
    let ask = Ask { token: Some(&vault.up.token), accept: Some("application/dicom"), range: None };
    let instance = format!("/dicomweb/studies/{}/series/{}/instances/{}", f.study, f.series, f.instance);
    let begin = |folder: &Path, upstream: &str| {
        let front = Front::start(&caddy, folder, certificates, upstream);
        let answers = || vault.http().try_get(&format!("{}/healthz", front.base), ask).is_some();
        assert!(until(PATIENCE, answers), "the front is up");
        front
    };
    let silent = |words: &str| !words.contains(&f.study) && !words.contains(&vault.up.token);

    let folder = scratch();
    let front = begin(folder.path(), upstream);
    let get = |path: &str, ask: Ask<'_>| vault.http().get(&format!("{}{path}", front.base), ask);
    let answer = get(&instance, ask);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(Ok(answer.body), vault.file_of(&f));
    assert_eq!(get(&instance, Ask { token: None, ..ask }).status, 401);
    for inside in ["/metrics", "/readyz"] {
        assert_eq!(get(inside, ask).status, 404, "{inside} is for the inside");
    }
    let words = front.words();
    assert!(silent(&words), "the front's words name a study:\n{words}");

    // No vault behind it: this is where a front would log the request that failed.
    let folder = scratch();
    let front = begin(folder.path(), &format!("127.0.0.1:{}", free_port()));
    assert_eq!(vault.http().get(&format!("{}{instance}", front.base), ask).status, 502);
    let words = front.words();
    assert!(silent(&words), "the front's words name a study:\n{words}");
}

/// Only benches/null.sh sets them, in the environment of one build.
#[test]
fn nothing_in_the_tree_selects_the_null_cipher_or_a_log_of_nobodys_reads() {
    const CFG: &str = "leadglass_null_";
    let listed = Command::new("git").arg("-C").arg(workspace_root()).args(["grep", "-l", CFG]).output().unwrap();
    if !listed.status.success() {
        eprintln!("not a git checkout: not looked at");
        return;
    }
    let files: BTreeSet<String> = String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect();
    let known = [
        "Cargo.toml",
        "benches/null.sh",
        "benches/null_cipher.rs",
        "crates/engine/src/access.rs",
        "crates/seal/src/suite.rs",
        "tests/tests/deploy.rs",
    ];
    let others: Vec<_> = files.iter().filter(|file| !known.contains(&file.as_str())).collect();
    assert!(others.is_empty(), "{others:?} name the null cipher or the log of nobody's reads");
    let manifest = fs::read_to_string(workspace_root().join("Cargo.toml")).unwrap();
    let lines: Vec<_> = manifest.lines().filter(|line| line.contains(CFG)).collect();
    let known = "unexpected_cfgs = { level = \"warn\", check-cfg = [\"cfg(leadglass_null_cipher)\", \"cfg(leadglass_null_log)\"] }";
    assert_eq!(lines, [known]);
    let suite = fs::read_to_string(workspace_root().join("crates/seal/src/suite.rs")).unwrap();
    assert!(suite.contains("#[cfg(leadglass_null_cipher)]\n#[path = \"../../../benches/null_cipher.rs\"]\nmod null;"));
    for config in [".cargo/config.toml", ".cargo/config", "crates/seal/build.rs"] {
        assert!(!workspace_root().join(config).exists(), "{config} could set it: look, and then list it here");
    }
}
