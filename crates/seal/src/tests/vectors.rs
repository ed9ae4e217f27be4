//! The vectors of `fixtures/seal`, both ways and on both backends.

use super::{BACKENDS, Fixed, open_whole_as, tail};
use crate::{
    Backend, ChunkSize, ContentStart, Corruption, FrameSpan, Frames, Layout, Lineage, ObjectKind, ObjectRecords,
    ObjectSealer, OpenError, Opener, Provenance, RowBinding, RowError, SealOptions, SealedName, Sealer, StreamOpener,
    StudyKey, Suite, UnwrapError, WrapBinding, WrapPurpose, WrappingKey, open_row_on, row_header, seal_row_on,
    unwrap_on, wrap_on,
};
use leadglass_model::{KeyGen, KeyId, ObjectId, ReceiverId, StudyRef, TenantId, TransferSyntaxUid, UnixMillis};
use serde_json::Value;
use sha2::{Digest, Sha256};

const SHARED: &str = include_str!("../../../../fixtures/seal/svo1_vectors.json");
const OURS: &str = include_str!("../../../../fixtures/seal/leadglass_vectors.json");

struct Inputs {
    key: StudyKey,
    name: SealedName,
    salt: Fixed,
    plain: Vec<u8>,
}

fn load(text: &str) -> (Value, Inputs) {
    let file: Value = serde_json::from_str(text).unwrap();
    let inputs = &file["inputs"];
    let name = SealedName {
        tenant: TenantId::from_bytes(array(&inputs["tenant_id"])),
        object_id: ObjectId::from_bytes(array(&inputs["object_id"])),
        key_id: KeyId::from_bytes(array(&inputs["key_id"])),
        key_gen: key_gen(&inputs["key_gen"]),
    };
    let key = StudyKey::from_bytes(array(&inputs["study_key"]));
    let salt = Fixed(bytes(&inputs["salt"]));
    let plain = shake128(b"svo1 vectors/plain", (1 << 20) + 1000);
    (file.clone(), Inputs { key, name, salt, plain })
}

#[test]
fn layer_a_seals_and_opens_every_vector() {
    let (file, Inputs { key, name, salt, plain }) = load(SHARED);
    let cases = cases(&file, "layer_a", 44);
    for case in &cases {
        for backend in BACKENDS {
            let plain = &plain[..length(&case["plain_len"])];
            let mut sealed = Vec::new();
            let mut sealer = Sealer::begin(&key, &name, options(case, backend), &salt, &mut sealed);
            sealer.write(plain, &mut sealed).unwrap();
            let pin = sealer.finish(&mut sealed);
            assert_eq!(hex::encode(pin.header), text(&case["header"]));
            assert_eq!(sealed.len(), length(&case["sealed_len"]));
            assert_eq!(hex::encode(Sha256::digest(&sealed)), text(&case["sha256_sealed"]));
            if let Some(expected) = case["sealed"].as_str() {
                assert_eq!(hex::encode(&sealed), expected);
            }
            assert_eq!(open_whole_as(&key, &name, backend, &sealed).unwrap(), plain);
        }
    }
}

