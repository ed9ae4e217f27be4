//! Versions and delete markers of one name, in a bucket that keeps them: deleting an object there hides it and no more.
//!
//! ListObjectVersions and DeleteObject with a version (Amazon S3 API Reference), by signed addresses: `object_store` has no word
//! for either. A bucket without versions lists none; a server that does not know the question (501) has none.

use super::{
    listing::Listing,
    uploads::{answer_of, failed},
};
use futures::TryStreamExt;
use object_store::{
    Error, Result,
    aws::AmazonS3,
    client::{HttpClient, HttpRequestBody},
    path::Path,
    signer::{SignedUrlOptions, Signer},
};
use std::time::Duration;

/// Deletes every version and marker of exactly that name, until none is listed.
pub(super) async fn erase(s3: &AmazonS3, http: &HttpClient, name: &Path) -> Result<()> {
    for _ in 0..ROUNDS {
        let max = LIST_MAX.to_string();
        let query = [("versions", ""), ("prefix", name.as_ref()), ("max-keys", &max)];
        let Some(answer) = ask(s3, http, http::Method::GET, &Path::ROOT, &query).await? else { return Ok(()) };
        let found =
            LISTING.ids(&answer, name.as_ref()).ok_or_else(|| failed("an answer that is no list of versions"))?;
        if found.is_empty() {
            return Ok(());
        }
        for version in &found {
            ask(s3, http, http::Method::DELETE, name, &[("versionId", version)]).await?;
        }
    }
    Err(failed("versions that do not end; is the object locked?"))
}

/// The body of a good answer; `None` where the server knows no versions, or the version is gone.
async fn ask(
    s3: &AmazonS3,
    http: &HttpClient,
    method: http::Method,
    path: &Path,
    query: &[(&str, &str)],
) -> Result<Option<Vec<u8>>> {
    let options = SignedUrlOptions::new().with_query(query.iter().copied());
    let url = s3.signed_url_opts(method.clone(), path, SIGNED_FOR, &options).await?;
    let request = http::Request::builder().method(method).uri(url.as_str()).body(HttpRequestBody::empty());
    let request = request.map_err(|_| failed("the request for versions cannot be made"))?;
    let answer = http.execute(request).await.map_err(|e| Error::Generic { store: "S3", source: e.into() })?;
    if matches!(answer.status().as_u16(), 404 | 501) {
        answer.into_body().bytes_stream().try_for_each(|_| async { Ok(()) }).await.ok();
        return Ok(None);
    }
    answer_of(answer).await.map(Some)
}

const LISTING: Listing = Listing { root: "ListVersionsResult", items: &["Version", "DeleteMarker"], id: "VersionId" };
const LIST_MAX: usize = 100;
const ROUNDS: usize = 5;
const SIGNED_FOR: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>o/ab/ab12</Prefix>
<Version><Key>o/ab/ab12</Key><VersionId>one</VersionId><IsLatest>false</IsLatest></Version>
<DeleteMarker><Key>o/ab/ab12</Key><VersionId>two</VersionId></DeleteMarker>
<Version><Key>o/ab/ab123</Key><VersionId>theirs</VersionId></Version></ListVersionsResult>"#;

    #[test]
    fn versions_and_markers_of_that_very_name_are_found_and_no_others() {
        assert_eq!(LISTING.ids(ANSWER.as_bytes(), "o/ab/ab12").unwrap(), ["one", "two"]);
        assert_eq!(LISTING.ids(b"<ListVersionsResult/>", "o/ab/ab12").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn half_an_answer_is_no_answer() {
        for at in 0..ANSWER.len() {
            assert_eq!(LISTING.ids(&ANSWER.as_bytes()[..at], "o/ab/ab12"), None, "{at}");
        }
        assert_eq!(LISTING.ids(b"<Error><Code>x</Code></Error>", "o/ab/ab12"), None);
    }
}
