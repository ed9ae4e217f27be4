//! The render workers: processes that hold foreign bytes so that this one need not.
//!
//! At most so many at a time; whoever comes later waits for a place, for a while ([`Turns`]). A worker has one job at a time.
//! One that breaks, lies or takes too long is killed, and the next job gets a new one. A job that is given up ends its worker.

use super::turns::{Place, Turns, Whose};
use bytes::Bytes;
use leadglass_imaging::{
    render::RenderError,
    work::{AnswerHead, Job, known_code},
};
use leadglass_model::Fault;
use parking_lot::Mutex;
use std::{
    ffi::OsString,
    io::IoSlice,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// Renders and decodes, elsewhere.
#[derive(Debug, Clone)]
pub struct Renderer(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    program: PathBuf,
    words: Vec<OsString>,
    turns: Turns,
    idle: Mutex<Vec<Worker>>,
}

/// A frame in the pieces that it came in.
#[derive(Debug, Default)]
pub(crate) struct Pieces(Vec<Bytes>);

impl Pieces {
    fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }
}

impl From<Vec<Bytes>> for Pieces {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self(pieces)
    }
}

/// Why there is no picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WorkError {
    /// All workers have work, and had for a while.
    #[error("every render worker is at work")]
    Busy,
    /// The worker says why not.
    #[error("the render worker refuses: {0}")]
    Refused(&'static str),
    /// It could not be started.
    #[error("no render worker could be started")]
    NotStarted,
    /// It ended, or answered nothing that makes sense.
    #[error("the render worker broke")]
    Broke,
    /// It was too slow and is gone.
    #[error("the render worker took too long")]
    TooSlow,
}

impl WorkError {
    /// The kind of failure.
    pub(crate) const fn fault(self) -> Fault {
        match self {
            Self::Busy => Fault::Busy,
            Self::Refused(_) => Fault::BadInput,
            Self::NotStarted | Self::Broke | Self::TooSlow => Fault::Broken,
        }
    }
}

impl WorkError {
    /// Whether another frame may fare better.
    pub(crate) const fn is_about_the_frame(self) -> bool {
        matches!(self, Self::Refused(_) | Self::Broke | Self::TooSlow)
    }
}

impl From<RenderError> for WorkError {
    fn from(error: RenderError) -> Self {
        Self::Refused(error.code())
    }
}

#[derive(Debug)]
struct Worker {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    worked: Duration,
}

impl Renderer {
    /// A pool of processes, each `program` with these words behind it. None is started yet. One person has at most `workers`
    /// of them at a time; one more is for others.
    pub fn new(program: impl Into<PathBuf>, words: Vec<OsString>, workers: usize) -> Self {
        let turns = Turns::new(workers);
        Self(Arc::new(Pool { program: program.into(), words, turns, idle: Mutex::new(Vec::new()) }))
    }

    /// Waits for a place.
    ///
    /// Cancel safety: nothing is held.
    pub(crate) async fn place(&self, whose: Whose) -> Result<Place, WorkError> {
        self.0.turns.place(whose).await
    }

