//! The house keeps its own rules: who may import whom, and what every file and crate carries.
//!
//! The map is crates/ARCHITECTURE.md's; a broken rule is told as a sentence that names both crates. A new arrow that is wanted
//! changes the map there and the table here, in a commit of its own.

use cargo_metadata::{DependencyKind, MetadataCommand};
use leadglass_tests::workspace_root;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a crate is, beside its layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Plain,
    /// Offers one thing to the use cases; does not know its neighbours.
    Port,
    /// Implements the named port; only programs and tests name it.
    Adapter(&'static str),
    /// Speaks to the outside; does not know the other edges.
    Edge,
    Program,
    /// Help for tests: a dev-dependency only.
    TestHelp,
    /// System tests and benches: may name anything.
    Tests,
}

/// Crate (without `leadglass-`), layer, part. Imports go towards a smaller number.
const MAP: &[(&str, u8, Part)] = &[
    ("model", 0, Part::Plain),
    ("disk", 0, Part::Plain),
    ("seal", 1, Part::Plain),
    ("tap", 1, Part::Plain),
    ("policy", 1, Part::Plain),
    ("imaging", 1, Part::Plain),
    ("export", 1, Part::Plain),
    ("deidentify", 2, Part::Plain),
    ("keys", 2, Part::Port),
    ("store", 2, Part::Port),
    ("journal", 2, Part::Port),
    ("index", 2, Part::Port),
    ("index-sled", 2, Part::Adapter("index")),
    ("index-pg", 2, Part::Adapter("index")),
    ("audit", 2, Part::Port),
    ("records", 2, Part::Port),
    ("identity", 3, Part::Plain),
    ("testkit", 3, Part::TestHelp),
    ("engine", 3, Part::Plain),
    ("dimse", 4, Part::Edge),
    ("web", 4, Part::Edge),
    ("leadglass", 5, Part::Program),
    ("keyd", 5, Part::Program),
    ("tests", 9, Part::Tests),
    ("bench-seal", 9, Part::Tests),
];

/// What the key service may share with the rest of the house.
const KEYD_SHARES: &[&str] = &["model", "seal", "policy", "audit", "keys"];

/// One import: who, whom, and whether only tests need it.
#[derive(Clone, Debug)]
struct Arrow {
    from: String,
    to: String,
    dev: bool,
}

fn place(name: &str) -> Option<(u8, Part)> {
    MAP.iter().find(|(n, ..)| *n == name).map(|&(_, layer, part)| (layer, part))
}

/// The sentence that this import breaks, if it breaks one.
fn broken_rule(a: &Arrow) -> Option<String> {
    let (from, to) = (a.from.as_str(), a.to.as_str());
    let Some((from_layer, from_part)) = place(from) else {
        return Some(format!(
            "`{from}`, which imports `{to}`, has no place in the house: give it a layer in tests/tests/house.rs and crates/ARCHITECTURE.md"
        ));
    };
    let Some((to_layer, to_part)) = place(to) else {
        return Some(format!("`{to}`, which `{from}` imports, has no place in the house: give it a layer"));
    };
    let broken = |rule: &str| Some(format!("`{from}` imports `{to}`, but {rule}"));

    if to == "keyd" {
        return broken("nothing imports keyd");
    }
    if from_part == Part::Tests {
        return None;
    }
    if from == "keyd" && !a.dev && !KEYD_SHARES.contains(&to) {
        return broken("keyd shares only model, seal, policy, audit and keys with the rest");
    }
    if to_part == Part::TestHelp {
        return if a.dev { None } else { broken("testkit is a dev-dependency only") };
    }
    if matches!(to_part, Part::Adapter(_)) && from_part != Part::Program && !a.dev {
        return broken("only programs and tests name an adapter");
    }
    if let Part::Adapter(port) = from_part
        && to_part == Part::Port
    {
        return if to == port { None } else { broken("an adapter imports no port but its own") };
    }
    if from_part == Part::Edge && to_part == Part::Edge {
        return broken("edges do not know each other");
    }
    if from_part == Part::Port && to_part == Part::Port {
        return broken("ports do not know each other: the engine is where they meet");
    }
    if (from, to) == ("seal", "tap") || (from, to) == ("tap", "seal") {
        return broken("seal and tap do not know each other");
    }
    if to_layer >= from_layer {
        return broken(&format!("imports go towards a smaller layer ({from} is {from_layer}, {to} is {to_layer})"));
    }
    None
}

/// Every import between crates of this workspace.
fn arrows() -> Vec<Arrow> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace_root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .expect("cargo metadata runs");
    let short = |name: &str| name.strip_prefix("leadglass-").unwrap_or(name).to_owned();
    let ours: Vec<String> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    let mut out = Vec::new();
    for package in &metadata.packages {
        for dependency in package.dependencies.iter().filter(|d| ours.contains(&d.name)) {
            let dev = dependency.kind == DependencyKind::Development;
            out.push(Arrow { from: short(&package.name), to: short(&dependency.name), dev });
        }
    }
    out
}

