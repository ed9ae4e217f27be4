//! Any bytes as a sealed object: refused without a panic. What opens was not made here, so nothing may.
#![no_main]
use leadglass_model::TenantId;
use leadglass_seal::{Header, Opener, SealedName, StudyKey};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(header) = Header::parse(data) else { return };
    let (tenant, object_id) = (TenantId::from_bytes([0; 16]), header.object_id());
    let name = SealedName { tenant, object_id, key_id: header.key_id(), key_gen: header.key_gen() };
    let key = StudyKey::from_bytes([1; 32]);
    assert!(Opener::proved(&key, &name, header.as_bytes(), data.len() as u64, data).is_err());
});
