//! The render workers: processes that hold foreign bytes so that this one need not.
//!
//! At most so many at a time; whoever comes later waits for a place, for a while ([`Turns`]). A worker has one job at a time.
//! One that breaks, lies or takes too long is killed, and the next job gets a new one. A job that is given up ends its worker.
//!
//! What a crafted frame makes of a worker it may stay for the next one, unseen. So a worker serves one tenant only, none is kept
//! that has read JPEG 2000, whose decoder is the largest and the most attacked, and an answer bears its job's random ticket:
//! what was written ahead is no answer to what comes later.

use super::turns::{Place, Turns, Whose};
use bytes::Bytes;
use leadglass_imaging::{
    decode::Coding,
    render::RenderError,
    work::{AnswerHead, Job, NOT_CONFINED, Ticket, known_code},
};
use leadglass_model::{Entropy, Fault, SystemEntropy, TenantId};
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
    /// The oldest first. A worker sees frames of one tenant only.
    idle: Mutex<Vec<(TenantId, Worker)>>,
    most_idle: usize,
}

/// A frame in the pieces that it came in.
#[derive(Debug, Default)]
pub(crate) struct Pieces(Vec<Bytes>);

impl Pieces {
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// All of them as one.
    pub(super) fn whole(self) -> Bytes {
        match <[Bytes; 1]>::try_from(self.0) {
            Ok([piece]) => piece,
            Err(pieces) => pieces.concat().into(),
        }
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
    /// It could not give up what it has no need of, so it decodes nothing.
    #[error("the render worker could not be confined")]
    NotConfined,
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
            Self::NotStarted | Self::NotConfined | Self::Broke | Self::TooSlow => Fault::Broken,
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
        let idle = Mutex::new(Vec::new());
        Self(Arc::new(Pool { program: program.into(), words, turns, idle, most_idle: workers.max(1) + 1 }))
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
        let mut ticket = Ticket::default();
        SystemEntropy.fill(&mut ticket);
        let head = job.head(ticket, frame_len)?;
        let tenant = place.tenant();
        let mut worker = self.worker(tenant)?;
        let began = Instant::now();
        let answered = timeout(JOB_TIME, worker.exchange(ticket, head, frame)).await;
        worker.worked += began.elapsed();
        let outcome = match answered {
            Ok(Ok(answer)) => {
                // What a large frame took an allocator gives back late; a process gives it back when it ends.
                let light = job.decoded_bytes().saturating_add(frame_len as u64) <= LIGHT_BYTES;
                if light && job.coding() != Coding::Jpeg2000 && worker.worked < WORKING_LIFE {
                    self.keep(tenant, worker);
                }
                answer
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(WorkError::TooSlow),
        };
        if matches!(outcome, Err(WorkError::Broke | WorkError::TooSlow)) {
            tracing::warn!(error = %WorkError::Broke, "a render worker ended in the middle of a frame");
        }
        if matches!(outcome, Err(WorkError::NotConfined)) {
            tracing::error!("no picture is made: this kernel filters no system calls; `leadglass doctor` says more");
        }
        drop(place);
        outcome
    }

    /// One that waits for that tenant's frames, else a new one.
    fn worker(&self, tenant: TenantId) -> Result<Worker, WorkError> {
        loop {
            let waiting = {
                let mut idle = self.0.idle.lock();
                idle.iter().rposition(|(whose, _)| *whose == tenant).map(|at| idle.remove(at))
            };
            let Some((_, mut waiting)) = waiting else { return self.start() };
            if matches!(waiting.child.try_wait(), Ok(None)) {
                return Ok(waiting);
            }
        }
    }

    /// Keeps a worker for that tenant's next frame; the one that waited longest makes room for it.
    fn keep(&self, tenant: TenantId, worker: Worker) {
        let mut idle = self.0.idle.lock();
        idle.push((tenant, worker));
        let over = idle.len().saturating_sub(self.0.most_idle);
        let ended: Vec<_> = idle.drain(..over).collect();
        drop(idle);
        drop(ended);
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
    async fn exchange(
        &mut self,
        ticket: Ticket,
        head: Vec<u8>,
        frame: Pieces,
    ) -> Result<Result<Bytes, WorkError>, WorkError> {
        let broke = |_| WorkError::Broke;
        self.tell(head, frame).await.map_err(broke)?;
        // Head and picture come in one write, and mostly in one read.
        let mut answer = Vec::with_capacity(USUAL_ANSWER_BYTES);
        let head = loop {
            if let Some(head) = answer.first_chunk() {
                break AnswerHead::read(*head, ticket).ok_or(WorkError::Broke)?;
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
            AnswerHead::Refused(_) => match known_code(&bytes).ok_or(WorkError::Broke)? {
                NOT_CONFINED => Err(WorkError::NotConfined),
                code => Ok(Err(WorkError::Refused(code))),
            },
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
    use leadglass_imaging::decode::{Layout, Photometric};
    use leadglass_model::ActorRef;

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

    /// Reads a job's ticket, for `printf %b`, and what stands behind it: two lengths, the head and four bytes of a frame.
    fn read(job: &Job) -> String {
        let rest = job.head([0; 16], 4).unwrap().len() - 16 + 4;
        format!(
            r"ticket=$(head -c 16 | od -An -v -to1 | tr -d '\n' | sed 's/ \(...\)/\\0\1/g'); head -c {rest} > /dev/null"
        )
    }

    /// A worker that answers each of so many jobs with its process's number.
    fn numbered(job: &Job, jobs: &str) -> Renderer {
        let read = read(job);
        shell(&format!(
            r"for n in {jobs}; do {read}; printf '%b%8d' '\0001\0010\0000\0000\0000'$ticket $$; done; exec sleep 1000"
        ))
    }

    async fn ask(renderer: &Renderer) -> Result<Bytes, WorkError> {
        ask_for(renderer, 1, &job()).await
    }

    async fn ask_for(renderer: &Renderer, tenant: u8, job: &Job) -> Result<Bytes, WorkError> {
        let place = renderer.place((TenantId::from_bytes([tenant; 16]), ActorRef([2; 16]))).await?;
        renderer
            .work(place, job, vec![Bytes::from_static(&[1, 2]), Bytes::new(), Bytes::from_static(&[3, 4])].into())
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
            r"printf '\002\003\000\000\000'; head -c 16; printf abc; exec cat",
            // Half an answer.
            r"printf '\001\010\000\000\000'; head -c 16; printf abc",
            // An answer to no job of ours.
            r"printf '\001\001\000\000\000%016da' 1; exec sleep 1000",
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
        let renderer = numbered(&job(), "1 2");
        let (first, second) = (ask(&renderer).await.unwrap(), ask(&renderer).await.unwrap());
        assert_eq!((first.len(), renderer.0.idle.lock().len()), (8, 1));
        assert_eq!(first, second);
    }

    /// A worker that a crafted frame had taken over once got the next patient's frame, of whatever tenant.
    #[tokio::test]
    async fn a_worker_serves_one_tenant_and_ends_after_jpeg_2000() {
        let renderer = numbered(&job(), "1 2 3");
        let first = ask_for(&renderer, 1, &job()).await.unwrap();
        let other = ask_for(&renderer, 2, &job()).await.unwrap();
        assert_ne!(first, other, "another tenant, another process");
        assert_eq!(ask_for(&renderer, 1, &job()).await.unwrap(), first);
        for tenant in 3..=9 {
            ask_for(&renderer, tenant, &job()).await.unwrap();
        }
        assert_eq!(renderer.0.idle.lock().len(), renderer.0.most_idle, "however many tenants there are");

        let Job::Decode(_, layout) = job() else { unreachable!() };
        let crafted = Job::Decode(Coding::Jpeg2000, layout);
        let renderer = numbered(&crafted, "1 2");
        ask_for(&renderer, 1, &crafted).await.unwrap();
        assert!(renderer.0.idle.lock().is_empty());
    }

    /// What a worker wrote ahead was once taken for the answer to the next job: a picture of somebody else, with 200.
    #[tokio::test]
    async fn an_answer_that_was_there_before_its_job_is_no_answer() {
        // The second time it does not look at the ticket.
        let read = read(&job());
        let renderer = shell(&format!(
            r"{read}; for n in 1 2; do printf %b '\0001\0001\0000\0000\0000'$ticket'a'; head -c 1 > /dev/null; done; exec sleep 1000"
        ));
        assert_eq!(ask(&renderer).await.as_deref(), Ok(&b"a"[..]));
        assert_eq!(ask(&renderer).await, Err(WorkError::Broke));
    }

    #[tokio::test]
    async fn a_worker_that_could_not_be_confined_is_no_worker() {
        let renderer = shell(r"printf '\002\014\000\000\000'; head -c 16; printf not-confined; exec cat > /dev/null");
        assert_eq!(ask(&renderer).await, Err(WorkError::NotConfined));
        assert!(renderer.0.idle.lock().is_empty());
    }
}
