//! What was acknowledged, so that a second run need not send it again.
//!
//! A file of JSON lines that is only ever appended to. It names the things of a source by a keyed hash, because file
//! names of practices name patients; the key lies beside it in `LEDGER.key`, so that a ledger that is handed on alone
//! says nothing about names. A line is
//!
//! ```json
//! {"at_ms":1790000000000,"item":"32 hex","blake3":"64 hex","bytes":524288,"outcome":"stored"}
//! ```
//!
//! and holds for the last line `{"vault":"32 hex"}` above it: an acknowledgement of one vault is none of another.
//! A line that does not parse (the last one of a run that was killed) counts as not there: its item is sent again.
//!
//! Lines are written and synced by one thread, many at a time. What a file of an earlier run says is synced once more
//! before it is believed.

use anyhow::{Context, bail};
use leadglass_model::{Clock, Entropy, UnixMillis};
use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};
use tokio::sync::{mpsc, oneshot};

/// A thing of a source, by a keyed hash of where it lies and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ItemKey([u8; 16]);

impl ItemKey {
    /// Thirty-two hexadecimal digits.
    pub fn hex(self) -> String {
        hex::encode(self.0)
    }
}

/// Makes item keys.
#[derive(Clone)]
pub struct Namer([u8; 32]);

impl std::fmt::Debug for Namer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Namer(‹secret›)")
    }
}

impl Namer {
    /// A namer whose names mean nothing after this run.
    pub fn fleeting(entropy: &dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Self(key)
    }

    /// By which a second copy is known: the content alone, or of an upload the content and the patient. The same photo of
    /// another patient is another photo.
    pub fn sameness(&self, digest: &blake3::Hash, patient: Option<&str>) -> [u8; 16] {
        match patient {
            None => short(digest),
            Some(patient) => self.name(&[b"same", digest.as_bytes(), patient.as_bytes()]).0,
        }
    }

    /// Of a thing with these parts; they are told apart by their lengths.
    pub fn name(&self, parts: &[&[u8]]) -> ItemKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        ItemKey(short(&hasher.finalize()))
    }
}

/// How a thing went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The vault acknowledged it.
    Stored,
    /// The vault had acknowledged the same bytes before.
    Duplicate,
    /// The vault refused it; the next run tries again.
    Refused,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Vault {
        vault: String,
    },
    Item {
        at_ms: UnixMillis,
        item: String,
        blake3: String,
        bytes: u64,
        outcome: Mark,
        /// Of an upload: content and patient, by a keyed hash.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        same: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
}

/// One entry to be written.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which thing.
    pub item: ItemKey,
    /// BLAKE3 of its bytes as they lie in the source.
    pub digest: blake3::Hash,
    /// By which a second copy is known: the content, and for an upload its patient too.
    pub sameness: [u8; 16],
    /// Its length.
    pub bytes: u64,
    /// How it went.
    pub mark: Mark,
    /// Why it was refused.
    pub code: Option<String>,
}

/// An open ledger. Nobody else writes to it meanwhile.
pub struct Ledger {
    namer: Namer,
    known: Mutex<Known>,
    orders: Mutex<Option<mpsc::Sender<Order>>>,
    writer: Mutex<Option<JoinHandle<bool>>>,
    clock: Arc<dyn Clock>,
    broken_lines: u64,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Known {
    /// What the vault has, and the start of its digest.
    items: HashMap<ItemKey, [u8; 16]>,
    contents: HashSet<[u8; 16]>,
}

struct Order {
    line: Vec<u8>,
    synced: Option<oneshot::Sender<bool>>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Order")
    }
}

/// A line could not be written or synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger cannot be written: what is acknowledged from here on would be sent again")]
pub struct LedgerError;

