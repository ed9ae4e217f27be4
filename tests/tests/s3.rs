//! Objects in a real S3 bucket, behind a proxy that fails at every step in every way: first the store's adapter alone, then a
//! whole vault.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use leadglass_model::{Durable, Fault, ObjectId, SystemEntropy};
use leadglass_store::s3::{Credentials, PART_BYTES_MIN, S3, Style};
use leadglass_store::{Objects, Patience, StoreError, SweepReport, conformance};
use leadglass_tests::big::{BigObject, SOP_CLASS};
use leadglass_tests::eyes::Eyes;
use leadglass_tests::fixture::Fixture;
use leadglass_tests::part10;
use leadglass_tests::process::until;
use leadglass_tests::proxy::{Fault as Harm, Proxy, Script, Step};
use leadglass_tests::scu::{EXPLICIT_LE, pdata, pdv};
use leadglass_tests::vault::Vault;
use leadglass_tests::weed::{BUCKET, KEY, SECRET, Weed};
use std::error::Error;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A server, the proxy before it, and a node's ledger.
struct Site {
    runtime: tokio::runtime::Runtime,
    proxy: Proxy,
    weed: Weed,
    node: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let weed = Weed::start();
        let proxy = Proxy::start(weed.s3(), Duration::ZERO);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { runtime, proxy, weed, node: tempfile::tempdir().unwrap() }
    }

    fn objects(&self) -> Objects {
        open(&bucket(self.proxy.address()), self.node.path())
    }

    /// Does `work` while `script` runs; then all is calm again.
    fn during<T>(&self, script: Script, work: impl Future<Output = T>) -> T {
        self.proxy.set(script);
        let done = self.runtime.block_on(work);
        self.proxy.set(Script::Calm);
        done
    }

    fn calmly<T>(&self, work: impl Future<Output = T>) -> T {
        self.during(Script::Calm, work)
    }
}

fn bucket(at: SocketAddr) -> S3 {
    S3 {
        endpoint: Some(format!("http://{at}")),
        region: "us-east-1".to_owned(),
        bucket: BUCKET.to_owned(),
        prefix: "node-1".to_owned(),
        style: Style::Path,
        ca: None,
        trusted_network: false,
        credentials: Credentials::given(KEY.to_owned(), SECRET.to_owned(), None),
        part_bytes: PART_BYTES_MIN,
        patience: Patience(Duration::from_secs(20)),
        timeout: Duration::from_secs(1),
    }
}

fn open(s3: &S3, node: &Path) -> Objects {
    Objects::over(s3.backing(node.join("uploads.lgl")).unwrap()).unwrap()
}

fn body(len: usize, seed: u8) -> Bytes {
    let mut x = u32::from(seed) + 1;
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            x.to_be_bytes()[0]
        })
        .collect()
}

async fn upload(objects: &Objects, id: ObjectId, body: &Bytes) -> Result<Durable, StoreError> {
    let mut upload = objects.begin(id).await?;
    for from in (0..body.len()).step_by(1 << 20) {
        if let Err(e) = upload.write(body.slice(from..body.len().min(from + (1 << 20)))).await {
            upload.abort().await;
            return Err(e);
        }
    }
    upload.finish().await
}

async fn read(objects: &Objects, id: ObjectId) -> Result<Bytes, StoreError> {
    let (stream, len) = objects.stream(id, 0).await?;
    let all = stream.try_collect::<Vec<Bytes>>().await?.concat();
    assert_eq!(all.len() as u64, len, "a stream that ends without an error is whole");
    Ok(all.into())
}

fn new() -> ObjectId {
    ObjectId::random(&SystemEntropy)
}

/// An error with everything under it, as a log would have it and as a careless log would.
fn words(error: &dyn Error) -> String {
    let mut words = format!("{error:?} {error}");
    let mut at = error.source();
    while let Some(error) = at {
        words += &format!(": {error:?} {error}");
        at = error.source();
    }
    words
}