    /// Has a job done.
    ///
    /// Cancel safety: dropping the future kills the worker; the next job gets a new one.
    pub(crate) async fn work(&self, place: Place, job: &Job, frame: Pieces) -> Result<Bytes, WorkError> {
        metrics::counter!("leadglass_renders_total").increment(1);
        let frame_len = frame.len();
        let head = job.head(frame_len)?;
        let mut worker = self.worker()?;
        let began = Instant::now();
        let answered = timeout(JOB_TIME, worker.exchange(head, frame)).await;
        worker.worked += began.elapsed();
        let outcome = match answered {
            Ok(Ok(answer)) => {
                // What a large frame took an allocator gives back late; a process gives it back when it ends.
                let light = job.decoded_bytes().saturating_add(frame_len as u64) <= LIGHT_BYTES;
                if light && worker.worked < WORKING_LIFE {
                    self.0.idle.lock().push(worker);
                }
                answer
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(WorkError::TooSlow),
        };
        if matches!(outcome, Err(WorkError::Broke | WorkError::TooSlow)) {
            tracing::warn!(error = %WorkError::Broke, "a render worker ended in the middle of a frame");
        }
        drop(place);
        outcome
    }

    /// One that waits, else a new one.
    fn worker(&self) -> Result<Worker, WorkError> {
        loop {
            let Some(mut waiting) = self.0.idle.lock().pop() else { return self.start() };
            if matches!(waiting.child.try_wait(), Ok(None)) {
                return Ok(waiting);
            }
        }
    }

    fn start(&self) -> Result<Worker, WorkError> {
        let mut child = Command::new(&self.0.program)
            .args(&self.0.words)
            .env_clear()
            .envs(ALLOCATOR)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A signal for the vault is none for its workers: they end with the pipe.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                tracing::error!(%error, "no render worker could be started");
                WorkError::NotStarted
            })?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or(WorkError::NotStarted)?;
        // A frame passes in a few pieces, not in dozens; where the system grants less, it takes longer.
        let _ = rustix::pipe::fcntl_setpipe_size(&input, PIPE_BYTES);
        let _ = rustix::pipe::fcntl_setpipe_size(&output, PIPE_BYTES);
        Ok(Worker { child, input, output, worked: Duration::ZERO })
    }
}

impl Worker {
    /// The outer error ends the worker, the inner one is its answer.
    async fn exchange(&mut self, head: Vec<u8>, frame: Pieces) -> Result<Result<Bytes, WorkError>, WorkError> {
        let broke = |_| WorkError::Broke;
        self.tell(head, frame).await.map_err(broke)?;
        // Head and picture come in one write, and mostly in one read.
        let mut answer = Vec::with_capacity(USUAL_ANSWER_BYTES);
        let head = loop {
            if let Some(head) = answer.first_chunk() {
                break AnswerHead::read(*head).ok_or(WorkError::Broke)?;
            }
            self.more(&mut answer).await?;
        };
        let (AnswerHead::Done(len) | AnswerHead::Refused(len)) = head;
        let end = AnswerHead::LEN + len;
        answer.reserve(end.saturating_sub(answer.len()));
        while answer.len() < end {
            self.more(&mut answer).await?;
        }
        // Nobody asked for more.
        if answer.len() > end {
            return Err(WorkError::Broke);
        }
        let bytes = Bytes::from(answer).slice(AnswerHead::LEN..);
        match head {
            AnswerHead::Done(_) => Ok(Ok(bytes)),
            AnswerHead::Refused(_) => Ok(Err(WorkError::Refused(known_code(&bytes).ok_or(WorkError::Broke)?))),
        }
    }

    /// Writes all of it, in as few calls as the pipe allows, and lets go of the pieces.
    async fn tell(&mut self, head: Vec<u8>, frame: Pieces) -> std::io::Result<()> {
        let all: Vec<&[u8]> = std::iter::once(&head[..]).chain(frame.0.iter().map(|piece| &piece[..])).collect();
        for some in all.chunks(PIECES_AT_ONCE) {
            let mut slices: Vec<IoSlice<'_>> = some.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut left = slices.as_mut_slice();
            // Pieces of nothing would look like a pipe that takes nothing.
            IoSlice::advance_slices(&mut left, 0);
            while !left.is_empty() {
                let written = self.input.write_vectored(left).await?;
                if written == 0 {
                    return Err(std::io::ErrorKind::WriteZero.into());
                }
                IoSlice::advance_slices(&mut left, written);
            }
        }
        self.input.flush().await
    }

    async fn more(&mut self, answer: &mut Vec<u8>) -> Result<(), WorkError> {
        match self.output.read_buf(answer).await {
            Ok(0) | Err(_) => Err(WorkError::Broke),
            Ok(_) => Ok(()),
        }
    }
}

