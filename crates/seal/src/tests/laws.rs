//! Laws that hold for every length, range, cut and suite.

use super::{
    BACKENDS, SUITES, name, note, open_whole, plain, prove, salt, seal_a, seal_b, small_chunks, stream, study_key,
};
use crate::{Backend, ObjectSealer, OpenError, Opener, Sealer, StreamOpener, Suite};
use proptest::prelude::*;

const C: usize = 4096;
const SEALED: usize = C + 16;

/// Lengths on and around the borders between chunks.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![(0..4_usize, -2..=2_isize).prop_map(|(k, off)| (k * C).saturating_add_signed(off)), 0..4 * C,]
}

fn suites() -> impl Strategy<Value = Suite> {
    prop::sample::select(SUITES.to_vec())
}

fn backends() -> impl Strategy<Value = Backend> {
    prop::sample::select(BACKENDS.to_vec())
}

/// What a thief of the bucket may do to an object.
#[derive(Debug, Clone)]
enum Harm {
    Flip { at: prop::sample::Index, bit: u8 },
    Cut { to: prop::sample::Index },
    CutOut { from: prop::sample::Index, len: usize },
    CutOutChunk { chunk: prop::sample::Index },
    Append { bytes: Vec<u8> },
    SwapChunks { a: prop::sample::Index, b: prop::sample::Index },
    RepeatChunk { chunk: prop::sample::Index },
    Splice { chunk: prop::sample::Index },
}

fn harms() -> impl Strategy<Value = Harm> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), 0..8_u8).prop_map(|(at, bit)| Harm::Flip { at, bit }),
        1 => index().prop_map(|to| Harm::Cut { to }),
        1 => (index(), prop_oneof![1..40_usize, Just(16), Just(SEALED)]).prop_map(|(from, len)| Harm::CutOut { from, len }),
        1 => index().prop_map(|chunk| Harm::CutOutChunk { chunk }),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(|bytes| Harm::Append { bytes }),
        1 => (index(), index()).prop_map(|(a, b)| Harm::SwapChunks { a, b }),
        1 => index().prop_map(|chunk| Harm::RepeatChunk { chunk }),
        1 => index().prop_map(|chunk| Harm::Splice { chunk }),
    ]
}

