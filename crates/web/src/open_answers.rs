//! How many answers are on their way, and how many were broken off: gauges for who runs the vault, and for tests that want to
//! know that nobody works for a reader who is gone.

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A body that is made while it is sent. It is counted until it is dropped.
struct Sending {
    body: Body,
    is_over: bool,
}

/// Counts a body that is made while it is sent; one that lies there already is let through.
pub(crate) fn counted(body: Body) -> Body {
    if body.is_end_stream() || body.size_hint().exact().is_some() {
        return body;
    }
    metrics::gauge!(OPEN).increment(1);
    Body::new(Sending { body, is_over: false })
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // An error breaks the answer off, too, but the vault did that.
        self.is_over |= !matches!(frame, Some(Ok(_))) || self.body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        metrics::gauge!(OPEN).decrement(1);
        if !self.is_over {
            metrics::counter!(CUT).increment(1);
        }
    }
}

const OPEN: &str = "leadglass_http_answers_open";
const CUT: &str = "leadglass_http_answers_cut_total";

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt, stream};
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn an_answer_is_open_until_it_is_dropped_and_cut_when_that_was_early() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let told = |name: &str| {
            let text = recorder.handle().render();
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok()).unwrap_or(0)
        };
        metrics::with_local_recorder(&recorder, || {
            let pieces = || Body::from_stream(stream::iter([b"a", b"b"].map(|p| Ok::<_, std::io::Error>(&p[..]))));
            let (whole, cut, ready) = (counted(pieces()), counted(pieces()), counted(Body::from("here")));
            assert_eq!(told(OPEN), 2, "what lies there already is not on its way");
            let mut whole = whole.into_data_stream();
            while futures::executor::block_on(whole.next()).is_some() {}
            let mut cut = cut.into_data_stream();
            assert!(futures::executor::block_on(cut.next()).is_some());
            drop((whole, cut, ready));
            assert_eq!((told(OPEN), told(CUT)), (0, 1));
        });
    }
}
