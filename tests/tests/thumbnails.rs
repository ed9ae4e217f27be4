//! Thumbnails are kept, sealed, and nothing but a thumbnail of this very instance is ever shown for one; a person who asks for
//! everything leaves others their pictures.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

use leadglass_tests::fixture::Fixture;
use leadglass_tests::http::{Answer, Ask};
use leadglass_tests::process::until;
use leadglass_tests::site::{alarms, drained, metric, objects};
use leadglass_tests::vault::Vault;
use leadglass_tests::weed::Weed;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

fn thumbnail(vault: &Vault, f: &Fixture) -> Vec<u8> {
    let answer = get(vault, &format!("{}/thumbnail", vault.instance_url(f)), &vault.up.token);
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "image/jpeg"), "{}", answer.text());
    answer.body
}

fn get(vault: &Vault, url: &str, token: &str) -> Answer {
    vault.http().get(url, Ask { token: Some(token), accept: None, range: None })
}

fn renders(vault: &Vault) -> u64 {
    metric(vault, "leadglass_renders_total")
}

fn counted(vault: &Vault, outcome: &str) -> u64 {
    metric(vault, &format!("leadglass_thumbnails_total{{outcome=\"{outcome}\"}}"))
}

fn stored(vault: &Vault, count: u64) {
    assert!(until(SOON, || counted(vault, "stored") == count), "{} were stored", counted(vault, "stored"));
}

/// The object that the first thumbnail of an instance became, and the thumbnail.
fn kept(vault: &Vault, f: &Fixture) -> (PathBuf, Vec<u8>) {
    vault.store_fixture(f);
    drained(vault);
    let (before, count) = (objects(vault), counted(vault, "stored"));
    let picture = thumbnail(vault, f);
    stored(vault, count + 1);
    let new: BTreeSet<_> = objects(vault).difference(&before).cloned().collect();
    assert_eq!(new.len(), 1, "{new:?}");
    (new.into_iter().next().unwrap(), picture)
}

#[test]
fn a_thumbnail_is_made_once_and_never_shown_when_it_was_touched() {
    let mut vault = Vault::up();
    let (ct, us) = (Fixture::named("ct-1.dcm"), Fixture::named("us-bot.dcm"));
    let (object, picture) = kept(&vault, &ct);
    let (foreign, other) = kept(&vault, &us);
    assert_ne!(picture, other);
    assert!(!fs::read(&object).unwrap().windows(3).any(|three| three == [0xff, 0xd8, 0xff]), "it lies there in clear");

    let made = renders(&vault);
    assert_eq!(thumbnail(&vault, &ct), picture);
    vault.restart();
    assert_eq!(thumbnail(&vault, &ct), picture, "it outlives the process");
    assert_eq!(renders(&vault), 0, "a stored thumbnail needs no worker; {made} were made before");
    let series = vault.instance_url(&ct).split("/instances/").next().unwrap().to_owned();
    assert_eq!(
        get(&vault, &format!("{series}/thumbnail"), &vault.up.token).body,
        picture,
        "a series shows the same one"
    );
    assert_eq!(renders(&vault), 0);
    let png = vault.http().get(
        &format!("{}/thumbnail", vault.instance_url(&ct)),
        Ask { token: Some(&vault.up.token), accept: Some("image/png"), range: None },
    );
    assert_eq!((png.status, renders(&vault)), (200, 1), "other forms are made");

    let sealed = fs::read(&object).unwrap();
    let mut flipped = sealed.clone();
    *flipped.get_mut(sealed.len() / 2).unwrap() ^= 1;
    let damages = [flipped, sealed[..sealed.len() / 2].to_vec(), Vec::new(), fs::read(&foreign).unwrap()];
    for (number, damage) in (1..).zip(damages) {
        fs::write(&object, damage).unwrap();
        assert_eq!(thumbnail(&vault, &ct), picture, "damage {number} showed");
        stored(&vault, number);
        assert!(until(SOON, || alarms(&vault, "integrity") == number), "damage {number} raised no alarm");
        assert_eq!(counted(&vault, "damaged"), number);
        let renders_until_now = renders(&vault);
        assert_eq!(thumbnail(&vault, &ct), picture);
        assert_eq!(renders(&vault), renders_until_now, "damage {number} was not made good");
    }
    fs::remove_file(&object).unwrap();
    assert_eq!(thumbnail(&vault, &ct), picture);
    stored(&vault, 5);

    let token = vault.up.tokens.dpo.clone();
    let ask = Ask { token: Some(&token), accept: None, range: None };
    let verified = vault.http().send("POST", &format!("{}/api/v1/verify", vault.up.http.base), ask, Vec::new());
    assert_eq!(verified.status, 200, "{}", verified.text());
    assert!(
        !verified.text().contains(object.file_name().unwrap().to_str().unwrap()),
        "verify knows it not: {}",
        verified.text()
    );
}