#[test]
fn a_bucket_keeps_the_laws_of_every_store() {
    let site = Site::new();
    let objects = site.objects();
    site.calmly(conformance::all(&objects, &SystemEntropy));
    assert_eq!(site.weed.unfinished(), 0);
    let names = site.weed.bucket();
    assert!(names.len() > 40);
    for (name, _) in names {
        let id = name.rsplit_once('/').and_then(|(_, id)| id.parse::<ObjectId>().ok());
        let id = id.unwrap_or_else(|| panic!("{name} is no opaque name")).to_string();
        assert_eq!(name, format!("/buckets/{BUCKET}/node-1/o/{}/{id}", &id[..2]));
    }

    // Another node in the same bucket: it sees nothing of ours, and its sweep ends nothing of ours.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = open(&S3 { prefix: "node-2".to_owned(), ..bucket(site.proxy.address()) }, elsewhere.path());
    let (ours, big) = (new(), body(PART_BYTES_MIN + 1, 1));
    site.calmly(async {
        assert_eq!(other.list().count().await, 0);
        let mut running = objects.begin(ours).await.unwrap();
        running.write(big.clone()).await.unwrap();
        assert_eq!(other.sweep().await.unwrap(), SweepReport::default());
        running.finish().await.unwrap();
        assert!(read(&objects, ours).await.unwrap() == big);
    });

    // What is small goes in one request, and what is long in so many parts.
    site.proxy.set(Script::Calm);
    site.runtime.block_on(async { upload(&objects, new(), &body(1 << 20, 2)).await.unwrap() });
    assert_eq!(site.proxy.steps(), [Step::Put]);
    site.proxy.set(Script::Calm);
    let long = new();
    site.runtime.block_on(async { upload(&objects, long, &body(2 * PART_BYTES_MIN + 1, 3)).await.unwrap() });
    let mut steps = site.proxy.steps();
    steps.sort_by_key(|step| format!("{step:?}"));
    assert_eq!(steps, [Step::Begin, Step::Complete, Step::Head, Step::Part, Step::Part, Step::Part]);
    // A whole object is read with one request, whatever its length.
    site.proxy.set(Script::Calm);
    site.runtime.block_on(async { read(&objects, long).await.unwrap() });
    assert_eq!(site.proxy.steps(), [Step::Get]);
}

#[test]
fn any_fault_at_any_step_is_survived() {
    let site = Site::new();
    let objects = site.objects();
    let small = body(100_000, 1);
    let big = body(PART_BYTES_MIN + 100_000, 2);
    site.calmly(async { objects.put(new(), vec![small.clone()]).await.unwrap() });

    for harm in Harm::ALL {
        // Written, whatever happened on the way.
        let id = new();
        let put = site.during(Script::Nth(0, harm), objects.put(id, vec![small.clone()]));
        assert_eq!(put.unwrap_or_else(|e| panic!("put, {harm:?}: {}", words(&e))).sealed_len(), 100_000);
        assert!(site.calmly(read(&objects, id)).unwrap() == small, "put, {harm:?}");

        // Read, whatever happened on the way: never other bytes.
        let (stream, range) = (Script::NthOf(Step::Get, 0, harm), Script::NthOf(Step::Get, 0, harm));
        assert!(site.during(stream, read(&objects, id)).unwrap() == small, "stream, {harm:?}");
        let (some, len) = site.during(range, objects.range(id, 7..70_000)).unwrap();
        assert!(some == small.slice(7..70_000) && len == 100_000, "range, {harm:?}");
        let len = site.during(Script::Nth(0, harm), objects.len(id));
        // A length in a head stands alone; whoever reads the object hears another.
        let believed = matches!(harm, Harm::Shorter | Harm::Longer);
        assert!(believed || len.unwrap() == 100_000, "head, {harm:?}");
        let listed = site.during(Script::Nth(0, harm), objects.list().try_collect::<Vec<_>>());
        let listed = listed.unwrap_or_else(|e| panic!("list, {harm:?}: {}", words(&e)));
        assert!(listed.contains(&(id, 100_000)), "list, {harm:?}");

        // Nobody's bytes are replaced.
        let other = site.during(Script::Nth(0, harm), objects.put(id, vec![body(100_000, 9)]));
        assert!(matches!(other, Err(StoreError::Conflict)), "conflict, {harm:?}: {other:?}");

        site.during(Script::Nth(0, harm), objects.delete(id)).unwrap();
        assert!(matches!(site.calmly(objects.len(id)), Err(StoreError::Missing)), "delete, {harm:?}");

        for (step, n) in [(Step::Head, 0), (Step::Begin, 0), (Step::Part, 0), (Step::Part, 1), (Step::Complete, 0)] {
            let id = new();
            let done = site.during(Script::NthOf(step, n, harm), upload(&objects, id, &big));
            let done = done.unwrap_or_else(|e| panic!("{n}. {step:?}, {harm:?}: {}", words(&e)));
            assert_eq!(done.sealed_len(), big.len() as u64);
            assert!(site.calmly(read(&objects, id)).unwrap() == big, "{n}. {step:?}, {harm:?}");
            site.calmly(objects.delete(id)).unwrap();
        }
        assert_eq!(site.weed.unfinished(), 0, "after uploads with {harm:?}");

        for step in [Step::Abort, Step::Uploads] {
            let id = new();
            site.during(Script::NthOf(step, 0, harm), async {
                let mut upload = objects.begin(id).await.unwrap();
                upload.write(big.clone()).await.unwrap();
                upload.abort().await;
            });
            assert_eq!(site.weed.unfinished(), 0, "{step:?}, {harm:?}");
            assert!(matches!(site.calmly(objects.len(id)), Err(StoreError::Missing)));
        }
    }
    assert_eq!(site.calmly(objects.sweep()).unwrap(), SweepReport::default());
}

