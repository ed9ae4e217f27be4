//! Any bytes as a data set or a file: answered without a panic, the same in any pieces, metadata always JSON, every place
//! inside of the bytes. The first byte chooses the reading, the second the pieces.
#![no_main]
use leadglass_model::TransferSyntaxUid;
use leadglass_tap::{
    FrameTable, Limits, Part10Tap, Tap, Tapped,
    command::{CommandSet, MAX_LEN},
};

/// Implicit, explicit, big endian, JPEG baseline, video, private. A broken deflate stream may show at another place when
/// cut, so deflate is only read whole.
const SYNTAXES: [&str; 6] = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.102",
    "1.2.3.4",
];
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [kind, piece, data @ ..] = data else { return };
    let piece = usize::from(*piece).max(1);
    match usize::from(*kind) % (SYNTAXES.len() + 3) {
        6 => drop(data_set(DEFLATED, data, usize::MAX).inspect(check)),
        7 => {
            let whole = file(data, usize::MAX);
            assert_eq!(file(data, piece), whole);
        }
        8 => {
            // A set that came without group length grows by twelve bytes.
            if let Some(Ok(set)) = (data.len() + 12 <= MAX_LEN).then(|| CommandSet::parse(data)) {
                assert_eq!(CommandSet::parse(&set.encode()).as_ref(), Ok(&set));
            }
        }
        syntax => {
            let whole = data_set(SYNTAXES[syntax], data, usize::MAX).ok();
            assert_eq!(data_set(SYNTAXES[syntax], data, piece).ok(), whole);
            whole.iter().for_each(check);
        }
    }
});

fn data_set(syntax: &str, data: &[u8], piece: usize) -> Result<Tapped, leadglass_tap::TapError> {
    let mut tap = Tap::new(&TransferSyntaxUid::parse(syntax).expect("it is a UID"), Limits::default());
    data.chunks(piece).try_for_each(|piece| tap.feed(piece))?;
    tap.finish()
}

fn file(data: &[u8], piece: usize) -> Option<Tapped> {
    let mut tap = Part10Tap::new(Limits::default());
    data.chunks(piece).try_for_each(|piece| tap.feed(piece)).ok()?;
    Some(tap.finish().ok()?.instance)
}

fn check(tapped: &Tapped) {
    if let Some(json) = &tapped.metadata_json {
        assert!(serde_json::from_slice::<serde_json::Value>(json.expose()).is_ok());
    }
    if tapped.marks.deflated {
        return;
    }
    assert!(tapped.bulk.iter().all(|b| b.offset + b.len <= tapped.dataset_len));
    if let FrameTable::Table(spans) = &tapped.frames {
        assert!(spans.iter().all(|s| s.offset + s.len <= tapped.dataset_len));
    }
}
