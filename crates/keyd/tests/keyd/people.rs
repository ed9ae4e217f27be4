//! A passkey approves a job: enrolled through the vault, confirmed on the key host, checked by the key service itself. T15:
//! whoever has the vault's credentials and no person gets nothing in bulk.

use crate::{
    authenticator::{Authenticator, GOOD, ORIGIN, Touch},
    support::{Api, Host, Running, opened, problem},
};
use leadglass_keys::wire::{
    Approval, ApprovalState, Assertion, Base64Bytes, DestroyRequest, EnrolPerson, Enrolled, Few, Hex32, Job, LodgedJob,
    LogHead, OpenApproval, ProblemCode, Scope, Word, approval_challenge, path,
};
use leadglass_model::{KeyId, Purpose, StudyRef, TenantId, UnixMillis};
use serde_json::Value;

const STUDY: StudyRef = StudyRef::from_bytes([9; 16]);

struct Scene {
    host: Host,
    running: Running,
    api: Api,
}

impl Scene {
    async fn new() -> Self {
        let host = Host::with(&["--passkey-origin", ORIGIN]);
        let running = host.serve();
        let api = host.connect(&running, "vault").await;
        Self { host, running, api }
    }

    /// Adds somebody on the key host: his id and code.
    fn added(&self, tenant: TenantId, role: &str) -> (String, String) {
        let tenant = tenant.to_string();
        let added = self.host.done(&["people", "add", "--tenant", &tenant, "--role", role, "--label", "Erika Officer"]);
        (added["id"].as_str().unwrap().to_owned(), added["code"].as_str().unwrap().to_owned())
    }

    async fn enrol(&mut self, code: &str, key: &Authenticator) -> Result<Enrolled, (ProblemCode, String)> {
        self.enrol_as(code, key, "vault.test").await
    }

    async fn enrol_as(
        &mut self,
        code: &str,
        key: &Authenticator,
        rp_id: &str,
    ) -> Result<Enrolled, (ProblemCode, String)> {
        let ask = EnrolPerson {
            code: Base64Bytes::new(code.as_bytes()).unwrap(),
            credential_id: Base64Bytes::new(&key.id).unwrap(),
            public_key: Base64Bytes::new(&key.public_key()).unwrap(),
            rp_id: Base64Bytes::new(rp_id.as_bytes()).unwrap(),
        };
        let (status, body) = self.api.post(path::PEOPLE_ENROL, &ask).await;
        if status == 200 {
            return Ok(serde_json::from_slice(&body).unwrap());
        }
        Err((problem(&body).code, problem(&body).title))
    }

    /// Somebody whose passkey counts.
    async fn officer(&mut self, tenant: TenantId, role: &str, name: &[u8]) -> Authenticator {
        let (id, code) = self.added(tenant, role);
        let key = Authenticator::new(name);
        let enrolled = self.enrol(&code, &key).await.unwrap();
        assert_eq!(enrolled.id.as_str(), id);
        self.host.done(&["people", "confirm", &id, "--fingerprint", &enrolled.fingerprint]);
        key
    }

    async fn lodged(&mut self, job: &Job) -> (Approval, [u8; 32]) {
        let text = serde_json::to_vec(job).unwrap();
        let ask = OpenApproval { job: Base64Bytes::new(&text).unwrap() };
        let (status, body) = self.api.post(path::APPROVALS, &ask).await;
        assert_eq!(status, 200, "{body:?}");
        let approval: Approval = serde_json::from_slice(&body).unwrap();
        let shown: LodgedJob =
            serde_json::from_value(self.api.get_json(&format!("{}/{}", path::APPROVALS, approval.id)).await).unwrap();
        assert_eq!((&shown.approval.nonce, shown.job.expose()), (&approval.nonce, text.as_slice()));
        let challenge = approval_challenge(&approval.nonce, &text);
        (approval, challenge)
    }

