//! SIGKILL while keys are made.

use crate::support::{Host, opened};
use leadglass_keys::wire::{CreateRequest, NewKey, decode_records, path};
use leadglass_model::{KeyId, Purpose};
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_that_was_answered_survives_being_killed_in_the_middle() {
    let host = Host::with(&["--node-per-hour", "100000"]);
    let mut answered: Vec<NewKey> = Vec::new();
    for round in 1..=5 {
        let running = host.serve();
        let api = host.connect(&running, "vault").await;
        let (made, mut heard) = mpsc::channel::<Vec<NewKey>>(64);
        for _ in 0..4 {
            let (mut api, made) = (api.again(), made.clone());
            let request = CreateRequest { tenant: host.tenant, study_ref: None, count: 2 };
            tokio::spawn(async move {
                while let Ok((200, body)) = api.try_post(path::CREATE, &request).await {
                    if made.send(decode_records(&body, 2).unwrap()).await.is_err() {
                        break;
                    }
                }
            });
        }
        drop(made);
        for _ in 0..10 * round {
            answered.extend(heard.recv().await.unwrap());
        }
        running.kill();
        while let Some(late) = heard.recv().await {
            answered.extend(late);
        }
    }
    let running = host.serve();
    let mut api = host.connect(&running, "vault").await;
    for made in answered.chunks(50) {
        let ids: Vec<KeyId> = made.iter().map(|k| k.key_id).collect();
        for (made, outcome) in made.iter().zip(host.unwrap(&mut api, &ids, Purpose::Ingest).await) {
            assert_eq!(opened(&outcome).unwrap(), *made.key.expose());
        }
    }
}
