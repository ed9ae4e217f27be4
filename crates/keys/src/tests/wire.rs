//! Laws of the binary answers: what is written is read, and nothing else is.

use crate::wire::{
    ActorClaim, ActorKind, ActorProof, Few, Hex32, IndexKeyRecord, IndexPage, IndexRequest, KeyBytes, KeyRefusal,
    MAX_BATCH, NewKey, Opened, OpenedKeys, Record, Scope, SecretRecord, UnwrapOutcome, UnwrapRequest, WireError, Word,
    approval_challenge, decode_records, encode_records, json_from, json_to,
};
use leadglass_model::{ActorRef, EntryId, KeyGen, KeyId, Purpose, StudyRef, TenantId, UnixMillis};
use proptest::prelude::*;

fn key_bytes() -> impl Strategy<Value = KeyBytes> {
    any::<[u8; 32]>().prop_filter("a key", |b| b != &[0; 32]).prop_map(|b| KeyBytes::copy_of(&b))
}

fn key_gen() -> impl Strategy<Value = KeyGen> {
    (1..=u32::MAX).prop_map(|n| KeyGen::new(n).unwrap())
}

fn new_key() -> impl Strategy<Value = NewKey> {
    (any::<([u8; 16], [u8; 16], u32)>(), key_gen(), key_bytes(), key_bytes(), key_bytes()).prop_map(
        |((id, study, lease_s), key_gen, key, index_key, meta_key)| NewKey {
            key_id: KeyId::from_bytes(id),
            key_gen,
            study_ref: StudyRef::from_bytes(study),
            key,
            index_key,
            meta_key,
            lease_s,
        },
    )
}

fn outcome() -> impl Strategy<Value = UnwrapOutcome> {
    let refusal = prop_oneof![
        Just(KeyRefusal::Destroyed),
        Just(KeyRefusal::Restricted),
        Just(KeyRefusal::Unknown),
        Just(KeyRefusal::NotForThisPurpose)
    ];
    let keys = prop_oneof![
        (key_bytes(), key_bytes(), key_bytes()).prop_map(|(key, index_key, meta_key)| OpenedKeys::Object {
            key,
            index_key,
            meta_key
        }),
        key_bytes().prop_map(|index_key| OpenedKeys::Index { index_key }),
    ];
    let opened =
        (any::<([u8; 16], [u8; 16], u32)>(), key_gen(), keys).prop_map(|((tenant, study, lease_s), key_gen, keys)| {
            Opened {
                key_gen,
                tenant: TenantId::from_bytes(tenant),
                study_ref: StudyRef::from_bytes(study),
                keys,
                lease_s,
            }
        });
    let result = prop_oneof![opened.prop_map(Ok), refusal.prop_map(Err)];
    (any::<[u8; 16]>(), result).prop_map(|(id, result)| UnwrapOutcome { key_id: KeyId::from_bytes(id), result })
}

/// Reading and writing again gives the same bytes; so nothing was lost.
fn comes_back<R: Record>(records: &[R]) {
    let bytes = encode_records(records);
    assert_eq!(bytes.len(), 4 + R::LEN * records.len());
    let read: Vec<R> = decode_records(&bytes, MAX_BATCH).unwrap();
    assert_eq!(read.len(), records.len());
    assert_eq!(*encode_records(&read), *bytes);
}