    async fn answer(&mut self, id: &Word, assertion: &Assertion) -> Result<Approval, (ProblemCode, String)> {
        let (status, body) = self.api.put(&format!("{}/{id}", path::APPROVALS), assertion).await;
        if status == 200 {
            return Ok(serde_json::from_slice(&body).unwrap());
        }
        Err((problem(&body).code, problem(&body).title))
    }

    /// Refused in the one sentence, with this word in the service's own log.
    async fn refused(&mut self, id: &Word, assertion: &Assertion, reason: &str) {
        let before = self.reasons(reason);
        let said = self.answer(id, assertion).await.unwrap_err();
        assert_eq!(said, (ProblemCode::Forbidden, "the assertion does not approve this job".to_owned()), "{reason}");
        assert_eq!(self.reasons(reason), before + 1, "{reason}: {}", self.running.log());
    }

    fn reasons(&self, reason: &str) -> usize {
        self.running.log().matches(&format!("\"reason\":\"assertion-{reason}\"")).count()
    }

    fn destroy(&self) -> Job {
        job(self.host.tenant, "destroy", None, vec![STUDY])
    }

    async fn destroyed(&mut self, approval: &Word) -> u16 {
        let order = DestroyRequest {
            tenant: self.host.tenant,
            study_refs: Few::new(vec![STUDY]).unwrap(),
            key_ids: Few::default(),
            order_id: Word::new("order-1").unwrap(),
            approval: approval.clone(),
        };
        self.api.post(path::DESTROY, &order).await.0
    }
}

fn job(tenant: TenantId, action: &str, purpose: Option<Purpose>, studies: Vec<StudyRef>) -> Job {
    Job {
        tenant,
        action: Word::new(action).unwrap(),
        purpose,
        scope: None,
        count: if studies.is_empty() { Some(30) } else { None },
        study_refs: Few::new(studies).unwrap(),
        log: (action == "log-reset").then_some(LogHead { size: 1, root: Hex32([1; 32]) }),
        until: in_an_hour(),
    }
}

fn in_an_hour() -> UnixMillis {
    use leadglass_model::Clock;
    leadglass_model::SystemClock.now().plus_secs(3600)
}

#[tokio::test]
async fn a_confirmed_passkey_approves_a_destruction_once() {
    let mut scene = Scene::new().await;
    scene.host.create(&mut scene.api, Some(STUDY), 1).await;
    let key = scene.officer(scene.host.tenant, "dpo", b"erika").await;
    let (approval, challenge) = scene.lodged(&scene.destroy()).await;
    assert_eq!(scene.destroyed(&approval.id).await, 403, "nobody approved it yet");

    let assertion = key.signs(&challenge, GOOD);
    let given = scene.answer(&approval.id, &assertion).await.unwrap();
    assert_eq!(given.state, ApprovalState::Approved);
    let twice = scene.answer(&approval.id, &assertion).await.unwrap_err();
    assert_eq!(twice.0, ProblemCode::Conflict);
    assert_eq!(scene.destroyed(&approval.id).await, 200);

    // It says who, and a restart forgets nothing of it.
    let people = scene.host.done(&["people", "list"]);
    let id = people["people"][0]["id"].clone();
    assert!(people["people"][0]["last_ms"].as_u64().unwrap() > 0, "{people}");
    assert_eq!(scene.host.done(&["approvals"])["approvals"][0]["given_by"], id);
    scene.running.kill();
    assert_eq!(scene.host.done(&["people", "list"]), people);
}

