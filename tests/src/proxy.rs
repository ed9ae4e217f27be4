//! A proxy before an S3 server that fails as networks and servers do, by a script: the same script fails the same way.
//!
//! It understands HTTP/1.1 as far as it must (heads, lengths, chunks) and what each request asks of S3, so that a test can
//! say "cut the second part in the middle". Loopback only.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What a request asks of S3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A whole object.
    Put,
    /// Begin an upload.
    Begin,
    /// A part of one.
    Part,
    /// Make it an object.
    Complete,
    /// Give it up.
    Abort,
    /// Which uploads are unfinished.
    Uploads,
    /// Bytes of an object.
    Get,
    /// Its length.
    Head,
    /// Names.
    List,
    /// Remove an object.
    Delete,
}

/// How a request fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The connection ends before the server hears of it.
    CutBefore,
    /// The connection ends when the server has half of the body.
    CutInRequest,
    /// The server does it, and the connection ends without a word.
    CutAfter,
    /// The server does it, and the connection ends within the answer.
    CutInAnswer,
    /// This status; the server hears nothing.
    Refuse(u16),
    /// The server does it, and its answer is replaced by this status.
    Deny(u16),
    /// The answer says that it is shorter than it is, and is.
    Shorter,
    /// The answer says that it is longer than it is; then the connection ends.
    Longer,
    /// Nothing comes, until whoever asks goes away.
    Silence,
}

impl Fault {
    /// One of each kind.
    pub const ALL: [Self; 10] = [
        Self::CutBefore,
        Self::CutInRequest,
        Self::CutAfter,
        Self::CutInAnswer,
        Self::Refuse(500),
        Self::Refuse(503),
        Self::Deny(500),
        Self::Shorter,
        Self::Longer,
        Self::Silence,
    ];
}

/// Which requests fail. Requests count from 0, from the moment the script was set.
#[derive(Clone, Copy, Debug, Default)]
pub enum Script {
    /// None.
    #[default]
    Calm,
    /// That one.
    Nth(usize, Fault),
    /// The nth of that step.
    NthOf(Step, usize, Fault),
    /// All of that step.
    Every(Step, Fault),
    /// All of them.
    Always(Fault),
    /// This many in a thousand, which and how by the seed; silence left out, since it costs its whole time.
    Storm(u64, u32),
}

/// A request that came by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// What it asked.
    pub step: Step,
    /// How it failed, if it did.
    pub fault: Option<Fault>,
    /// First and last byte of the range that it asked for, where it asked for one.
    pub range: Option<(u64, u64)>,
}

/// A running proxy; it ends with its value.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct State {
    upstream: SocketAddr,
    delay: Duration,
    script: Mutex<(Script, Vec<Seen>)>,
    passed: AtomicU64,
}

impl Proxy {
    /// A proxy before `upstream`, in a thread of its own. Every request waits for `delay` before it goes on.
    ///
    /// # Panics
    /// When loopback has no free port.
    #[must_use]
    pub fn start(upstream: SocketAddr, delay: Duration) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State { upstream, delay, script: Mutex::default(), passed: AtomicU64::new(0) });
        let (end, ended) = tokio::sync::oneshot::channel();
        let own = state.clone();
        let thread = std::thread::spawn(move || {
            run(async move {
                tokio::select! {
                    served = serve(listener, own) => served,
                    _ = ended => Ok(()),
                }
            })
            .expect("loopback works");
        });
        Self { address, state, end: Some(end), thread: Some(thread) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Another script from now on; counting starts again.
    pub fn set(&self, script: Script) {
        *self.state.lock() = (script, Vec::new());
    }

    /// The requests since the script was set.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().1.clone()
    }

    /// Bytes of bodies that were given to the client so far.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::Relaxed)
    }

    /// The steps among them.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.seen().into_iter().map(|seen| seen.step).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Serves on `listener` for ever, with a script from the beginning: what the program `s3-proxy` does.
///
/// # Errors
/// When the listener fails.
pub fn forever(listener: std::net::TcpListener, to: SocketAddr, delay: Duration, script: Script) -> io::Result<()> {
    run(serve(
        listener,
        Arc::new(State { upstream: to, delay, script: Mutex::new((script, Vec::new())), passed: AtomicU64::new(0) }),
    ))
}

fn run(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn serve(listener: std::net::TcpListener, state: Arc<State>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        let state = state.clone();
        // A connection that fails is what this is for.
        tokio::spawn(async move { state.connection(client).await.unwrap_or_default() });
    }
}