/// All of a worker's environment: how much address space its allocator takes in advance. The usual GiB would leave little
/// under the worker's bound.
const ALLOCATOR: [(&str, &str); 2] = [("MIMALLOC_ARENA_RESERVE", "32MiB"), ("MIMALLOC_ALLOW_THP", "0")];
/// What a pipe holds at most unless the operator of the machine allows more (pipe(7)).
const PIPE_BYTES: usize = 1 << 20;
/// What most pictures are shorter than.
const USUAL_ANSWER_BYTES: usize = 64 << 10;
/// Pieces that one call writes; the system takes 1,024.
const PIECES_AT_ONCE: usize = 256;
/// One frame. The largest that is taken needs a few seconds of this.
const JOB_TIME: Duration = Duration::from_secs(20);
/// Bytes of a frame after which a worker is kept for the next one.
const LIGHT_BYTES: u64 = 32 << 20;
/// A worker that has worked so long is replaced; its own bound of processor time lies above this and one more job.
const WORKING_LIFE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_imaging::decode::{Coding, Layout, Photometric};
    use leadglass_model::{ActorRef, TenantId};

    fn job() -> Job {
        let layout = Layout {
            rows: 1,
            columns: 4,
            samples: 1,
            allocated: 8,
            stored: 8,
            high_bit: 7,
            signed: false,
            planar: false,
            photometric: Photometric::Monochrome2,
        };
        Job::Decode(Coding::Native, layout)
    }

    /// A worker that is a line of shell.
    fn shell(line: &str) -> Renderer {
        Renderer::new("/bin/sh", vec!["-c".into(), line.into()], 1)
    }

    async fn ask(renderer: &Renderer) -> Result<Bytes, WorkError> {
        let place = renderer.place((TenantId::from_bytes([1; 16]), ActorRef([2; 16]))).await?;
        renderer
            .work(place, &job(), vec![Bytes::from_static(&[1, 2]), Bytes::new(), Bytes::from_static(&[3, 4])].into())
            .await
    }

    /// Time is wound on whenever nothing else happens, so that nobody waits for a worker that never answers.
    #[tokio::test(start_paused = true)]
    async fn a_worker_that_never_answers_is_given_up() {
        assert_eq!(ask(&shell("exec sleep 1000")).await, Err(WorkError::TooSlow));
    }

    #[tokio::test]
    async fn a_worker_that_ends_or_lies_costs_one_job_and_its_place_comes_back() {
        for line in [
            "exit 1",
            // Bytes without end, a length that nobody may claim, a code that there is not.
            "exec cat /dev/zero",
            r"printf '\001\377\377\377\377'; exec cat",
            r"printf '\002\003\000\000\000abc'; exec cat",
            // Half an answer.
            r"printf '\001\010\000\000\000abc'",
        ] {
            let renderer = shell(line);
            for _ in 0..2 {
                assert_eq!(ask(&renderer).await, Err(WorkError::Broke), "{line}");
            }
            assert!(renderer.0.idle.lock().is_empty(), "{line}");
        }
        assert_eq!(ask(&Renderer::new("/nowhere/worker", Vec::new(), 1)).await, Err(WorkError::NotStarted));
    }

    #[tokio::test]
    async fn a_worker_is_kept_for_the_next_job() {
        // Its answer is its process.
        let len = job().head(4).unwrap().len() + 4;
        let line = format!(
            r"for n in 1 2; do head -c {len} > /dev/null; printf '\001\010\000\000\000%8d' $$; done; exec sleep 1000"
        );
        let renderer = shell(&line);
        let (first, second) = (ask(&renderer).await.unwrap(), ask(&renderer).await.unwrap());
        assert_eq!((first.len(), renderer.0.idle.lock().len()), (8, 1));
        assert_eq!(first, second);
    }
}
