//! Gathers an answer in a buffer that is wiped, growth included.

use crate::{ServiceError, wire::WireError};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// The whole body, at most `max` bytes.
pub(super) async fn collect(mut body: Incoming, max: usize) -> Result<Zeroizing<Vec<u8>>, ServiceError> {
    let announced = body.size_hint().exact().and_then(|n| usize::try_from(n).ok()).unwrap_or(FIRST_ROOM);
    if body.size_hint().exact().is_some() && announced > max {
        return Err(ServiceError::Answer { source: WireError::TooLong { len: announced, max } });
    }
    let mut whole = Zeroizing::new(Vec::with_capacity(announced));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ServiceError::Lost { source: Arc::new(e) })?;
        let Ok(data) = frame.into_data() else { continue };
        let len = whole.len().saturating_add(data.len());
        if len > max {
            return Err(ServiceError::Answer { source: WireError::TooLong { len, max } });
        }
        if len > whole.capacity() {
            // A vector that grows by itself would leave its old bytes behind.
            let mut wider = Zeroizing::new(Vec::with_capacity(len.saturating_mul(2).min(max)));
            wider.extend_from_slice(&whole);
            whole = wider;
        }
        whole.extend_from_slice(&data);
        wipe(data);
    }
    Ok(whole)
}

/// Overwrites a frame if nobody else holds a part of its buffer.
fn wipe(data: Bytes) {
    if let Ok(mut data) = data.try_into_mut() {
        data.as_mut().zeroize();
    }
}

/// Room for an answer of unknown length, in bytes.
const FIRST_ROOM: usize = 4096;