#[test]
fn layer_b_with_sha256_splits_every_vector() {
    let (file, Inputs { key, name, salt, plain }) = load(SHARED);
    for case in cases(&file, "layer_ab", 10) {
        for backend in BACKENDS {
            let (body, index) = (&plain[..length(&case["body_len"])], bytes(&case["index"]));
            // Our writers never name SHA-256, so the footer is put together here.
            let mut footer = b"SVOF\x01\0\0\0".to_vec();
            for number in [body.len(), body.len(), index.len()] {
                footer.extend_from_slice(&(number as u64).to_be_bytes());
            }
            footer.extend_from_slice(&Sha256::digest(body));
            let mut sealed = Vec::new();
            let mut sealer = Sealer::begin(&key, &name, options(&case, backend), &salt, &mut sealed);
            for part in [body, &index, &footer] {
                sealer.write(part, &mut sealed).unwrap();
            }
            let pin = sealer.finish(&mut sealed);
            assert_eq!(hex::encode(Sha256::digest(&sealed)), text(&case["sha256_sealed"]));

            let opener = || Opener::pinned_on(backend, &key, &name, &pin.header, pin.sealed_len).unwrap();
            // The index is arbitrary bytes, so reading it must fail; the footer in front of that did parse.
            let refused = opener().read_tail(&sealed).unwrap_err();
            assert!(matches!(refused, OpenError::Corrupt { what: Corruption::RecordCut }), "{refused:?}");
            let footer = crate::Footer::parse(footer[..].try_into().unwrap(), pin.plain_len).unwrap();
            let lineage = Lineage { study_ref: StudyRef::from_bytes([0; 16]), version: 0, supersedes: None };
            let records = ObjectRecords { lineage, ..super::note() };
            let opened = crate::OpenedRecords { records, content_digest: None };
            let mut out = Vec::new();
            let verified = StreamOpener::verified(opener(), &crate::Tail { footer, opened }).unwrap();
            super::stream(verified, &sealed, 70_000, &mut out).unwrap();
            assert_eq!(out, body);
        }
    }
}

#[test]
fn objects_with_records_seal_and_open_every_vector() {
    let (file, Inputs { key, name, salt, plain }) = load(OURS);
    for case in cases(&file, "objects", 15) {
        let (expect, records, what) = (&case["expect"], records(&case["records"]), text(&case["name"]));
        let body = &plain[..length(&case["body_len"])];
        for backend in BACKENDS {
            let mut out = Vec::new();
            let start = ContentStart::At(records.content_start());
            let mut sealer = ObjectSealer::begin(&key, &name, options(&case, backend), start, &salt, &mut out);
            sealer.body(body, &mut out).unwrap();
            let sealed = sealer.finish(&records, &mut out).unwrap();
            assert_eq!(hex::encode(sealed.header), text(&expect["header"]), "{what}");
            assert_eq!(out.len(), length(&expect["sealed_len"]), "{what}");
            assert_eq!(hex::encode(Sha256::digest(&out)), text(&expect["sha256_sealed"]), "{what}");
            assert_eq!(hex::encode(sealed.content_digest), text(&expect["content_digest"]), "{what}");

            let opener = super::prove(&key, &name, backend, &out).unwrap();
            let tail = tail(&opener, &out).unwrap();
            assert_eq!(tail.opened.records, records, "{what}");
            assert_eq!(tail.opened.content_digest, Some(sealed.content_digest), "{what}");
            assert_eq!(hex::encode(tail.footer.encode()), text(&expect["footer"]), "{what}");
            let mut opened = Vec::new();
            super::stream(StreamOpener::verified(opener, &tail).unwrap(), &out, 4096, &mut opened).unwrap();
            assert_eq!(opened, body, "{what}");
        }
    }
}

#[test]
fn a_verified_read_knows_every_kind_of_digest_and_no_other() {
    let (file, Inputs { key, name, plain, .. }) = load(OURS);
    for case in cases(&file, "verified", 6) {
        let (found, what) = (crate::open_object(&key, &name, &bytes(&case["sealed"])), text(&case["name"]));
        match case["expect"].as_str() {
            None => assert_eq!(found.unwrap().1, &plain[..1200], "{what}"),
            Some("BodyDigest") => {
                assert_eq!(found.unwrap_err(), OpenError::Corrupt { what: Corruption::BodyDigest }, "{what}");
            }
            Some("Footer") => {
                assert_eq!(found.unwrap_err(), OpenError::Corrupt { what: Corruption::Footer }, "{what}");
            }
            Some(other) => panic!("{other}"),
        }
    }
}