/// T15: with the vault's credentials alone, with an old assertion, with one for another job.
#[tokio::test]
async fn bulk_opens_for_nobody_but_a_person_who_signed_this_very_job() {
    let mut scene = Scene::new().await;
    let tenant = scene.host.tenant;
    let keys: Vec<KeyId> = scene.host.create(&mut scene.api, None, 30).await.iter().map(|k| k.key_id).collect();
    let ask = scene.host.unwrap_request(&keys, Purpose::SubjectRequest);
    let (status, body) = scene.api.post(path::UNWRAP, &ask).await;
    assert_eq!((status, problem(&body).code), (403, ProblemCode::ApprovalNeeded));

    let dpo = scene.officer(tenant, "dpo", b"erika").await;
    let bulk = job(tenant, "unwrap", Some(Purpose::SubjectRequest), vec![]);
    let (small, _) = scene.lodged(&Job { count: Some(1), ..bulk.clone() }).await;
    let (first, challenge) = scene.lodged(&bulk).await;
    let assertion = dpo.signs(&challenge, GOOD);
    // She signed the one; the vault hands it in for another, changed after signing, and for the same again.
    scene.refused(&small.id, &assertion, "challenge").await;
    let (again, _) = scene.lodged(&bulk).await;
    scene.refused(&again.id, &assertion, "challenge").await;
    scene.answer(&first.id, &assertion).await.unwrap();
    scene.refused(&again.id, &assertion, "challenge").await;

    for outcome in scene.host.unwrap(&mut scene.api, &keys, Purpose::SubjectRequest).await {
        assert!(opened(&outcome).is_ok());
    }
    let (status, _) = scene.api.post(path::UNWRAP, &scene.host.unwrap_request(&keys, Purpose::Research)).await;
    assert_eq!(status, 403, "it was given for another purpose");
}

#[tokio::test]
async fn an_assertion_that_does_not_fit_gives_nothing() {
    let mut scene = Scene::new().await;
    let key = scene.officer(scene.host.tenant, "dpo", b"erika").await;
    let stranger = Authenticator::new(b"erika");
    let unknown = Authenticator::new(b"nobody");
    let (approval, challenge) = scene.lodged(&scene.destroy()).await;
    let touches = [
        (Touch { flags: 0x01, ..GOOD }, "user-verification"),
        (Touch { flags: 0x04, ..GOOD }, "user-presence"),
        (Touch { origin: "https://vault.test", ..GOOD }, "origin"),
        (Touch { origin: "https://evil.test", ..GOOD }, "origin"),
        (Touch { rp_id: "evil.test", ..GOOD }, "rp-id"),
    ];
    for (touch, reason) in touches {
        let assertion = key.signs(&challenge, touch);
        scene.refused(&approval.id, &assertion, reason).await;
    }
    scene.refused(&approval.id, &key.signs(&[0; 32], GOOD), "challenge").await;
    scene.refused(&approval.id, &stranger.signs(&challenge, GOOD), "signature").await;
    scene.refused(&approval.id, &unknown.signs(&challenge, GOOD), "credential").await;
    // Nothing of it used the approval up; and a counter that goes back shows a second authenticator.
    scene.answer(&approval.id, &key.signs_at(&challenge, GOOD, 100)).await.unwrap();
    let (next, challenge) = scene.lodged(&scene.destroy()).await;
    for counter in [0, 99, 100] {
        scene.refused(&next.id, &key.signs_at(&challenge, GOOD, counter), "counter").await;
    }
    scene.answer(&next.id, &key.signs_at(&challenge, GOOD, 101)).await.unwrap();
}

