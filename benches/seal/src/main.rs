//! What sealing costs beside the cipher alone, on one core.
//!
//! Every row feeds the same body in the same slices and throws the sealed bytes away after each slice, so that all
//! write into one buffer that stays warm:
//!
//! - `cipher`: AES-256-GCM of AWS-LC over chunks of 64 KiB, nothing else;
//! - `hash`: BLAKE3 over the same slices, nothing else;
//! - `sealed`: [`Sealer`], the stream with its header, nonces and buffer, without a digest;
//! - `document`: [`ObjectSealer`] over a document: the digest of BODY, records and footer;
//! - `instance`: [`ObjectSealer`] over an instance: the digests of the two halves of BODY.
//!
//! Rounds are interleaved, so that a noisy moment hits every row; figures are medians.
//!
//! ```sh
//! cargo run --release -p leadglass-bench-seal
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]
#![allow(clippy::cast_precision_loss, reason = "rates are read by people")]

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use clap::Parser;
use leadglass_model::{KeyGen, KeyId, ObjectId, StudyRef, SystemEntropy, TenantId};
use leadglass_seal::{
    ContentStart, FOOTER_LEN, Frames, Layout, Lineage, ObjectKind, ObjectRecords, ObjectSealer, Out, SealOptions,
    SealedName, Sealer, StudyKey,
};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Measures sealing beside the raw cipher; prints a Markdown table.
#[derive(Debug, Parser)]
struct Args {
    /// Rounds; the figures are medians.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Bytes of body that one figure is taken over, at least one body.
    #[arg(long, default_value_t = 64 << 20)]
    bytes: usize,
    /// Bytes handed over at a time: what one DICOM PDU or one read of a socket brings.
    #[arg(long, default_value_t = 256 << 10)]
    slice: usize,
    /// The fastest round instead of the median: for a machine that is not quiet.
    #[arg(long)]
    best: bool,
    /// A look, not a measurement: three rounds over few bytes.
    #[arg(long)]
    quick: bool,
}

/// One row of the table: what is done to a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Cipher,
    Hash,
    Sealed,
    Document,
    Instance,
}

const ROWS: [(Work, &str); 5] = [
    (Work::Cipher, "cipher"),
    (Work::Hash, "hash"),
    (Work::Sealed, "sealed"),
    (Work::Document, "document"),
    (Work::Instance, "instance"),
];

/// An intra-oral image, a CT slice, a digital radiograph, an angiography: bytes of their bodies.
const BODIES: [(&str, usize); 4] =
    [("50 KB", 50_000), ("512 KB", 512 << 10), ("18 MB", 18_000_000), ("200 MB", 200_000_000)];

/// What we write before a data set, and so where its digest starts; odd on purpose, as it is in life.
const PREFACE_BYTES: usize = 358;
const CHUNK_BYTES: usize = 64 << 10;
const TAG_BYTES: usize = 16;

fn main() {
    let mut args = Args::parse();
    if args.quick {
        (args.rounds, args.bytes) = (3, 4 << 20);
    }
    let bench = Bench::new(args.slice.max(1));
    println!("| body | work | GB/s | of the cipher | µs a body |");
    println!("|---|---|---|---|---|");
    for (name, len) in BODIES {
        let body = body(len);
        let times = args.bytes.div_ceil(len).max(1);
        let mut taken = vec![Vec::with_capacity(args.rounds); ROWS.len()];
        for round in 0..=args.rounds {
            for ((work, _), taken) in ROWS.iter().zip(&mut taken) {
                let time = bench.time(*work, &body, times);
                if round > 0 {
                    taken.push(time); // the first warms caches and clocks
                }
            }
        }
        let medians: Vec<f64> = taken.into_iter().map(|times| pick(times, args.best).as_secs_f64()).collect();
        for ((_, word), seconds) in ROWS.iter().zip(&medians) {
            let rate = (len * times) as f64 / seconds / 1e9;
            let (ratio, each) = (medians[0] / seconds, seconds * 1e6 / times as f64);
            println!("| {name} | {word} | {rate:.2} | {:.0} % | {each:.1} |", ratio * 100.0);
        }
    }
}

/// Keys and names that all rows share.
struct Bench {
    cipher: LessSafeKey,
    key: StudyKey,
    name: SealedName,
    records: ObjectRecords,
    slice: usize,
}