#[test]
fn index_bytes_that_no_writer_writes_are_refused_for_the_reason_given() {
    let (file, _) = load(OURS);
    for case in cases(&file, "index_refused", 40) {
        let refused = ObjectRecords::parse(&bytes(&case["index"]), length(&case["body_len"]) as u64).unwrap_err();
        let found = match refused {
            Corruption::RecordCut => "RecordCut",
            Corruption::RecordOrder { .. } => "RecordOrder",
            Corruption::Record { .. } => "Record",
            Corruption::RecordUnknown { .. } => "RecordUnknown",
            Corruption::RecordMissing { .. } => "RecordMissing",
            Corruption::TooLong { .. } => "TooLong",
            other => panic!("{other:?}"),
        };
        assert_eq!(found, text(&case["expect"]), "{}", case["name"]);
    }
    for case in cases(&file, "index_accepted", 1) {
        ObjectRecords::parse(&bytes(&case["index"]), length(&case["body_len"]) as u64).unwrap();
    }
}

#[test]
fn objects_that_were_tampered_with_are_refused_for_the_reason_given() {
    let (file, Inputs { key, name, .. }) = load(OURS);
    for case in cases(&file, "object_refused", 37) {
        for backend in BACKENDS {
            let refused = open_whole_as(&key, &name, backend, &bytes(&case["sealed"])).unwrap_err();
            let found = match refused {
                OpenError::NotSealed => "NotSealed",
                OpenError::Truncated => "Truncated",
                OpenError::Header { .. } => "Header",
                OpenError::WrongObject => "WrongObject",
                OpenError::WrongKey => "WrongKey",
                OpenError::KeyMismatch => "KeyMismatch",
                OpenError::NotAuthentic { .. } => "NotAuthentic",
                other => panic!("{other:?}"),
            };
            assert_eq!(found, text(&case["expect"]), "{}", case["name"]);
        }
    }
}

#[test]
fn keys_derive_as_the_vectors_say() {
    let (file, Inputs { key, name, .. }) = load(OURS);
    for case in cases(&file, "derived", 2) {
        let number = key_gen(&case["key_gen"]);
        let index = key.index_key(&name.tenant, &name.key_id, number);
        let meta = key.meta_key(&name.tenant, &name.key_id, number);
        assert_eq!(hex::encode(index.reveal()), text(&case["index_key"]));
        assert_eq!(hex::encode(meta.reveal()), text(&case["meta_key"]));
        let thumbnail = key.derived_object(&name.tenant, &name.object_id, 1);
        assert_eq!(hex::encode(thumbnail.as_bytes()), text(&case["thumbnail_id"]));
    }
}

#[test]
fn rows_seal_and_open_every_vector_and_refuse_for_the_reason_given() {
    let (file, Inputs { key, name, .. }) = load(OURS);
    let index = key.index_key(&name.tenant, &name.key_id, name.key_gen);
    let meta = key.meta_key(&name.tenant, &name.key_id, name.key_gen);
    for backend in BACKENDS {
        for case in cases(&file, "rows", 3) {
            let row_key = bytes(&case["binding"]["row_key"]);
            let binding = row_binding(&case["binding"], &row_key);
            let (nonce, plain) = (Fixed(bytes(&case["nonce"])), bytes(&case["plain"]));
            let (row, opened) = if text(&case["key"]) == "meta" {
                let row = seal_row_on(backend, &meta, &binding, &nonce, &plain);
                let opened = open_row_on(backend, &meta, &binding, &row);
                (row, opened)
            } else {
                let row = seal_row_on(backend, &index, &binding, &nonce, &plain);
                let opened = open_row_on(backend, &index, &binding, &row);
                (row, opened)
            };
            assert_eq!(hex::encode(&row), text(&case["expect"]));
            assert_eq!(opened.unwrap(), plain);
            assert_eq!(row_header(&row).unwrap().row_version, binding.row_version);
        }
        for case in cases(&file, "row_refused", 16) {
            let row_key = bytes(&case["binding"]["row_key"]);
            let binding = row_binding(&case["binding"], &row_key);
            let found = match open_row_on(backend, &index, &binding, &bytes(&case["row"])).unwrap_err() {
                RowError::NotARow => "NotARow",
                RowError::WrongRow => "WrongRow",
                RowError::NotAuthentic => "NotAuthentic",
            };
            assert_eq!(found, text(&case["expect"]), "{}", case["name"]);
        }
    }
}

