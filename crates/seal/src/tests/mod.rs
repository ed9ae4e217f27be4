//! Tests over the whole crate: vectors, laws, foreign vectors, mutations.

mod laws;
mod mutation;
mod vectors;
mod wycheproof;

use crate::{
    Backend, ChunkSize, ContentStart, EpochKey, Footer, Lineage, ObjectKind, ObjectRecords, ObjectSealer, OpenError,
    Opener, SealOptions, Sealed, SealedName, SealedStream, Sealer, StreamOpener, StudyKey, Suite, Tail, TailStep,
    open_object,
};
use leadglass_model::{Entropy, KeyGen, KeyId, ObjectId, StudyRef, TenantId};

const BACKENDS: [Backend; 2] = [Backend::AwsLc, Backend::Portable];
const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

/// Gives the same bytes at every draw: a salt or nonce of a vector.
struct Fixed(Vec<u8>);

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) {
        out.copy_from_slice(&self.0[..out.len()]);
    }
}

fn salt() -> Fixed {
    Fixed(vec![0x5a; 32])
}

fn study_key() -> StudyKey {
    StudyKey::from_bytes([0x11; 32])
}

pub(crate) fn name() -> SealedName {
    SealedName {
        tenant: TenantId::from_bytes([1; 16]),
        object_id: ObjectId::from_bytes([2; 16]),
        key_id: KeyId::from_bytes([3; 16]),
        key_gen: KeyGen::FIRST,
    }
}

/// The smallest chunks that readers take, so that a few KiB have many borders. Writers outside never get them.
fn small_chunks(suite: Suite, backend: Backend) -> SealOptions {
    SealOptions { suite, chunk_size: ChunkSize::read(12).unwrap(), backend }
}

fn note() -> ObjectRecords {
    ObjectRecords {
        kind: ObjectKind::Note,
        lineage: Lineage { study_ref: StudyRef::from_bytes([4; 16]), version: 1, supersedes: None },
        layout: None,
        frames: crate::Frames::None,
        transfer_syntax: None,
        media_type: None,
        provenance: None,
    }
}

/// Bytes in which no two chunks are alike.
fn plain(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()[0]).collect()
}

fn seal_a(options: SealOptions, plain: &[u8]) -> (SealedStream, Vec<u8>) {
    let mut out = Vec::new();
    let mut sealer = Sealer::begin(&study_key(), &name(), options, &salt(), &mut out);
    sealer.write(plain, &mut out).unwrap();
    let sealed = sealer.finish(&mut out);
    assert_eq!(sealed.sealed_len, out.len() as u64);
    (sealed, out)
}

fn seal_b(options: SealOptions, body: &[u8], records: &ObjectRecords) -> (Sealed, Vec<u8>) {
    let mut out = Vec::new();
    let start = ContentStart::At(records.content_start());
    let mut sealer = ObjectSealer::begin(&study_key(), &name(), options, start, &salt(), &mut out);
    sealer.body(body, &mut out).unwrap();
    let sealed = sealer.finish(records, &mut out).unwrap();
    assert_eq!(sealed.sealed_len, out.len() as u64);
    (sealed, out)
}

/// Proves an object from its own bytes: what a reader without an index does.
fn prove(key: &StudyKey, name: &SealedName, backend: Backend, sealed: &[u8]) -> Result<Opener, OpenError> {
    let parsed = crate::Header::parse(sealed)?;
    let len = sealed.len() as u64;
    let suffix = usize::try_from(parsed.chunk_size().suffix_len(len)).unwrap();
    Opener::proved_on(backend, key, name, parsed.as_bytes(), len, &sealed[sealed.len() - suffix..])
}

/// Reads a whole object as a stream of pieces. On failure nothing may be left in `out` but authentic bytes.
fn stream(mut stream: StreamOpener, sealed: &[u8], piece: usize, out: &mut Vec<u8>) -> Result<(), OpenError> {
    for piece in sealed.chunks(piece.max(1)) {
        stream.feed(piece, out)?;
    }
    stream.finish()
}

fn open_whole(backend: Backend, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    open_whole_as(&study_key(), &name(), backend, sealed)
}

fn open_whole_as(key: &StudyKey, name: &SealedName, backend: Backend, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let opener = prove(key, name, backend, sealed)?;
    let mut out = Vec::new();
    stream(StreamOpener::plain(opener), sealed, 1 << 20, &mut out)?;
    Ok(out)
}