#[test]
fn whoever_may_not_see_the_instance_sees_no_thumbnail_of_it() {
    let vault = Vault::up();
    let ct = Fixture::named("ct-1.dcm");
    let (_, picture) = kept(&vault, &ct);
    let url = format!("{}/thumbnail", vault.instance_url(&ct));
    assert_eq!(get(&vault, &url, &vault.up.tokens.other_tenant).status, 404);
    let again = vault.http().get_with(&url, Ask { token: Some(&vault.up.token), accept: None, range: None }, &[]);
    let tag = again.headers.iter().find(|(name, _)| name == "etag").unwrap().1.clone();
    let ask = || Ask { token: Some(&vault.up.token), accept: None, range: None };
    assert_eq!(vault.http().get_with(&url, ask(), &[("if-none-match", &tag)]).status, 304);

    // A newer version is another picture.
    let mut body = ct.data_set();
    let pixels = body.len() - 200;
    body[pixels..].fill(0x11);
    assert_eq!(vault.store(&ct, &body).unwrap().status, 0);
    assert_ne!(vault.http().get_with(&url, ask(), &[("if-none-match", &tag)]).status, 304);
    assert_ne!(thumbnail(&vault, &ct), picture, "the thumbnail is that of the older version");
}

#[test]
fn thumbnails_are_kept_in_a_bucket_too() {
    let weed = Weed::start();
    let vault = Vault::with_config(&weed.settings(weed.s3()));
    let ct = Fixture::named("ct-1.dcm");
    vault.store_fixture(&ct);
    let picture = thumbnail(&vault, &ct);
    stored(&vault, 1);
    assert_eq!((thumbnail(&vault, &ct) == picture, renders(&vault)), (true, 1));
}

#[test]
fn a_person_who_asks_for_everything_leaves_others_their_pictures() {
    let vault = Vault::up();
    let ct = Fixture::named("ct-1.dcm");
    vault.store_fixture(&ct);
    vault.asked_for(&ct.patient_id);
    let url = format!("{}/rendered?viewport=1500,1500", vault.instance_url(&ct));
    let greedy = vault.up.token.clone();
    let mut served = 0;
    thread::scope(|scope| {
        let asking: Vec<_> = (0..96).map(|_| scope.spawn(|| get(&vault, &url, &greedy))).collect();
        // Another one is answered in the midst of it, and never told to come again.
        for _ in 0..5 {
            let small = format!("{}/rendered", vault.instance_url(&ct));
            assert_eq!(get(&vault, &small, &vault.up.tokens.dpo).status, 200);
        }
        for answer in asking.into_iter().map(|one| one.join().unwrap()) {
            match answer.status {
                200 => served += 1,
                503 => {
                    assert_eq!(answer.json()["code"], "render-busy");
                    assert!(answer.headers.iter().any(|(name, _)| name == "retry-after"));
                }
                status => panic!("{status}: {}", answer.text()),
            }
        }
    });
    // How many find a place in the line depends on the machine; that the line is as long as a viewer needs does not.
    assert!(served >= 64, "only {served} were served");
}