#[test]
fn wraps_seal_and_open_every_vector_and_refuse_for_the_reason_given() {
    let (shared, Inputs { key, name, .. }) = load(SHARED);
    let svk1 = &shared["svk1"];
    let around = WrappingKey::from_bytes(array(&svk1["kek"]));
    let shared_wrap = bytes(&svk1["wrapped"]);
    let salt = Fixed(shared_wrap[48..80].to_vec());
    let binding = WrapBinding {
        tenant: name.tenant,
        purpose: WrapPurpose::Study,
        wrapping_key_id: KeyId::from_bytes(array(&svk1["kek_id"])),
        wrapping_key_version: 7,
        key_id: name.key_id,
        key_gen: name.key_gen,
    };
    let (file, _) = load(OURS);
    for backend in BACKENDS {
        let wrapped = wrap_on(backend, Suite::Aes256Gcm, &around, &binding, key.reveal(), &salt);
        assert_eq!(wrapped[..], shared_wrap);
        for case in cases(&file, "wrap", 10) {
            let number = |name: &str| u8::try_from(case[name].as_u64().unwrap()).unwrap();
            let purpose = WrapPurpose::from_number(number("purpose")).unwrap();
            let binding = WrapBinding { purpose, ..binding };
            let suite = Suite::from_number(number("suite")).unwrap();
            let wrapped = wrap_on(backend, suite, &around, &binding, key.reveal(), &salt);
            assert_eq!(hex::encode(wrapped), text(&case["expect"]));
            let opened = unwrap_on(backend, &around, &binding, &wrapped).unwrap();
            assert_eq!(opened.reveal(), key.reveal());
        }
        for case in cases(&file, "wrap_refused", 23) {
            let found = match unwrap_on(backend, &around, &binding, &bytes(&case["wrapped"])).unwrap_err() {
                UnwrapError::NotAWrap => "NotAWrap",
                UnwrapError::WrongWrap => "WrongWrap",
                UnwrapError::KeyMismatch => "KeyMismatch",
                UnwrapError::NotAuthentic => "NotAuthentic",
            };
            assert_eq!(found, text(&case["expect"]), "{}", case["name"]);
        }
    }
}

fn options(case: &Value, backend: Backend) -> SealOptions {
    let number = |name: &str| u8::try_from(case[name].as_u64().unwrap()).unwrap();
    SealOptions {
        suite: Suite::from_number(number("suite")).unwrap(),
        chunk_size: ChunkSize::read(number("chunk_log2")).unwrap(),
        backend,
    }
}

fn records(case: &Value) -> ObjectRecords {
    let numbers = |value: &Value| value.as_array().map(|all| all.iter().map(Value::as_u64).collect::<Vec<_>>());
    let small = |number: Option<u64>| u32::try_from(number.unwrap()).unwrap();
    let frames = match (numbers(&case["native"]), case["table"].as_array()) {
        (Some(native), None) => {
            Frames::Native { offset: native[0].unwrap(), count: small(native[1]), frame_len: small(native[2]) }
        }
        (None, Some(spans)) => Frames::Table(
            spans
                .iter()
                .map(|span| FrameSpan { offset: span[0].as_u64().unwrap(), len: span[1].as_u64().unwrap() })
                .collect(),
        ),
        _ => Frames::None,
    };
    ObjectRecords {
        kind: [ObjectKind::Instance, ObjectKind::Document, ObjectKind::Derived, ObjectKind::Note]
            [length(&case["kind"]) - 1],
        lineage: Lineage {
            study_ref: StudyRef::from_bytes(array(&case["study_ref"])),
            version: small(case["version"].as_u64()),
            supersedes: case["supersedes"].as_str().map(|_| ObjectId::from_bytes(array(&case["supersedes"]))),
        },
        layout: numbers(&case["layout"])
            .map(|layout| Layout { dataset_start: layout[0].unwrap(), pixel_value: layout[1] }),
        frames,
        transfer_syntax: case["transfer_syntax"].as_str().map(|uid| TransferSyntaxUid::parse(uid).unwrap()),
        media_type: case["media_type"].as_str().map(str::to_owned),
        provenance: case["provenance"].as_array().map(|provenance| Provenance {
            receiver: ReceiverId::from_bytes(array(&provenance[0])),
            received_at: UnixMillis(provenance[1].as_u64().unwrap()),
        }),
    }
}