#[tokio::test]
async fn only_a_confirmed_passkey_of_the_jobs_tenant_and_role_counts() {
    let mut scene = Scene::new().await;
    let tenant = scene.host.tenant;
    let other: TenantId = scene.host.done(&["tenant", "add", "other"])["tenant"].as_str().unwrap().parse().unwrap();
    let admin = scene.officer(tenant, "admin", b"admin").await;
    let elsewhere = scene.officer(other, "dpo", b"elsewhere").await;
    let (id, code) = scene.added(tenant, "dpo");
    let dpo = Authenticator::new(b"dpo");
    let enrolled = scene.enrol(&code.to_uppercase(), &dpo).await.unwrap();

    let (approval, challenge) = scene.lodged(&scene.destroy()).await;
    for key in [&admin, &elsewhere, &dpo] {
        scene.refused(&approval.id, &key.signs(&challenge, GOOD), "credential").await;
    }
    // Another fingerprint, and none at all, confirm nothing.
    let swapped = enrolled.fingerprint.replace(&enrolled.fingerprint[..1], "z");
    assert_eq!(scene.host.refused(&["people", "confirm", &id, "--fingerprint", &swapped]).0, 3);
    let (exit, shown) = scene.host.refused(&["people", "confirm", &id]);
    assert!(exit == 3 && shown.contains(&enrolled.fingerprint) && shown.contains(&hex::encode(b"dpo")), "{shown}");
    scene.refused(&approval.id, &dpo.signs(&challenge, GOOD), "credential").await;
    scene.host.done(&["people", "confirm", &id, "--fingerprint", &enrolled.fingerprint]);
    scene.answer(&approval.id, &dpo.signs(&challenge, GOOD)).await.unwrap();

    // An administrator approves what runs the house, and no opening for a purpose of the officer's.
    let check = Job { scope: Some(Scope::Object), ..job(tenant, "unwrap", Some(Purpose::StorageCheck), vec![]) };
    let (approval, challenge) = scene.lodged(&check).await;
    scene.refused(&approval.id, &dpo.signs(&challenge, GOOD), "credential").await;
    scene.answer(&approval.id, &admin.signs(&challenge, GOOD)).await.unwrap();
    for purpose in [Purpose::SubjectRequest, Purpose::Erasure, Purpose::Research, Purpose::Quality] {
        let (approval, challenge) = scene.lodged(&job(tenant, "unwrap", Some(purpose), vec![])).await;
        scene.refused(&approval.id, &admin.signs(&challenge, GOOD), "credential").await;
        scene.answer(&approval.id, &dpo.signs(&challenge, GOOD)).await.unwrap();
    }

    // Removed, she approves nothing, and what she approved and nobody used is over.
    let (given, challenge) = scene.lodged(&scene.destroy()).await;
    scene.answer(&given.id, &dpo.signs(&challenge, GOOD)).await.unwrap();
    scene.host.done(&["people", "remove", &id]);
    assert_eq!(scene.destroyed(&given.id).await, 403);
    let (approval, challenge) = scene.lodged(&scene.destroy()).await;
    scene.refused(&approval.id, &dpo.signs(&challenge, GOOD), "credential").await;
}

#[tokio::test]
async fn what_decides_about_the_key_service_and_what_is_over_is_not_approved_by_a_passkey() {
    let mut scene = Scene::new().await;
    let tenant = scene.host.tenant;
    let key = scene.officer(tenant, "dpo", b"erika").await;
    let nobody = TenantId::from_bytes([0; 16]);
    let on_host = [
        job(nobody, "log-reset", None, vec![]),
        job(nobody, "epoch-advance", None, vec![]),
        job(tenant, "log-reset", None, vec![]),
        job(tenant, "escrow", None, vec![]),
        job(tenant, "unwrap", Some(Purpose::Care), vec![]),
        job(tenant, "unwrap", None, vec![]),
        Job { until: in_an_hour().plus_secs(8 * 24 * 3600), ..scene.destroy() },
    ];
    for job in on_host {
        let (approval, challenge) = scene.lodged(&job).await;
        let said = scene.answer(&approval.id, &key.signs(&challenge, GOOD)).await.unwrap_err();
        assert_eq!(said, (ProblemCode::Forbidden, "this job is approved on the key host only".to_owned()), "{job:?}");
    }
    let (over, challenge) = scene.lodged(&Job { until: UnixMillis(1), ..scene.destroy() }).await;
    let said = scene.answer(&over.id, &key.signs(&challenge, GOOD)).await.unwrap_err();
    assert_eq!(said.0, ProblemCode::Conflict);
    let none = Word::new("0123456789abcdef").unwrap();
    assert_eq!(scene.answer(&none, &key.signs(&challenge, GOOD)).await.unwrap_err().0, ProblemCode::NotFound);
}