#[test]
fn every_import_goes_the_way_the_house_is_built() {
    let arrows = arrows();
    assert!(!arrows.is_empty(), "the workspace has imports");
    let broken: Vec<String> = arrows.iter().filter_map(broken_rule).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_crate_of_the_workspace_has_a_place() {
    let metadata =
        MetadataCommand::new().manifest_path(workspace_root().join("Cargo.toml")).no_deps().exec().expect("metadata");
    for package in &metadata.packages {
        let name = package.name.strip_prefix("leadglass-").unwrap_or(&package.name);
        assert!(place(name).is_some(), "`{name}` has no layer in tests/tests/house.rs");
    }
}

#[test]
fn a_made_up_broken_house_is_named_sentence_by_sentence() {
    let cases = [
        ("model", "seal", false, "smaller layer"),
        ("seal", "tap", false, "seal and tap do not know each other"),
        ("tap", "seal", false, "seal and tap do not know each other"),
        ("policy", "seal", false, "smaller layer"),
        ("store", "journal", false, "ports do not know each other"),
        ("index-sled", "store", false, "no port but its own"),
        ("index", "index-sled", false, "only programs and tests name an adapter"),
        ("engine", "index-sled", false, "only programs and tests name an adapter"),
        ("web", "dimse", false, "edges do not know each other"),
        ("dimse", "web", true, "edges do not know each other"),
        ("engine", "web", false, "smaller layer"),
        ("engine", "testkit", false, "testkit is a dev-dependency only"),
        ("testkit", "engine", false, "smaller layer"),
        ("leadglass", "keyd", false, "nothing imports keyd"),
        ("tests", "keyd", true, "nothing imports keyd"),
        ("keyd", "store", false, "keyd shares only"),
        ("keyd", "engine", false, "keyd shares only"),
        ("keyd", "leadglass", true, "smaller layer"),
        ("kitchen", "model", false, "no place in the house"),
        ("engine", "kitchen", false, "no place in the house"),
    ];
    for (from, to, dev, sentence) in cases {
        let said = broken_rule(&Arrow { from: from.into(), to: to.into(), dev })
            .unwrap_or_else(|| panic!("{from} -> {to} passed, though: {sentence}"));
        assert!(said.contains(sentence) && said.contains(from) && said.contains(to), "{from} -> {to} said: {said}");
    }
    let fine = [
        ("index-sled", "index", false),
        ("engine", "journal", false),
        ("engine", "index-sled", true),
        ("leadglass", "index-sled", false),
        ("web", "engine", false),
        ("keyd", "audit", false),
        ("testkit", "keys", false),
        ("seal", "testkit", true),
        ("tests", "leadglass", false),
    ];
    for (from, to, dev) in fine {
        assert_eq!(broken_rule(&Arrow { from: from.into(), to: to.into(), dev }), None);
    }
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let manifest = workspace_root().join("Cargo.toml");
    let root = fs::read_to_string(&manifest).expect("the root manifest is readable");
    assert!(root.contains("\nunsafe_code = \"forbid\""), "the workspace's lints do not forbid unsafe code");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("metadata");
    for package in &metadata.packages {
        let manifest = fs::read_to_string(&package.manifest_path).expect("a manifest is readable");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} does not take the workspace's lints", package.name);
    }
}

#[test]
fn every_source_file_opens_by_saying_what_it_is() {
    let missing: Vec<_> = tracked()
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .filter(|p| p.starts_with("crates") || p.starts_with("tests") || p.starts_with("benches"))
        .filter(|p| {
            let text = fs::read_to_string(workspace_root().join(p)).expect("a source file is readable");
            !text.starts_with("//!") && !text.starts_with("#![doc = include_str!")
        })
        .collect();
    assert!(missing.is_empty(), "no `//!` header in {missing:?}");
}

/// Where a checkout, a home or a mount of one machine shows; the parts stand apart so that this file does not find itself.
const MACHINE_PATHS: &[&[&str]] = &[
    &["/ho", "me/"],
    &["/ro", "ot/"],
    &["/Us", "ers/"],
    &["/wo", "rk/"],
    &["/m", "nt/"],
    &["C:\\", "Users"],
    &["/build", "s/"],
];

#[test]
fn no_tracked_file_holds_a_path_of_one_machine() {
    let needles: Vec<String> = MACHINE_PATHS.iter().map(|p| p.concat()).collect();
    let mut found = String::new();
    for path in tracked() {
        let Ok(text) = fs::read_to_string(workspace_root().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(needle) = needles.iter().find(|n| holds_path(line, n)) {
                writeln!(found, "{}:{}: {needle}", path.display(), number + 1).expect("writing to a string");
            }
        }
    }
    assert!(found.is_empty(), "machine paths in tracked files:\n{found}");
}

/// A path begins at the start of the line or after something that is no part of a longer path or URL.
fn holds_path(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| {
        let before = line.get(..at).and_then(|s| s.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '~' | '}' | ']' | '/'))
    })
}

#[test]
fn the_search_for_machine_paths_finds_one() {
    let needle = MACHINE_PATHS[0].concat();
    assert!(holds_path(&format!("let p = \"{needle}me/file\";"), &needle));
    assert!(holds_path(&format!("{needle}me"), &needle));
    assert!(!holds_path(&format!("docs{needle}index.html"), &needle));
}

/// Files under version control, or about to be; all files of the source folders where there is no repository (an unpacked archive).
fn tracked() -> Vec<PathBuf> {
    let listed = Command::new("git").arg("-C").arg(workspace_root()).args(["ls-files", "-z", "--cached"]).output();
    let paths: Vec<PathBuf> = match listed {
        Ok(out) if out.status.success() => out
            .stdout
            .split(|&b| b == 0)
            .filter(|p| !p.is_empty())
            .map(|p| PathBuf::from(String::from_utf8_lossy(p).into_owned()))
            .collect(),
        _ => ["crates", "tests", "benches", "deploy", "fixtures"]
            .iter()
            .flat_map(|d| walk(&workspace_root().join(d)))
            .collect(),
    };
    let paths: Vec<_> = paths.into_iter().filter(|p| workspace_root().join(p).is_file()).collect();
    assert!(paths.len() > 20, "found {} files only", paths.len());
    paths
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            out.extend(walk(&path));
        } else if let Ok(relative) = path.strip_prefix(workspace_root()) {
            out.push(relative.to_owned());
        }
    }
    out
}
