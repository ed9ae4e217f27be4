//! Peers that get on and peers that do not.

use super::*;
use axum::{body::Body, http::Request};
use futures::StreamExt;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
};

/// Serves 1 MiB to whoever asks, over a pipe that holds little; tells when the connection is over.
fn serve() -> (DuplexStream, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(1_024);
    let traffic = Traffic::new();
    let whole = axum::Router::new().fallback(|| async { vec![7_u8; ANSWER as usize] });
    let service = TowerToHyperService::new(Counted::new(whole, traffic.clone()));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(20)));
    let task = tokio::spawn(async move {
        let connection = builder.serve_connection(TokioIo::new(Watched::new(far, traffic, ())), service);
        let _ = connection.await;
    });
    (near, task)
}

const ANSWER: u32 = 1 << 20;

type Client = hyper::client::conn::http2::SendRequest<Body>;

async fn speak_http2(near: DuplexStream) -> Client {
    // Its window is smaller than the answer; it answers pings as long as it lives.
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (ask, connection) = client.initial_stream_window_size(ANSWER / 2).handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection);
    ask
}

async fn ask(client: &mut Client) -> hyper::body::Incoming {
    client.send_request(Request::new(Body::empty())).await.unwrap().into_body()
}

// Time is wound on whenever nothing else happens.

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_is_asked_is_ended() {
    let begun = Instant::now();
    let (_near, task) = serve();
    task.await.unwrap();
    assert!(begun.elapsed() < 2 * IDLE_TIME, "before its first byte");
    let (near, task) = serve();
    let mut client = speak_http2(near).await;
    let mut body = Body::new(ask(&mut client).await).into_data_stream();
    let mut len = 0;
    while let Some(piece) = body.next().await {
        len += piece.unwrap().len();
    }
    assert_eq!(len, ANSWER as usize);
    let begun = Instant::now();
    task.await.unwrap();
    assert!((IDLE_TIME..2 * IDLE_TIME).contains(&begun.elapsed()), "though it answers pings");
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_which_nobody_reads_on_is_ended() {
    let (mut near, task) = serve();
    near.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    task.await.unwrap();
    assert!(begun.elapsed() < 2 * STALL_TIME, "HTTP/1.1");
    let (near, task) = serve();
    let mut client = speak_http2(near).await;
    let _unread = ask(&mut client).await;
    let begun = Instant::now();
    task.await.unwrap();
    assert!(begun.elapsed() < 2 * STALL_TIME, "HTTP/2");
}

/// The room that an unread answer holds was once held for ever by whoever read another beside it.
#[tokio::test(start_paused = true)]
async fn a_stream_of_which_nobody_reads_on_is_ended_though_others_get_on() {
    let (near, task) = serve();
    let mut client = speak_http2(near).await;
    let _unread = ask(&mut client).await;
    let begun = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let Ok(answer) = client.send_request(Request::new(Body::empty())).await else { break };
        let mut body = Body::new(answer.into_body()).into_data_stream();
        while let Some(Ok(_)) = body.next().await {}
        assert!(begun.elapsed() < 2 * STREAM_TIME, "it goes on for ever");
    }
    assert!(begun.elapsed() >= STREAM_TIME, "a reader may rest for a while: {:?}", begun.elapsed());
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_that_gets_on_is_served_to_the_end() {
    let (mut near, _task) = serve();
    near.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut len, mut piece) = (0, vec![0; 16 * 1024]);
    while let Ok(some @ 1..) = near.read(&mut piece).await {
        len += some;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(len > ANSWER as usize, "{len}");
}

/// A line that carries the pieces of many streams slowly was once ended because none of them got one within its time.
#[tokio::test(start_paused = true)]
async fn a_slow_line_that_passes_over_nobody_goes_on_and_one_that_does_is_ended() {
    let traffic = Traffic::new();
    let (since, streams) = (Instant::now(), 64);
    let wait = |number| Stream { number, since, total: 0 };
    traffic.change(|counts| {
        counts.streams = (0..streams).map(wait).collect();
        counts.waiting = counts.streams.len();
    });
    // 4 KiB in five seconds.
    while since.elapsed() < 2 * STREAM_TIME {
        tokio::time::sleep(Duration::from_secs(5)).await;
        traffic.wrote(&Poll::Ready(Ok(PROGRESS_BYTES)));
        assert!(!traffic.is_over(), "after {:?}", since.elapsed());
    }
    // Others were given twice what all of them should have had.
    traffic.wrote(&Poll::Ready(Ok(2 * PIECE_BYTES * 64)));
    assert!(traffic.is_over());
    // Nor does the slowest line hold room for ever.
    traffic.change(|counts| counts.streams = vec![wait(0)]);
    traffic.change(|counts| counts.total = 0);
    assert!(!traffic.is_over());
    tokio::time::sleep(LONGEST_STREAM_TIME).await;
    traffic.wrote(&Poll::Ready(Ok(PROGRESS_BYTES)));
    assert!(traffic.is_over());
}