#[tokio::test]
async fn a_code_is_good_once_and_only_for_a_passkey_of_the_vault() {
    let mut scene = Scene::new().await;
    let tenant = scene.host.tenant;
    let (_, code) = scene.added(tenant, "dpo");
    let (_, second) = scene.added(tenant, "dpo");
    let (key, other) = (Authenticator::new(b"one"), Authenticator::new(b"two"));
    let code_only = |said: (ProblemCode, String)| said.0;
    assert_eq!(scene.enrol_as(&code, &key, "evil.test").await.map_err(code_only), Err(ProblemCode::Forbidden));
    assert_eq!(scene.enrol("00000-00000-00000-00000", &key).await.map_err(code_only), Err(ProblemCode::Forbidden));
    let enrolled = scene.enrol(&code, &key).await.unwrap();
    assert_eq!(scene.enrol(&code, &other).await.map_err(code_only), Err(ProblemCode::Forbidden));
    assert_eq!(scene.enrol(&second, &key).await.map_err(code_only), Err(ProblemCode::Conflict));
    let people = scene.host.done(&["people", "list"]);
    let states: Vec<&Value> = people["people"].as_array().unwrap().iter().map(|p| &p["state"]).collect();
    assert_eq!(states, ["unconfirmed", "invited"]);
    assert_eq!(people["people"][0]["fingerprint"], enrolled.fingerprint);
    assert!(!people.to_string().contains(&code) && !scene.running.log().contains(&code));
    // A client of another role brings nobody and shows no job.
    scene.host.client("ingest", &["--role", "ingest"]);
    let (approval, challenge) = scene.lodged(&scene.destroy()).await;
    scene.api = scene.host.connect(&scene.running, "ingest").await;
    assert_eq!(scene.enrol(&second, &other).await.map_err(code_only), Err(ProblemCode::Forbidden));
    let assertion = key.signs(&challenge, GOOD);
    assert_eq!(
        scene.answer(&approval.id, &assertion).await.map(|_| ()).map_err(code_only),
        Err(ProblemCode::Forbidden)
    );
    let shown = scene.api.get(&format!("{}/{}", path::APPROVALS, approval.id)).await;
    assert_eq!(shown.status().as_u16(), 403);
}

#[tokio::test]
async fn too_long_members_are_refused_before_anything_is_looked_at() {
    let mut scene = Scene::new().await;
    let (approval, challenge) = scene.lodged(&scene.destroy()).await;
    let good = serde_json::to_value(Authenticator::new(b"x").signs(&challenge, GOOD)).unwrap();
    for (member, bytes) in
        [("credential_id", 1025), ("client_data_json", 4097), ("authenticator_data", 4097), ("signature", 1025)]
    {
        use base64::Engine as _;
        let mut long = good.clone();
        long[member] = base64::engine::general_purpose::STANDARD.encode(vec![7; bytes]).into();
        let (status, body) = scene.api.put(&format!("{}/{}", path::APPROVALS, approval.id), &long).await;
        assert_eq!((status, problem(&body).code), (400, ProblemCode::BadRequest), "{member}");
    }
}

#[tokio::test]
async fn without_its_section_no_passkey_is_taken() {
    let host = Host::new();
    let running = host.serve();
    let api = host.connect(&running, "vault").await;
    let mut scene = Scene { host, running, api };
    let (_, code) = scene.added(scene.host.tenant, "dpo");
    let key = Authenticator::new(b"erika");
    assert_eq!(scene.enrol(&code, &key).await.unwrap_err().0, ProblemCode::Forbidden);
    let (approval, challenge) = scene.lodged(&scene.destroy()).await;
    let said = scene.answer(&approval.id, &key.signs(&challenge, GOOD)).await.unwrap_err();
    assert_eq!(said, (ProblemCode::Forbidden, "no passkey is taken here: approve on the key host".to_owned()));
}