impl State {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Script, Vec<Seen>)> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which fault this request has; notes it.
    fn next(&self, step: Step, range: Option<(u64, u64)>) -> Option<Fault> {
        let mut state = self.lock();
        let (script, seen) = &mut *state;
        let at = seen.len();
        let of_step = seen.iter().filter(|seen| seen.step == step).count();
        let fault = match *script {
            Script::Nth(n, fault) if n == at => Some(fault),
            Script::NthOf(wanted, n, fault) if wanted == step && n == of_step => Some(fault),
            Script::Every(wanted, fault) if wanted == step => Some(fault),
            Script::Always(fault) => Some(fault),
            Script::Storm(seed, in_thousand) => storm(seed, at, in_thousand),
            _ => None,
        };
        seen.push(Seen { step, fault, range });
        fault
    }

    async fn connection(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let (from, mut to) = client.into_split();
        let mut from = BufReader::with_capacity(BUFFER, from);
        let mut upstream: Option<Upstream> = None;
        loop {
            let Some(head) = Head::read(&mut from).await? else { return Ok(()) };
            let step = step(&head);
            let fault = self.next(step, head.range());
            tokio::time::sleep(self.delay).await;
            match fault {
                Some(Fault::CutBefore) => return Ok(()),
                Some(Fault::Silence) => {
                    // Whatever is still sent is taken; the end comes from the other side.
                    let mut sink = vec![0; BUFFER];
                    while from.read(&mut sink).await? > 0 {}
                    return Ok(());
                }
                Some(Fault::Refuse(status)) => {
                    head.body(false).copy(&mut from, &mut tokio::io::sink()).await?;
                    to.write_all(&answer(status)).await?;
                    continue;
                }
                _ => {}
            }
            let server = match &mut upstream {
                Some(server) => server,
                none => none.insert(Upstream::open(self.upstream).await?),
            };
            server.to.write_all(&head.bytes).await?;
            if fault == Some(Fault::CutInRequest) {
                head.body(false).half().copy(&mut from, &mut server.to).await?;
                return Ok(());
            }
            head.body(false).copy(&mut from, &mut server.to).await?;
            let Some(answered) = Head::read(&mut server.from).await? else { return Ok(()) };
            let body = answered.body(head.is_head());
            match fault {
                Some(Fault::CutAfter) => {
                    body.copy(&mut server.from, &mut tokio::io::sink()).await?;
                    return Ok(());
                }
                Some(Fault::Deny(status)) => {
                    body.copy(&mut server.from, &mut tokio::io::sink()).await?;
                    to.write_all(&answer(status)).await?;
                    continue;
                }
                Some(Fault::CutInAnswer) => {
                    if let Body::Length(1..) = body {
                        to.write_all(&answered.bytes).await?;
                        body.half().copy(&mut server.from, &mut to).await?;
                    } else {
                        to.write_all(&answered.bytes[..answered.bytes.len() / 2]).await?;
                    }
                    return Ok(());
                }
                Some(Fault::Shorter) => {
                    let half = answered.length().map_or(0, |n| n / 2);
                    to.write_all(&answered.with_length(half)).await?;
                    if !head.is_head() {
                        Body::Length(half).copy(&mut server.from, &mut to).await?;
                    }
                    return Ok(());
                }
                Some(Fault::Longer) => {
                    let more = answered.length().unwrap_or(0) + 1000;
                    to.write_all(&answered.with_length(more)).await?;
                    body.copy(&mut server.from, &mut to).await?;
                    return Ok(());
                }
                _ => {}
            }
            to.write_all(&answered.bytes).await?;
            body.copy(&mut server.from, &mut Counted { to: &mut to, bytes: &self.passed }).await?;
            if body == Body::UntilEnd || answered.says_close() {
                return Ok(());
            }
        }
    }
}

/// Counts what is written.
struct Counted<'a, W> {
    to: &'a mut W,
    bytes: &'a AtomicU64,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Counted<'_, W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.to).poll_write(cx, bytes);
        if let Poll::Ready(Ok(bytes)) = written {
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.to).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.to).poll_shutdown(cx)
    }
}

struct Upstream {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
}

impl Upstream {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let server = TcpStream::connect(address).await?;
        server.set_nodelay(true)?;
        let (from, to) = server.into_split();
        Ok(Self { from: BufReader::with_capacity(BUFFER, from), to })
    }
}

/// First line and fields of a request or an answer, as they came.
struct Head {
    bytes: Vec<u8>,
}

/// How a body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunks,
    UntilEnd,
}