impl Ledger {
    /// Opens or begins the ledger at `path` for the vault that `identity` (address and token) names.
    pub fn open(path: &Path, identity: &[&[u8]], clock: Arc<dyn Clock>, entropy: &dyn Entropy) -> anyhow::Result<Self> {
        let shown = path.display();
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            crate::files::make_dir(dir)?;
        }
        let namer = Namer(key_beside(path, entropy)?);
        let vault = hex::encode(namer.name(identity).0);
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
        let file = file.with_context(|| format!("cannot open the ledger {shown}"))?;
        let Ok(mut file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            bail!("another import uses the ledger {shown}");
        };
        let read = read(&mut file, &vault).with_context(|| format!("cannot read the ledger {shown}"))?;
        let mut start = Vec::new();
        if read.torn {
            start.push(b'\n');
        }
        if read.last_vault.as_deref() != Some(&*vault) {
            start.extend(line(&Line::Vault { vault })?);
        }
        // Whoever wrote it before may have died between writing and syncing.
        let settle = |file: &mut File| -> std::io::Result<()> {
            file.write_all(&start)?;
            file.sync_all()?;
            sync_dir(path)
        };
        settle(&mut file).with_context(|| format!("cannot write the ledger {shown}"))?;
        let (orders, queue) = mpsc::channel(QUEUE);
        let writer = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || write_all(file, queue))?;
        Ok(Self {
            namer,
            known: Mutex::new(read.known),
            orders: Mutex::new(Some(orders)),
            writer: Mutex::new(Some(writer)),
            clock,
            broken_lines: read.broken,
        })
    }

    /// Makes the keys of this ledger's items.
    pub const fn namer(&self) -> &Namer {
        &self.namer
    }

    /// Lines that did not parse; their items are sent again.
    pub const fn broken_lines(&self) -> u64 {
        self.broken_lines
    }

    /// Whether the vault acknowledged this thing.
    pub fn has_item(&self, item: ItemKey) -> bool {
        self.known.lock().items.contains_key(&item)
    }

    /// Whether the vault acknowledged this thing with these bytes.
    pub fn has_item_of(&self, item: ItemKey, digest: &blake3::Hash) -> bool {
        self.known.lock().items.get(&item) == Some(&short(digest))
    }

    /// Whether the vault acknowledged the same before.
    pub fn has_content(&self, sameness: &[u8; 16]) -> bool {
        self.known.lock().contents.contains(sameness)
    }

    /// Writes an entry; it is durable at the latest after [`Ledger::close`].
    pub async fn note(&self, entry: &Entry) -> Result<(), LedgerError> {
        self.order(entry, None).await
    }

    /// Writes an entry and waits until it is durable.
    pub async fn note_durably(&self, entry: &Entry) -> Result<(), LedgerError> {
        let (tell, told) = oneshot::channel();
        self.order(entry, Some(tell)).await?;
        if told.await == Ok(true) { Ok(()) } else { Err(LedgerError) }
    }

    async fn order(&self, entry: &Entry, synced: Option<oneshot::Sender<bool>>) -> Result<(), LedgerError> {
        let line = line(&Line::Item {
            at_ms: self.clock.now(),
            item: entry.item.hex(),
            blake3: entry.digest.to_hex().to_string(),
            bytes: entry.bytes,
            outcome: entry.mark,
            same: Some(hex::encode(entry.sameness)).filter(|_| entry.sameness != short(&entry.digest)),
            code: entry.code.clone(),
        })
        .map_err(|_| LedgerError)?;
        let orders = self.orders.lock().clone().ok_or(LedgerError)?;
        orders.send(Order { line, synced }).await.map_err(|_| LedgerError)?;
        if entry.mark != Mark::Refused {
            let mut known = self.known.lock();
            known.items.insert(entry.item, short(&entry.digest));
            known.contents.insert(entry.sameness);
        }
        Ok(())
    }

    /// Writes and syncs what is left. To be called once, at the end.
    pub async fn close(&self) -> Result<(), LedgerError> {
        drop(self.orders.lock().take());
        let Some(writer) = self.writer.lock().take() else { return Ok(()) };
        match tokio::task::spawn_blocking(move || writer.join()).await {
            Ok(Ok(true)) => Ok(()),
            _ => Err(LedgerError),
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // The lock on the file goes with the writer.
        drop(self.orders.get_mut().take());
        if let Some(writer) = self.writer.get_mut().take() {
            let _ = writer.join();
        }
    }
}