proptest! {
    #[test]
    fn new_keys_come_back(keys in prop::collection::vec(new_key(), 0..8)) {
        comes_back(&keys);
    }

    #[test]
    fn outcomes_come_back(outcomes in prop::collection::vec(outcome(), 0..8)) {
        comes_back(&outcomes);
    }

    #[test]
    fn no_other_length_is_read(outcomes in prop::collection::vec(outcome(), 0..4), cut in 0..1000_usize, tail in 1..300_usize) {
        let bytes = encode_records(&outcomes);
        let cut = cut % bytes.len();
        prop_assert!(decode_records::<UnwrapOutcome>(&bytes[..cut], MAX_BATCH).is_err());
        let longer = [&bytes[..], &vec![0; tail]].concat();
        prop_assert!(decode_records::<UnwrapOutcome>(&longer, MAX_BATCH).is_err());
    }

    #[test]
    fn a_changed_byte_is_read_as_it_is_or_refused(outcomes in prop::collection::vec(outcome(), 1..4), at in any::<prop::sample::Index>(), flip in 1..=u8::MAX) {
        let mut bytes = encode_records(&outcomes).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        // One form for each meaning: what is read writes the same bytes.
        if let Ok(read) = decode_records::<UnwrapOutcome>(&bytes, MAX_BATCH) {
            prop_assert_eq!(&*encode_records(&read), &bytes);
        }
    }

    #[test]
    fn index_pages_come_back(ids in prop::collection::btree_set(any::<[u8; 16]>(), 0..20), more: bool, key_gen in key_gen()) {
        let keys: Vec<_> = ids.iter().map(|id| index_key(*id, key_gen)).collect();
        let page = IndexPage { more: more && !keys.is_empty(), keys };
        let bytes = page.encode();
        let read = IndexPage::decode(&bytes, &index_request(None)).unwrap();
        prop_assert_eq!(&*read.encode(), &*bytes);
    }
}

fn index_key(id: [u8; 16], key_gen: KeyGen) -> IndexKeyRecord {
    IndexKeyRecord {
        key_id: KeyId::from_bytes(id),
        key_gen,
        study_ref: StudyRef::from_bytes([1; 16]),
        index_key: KeyBytes::copy_of(&[1; 32]),
    }
}

fn index_request(after: Option<[u8; 16]>) -> IndexRequest {
    IndexRequest { tenant: TenantId::from_bytes([9; 16]), after: after.map(KeyId::from_bytes), limit: 20 }
}

#[test]
fn a_count_that_the_bytes_do_not_carry_is_refused_before_memory_is_given_out() {
    let mut bytes = u32::MAX.to_be_bytes().to_vec();
    assert_eq!(
        decode_records::<SecretRecord>(&bytes, 1).unwrap_err(),
        WireError::TooMany { count: u32::MAX as usize, max: 1 }
    );
    assert!(matches!(decode_records::<SecretRecord>(&bytes, usize::MAX).unwrap_err(), WireError::Length { .. }));
    bytes[..4].copy_from_slice(&257_u32.to_be_bytes());
    bytes.resize(4 + 257 * UnwrapOutcome::LEN, 0);
    assert!(matches!(decode_records::<UnwrapOutcome>(&bytes, MAX_BATCH).unwrap_err(), WireError::TooMany { .. }));
}

#[test]
fn fields_with_values_they_never_have_are_refused() {
    let opened = |scope: Scope| UnwrapOutcome {
        key_id: KeyId::from_bytes([1; 16]),
        result: Ok(Opened {
            key_gen: KeyGen::FIRST,
            tenant: TenantId::from_bytes([2; 16]),
            study_ref: StudyRef::from_bytes([3; 16]),
            keys: match scope {
                Scope::Object => OpenedKeys::Object {
                    key: KeyBytes::copy_of(&[4; 32]),
                    index_key: KeyBytes::copy_of(&[5; 32]),
                    meta_key: KeyBytes::copy_of(&[6; 32]),
                },
                Scope::Index => OpenedKeys::Index { index_key: KeyBytes::copy_of(&[5; 32]) },
            },
            lease_s: 300,
        }),
    };
    let object = encode_records(&[opened(Scope::Object)]);
    let index = encode_records(&[opened(Scope::Index)]);
    // Status and scope that do not exist, reserved bytes, generation 0, an object's keys under scope index, no key at all.
    let spoilt: [(&[u8], usize, &[u8]); 8] = [
        (&object, 4, &[9]),
        (&object, 4, &[1]),
        (&object, 5, &[3]),
        (&object, 5, &[2]),
        (&object, 6, &[1]),
        (&object, 24, &[0; 4]),
        (&object, 64, &[0; 32]),
        (&index, 64, &[1]),
    ];
    for (bytes, at, with) in spoilt {
        let mut bytes = bytes.to_vec();
        assert!(decode_records::<UnwrapOutcome>(&bytes, MAX_BATCH).is_ok());
        bytes[at..at + with.len()].copy_from_slice(with);
        let refused = decode_records::<UnwrapOutcome>(&bytes, MAX_BATCH);
        assert!(matches!(refused, Err(WireError::Field { .. })), "{with:?} at {at}");
    }
}