impl Bench {
    fn new(slice: usize) -> Self {
        let name = SealedName {
            tenant: TenantId::from_bytes([1; 16]),
            object_id: ObjectId::from_bytes([2; 16]),
            key_id: KeyId::from_bytes([3; 16]),
            key_gen: KeyGen::FIRST,
        };
        let records = ObjectRecords {
            kind: ObjectKind::Document,
            lineage: Lineage { study_ref: StudyRef::from_bytes([4; 16]), version: 1, supersedes: None },
            layout: None,
            frames: Frames::None,
            transfer_syntax: None,
            media_type: None,
            provenance: None,
        };
        let cipher = UnboundKey::new(&AES_256_GCM, &[5; 32]).expect("32 bytes are a key");
        Self { cipher: LessSafeKey::new(cipher), key: StudyKey::from_bytes([5; 32]), name, records, slice }
    }

    /// Time to do `work` to `body` so many times.
    fn time(&self, work: Work, body: &[u8], times: usize) -> Duration {
        // The longest a call may append: a slice, what waited, tags, header, records and footer.
        let room = self.slice + 2 * CHUNK_BYTES + self.slice / CHUNK_BYTES * TAG_BYTES + 4096;
        let mut out = Warm { bytes: vec![0; room], used: 0 };
        let begun = Instant::now();
        for _ in 0..times {
            match work {
                Work::Cipher => self.cipher(body, &mut out.bytes),
                Work::Hash => self.hash(body),
                Work::Sealed => self.sealed(body, &mut out),
                Work::Document => self.object(body, ContentStart::Body, &self.records, &mut out),
                Work::Instance => {
                    let layout = Layout { dataset_start: PREFACE_BYTES as u64, pixel_value: None };
                    let records =
                        ObjectRecords { kind: ObjectKind::Instance, layout: Some(layout), ..self.records.clone() };
                    self.object(body, ContentStart::At(PREFACE_BYTES as u64), &records, &mut out);
                }
            }
            out.used = 0;
        }
        begun.elapsed()
    }

    fn cipher(&self, body: &[u8], out: &mut [u8]) {
        let mut nonce = 0_u64;
        for slice in body.chunks(self.slice) {
            let mut room = &mut *out;
            for chunk in slice.chunks(CHUNK_BYTES) {
                let mut iv = [0; 12];
                iv[4..].copy_from_slice(&nonce.to_be_bytes());
                nonce += 1;
                let (place, rest) = room.split_at_mut(chunk.len() + TAG_BYTES);
                room = rest;
                let (sealed, tag) = place.split_at_mut(chunk.len());
                self.cipher
                    .seal_out_of_place_scatter(Nonce::assume_unique_for_key(iv), Aad::empty(), chunk, sealed, &[], tag)
                    .expect("lengths fit");
            }
            black_box(&out);
        }
    }

    fn hash(&self, body: &[u8]) {
        let mut hasher = blake3::Hasher::new();
        for slice in body.chunks(self.slice) {
            hasher.update(slice);
        }
        black_box(hasher.finalize());
    }

    fn sealed(&self, body: &[u8], out: &mut Warm) {
        let mut sealer = Sealer::begin(&self.key, &self.name, SealOptions::default(), &SystemEntropy, out);
        for slice in body.chunks(self.slice) {
            out.used = 0;
            sealer.write(slice, out).expect("within the limit");
            black_box(&out.bytes);
        }
        let _ = black_box(sealer.finish(out));
    }

    /// As the engine does it: the preface in a call of its own, then the data set.
    fn object(&self, body: &[u8], content: ContentStart, records: &ObjectRecords, out: &mut Warm) {
        let options = SealOptions::default();
        let mut sealer = ObjectSealer::begin(&self.key, &self.name, options, content, &SystemEntropy, out);
        let (preface, dataset) = body.split_at(PREFACE_BYTES);
        for slice in [preface].into_iter().chain(dataset.chunks(self.slice)) {
            out.used = 0;
            sealer.body(slice, out).expect("within the limit");
            black_box(&out.bytes);
        }
        let _ = black_box(sealer.finish(records, out).expect("records that fit the body"));
    }
}

/// Memory that is written over and over, as the engine's trays are.
struct Warm {
    bytes: Vec<u8>,
    used: usize,
}

impl Out for Warm {
    fn room(&mut self, len: usize) -> &mut [u8] {
        let begin = self.used;
        self.used += len;
        &mut self.bytes[begin..self.used]
    }
}

/// Bytes as pixels are: not random, not equal.
fn body(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56).to_le_bytes()[0]).collect()
}

fn pick(mut times: Vec<Duration>, best: bool) -> Duration {
    times.sort_unstable();
    times[if best { 0 } else { times.len() / 2 }]
}

const _: () = assert!(FOOTER_LEN < 4096, "the buffer's room holds records and footer");