/// Reads FOOTER and INDEX the way a scrubber does: a suffix, then INDEX if the suffix was too short.
fn tail(opener: &Opener, sealed: &[u8]) -> Result<Tail, OpenError> {
    let suffix = opener.header().chunk_size().suffix_len(sealed.len() as u64);
    match opener.read_tail(&sealed[sealed.len() - usize::try_from(suffix).unwrap()..])? {
        TailStep::Complete(tail) => Ok(*tail),
        TailStep::NeedsIndex { footer, index } => {
            let fetch = index.sealed();
            let fetch = usize::try_from(fetch.start).unwrap()..usize::try_from(fetch.end).unwrap();
            opener.read_index(&footer, &index, &sealed[fetch])
        }
    }
}

#[test]
fn an_object_in_memory_opens_in_one_call() {
    let (_, sealed) = seal_b(SealOptions::default(), b"a note", &note());
    let (tail, body) = open_object(&study_key(), &name(), &sealed).unwrap();
    assert_eq!((tail.opened.records, &body[..]), (note(), &b"a note"[..]));
    for at in [120, sealed.len() - 1] {
        let mut harmed = sealed.clone();
        harmed[at] ^= 1;
        assert_eq!(open_object(&study_key(), &name(), &harmed), Err(OpenError::NotAuthentic { chunk: 0 }));
    }
}

#[test]
fn a_keyring_is_an_object_under_an_epoch_key() {
    let keyring = SealedName { tenant: TenantId::from_bytes([0; 16]), ..name() };
    let epoch = EpochKey::from_bytes([9; 32]);
    let mut out = Vec::new();
    let mut sealer = Sealer::begin(&epoch, &keyring, SealOptions::default(), &salt(), &mut out);
    sealer.write(b"keyring", &mut out).unwrap();
    let sealed = sealer.finish(&mut out);
    let opener = Opener::proved(&epoch, &keyring, &sealed.header, sealed.sealed_len, &out).unwrap();
    let mut plain = Vec::new();
    stream(StreamOpener::plain(opener), &out, 5, &mut plain).unwrap();
    assert_eq!(plain, b"keyring");
}

#[test]
fn a_long_frame_table_takes_a_second_read() {
    let spans = (0..5000).map(|n| crate::FrameSpan { offset: n, len: 1 }).collect();
    let records = ObjectRecords { kind: ObjectKind::Instance, frames: crate::Frames::Table(spans), ..note() };
    let (_, sealed) = seal_b(small_chunks(Suite::Aes256Gcm, Backend::AwsLc), &plain(6000), &records);
    let opener = prove(&study_key(), &name(), Backend::AwsLc, &sealed).unwrap();
    let suffix = &sealed[sealed.len() - 2 * (4096 + 16)..];
    assert!(matches!(opener.read_tail(suffix).unwrap(), TailStep::NeedsIndex { .. }));
    assert_eq!(tail(&opener, &sealed).unwrap().opened.records, records);
}

#[test]
fn a_suffix_that_is_too_short_is_the_callers_slip() {
    let (_, sealed) = seal_b(small_chunks(Suite::Aes256Gcm, Backend::AwsLc), &plain(6000), &note());
    let opener = prove(&study_key(), &name(), Backend::AwsLc, &sealed).unwrap();
    let error = opener.read_tail(&sealed[sealed.len() - 63..]).unwrap_err();
    assert_eq!(error.fault(), leadglass_model::Fault::Broken);
}

#[test]
fn a_pinned_length_that_the_store_does_not_confirm_is_an_alarm() {
    let (pin, sealed) = seal_a(SealOptions::default(), b"picture");
    let opener = Opener::pinned(&study_key(), &name(), &pin.header, pin.sealed_len).unwrap();
    assert_eq!(opener.check_total(sealed.len() as u64), Ok(()));
    let error = opener.check_total(sealed.len() as u64 - 1).unwrap_err();
    assert_eq!(error, OpenError::LengthChanged { pinned: pin.sealed_len, found: pin.sealed_len - 1 });
}