#[test]
fn a_storm_loses_nothing_that_was_acknowledged() {
    let site = Site::new();
    let objects = site.objects();
    let bodies: Vec<(ObjectId, Bytes)> = (0..60_u8)
        .map(|n| (new(), if n % 20 == 0 { body(2 * PART_BYTES_MIN + 17, n) } else { body(20_000 + usize::from(n), n) }))
        .collect();
    let outcomes = site.during(Script::Storm(7, 300), async {
        let arrive = |(id, body): &(ObjectId, Bytes)| {
            let (objects, id, body) = (objects.clone(), *id, body.clone());
            async move {
                if body.len() > PART_BYTES_MIN {
                    upload(&objects, id, &body).await
                } else {
                    objects.put(id, vec![body]).await
                }
            }
        };
        futures::stream::iter(bodies.iter().map(arrive)).buffered(12).collect::<Vec<_>>().await
    });
    for ((id, body), outcome) in bodies.iter().zip(&outcomes) {
        match (outcome, site.calmly(read(&objects, *id))) {
            (_, Ok(found)) => assert!(found == body, "what is visible is whole"),
            (Err(_), Err(StoreError::Missing)) => {}
            (outcome, found) => panic!("{outcome:?}, and then {found:?}"),
        }
    }
    assert!(outcomes.iter().filter(|outcome| outcome.is_ok()).count() > 50);

    // Everything again, in one batch, as a replay does it.
    let again = bodies.iter().map(|(id, body)| (*id, vec![body.clone()])).collect();
    site.during(Script::Storm(8, 200), objects.put_batch(again)).unwrap();

    // Nothing is done for whoever is not heard: the caller is told to come back, and nothing shows.
    let hasty =
        open(&S3 { patience: Patience(Duration::from_millis(300)), ..bucket(site.proxy.address()) }, site.node.path());
    let (id, big) = (new(), body(PART_BYTES_MIN + 1, 1));
    for away in [Harm::Refuse(503), Harm::CutBefore] {
        let put = site.during(Script::Always(away), hasty.put(id, vec![big.clone()])).unwrap_err();
        let upload = site.during(Script::Every(Step::Part, away), upload(&hasty, id, &big)).unwrap_err();
        for error in [put, upload] {
            assert_eq!(error.fault(), Fault::Busy, "{}", words(&error));
        }
        // The upload is taken back on the side; until then its name is taken.
        let gone = async {
            while matches!(hasty.delete(id).await, Err(StoreError::InUse)) {
                tokio::task::yield_now().await;
            }
            hasty.len(id).await
        };
        assert!(matches!(site.calmly(gone), Err(StoreError::Missing)));
    }
    site.calmly(async { hasty.sweep().await.unwrap() });
    assert_eq!(site.weed.unfinished(), 0);
}

#[test]
fn an_upload_that_was_begun_twice_leaves_no_beginning_behind() {
    let site = Site::new();
    let big = body(PART_BYTES_MIN + 1, 1);
    let (objects, hasty) =
        (site.objects(), S3 { patience: Patience(Duration::from_millis(300)), ..bucket(site.proxy.address()) });
    // The first beginning succeeds and its answer is lost; later the store is slow to say which ones there are.
    let begin = |objects: &Objects| {
        site.during(Script::NthOf(Step::Begin, 0, Harm::CutAfter), async {
            let mut upload = objects.begin(new()).await.unwrap();
            upload.write(big.clone()).await.unwrap();
            upload
        })
    };
    let twice = begin(&objects);
    assert_eq!(site.weed.unfinished(), 2);
    site.during(Script::NthOf(Step::Uploads, 0, Harm::Refuse(500)), twice.finish()).unwrap();
    assert_eq!(site.weed.unfinished(), 0);

    // It does not say so at all: the object stands, and the next sweep looks for what was left.
    let node = tempfile::tempdir().unwrap();
    let hasty = open(&hasty, node.path());
    let twice = begin(&hasty);
    let object = twice.object().unwrap();
    site.during(Script::Every(Step::Uploads, Harm::Refuse(500)), twice.finish()).unwrap();
    assert_eq!(site.weed.unfinished(), 1);
    assert!(site.calmly(read(&hasty, object)).unwrap() == big);
    let swept = site.calmly(async { hasty.sweep().await.unwrap() });
    assert_eq!(swept.finished, [object]);
    assert_eq!(site.weed.unfinished(), 0);
}