fn row_binding<'a>(case: &Value, row_key: &'a [u8]) -> RowBinding<'a> {
    RowBinding {
        table: u8::try_from(case["table"].as_u64().unwrap()).unwrap(),
        tenant: TenantId::from_bytes(array(&case["tenant"])),
        study_ref: StudyRef::from_bytes(array(&case["study_ref"])),
        row_key,
        key_id: KeyId::from_bytes(array(&case["key_id"])),
        key_gen: key_gen(&case["key_gen"]),
        row_version: case["version"].as_u64().unwrap(),
    }
}

/// The cases under a name; fewer than are known to be there is a broken file.
fn cases(file: &Value, name: &str, at_least: usize) -> Vec<Value> {
    let cases = file[name].as_array().unwrap().clone();
    assert!(cases.len() >= at_least, "{name}: {}", cases.len());
    cases
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn length(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn key_gen(value: &Value) -> KeyGen {
    KeyGen::new(u32::try_from(value.as_u64().unwrap()).unwrap()).unwrap()
}

/// SHAKE128 (FIPS 202), for the vectors' inputs only.
fn shake128(input: &[u8], len: usize) -> Vec<u8> {
    const RATE: usize = 168;
    let mut state = [0_u64; 25];
    let mut xor = |at: usize, byte: u8| state[at / 8] ^= u64::from(byte) << (at % 8 * 8);
    assert!(input.len() < RATE, "one block is all we absorb");
    for (at, byte) in input.iter().enumerate() {
        xor(at, *byte);
    }
    xor(input.len(), 0x1f);
    xor(RATE - 1, 0x80);
    let mut out = Vec::with_capacity(len + RATE);
    while out.len() < len {
        keccak(&mut state);
        out.extend(state.iter().flat_map(|lane| lane.to_le_bytes()).take(RATE));
    }
    out.truncate(len);
    out
}

/// Keccak-f[1600].
fn keccak(a: &mut [u64; 25]) {
    let mut lfsr = 1_u8;
    for _ in 0..24 {
        let c: [u64; 5] = std::array::from_fn(|x| (0..5).fold(0, |sum, y| sum ^ a[x + 5 * y]));
        for (at, lane) in a.iter_mut().enumerate() {
            *lane ^= c[(at % 5 + 4) % 5] ^ c[(at % 5 + 1) % 5].rotate_left(1);
        }
        let (mut x, mut y, mut lane) = (1, 0, a[1]);
        for t in 0..24 {
            (x, y) = (y, (2 * x + 3 * y) % 5);
            let shift = (t + 1) * (t + 2) / 2 % 64;
            lane = std::mem::replace(&mut a[x + 5 * y], lane.rotate_left(shift));
        }
        for y in 0..5 {
            let row: [u64; 5] = std::array::from_fn(|x| a[x + 5 * y]);
            for x in 0..5 {
                a[x + 5 * y] = row[x] ^ (!row[(x + 1) % 5] & row[(x + 2) % 5]);
            }
        }
        for j in 0..7 {
            if lfsr & 1 == 1 {
                a[0] ^= 1 << ((1_u32 << j) - 1);
            }
            lfsr = lfsr << 1 ^ if lfsr & 0x80 == 0 { 0 } else { 0x71 };
        }
    }
}
