//! Multipart uploads of one name that were begun and never completed.
//!
//! A node that dies between asking for an upload and hearing its number cannot end it by number. The server knows: it is
//! asked for the uploads of that very name, and each of them is aborted. Names are random and ours, so nobody else's is met.
//! `object_store` has no word for the question; its signed addresses have.

use super::listing::Listing;
use crate::{steady::Unfinished, told::Told};
use async_trait::async_trait;
use bytes::BytesMut;
use futures::StreamExt;
use object_store::{
    Error, Result,
    aws::AmazonS3,
    client::{HttpClient, HttpRequestBody},
    multipart::MultipartStore,
    path::Path,
    signer::{SignedUrlOptions, Signer},
};
use std::{sync::Arc, time::Duration};

pub(super) struct Uploads {
    s3: Arc<AmazonS3>,
    http: HttpClient,
}

impl Uploads {
    pub(super) fn new(s3: Arc<AmazonS3>, http: HttpClient) -> Self {
        Self { s3, http }
    }

    /// ListMultipartUploads (Amazon S3 API Reference). Answers the first of them: at most [`LIST_MAX`].
    async fn list(&self, name: &Path) -> Result<Vec<String>> {
        let max = LIST_MAX.to_string();
        let query = [("uploads", ""), ("prefix", name.as_ref()), ("max-uploads", &max)];
        let options = SignedUrlOptions::new().with_query(query);
        let url = self.s3.signed_url_opts(http::Method::GET, &Path::ROOT, SIGNED_FOR, &options).await?;
        let request = http::Request::get(url.as_str()).body(HttpRequestBody::empty());
        let request = request.map_err(|_| failed("the request for unfinished uploads cannot be made"))?;
        let answer = self.http.execute(request).await.map_err(|e| Error::Generic { store: "S3", source: e.into() })?;
        LISTING
            .ids(&answer_of(answer).await?, name.as_ref())
            .ok_or_else(|| failed("an answer that is no list of uploads"))
    }
}

#[async_trait]
impl Unfinished for Uploads {
    async fn abort_all(&self, name: &Path) -> Result<()> {
        // An upload that is being aborted may show once more; a name has one or two of them.
        for _ in 0..ROUNDS {
            let found = self.list(name).await?;
            if found.is_empty() {
                return Ok(());
            }
            for id in &found {
                match self.s3.abort_multipart(name, id).await {
                    Ok(()) | Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Err(failed("uploads that do not end"))
    }

    async fn erase_versions(&self, name: &Path) -> Result<()> {
        super::versions::erase(&self.s3, &self.http, name).await
    }
}

/// The body of an answer, if it is a good one.
pub(super) async fn answer_of(answer: object_store::client::HttpResponse) -> Result<Vec<u8>> {
    let status = answer.status();
    let mut body = BytesMut::new();
    let mut pieces = answer.into_body().bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|e| Error::Generic { store: "S3", source: e.into() })?;
        if body.len() + piece.len() > ANSWER_MAX {
            return Err(failed("a list without end"));
        }
        body.extend_from_slice(&piece);
    }
    if !status.is_success() {
        let told = Told::answered(status.as_u16(), &body);
        return Err(Error::Generic { store: "S3", source: Box::new(told) });
    }
    Ok(body.to_vec())
}

pub(super) fn failed(why: &'static str) -> Error {
    Error::Generic { store: "S3", source: Box::new(Told::because(why)) }
}

const LISTING: Listing = Listing { root: "ListMultipartUploadsResult", items: &["Upload"], id: "UploadId" };
const LIST_MAX: usize = 100;
const ANSWER_MAX: usize = 1 << 20;
const ROUNDS: usize = 5;
const SIGNED_FOR: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>b</Bucket><Prefix>o/ab/ab12</Prefix>
<Upload><Key>o/ab/ab12</Key><UploadId>one</UploadId><Owner><ID>x</ID></Owner></Upload>
<Upload><UploadId>theirs</UploadId><Key>o/ab/ab123</Key></Upload>
<Upload><Initiated>x</Initiated><UploadId>two</UploadId><Key>o/ab/ab12</Key></Upload></ListMultipartUploadsResult>"#;

    #[test]
    fn only_uploads_of_that_very_name_are_found() {
        let found = LISTING.ids(ANSWER.as_bytes(), "o/ab/ab12").unwrap();
        assert_eq!(found, ["one", "two"]);
    }

    #[test]
    fn half_an_answer_is_no_answer() {
        for at in 0..ANSWER.len() {
            assert_eq!(LISTING.ids(&ANSWER.as_bytes()[..at], "o/ab/ab12"), None, "{at}");
        }
        assert_eq!(LISTING.ids(b"<Error><Code>x</Code></Error>", "o/ab/ab12"), None);
        assert_eq!(LISTING.ids("<a>".repeat(100).as_bytes(), "o/ab/ab12"), None);
    }
}
