//! A sealed object with changes drawn from the input (position, position, byte): it opens only if nothing changed.
#![no_main]
use leadglass_model::{Entropy, KeyGen, KeyId, ObjectId, TenantId};
use leadglass_seal::{ChunkSize, Opener, SealOptions, SealedName, Sealer, StreamOpener, StudyKey};

struct Zero;
impl Entropy for Zero {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0);
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&[a, b], changes)) = data.split_first_chunk() else { return };
    let (id, key) = ([2; 16], StudyKey::from_bytes([1; 32]));
    let (tenant, object_id, key_id) = (TenantId::from_bytes(id), ObjectId::from_bytes(id), KeyId::from_bytes(id));
    let name = SealedName { tenant, object_id, key_id, key_gen: KeyGen::FIRST };
    let options = SealOptions { chunk_size: ChunkSize::writer(14).unwrap(), ..SealOptions::default() };
    let mut sealed = Vec::new();
    let mut sealer = Sealer::begin(&key, &name, options, &Zero, &mut sealed);
    sealer.write(&vec![b; usize::from(u16::from_be_bytes([a, b]))], &mut sealed).unwrap();
    let pin = sealer.finish(&mut sealed);
    let mut changed = sealed.clone();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]]));
        match changed.get_mut(at) {
            Some(byte) => *byte = change[2],
            None => changed.truncate(at.saturating_sub(usize::from(change[2]))),
        }
    }
    let opener = Opener::pinned(&key, &name, &pin.header, pin.sealed_len).unwrap();
    let (mut stream, mut out) = (StreamOpener::plain(opener), Vec::new());
    let opened = stream.feed(&changed, &mut out).and_then(|()| stream.finish());
    assert_eq!(opened.is_ok(), changed == sealed);
});