#[test]
fn a_body_that_differs_from_its_digest_is_found_by_a_verified_read_only() {
    let options = SealOptions::default();
    let body = plain(100);
    let content_digest = *blake3::hash(&body).as_bytes();
    let index = note().encode(&content_digest, 100).unwrap();
    let lie = |body_digest, index: &[u8]| {
        let footer =
            Footer { digest: crate::DigestKind::Blake3, body_len: 100, index_len: index.len() as u64, body_digest };
        let mut all = body.clone();
        all.extend_from_slice(index);
        all.extend_from_slice(&footer.encode());
        let (_, sealed) = seal_a(options, &all);
        let opener = || prove(&study_key(), &name(), Backend::AwsLc, &sealed).unwrap();
        let tail = tail(&opener(), &sealed).unwrap();
        let mut out = Vec::new();
        stream(StreamOpener::body(opener(), 100).unwrap(), &sealed, 999, &mut out).unwrap();
        assert_eq!(out, body);
        stream(StreamOpener::verified(opener(), &tail).unwrap(), &sealed, 999, &mut Vec::new())
    };
    assert_eq!(lie(content_digest, &index), Ok(()));
    assert_eq!(lie([0; 32], &index), Err(OpenError::Corrupt { what: crate::Corruption::BodyDigest }));
    let wrong = note().encode(&[0; 32], 100).unwrap();
    assert_eq!(lie(content_digest, &wrong), Err(OpenError::Corrupt { what: crate::Corruption::ContentDigest }));
}

#[test]
fn records_that_contradict_the_body_are_not_sealed() {
    let finish = |start, records: &ObjectRecords| {
        let mut out = Vec::new();
        let mut sealer = ObjectSealer::begin(&study_key(), &name(), SealOptions::default(), start, &salt(), &mut out);
        sealer.body(&plain(100), &mut out).unwrap();
        sealer.finish(records, &mut out).unwrap_err()
    };
    let instance = |dataset_start| ObjectRecords {
        kind: ObjectKind::Instance,
        layout: Some(crate::Layout { dataset_start, pixel_value: None }),
        ..note()
    };
    use crate::SealError::{ContentStart as Start, Record};
    assert_eq!(finish(ContentStart::At(101), &instance(101)), Start);
    assert_eq!(finish(ContentStart::Marked, &instance(50)), Start);
    assert_eq!(finish(ContentStart::Body, &instance(50)), Start);
    assert_eq!(finish(ContentStart::At(50), &note()), Start);
    let span = crate::FrameSpan { offset: 99, len: 2 };
    let frames = crate::Frames::Table(vec![span]);
    assert_eq!(finish(ContentStart::Body, &ObjectRecords { frames, ..note() }), Record { kind: 1 });
    let frames = crate::Frames::Native { offset: 0, count: 0, frame_len: 1 };
    assert_eq!(finish(ContentStart::Body, &ObjectRecords { frames, ..note() }), Record { kind: 9 });
    let media_type = Some(String::from("a/b\r\n"));
    assert_eq!(finish(ContentStart::Body, &ObjectRecords { media_type, ..note() }), Record { kind: 4 });
}

#[test]
fn the_content_digest_starts_where_the_data_set_does_however_it_is_told() {
    let body = plain(10_000);
    let records = ObjectRecords {
        kind: ObjectKind::Instance,
        layout: Some(crate::Layout { dataset_start: 4321, pixel_value: None }),
        ..note()
    };
    let digest = *blake3::hash(&body[4321..]).as_bytes();
    let run = |start, cuts: &[usize], mark: Option<usize>| {
        let mut out = Vec::new();
        let mut sealer = ObjectSealer::begin(&study_key(), &name(), SealOptions::default(), start, &salt(), &mut out);
        let mut from = 0;
        for &cut in cuts.iter().chain([&body.len()]) {
            if mark == Some(from) {
                sealer.mark_content_start();
            }
            sealer.body(&body[from..cut], &mut out).unwrap();
            from = cut;
        }
        assert_eq!(sealer.content_digest(), Some(digest));
        sealer.finish(&records, &mut out).unwrap().content_digest
    };
    assert_eq!(run(ContentStart::At(4321), &[], None), digest);
    assert_eq!(run(ContentStart::At(4321), &[4321], None), digest);
    assert_eq!(run(ContentStart::At(4321), &[1, 4320, 4322, 9000], None), digest);
    assert_eq!(run(ContentStart::Marked, &[100, 4321, 9000], Some(4321)), digest);
}

#[test]
fn openers_and_sealers_show_no_secret() {
    let (pin, _) = seal_a(SealOptions::default(), b"CANARY");
    let opener = Opener::pinned(&study_key(), &name(), &pin.header, pin.sealed_len).unwrap();
    let mut out = Vec::new();
    let mut sealer = Sealer::begin(&study_key(), &name(), SealOptions::default(), &salt(), &mut out);
    sealer.write(b"CANARY", &mut out).unwrap();
    let shown = format!("{opener:?} {sealer:?}");
    assert!(shown.contains("Cipher(‹secret›)") && !shown.contains("67, 65, 78"), "{shown}");
}