/// The first half of a digest is enough to know it again.
pub fn short(digest: &blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest.as_bytes()[..16]);
    half
}

/// The writer's thread; says whether all was written. It ends at the first failed write: a file that failed once is never
/// trusted again, and those who wait learn it by their dropped ends.
fn write_all(mut file: Flock<File>, mut queue: mpsc::Receiver<Order>) -> bool {
    let mut batch = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        batch.push(first);
        while batch.len() < BATCH
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        let lines: Vec<u8> = batch.iter().flat_map(|order| order.line.iter().copied()).collect();
        if let Err(error) = file.write_all(&lines).and_then(|()| file.sync_data()) {
            tracing::error!(kind = %error.kind(), "the ledger cannot be written: {}", error.kind());
            return false;
        }
        for order in batch.drain(..) {
            if let Some(tell) = order.synced {
                // Whoever asked may have gone away.
                let _ = tell.send(true);
            }
        }
    }
    true
}

fn line(line: &Line) -> anyhow::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text)
}

struct Past {
    known: Known,
    last_vault: Option<String>,
    torn: bool,
    broken: u64,
}

fn read(file: &mut File, vault: &str) -> std::io::Result<Past> {
    file.seek(SeekFrom::Start(0))?;
    let mut past = Past { known: Known::default(), last_vault: None, torn: false, broken: 0 };
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut text = Vec::new();
    loop {
        text.clear();
        if (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut text)? == 0 {
            return Ok(past);
        }
        past.torn = text.last() != Some(&b'\n');
        if past.torn || text.trim_ascii().is_empty() {
            past.broken += u64::from(past.torn);
            continue;
        }
        match serde_json::from_slice(&text) {
            Ok(Line::Vault { vault }) => past.last_vault = Some(vault),
            Ok(Line::Item { item, blake3, outcome, same, .. }) => {
                let (mut key, mut sameness) = ([0; 16], [0; 16]);
                let digest = blake3::Hash::from_hex(&blake3);
                let (Ok(()), Ok(digest)) = (hex::decode_to_slice(&item, &mut key), digest) else {
                    past.broken += 1;
                    continue;
                };
                match same.map(|same| hex::decode_to_slice(same, &mut sameness)) {
                    None => sameness = short(&digest),
                    Some(Ok(())) => {}
                    Some(Err(_)) => {
                        past.broken += 1;
                        continue;
                    }
                }
                if outcome != Mark::Refused && past.last_vault.as_deref() == Some(vault) {
                    past.known.items.insert(ItemKey(key), short(&digest));
                    past.known.contents.insert(sameness);
                }
            }
            Err(_) => past.broken += 1,
        }
    }
}

/// The key beside the ledger, made when it is missing.
fn key_beside(path: &Path, entropy: &dyn Entropy) -> anyhow::Result<[u8; 32]> {
    let beside = key_path(path);
    let mut key = [0; 32];
    match std::fs::read(&beside) {
        Ok(bytes) => {
            key = bytes.try_into().ok().with_context(|| format!("{} holds no key of 32 bytes", beside.display()))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            entropy.fill(&mut key);
            crate::files::write(&beside, &key)?;
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", beside.display())),
    }
    Ok(key)
}

fn key_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".key");
    name.into()
}

