//! `leadglass open`: the escrow reader. An object and a key file are enough; no service, no index, no network.

use anyhow::{Context, bail};
use leadglass_model::ObjectId;
use leadglass_seal::{ChunkSize, EscrowFile, Header, Opener, SealedName, StreamOpener, TailStep};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};
use zeroize::Zeroizing;

/// Reads one sealed object with a key file, without any service.
///
/// The key file comes from `leadglass-keyd escrow`, under an approval. Chunks, lengths and digests are all checked; what
/// is written is the file exactly as it came in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: leadglass open --key-file keys.json objects/o/3f/3f…e1 --output image.dcm")]
pub struct Args {
    /// The escrow key file (JSON).
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// The sealed object.
    object: PathBuf,
    /// Where the plain file goes; standard output unless given. An existing file is not overwritten.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Prints what the object says about itself as JSON, instead of its content.
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

/// Does it.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let keys = Zeroizing::new(std::fs::read(&args.key_file).context("cannot read the key file")?);
    let keys = EscrowFile::parse(&keys).context("the key file does not parse")?;
    let mut object = File::open(&args.object).context("cannot read the object")?;
    let sealed_len = object.metadata()?.len();

    let head = read_at(&mut object, 0, sealed_len.min(leadglass_seal::HEADER_LEN as u64))?;
    let header = Header::parse(&head).context("this is no sealed object")?;
    let Some(key) = keys.find(header.key_id(), header.key_gen()) else {
        bail!("the key file does not hold key {} generation {}", header.key_id(), header.key_gen().get());
    };
    let name = SealedName {
        tenant: keys.tenant(),
        object_id: named(&args.object).unwrap_or_else(|| header.object_id()),
        key_id: header.key_id(),
        key_gen: header.key_gen(),
    };
    let suffix_len = header.chunk_size().suffix_len(sealed_len);
    let suffix = read_at(&mut object, sealed_len - suffix_len, suffix_len)?;
    let proved = || Opener::proved(key, &name, header.as_bytes(), sealed_len, &suffix);
    let opener = proved().context("the object does not open")?;
    let tail = match opener.read_tail(&suffix)? {
        TailStep::Complete(tail) => *tail,
        TailStep::NeedsIndex { footer, index } => {
            let sealed = index.sealed();
            let bytes = read_at(&mut object, sealed.start, sealed.end - sealed.start)?;
            opener.read_index(&footer, &index, &bytes)?
        }
    };
    if args.json {
        let records = &tail.opened.records;
        let said = serde_json::json!({
            "object": header.object_id(),
            "key": header.key_id(),
            "study_ref": records.lineage.study_ref,
            "version": records.lineage.version,
            "kind": records.kind.number(),
            "transfer_syntax": records.transfer_syntax.as_ref().map(|t| t.as_str()),
            "frames": records.frames.count(),
            "body_len": tail.footer.body_len,
        });
        write_out(&mut std::io::stdout(), format!("{said}\n").as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }

    let mut out: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?),
        None => Box::new(std::io::stdout()),
    };
    let copied = copy(&mut object, StreamOpener::verified(opener, &tail)?, &mut out);
    if let (Err(_), Some(path)) = (&copied, &args.output) {
        // What did not verify to its end is not left behind looking like the image.
        let _ = std::fs::remove_file(path);
    }
    copied?;
    Ok(ExitCode::SUCCESS)
}

fn copy(object: &mut File, mut opener: StreamOpener, out: &mut dyn Write) -> anyhow::Result<()> {
    object.seek(SeekFrom::Start(0))?;
    let mut sealed = vec![0; PIECE_BYTES];
    let mut plain = Vec::with_capacity(2 * PIECE_BYTES);
    loop {
        let n = object.read(&mut sealed)?;
        if n == 0 {
            break;
        }
        opener.feed(&sealed[..n], &mut plain).context("the object does not open")?;
        write_out(out, &plain)?;
        plain.clear();
    }
    opener.finish().context("the object does not open")?;
    out.flush().context("cannot write")
}

/// The object's id, if the file still has its name from the bucket: then a swapped object is found.
fn named(path: &Path) -> Option<ObjectId> {
    path.file_name()?.to_str()?.parse().ok()
}

fn read_at(file: &mut File, at: u64, len: u64) -> anyhow::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write_out(out: &mut dyn Write, bytes: &[u8]) -> anyhow::Result<()> {
    out.write_all(bytes).context("cannot write")
}

const PIECE_BYTES: usize = ChunkSize::DEFAULT.sealed_len() * 16;