impl Harm {
    fn done_to(&self, sealed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut harmed = sealed.to_vec();
        let chunks: Vec<_> = sealed[120..].chunks(SEALED).collect();
        let rebuilt = |chunks: Vec<&[u8]>| [&sealed[..120], &chunks.concat()].concat();
        match self {
            Self::Flip { at, bit } => harmed[at.index(sealed.len())] ^= 1 << bit,
            Self::Cut { to } => harmed.truncate(to.index(sealed.len())),
            Self::CutOut { from, len } => {
                let from = from.index(sealed.len());
                harmed.drain(from..(from + len).min(sealed.len()));
            }
            Self::CutOutChunk { chunk } => {
                let mut chunks = chunks.clone();
                chunks.remove(chunk.index(chunks.len()));
                harmed = rebuilt(chunks);
            }
            Self::Append { bytes } => harmed.extend_from_slice(bytes),
            Self::SwapChunks { a, b } => {
                let mut chunks = chunks.clone();
                let (a, b) = (a.index(chunks.len()), b.index(chunks.len()));
                chunks.swap(a, b);
                harmed = rebuilt(chunks);
            }
            Self::RepeatChunk { chunk } => {
                let mut chunks = chunks.clone();
                let at = chunk.index(chunks.len());
                chunks.insert(at, chunks[at]);
                harmed = rebuilt(chunks);
            }
            Self::Splice { chunk } => {
                let mut chunks = chunks.clone();
                let at = chunk.index(chunks.len());
                chunks[at] = other[120..].chunks(SEALED).nth(at).unwrap();
                harmed = rebuilt(chunks);
            }
        }
        harmed
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_one_backend_seals_the_other_opens(len in lengths(), suite in suites()) {
        let plain = plain(len);
        let (_, by_aws) = seal_a(small_chunks(suite, Backend::AwsLc), &plain);
        let (_, by_portable) = seal_a(small_chunks(suite, Backend::Portable), &plain);
        prop_assert!(by_aws == by_portable);
        for backend in BACKENDS {
            prop_assert!(open_whole(backend, &by_aws).unwrap() == plain);
        }
    }

    #[test]
    fn pieces_never_change_the_sealed_bytes(len in lengths(), cuts in prop::collection::vec(0..3 * C, 0..20)) {
        let plain = plain(len);
        let options = small_chunks(Suite::Aes256Gcm, Backend::AwsLc);
        let (_, whole) = seal_a(options, &plain);
        let mut pieces = Vec::new();
        let mut sealer = Sealer::begin(&study_key(), &name(), options, &salt(), &mut pieces);
        let mut rest = &plain[..];
        for cut in cuts {
            let (head, tail) = rest.split_at(cut.min(rest.len()));
            sealer.write(head, &mut pieces).unwrap();
            // Whatever stands in the buffer is sealed: whole chunks and no plaintext.
            prop_assert!(whole.starts_with(&pieces) && (pieces.len() - 120) % SEALED == 0);
            rest = tail;
        }
        sealer.write(rest, &mut pieces).unwrap();
        let _ = sealer.finish(&mut pieces);
        prop_assert!(pieces == whole);
    }

    #[test]
    fn any_range_equals_the_slice(
        len in lengths(), ends in any::<[prop::sample::Index; 2]>(), suite in suites(), backend in backends(), run in 1..4_u64,
    ) {
        let plain = plain(len);
        let (pin, sealed) = seal_a(small_chunks(suite, backend), &plain);
        let opener = Opener::pinned_on(backend, &study_key(), &name(), &pin.header, pin.sealed_len).unwrap();
        let (a, b) = (ends[0].index(len + 1), ends[1].index(len + 1));
        let (a, b) = (a.min(b), a.max(b));
        let plan = opener.geometry().plan(a as u64..b as u64).unwrap();
        let fetch = |plan: &crate::RangePlan| {
            let range = plan.sealed();
            sealed[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec()
        };
        let mut out = b"before".to_vec();
        let asked = opener.open_range(&plan, &fetch(&plan), &mut out).unwrap();
        prop_assert!(out[asked] == plain[a..b] && out.starts_with(b"before"));

        let mut buffer = fetch(&plan);
        let opened: Vec<u8> = opener.open_run(plan.first_chunk(), &mut buffer).unwrap().slices().flatten().copied().collect();
        prop_assert!(opened[plan.skip()..][..b - a] == plain[a..b]);

        // The same in runs, as several threads would.
        let mut joined = Vec::new();
        for run in opener.geometry().runs(&plan, run) {
            let mut out = Vec::new();
            let asked = opener.open_range(&run, &fetch(&run), &mut out).unwrap();
            joined.extend_from_slice(&out[asked]);
        }
        prop_assert!(joined == plain[a..b]);
    }

    #[test]
    fn any_harm_is_refused_and_nothing_but_true_plaintext_came_out(
        len in lengths(), harm in harms(), suite in suites(), backend in backends(), piece in 1..2 * SEALED,
    ) {
        let plain = plain(len);
        let (pin, sealed) = seal_a(small_chunks(suite, backend), &plain);
        let other = {
            let mut out = Vec::new();
            let options = small_chunks(suite, backend);
            let mut sealer = Sealer::begin(&study_key(), &name(), options, &super::Fixed(vec![7; 32]), &mut out);
            sealer.write(&plain, &mut out).unwrap();
            let _ = sealer.finish(&mut out);
            out
        };
        let harmed = harm.done_to(&sealed, &other);
        prop_assume!(harmed != sealed);

        prop_assert!(open_whole(backend, &harmed).is_err(), "proved");

        let opener = Opener::pinned_on(backend, &study_key(), &name(), &pin.header, pin.sealed_len).unwrap();
        let mut out = Vec::new();
        prop_assert!(stream(StreamOpener::plain(opener), &harmed, piece, &mut out).is_err(), "pinned");
        prop_assert!(plain.starts_with(&out), "gave out what was never sealed");
    }

    #[test]
    fn a_refused_run_leaves_zeroes(len in 1..4 * C, at in any::<prop::sample::Index>(), backend in backends()) {
        let plain = plain(len);
        let (pin, sealed) = seal_a(small_chunks(Suite::Aes256Gcm, backend), &plain);
        let opener = Opener::pinned_on(backend, &study_key(), &name(), &pin.header, pin.sealed_len).unwrap();
        let mut harmed = sealed[120..].to_vec();
        let at = at.index(harmed.len());
        harmed[at] ^= 1;
        let chunk = (at / SEALED) as u64;
        let mut slice = vec![0xee; len];
        prop_assert_eq!(opener.open_run_to(0, &harmed, &mut slice), Err(OpenError::NotAuthentic { chunk }));
        prop_assert!(slice.iter().all(|byte| *byte == 0));
        let mut out = b"before".to_vec();
        prop_assert!(opener.open_run_into(0, &harmed, &mut out).is_err());
        prop_assert_eq!(&out, b"before");
        prop_assert!(opener.open_run(0, &mut harmed).is_err());
        prop_assert!(harmed.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_is_no_run_of_chunks_is_refused_untouched(len in lengths(), first in 0..6_u64, given in 0..4 * SEALED) {
        let (pin, sealed) = seal_a(small_chunks(Suite::Aes256Gcm, Backend::AwsLc), &plain(len));
        let opener = Opener::pinned(&study_key(), &name(), &pin.header, pin.sealed_len).unwrap();
        let start = 120 + usize::try_from(first).unwrap() * SEALED;
        let end = start.saturating_add(given);
        let whole = end == sealed.len() || given.is_multiple_of(SEALED);
        prop_assume!(given > 0 && !(whole && end <= sealed.len()));
        let error = opener.open_run_into(first, &vec![0; given], &mut Vec::new()).unwrap_err();
        prop_assert_eq!(error, OpenError::NotARun { first_chunk: first, given });
    }

    #[test]
    fn an_object_comes_back_however_it_was_cut(
        len in lengths(), cuts in prop::collection::vec(1..3 * C, 0..10), piece in 1..2 * SEALED, suite in suites(),
    ) {
        let body = plain(len);
        let options = small_chunks(suite, Backend::AwsLc);
        let (_, whole) = seal_b(options, &body, &note());
        let mut out = Vec::new();
        let mut sealer =
            ObjectSealer::begin(&study_key(), &name(), options, crate::ContentStart::Body, &salt(), &mut out);
        let mut rest = &body[..];
        for cut in cuts {
            let (head, tail) = rest.split_at(cut.min(rest.len()));
            sealer.body(head, &mut out).unwrap();
            rest = tail;
        }
        sealer.body(rest, &mut out).unwrap();
        let sealed = sealer.finish(&note(), &mut out).unwrap();
        prop_assert!(out == whole);
        prop_assert_eq!(sealed.body_digest, *blake3::hash(&body).as_bytes());
        // Every small object has one of few lengths.
        prop_assert_eq!((out.len() - 120 - ((out.len() - 120) / SEALED + 1) * 16) % (16 << 10), 0);

        let opener = prove(&study_key(), &name(), Backend::Portable, &out).unwrap();
        let tail = super::tail(&opener, &out).unwrap();
        let mut opened = Vec::new();
        stream(StreamOpener::verified(opener, &tail).unwrap(), &out, piece, &mut opened).unwrap();
        prop_assert!(opened == body);
    }
}

#[test]
fn every_bit_of_a_header_is_bound() {
    let (_, sealed) = seal_a(small_chunks(Suite::Aes256Gcm, Backend::AwsLc), b"picture");
    for at in 0..120 {
        for bit in 0..8 {
            let mut harmed = sealed.clone();
            harmed[at] ^= 1 << bit;
            assert!(open_whole(Backend::AwsLc, &harmed).is_err(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn a_key_opens_nothing_of_another_tenant_object_or_key() {
    let (_, sealed) = seal_a(small_chunks(Suite::Aes256Gcm, Backend::AwsLc), b"picture");
    let open = |key: crate::StudyKey, name: crate::SealedName| prove(&key, &name, Backend::AwsLc, &sealed).unwrap_err();
    use leadglass_model::{KeyGen, KeyId, ObjectId, TenantId};
    let tenant = crate::SealedName { tenant: TenantId::from_bytes([9; 16]), ..name() };
    assert_eq!(open(study_key(), tenant), OpenError::KeyMismatch);
    let object_id = crate::SealedName { object_id: ObjectId::from_bytes([9; 16]), ..name() };
    assert_eq!(open(study_key(), object_id), OpenError::WrongObject);
    let key_id = crate::SealedName { key_id: KeyId::from_bytes([9; 16]), ..name() };
    assert_eq!(open(study_key(), key_id), OpenError::WrongKey);
    let key_gen = crate::SealedName { key_gen: KeyGen::new(2).unwrap(), ..name() };
    assert_eq!(open(study_key(), key_gen), OpenError::WrongKey);
    assert_eq!(open(crate::StudyKey::from_bytes([0x12; 32]), name()), OpenError::KeyMismatch);
}

#[test]
fn an_opener_serves_several_threads() {
    let plain = plain(9 * C);
    let (pin, sealed) = seal_a(small_chunks(Suite::Aes256Gcm, Backend::AwsLc), &plain);
    let opener = Opener::pinned(&study_key(), &name(), &pin.header, pin.sealed_len).unwrap();
    let plan = opener.geometry().plan(0..plain.len() as u64).unwrap();
    let mut out = vec![0; plain.len()];
    std::thread::scope(|scope| {
        for (run, out) in opener.geometry().runs(&plan, 2).zip(out.chunks_mut(2 * C)) {
            let range = run.sealed();
            let sealed = &sealed[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            let opener = &opener;
            scope.spawn(move || {
                // The run at the end brings the empty last chunk's neighbour only: the plan ends before it.
                opener.open_run_to(run.first_chunk(), sealed, out).unwrap();
            });
        }
    });
    assert!(out == plain);
}