fn sync_dir(path: &Path) -> std::io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Entries that wait to be written; each has about 250 bytes.
const QUEUE: usize = 1024;
/// Entries of one sync.
const BATCH: usize = 256;
/// Longer than any line of ours.
const MAX_LINE_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::{MockClock, SystemEntropy};

    fn open(path: &Path, vault: &str) -> Ledger {
        Ledger::open(path, &[vault.as_bytes()], Arc::new(MockClock::at(UnixMillis(5))), &SystemEntropy).unwrap()
    }

    fn entry(ledger: &Ledger, name: &str, mark: Mark) -> Entry {
        let digest = blake3::hash(name.as_bytes());
        let item = ledger.namer().name(&[name.as_bytes()]);
        Entry { item, digest, sameness: short(&digest), bytes: 7, mark, code: None }
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_known_to_the_next_run_and_what_was_refused_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/ledger");
        let ledger = open(&path, "v");
        let (good, bad) = (entry(&ledger, "DOE^JANE.dcm", Mark::Stored), entry(&ledger, "bad", Mark::Refused));
        ledger.note_durably(&good).await.unwrap();
        ledger.note(&bad).await.unwrap();
        ledger.close().await.unwrap();
        assert!(ledger.note(&good).await.is_err(), "a closed ledger takes nothing");
        drop(ledger);
        let again = open(&path, "v");
        assert!(again.has_item(good.item) && again.has_item_of(good.item, &good.digest));
        assert!(again.has_content(&good.sameness) && !again.has_item_of(good.item, &bad.digest));
        assert!(!again.has_item(bad.item) && !again.has_content(&bad.sameness));
        assert_eq!(again.broken_lines(), 0);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("DOE") && text.lines().count() == 3, "{text}");
    }

    #[tokio::test]
    async fn a_torn_last_line_counts_as_not_there_and_the_next_line_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let ledger = open(&path, "v");
        let (first, second) = (entry(&ledger, "1", Mark::Stored), entry(&ledger, "2", Mark::Duplicate));
        ledger.note(&first).await.unwrap();
        ledger.note(&second).await.unwrap();
        ledger.close().await.unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let torn = open(&path, "v");
            let third = entry(&torn, "3", Mark::Stored);
            assert!(!torn.has_item(second.item), "cut at {cut}");
            torn.note(&third).await.unwrap();
            torn.close().await.unwrap();
            drop(torn);
            assert!(open(&path, "v").has_item(third.item), "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn an_acknowledgement_of_one_vault_is_none_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let first = open(&path, "v1");
        let item = entry(&first, "x", Mark::Stored);
        first.note(&item).await.unwrap();
        first.close().await.unwrap();
        drop(first);
        let other = open(&path, "v2");
        assert!(!other.has_item(item.item) && !other.has_content(&item.sameness));
        other.close().await.unwrap();
        drop(other);
        assert!(open(&path, "v1").has_item(item.item));
    }

    #[tokio::test]
    async fn two_imports_do_not_share_a_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let _first = open(&path, "v");
        let clock = Arc::new(MockClock::default());
        let second = Ledger::open(&path, &[b"v"], clock, &SystemEntropy).unwrap_err();
        assert!(second.to_string().contains("another import uses"), "{second}");
    }

    #[tokio::test]
    async fn the_same_photo_of_another_patient_is_another_photo_also_to_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let ledger = open(&path, "v");
        let mut photo = entry(&ledger, "photo", Mark::Stored);
        photo.sameness = ledger.namer().sameness(&photo.digest, Some("17"));
        ledger.note(&photo).await.unwrap();
        drop(ledger);
        let again = open(&path, "v");
        assert!(again.has_content(&again.namer().sameness(&photo.digest, Some("17"))));
        assert!(!again.has_content(&again.namer().sameness(&photo.digest, Some("18"))));
        assert!(!again.has_content(&again.namer().sameness(&photo.digest, None)));
    }

    #[test]
    fn names_depend_on_the_key_and_on_where_parts_end() {
        let (a, b) = (Namer([1; 32]), Namer([2; 32]));
        assert_ne!(a.name(&[b"x"]), b.name(&[b"x"]));
        assert_ne!(a.name(&[b"ab", b"c"]), a.name(&[b"a", b"bc"]));
    }
}