#[test]
fn errors_repeat_nothing_secret_and_https_trusts_its_own_authority_only() {
    let weed = Weed::with_tls();
    let (https, ca) = weed.https().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = tempfile::tempdir().unwrap();
    let good = S3 {
        endpoint: Some(format!("https://{https}")),
        ca: Some(ca),
        timeout: Duration::from_secs(10),
        ..bucket(https)
    };
    let objects = open(&good, node.path());
    let (id, big) = (new(), body(PART_BYTES_MIN + 1, 1));
    runtime.block_on(async {
        upload(&objects, id, &big).await.unwrap();
        assert!(read(&objects, id).await.unwrap() == big);
    });

    let stranger = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=somebody else", "-keyout", "/dev/null"])
        .output()
        .unwrap();
    assert!(stranger.status.success());
    let wrong =
        |secret: &str| Credentials::given(KEY.to_owned(), secret.to_owned(), Some("a-session-token".to_owned()));
    let cases = [
        (S3 { ca: Some(stranger.stdout), ..good.clone() }, Fault::Busy, "UnknownIssuer"),
        (S3 { ca: None, ..good.clone() }, Fault::Busy, "UnknownIssuer"),
        (S3 { credentials: wrong("a-wrong-secret"), ..good.clone() }, Fault::Broken, "403"),
        (
            S3 { credentials: Credentials::given("NOBODY".to_owned(), "x-secret".to_owned(), None), ..good.clone() },
            Fault::Broken,
            "403",
        ),
        (S3 { endpoint: Some("https://127.0.0.1:1".to_owned()), ..good }, Fault::Busy, "refused"),
    ];
    for (s3, fault, said) in cases {
        let objects = open(&S3 { patience: Patience(Duration::from_millis(200)), ..s3 }, node.path());
        runtime.block_on(async {
            let id = new();
            let errors = [
                objects.put(id, vec![big.clone()]).await.unwrap_err(),
                objects.range(id, 0..5).await.unwrap_err(),
                upload(&objects, id, &big).await.unwrap_err(),
                objects.list().try_collect::<Vec<_>>().await.unwrap_err(),
                objects.delete(id).await.unwrap_err(),
            ];
            for error in errors {
                let words = words(&error);
                assert_eq!(error.fault(), fault, "{words}");
                assert!(words.contains(said), "{words}");
                for secret in
                    [SECRET, KEY, "a-wrong-secret", "a-session-token", "NOBODY", "x-secret", "Signature=", "://"]
                {
                    assert!(!words.contains(secret), "{secret} in {words}");
                }
            }
        });
    }
}

/// A vault whose objects lie in the site's bucket.
fn vault_on(site: &Site) -> Vault {
    let keys = site.node.path().join("credentials");
    fs::write(&keys, format!("[vault]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")).unwrap();
    Vault::with_config(&format!(
        r#"
        [store.s3]
        endpoint = "http://{}"
        bucket = "{BUCKET}"
        prefix = "vault-1"
        part_bytes = {PART_BYTES_MIN}
        retry_for = "5s"
        timeout = "2s"
        credentials = {{ file = "{}", profile = "vault" }}
        "#,
        site.proxy.address(),
        keys.display()
    ))
}

/// A data set of so many MiB, which is more than one part.
fn long(seed: u64, mib: u32) -> (Fixture, Vec<u8>) {
    let mut big = BigObject::new(seed, mib);
    let mut data_set = Vec::new();
    big.read_to_end(&mut data_set).unwrap();
    let f = Fixture {
        file: format!("big {seed}"),
        sop_class: SOP_CLASS.to_owned(),
        transfer_syntax: EXPLICIT_LE.to_owned(),
        study: big.study.clone(),
        series: big.series.clone(),
        instance: big.instance.clone(),
        ..Fixture::named("ct-3.dcm")
    };
    (f, data_set)
}