impl Head {
    /// `None` when the other side is done.
    async fn read(from: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        loop {
            let before = bytes.len();
            if from.take(HEAD_MAX).read_until(b'\n', &mut bytes).await? == 0 {
                return Ok(None);
            }
            if &bytes[before..] == b"\r\n" && before > 0 {
                return Ok(Some(Self { bytes }));
            }
            if bytes.len() as u64 > HEAD_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.bytes.split(|b| *b == b'\n').filter_map(|line| str::from_utf8(line).ok()).map(str::trim_end)
    }

    fn field(&self, wanted: &str) -> Option<&str> {
        self.lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then_some(value.trim()))
    }

    fn length(&self) -> Option<u64> {
        self.field("content-length")?.parse().ok()
    }

    fn range(&self) -> Option<(u64, u64)> {
        let (from, to) = self.field("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse().ok()?, to.parse().ok()?))
    }

    fn is_head(&self) -> bool {
        self.bytes.starts_with(b"HEAD ")
    }

    fn says_close(&self) -> bool {
        self.field("connection").is_some_and(|said| said.eq_ignore_ascii_case("close"))
    }

    /// RFC 9112 §6.3. `to_head`: it answers a HEAD.
    fn body(&self, to_head: bool) -> Body {
        let is_answer = self.bytes.starts_with(b"HTTP/");
        let status = || self.lines().next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        if to_head || (is_answer && (status().starts_with('1') || status() == "204" || status() == "304")) {
            return Body::Length(0);
        }
        if self.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Body::Chunks;
        }
        match self.length() {
            Some(length) => Body::Length(length),
            None if is_answer => Body::UntilEnd,
            None => Body::Length(0),
        }
    }

    /// The same with another length, whatever it had.
    fn with_length(&self, length: u64) -> Vec<u8> {
        let dropped = |line: &str| {
            let name = line.split_once(':').map_or("", |(name, _)| name);
            name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
        };
        let kept: Vec<&str> = self.lines().filter(|line| !line.is_empty() && !dropped(line)).collect();
        format!("{}\r\nContent-Length: {length}\r\n\r\n", kept.join("\r\n")).into_bytes()
    }
}

impl Body {
    fn half(self) -> Self {
        match self {
            Self::Length(length) => Self::Length(length / 2),
            // The first byte of the first chunk's length is not even a chunk.
            Self::Chunks | Self::UntilEnd => Self::Length(1),
        }
    }

    async fn copy(
        self,
        from: &mut BufReader<OwnedReadHalf>,
        to: &mut (impl tokio::io::AsyncWrite + Unpin),
    ) -> io::Result<()> {
        match self {
            Self::Length(length) => exactly(from, to, length).await,
            Self::UntilEnd => tokio::io::copy_buf(from, to).await.map(drop),
            Self::Chunks => loop {
                let mut line = Vec::new();
                from.take(HEAD_MAX).read_until(b'\n', &mut line).await?;
                to.write_all(&line).await?;
                let size = str::from_utf8(&line).unwrap_or_default();
                let size = size.split([';', '\r']).next().and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
                let size = size.ok_or(io::ErrorKind::InvalidData)?;
                // Trailers are not sent by anybody here: after the last chunk comes an empty line.
                exactly(from, to, size + 2).await?;
                if size == 0 {
                    return Ok(());
                }
            },
        }
    }
}

async fn exactly(
    from: &mut BufReader<OwnedReadHalf>,
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    length: u64,
) -> io::Result<()> {
    let copied = tokio::io::copy_buf(&mut from.take(length), to).await?;
    if copied < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn step(head: &Head) -> Step {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let asks = |wanted: &str| query.split('&').any(|pair| pair.split('=').next() == Some(wanted));
    match method {
        "PUT" if asks("partNumber") => Step::Part,
        "PUT" => Step::Put,
        "POST" if asks("uploads") => Step::Begin,
        "POST" => Step::Complete,
        "DELETE" if asks("uploadId") => Step::Abort,
        "DELETE" => Step::Delete,
        "HEAD" => Step::Head,
        _ if asks("uploads") => Step::Uploads,
        _ if asks("list-type") => Step::List,
        _ => Step::Get,
    }
}

fn answer(status: u16) -> Vec<u8> {
    let code = if status == 503 { "SlowDown" } else { "InternalError" };
    let body = format!("<Error><Code>{code}</Code><Message>by script</Message></Error>");
    format!(
        "HTTP/1.1 {status} By Script\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// splitmix64: the same seed and number give the same fault.
fn storm(seed: u64, at: usize, in_thousand: u32) -> Option<Fault> {
    let mut x = seed.wrapping_add((at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    let loud = &Fault::ALL[..Fault::ALL.len() - 1];
    let which = usize::try_from((x >> 32) % loud.len() as u64).expect("it is one of a few");
    (x % 1000 < u64::from(in_thousand)).then_some(loud[which])
}

const BUFFER: usize = 64 << 10;
const HEAD_MAX: u64 = 64 << 10;
