//! Any bytes as a wrapped key and as a row: refused without a panic.
#![no_main]
use leadglass_model::TenantId;
use leadglass_seal::{WrapHeader, WrappingKey, row_header, unwrap};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = row_header(data);
    let Ok(header) = WrapHeader::parse(data) else { return };
    let binding = header.bound_to(TenantId::from_bytes([0; 16]));
    assert!(unwrap(&WrappingKey::from_bytes([1; 32]), &binding, data).is_err());
});
