//! Stolen and tampered parts.

use crate::support::{Host, copy, files, opened};
use base64::{Engine, engine::general_purpose::STANDARD};
use leadglass_keyd::store::{KeyRow, Store, StoreError, Table};
use leadglass_keys::wire::KeyRefusal;
use leadglass_model::{KeyId, Purpose};

#[test]
fn the_data_directory_without_the_key_file_opens_nothing() {
    let host = Host::new();
    let thief = Host { dir: tempfile::tempdir().unwrap(), tenant: host.tenant };
    copy(&host.data(), &thief.data());
    let toml = thief.data().join("keyd.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, text.replace(&host.at("outside"), &thief.at("guessed"))).unwrap();
    assert_eq!(thief.refused(&["status"]).0, 4);
    std::fs::create_dir(thief.at("guessed")).unwrap();
    std::fs::write(thief.at("guessed/unseal.key"), [7; 32]).unwrap();
    assert_eq!(thief.refused(&["status"]).0, 3);
    // With the right key file the copy does open: it was the key file that kept it shut.
    std::fs::copy(host.at("outside/unseal.key"), thief.at("guessed/unseal.key")).unwrap();
    thief.done(&["status"]);
}

#[tokio::test]
async fn no_key_stands_in_clear_in_any_file() {
    let mirror = tempfile::tempdir().unwrap();
    let host = Host::with(&["--mirror", mirror.path().join("m").to_str().unwrap()]);
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let made = host.create(&mut api, None, 20).await;
    let ids: Vec<KeyId> = made.iter().map(|k| k.key_id).collect();
    host.unwrap(&mut api, &ids, Purpose::Care).await;
    host.done(&["backup"]);
    running.kill();
    let mut found = files(&host.data());
    found.extend(files(mirror.path()));
    found.push(host.dir.path().join("serve.log"));
    assert!(found.len() > 10);
    for path in found {
        let bytes = std::fs::read(&path).unwrap();
        for key in made.iter().flat_map(|k| [&k.key, &k.index_key, &k.meta_key]) {
            let (hex, base64) = (hex::encode(key.expose()), STANDARD.encode(key.expose()));
            for needle in [key.expose().as_slice(), hex.as_bytes(), base64.as_bytes()] {
                assert!(!bytes.windows(needle.len()).any(|w| w == needle), "{}", path.display());
            }
        }
    }
}

#[test]
fn an_older_keyring_is_refused() {
    let host = Host::new();
    let keyring = host.data().join("keyring.svo");
    let old = std::fs::read(&keyring).unwrap();
    host.done(&["tenant", "add", "second"]);
    let new = std::fs::read(&keyring).unwrap();
    std::fs::write(&keyring, old).unwrap();
    let (code, words) = host.refused(&["status"]);
    assert!(code != 0 && words.contains("older keyring is refused"), "{code} {words}");
    std::fs::write(&keyring, new).unwrap();
    host.done(&["status"]);
}

#[tokio::test]
async fn swapped_wraps_open_nothing_and_raise_an_alarm() {
    let host = Host::new();
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let made = host.create(&mut api, None, 3).await;
    let ids: Vec<KeyId> = made.iter().map(|k| k.key_id).collect();
    running.kill();
    {
        let store = Store::open(&host.data().join("keys.redb"), None).unwrap();
        let (a, b) = (ids[0], ids[1]);
        store
            .write::<(), StoreError, _>(move |tx| {
                let mut one: KeyRow = tx.row(Table::Keys, a.as_bytes())?.unwrap();
                let mut two: KeyRow = tx.row(Table::Keys, b.as_bytes())?.unwrap();
                std::mem::swap(&mut one.wrap, &mut two.wrap);
                tx.put_row(Table::Keys, a.as_bytes(), &one)?;
                tx.put_row(Table::Keys, b.as_bytes(), &two)
            })
            .await
            .unwrap();
    }
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    let outcomes = host.unwrap(&mut api, &ids, Purpose::Care).await;
    assert_eq!(opened(&outcomes[0]), Err(KeyRefusal::Unknown));
    assert_eq!(opened(&outcomes[1]), Err(KeyRefusal::Unknown));
    assert_eq!(opened(&outcomes[2]).unwrap(), *made[2].key.expose());
    assert!(running.log().contains("\"alarm\":\"integrity\""));
}