#[test]
fn a_page_that_would_never_end_is_refused() {
    let page = |ids: &[u8], more| {
        let keys = ids.iter().map(|n| index_key([*n; 16], KeyGen::FIRST)).collect();
        IndexPage { keys, more }.encode()
    };
    assert!(IndexPage::decode(&page(&[2, 3], true), &index_request(Some([1; 16]))).is_ok());
    let refused = [
        (page(&[], true), None),
        (page(&[3, 2], false), None),
        (page(&[2, 2], false), None),
        (page(&[1, 2], false), Some([1; 16])),
    ];
    for (bytes, after) in refused {
        assert!(IndexPage::decode(&bytes, &index_request(after)).is_err());
    }
    assert!(IndexPage::decode(&[], &index_request(None)).is_err());
    assert!(IndexPage::decode(&page(&(1..=21).collect::<Vec<_>>(), false), &index_request(None)).is_err());
}

#[test]
fn requests_come_back_and_hold_to_their_bounds() {
    let request = UnwrapRequest {
        tenant: Some(TenantId::from_bytes([1; 16])),
        key_ids: Few::new(vec![KeyId::from_bytes([2; 16]); MAX_BATCH]).unwrap(),
        scope: Scope::Object,
        purpose: Purpose::BreakGlass,
        actor: ActorRef([3; 16]),
        reason: Word::new("emergency-room"),
        approval: None,
        actor_proof: Some(a_proof()),
        audit_entry: EntryId::from_bytes([4; 16]),
    };
    let json = json_to(&request);
    assert_eq!(json_from::<UnwrapRequest>(&json, crate::wire::MAX_REQUEST_BYTES).unwrap(), request);
    assert!(matches!(json_from::<UnwrapRequest>(&json, json.len() - 1), Err(WireError::TooLong { .. })));
    let text = std::str::from_utf8(&json).unwrap();
    let one = format!("\"{}\"", KeyId::from_bytes([2; 16]));
    let more = text.replacen(&one, &format!("{one},{one}"), 1);
    assert!(matches!(json_from::<UnwrapRequest>(more.as_bytes(), usize::MAX), Err(WireError::Json { .. })));
    let unknown = text.replacen("\"scope\"", "\"name\":\"CANARY^NEVER\",\"scope\"", 1);
    let error = json_from::<UnwrapRequest>(unknown.as_bytes(), usize::MAX).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("CANARY"));
}

#[test]
fn the_challenge_of_an_approval_is_this() {
    // expect: SHA-256("leadglass approve v1" 00 | 32 zero bytes | "{}"), computed with coreutils' sha256sum
    let expected: Hex32 = "a4d52aa4eef527c170110cf85c709c797b463600654be0cd751db0acbdf04f85".parse().unwrap();
    assert_eq!(Hex32(approval_challenge(&Hex32([0; 32]), b"{}")), expected);
}

fn a_proof() -> ActorProof {
    let claim = ActorClaim {
        kind: ActorKind::Person,
        tenant: TenantId::from_bytes([1; 16]),
        actor: ActorRef([3; 16]),
        purpose: Purpose::BreakGlass,
        session: [7; 16],
        expires: UnixMillis(1),
    };
    claim.with_signature(&[8; 64])
}