#[test]
fn a_vault_on_a_bucket_gives_back_what_it_took_whatever_happens_to_the_bucket() {
    let site = Site::new();
    let mut vault = vault_on(&site);
    let mut sent: Vec<(Fixture, Vec<u8>)> = Fixture::all().into_iter().map(|f| (f.clone(), f.data_set())).collect();
    sent.push(long(1, 12));
    for (f, data_set) in &sent {
        assert_eq!(vault.store(f, data_set).unwrap().status, 0, "{}", f.file);
    }

    // While requests fail, whoever hears "stored" is right, and whoever does not may send again.
    site.proxy.set(Script::Storm(11, 150));
    let more = (0..25).map(|n| if n % 12 == 5 { long(n, 7) } else { Fixture::named("ct-3.dcm").renamed(n) });
    let mut heard = 0;
    for (f, data_set) in more {
        let stored = vault.store(&f, &data_set).is_ok_and(|answer| answer.status == 0);
        heard += u32::from(stored);
        if stored {
            sent.push((f, data_set));
        }
    }
    assert!(heard > 15, "{heard} of 25 were stored");
    let storm = site.proxy.seen();
    assert!(storm.iter().filter(|seen| seen.fault.is_some()).count() > 2, "the storm was felt: {storm:?}");

    // The bucket is gone for a while. Nobody is told what does not hold, and it goes on by itself.
    site.proxy.set(Script::Always(Harm::Refuse(503)));
    let during = Fixture::named("ct-3.dcm").renamed(1000);
    if vault.store(&during.0, &during.1).is_ok_and(|answer| answer.status == 0) {
        sent.push(during);
    }
    site.proxy.set(Script::Calm);
    let after = Fixture::named("ct-3.dcm").renamed(1001);
    let taken = || vault.store(&after.0, &after.1).is_ok_and(|answer| answer.status == 0);
    assert!(until(Duration::from_secs(30), taken));
    sent.push(after);

    // The vault dies in the middle of an upload: nothing shows, and the next one takes away what it began.
    let (f, data_set) = long(77, 20);
    let mut sender = vault.associate(&[(&f.sop_class, &f.transfer_syntax)]).unwrap().unwrap();
    let context = sender.context(&f.sop_class, &f.transfer_syntax).unwrap();
    sender.begin_store(&f.sop_class, &f.instance, &f.transfer_syntax).unwrap();
    for piece in data_set[..13 << 20].chunks(16_000) {
        sender.socket().write_all(&pdata(&[pdv(context, false, false, piece)])).unwrap();
    }
    let parts = || site.proxy.steps().into_iter().filter(|step| *step == Step::Part).count();
    assert!(until(Duration::from_secs(30), || parts() >= 2), "{:?}", site.proxy.steps());
    assert_eq!(site.weed.unfinished(), 1);
    vault.kill_vault();
    assert_eq!(vault.file_of(&f).unwrap_err(), 404);
    assert_eq!(site.weed.unfinished(), 0, "what the last one began is taken away");

    // From the bucket alone: everything has left the journal before the vault stopped.
    vault.restart();
    for (f, data_set) in &sent {
        let file = vault.file_of(f).unwrap_or_else(|status| panic!("{}: {status}", f.file));
        assert!(part10::data_set(&file) == data_set, "{} came back otherwise than it was sent", f.file);
    }
    let objects = site.weed.bucket();
    assert!(objects.len() >= sent.len());
    let (mut hints, fixtures) = (vec!["FIXTURE", "vault-secret"], Fixture::all());
    hints.extend(fixtures.iter().flat_map(|f| [f.study.as_str(), f.instance.as_str()]));
    let eyes = Eyes::for_words(&hints);
    for (name, bytes) in objects {
        let id = name.rsplit_once('/').and_then(|(_, id)| id.parse::<ObjectId>().ok());
        let id = id.unwrap_or_else(|| panic!("{name} is no opaque name")).to_string();
        assert_eq!(name, format!("/buckets/{BUCKET}/vault-1/o/{}/{id}", &id[..2]));
        assert!(!bytes.windows(4).any(|four| four == b"DICM"), "{name} is readable");
        let some = &bytes[..bytes.len().min(200_000)];
        assert!(eyes.look(&name, some).is_empty(), "{:?}", eyes.look(&name, some));
    }
    let words = String::from_utf8_lossy(&vault.words()).into_owned();
    assert!(!words.contains(SECRET) && !words.contains(KEY), "keys stand in the log");
}
