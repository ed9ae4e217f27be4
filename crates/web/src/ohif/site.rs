//! The files of a viewer that is installed beside the vault, listed once at the start.
//!
//! Only what was listed is ever opened, under the name it was listed by: a request's path is a key of a table and never
//! becomes a path of the disk. Links are not followed. A file `x.gz` beside `x` is `x` for whoever takes gzip.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use leadglass_model::Fault;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};
use tokio_util::io::ReaderStream;

/// An installed viewer.
#[derive(Debug)]
pub struct Site {
    files: HashMap<String, Entry>,
    index: String,
    page_policy: HeaderValue,
    worker_policy: HeaderValue,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    kind: &'static str,
    /// The same bytes, by gzip.
    zipped: Option<PathBuf>,
}

/// Why a viewer's files cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// The folder, or something in it, cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// What.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// It holds no viewer.
    #[error("{folder} holds no index.html: install OHIF there with deploy/ohif.sh")]
    NoViewer {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// It holds far more than a viewer.
    #[error(
        "{folder} holds more than {MAX_FILES} files, or deeper than {MAX_DEPTH} folders: is it the viewer's own folder?"
    )]
    TooMuch {
        /// Where.
        folder: PathBuf,
    },
}

impl SiteError {
    /// Always [`Fault::BadInput`]: the configuration names a folder that does not do.
    pub const fn fault(&self) -> Fault {
        Fault::BadInput
    }
}

impl Site {
    /// Lists a folder. Blocks.
    pub fn open(folder: &Path) -> Result<Self, SiteError> {
        let mut paths = HashMap::new();
        list(folder, folder, 0, &mut paths)?;
        let index = paths.remove("index.html").ok_or_else(|| SiteError::NoViewer { folder: folder.to_owned() })?;
        let index = std::fs::read_to_string(&index).map_err(|source| SiteError::Read { path: index, source })?;
        let mut files = HashMap::new();
        for (name, path) in &paths {
            if name.ends_with(".gz") || name.ends_with(".map") {
                continue;
            }
            let Some(kind) = kind(name) else { continue };
            let zipped = paths.get(&format!("{name}.gz")).cloned();
            files.insert(name.clone(), Entry { path: path.clone(), kind, zipped });
        }
        let (page_policy, worker_policy) = (page_policy(&index), HeaderValue::from_static(WORKER_POLICY));
        Ok(Self { files, index, page_policy, worker_policy })
    }

    /// What a browser may do with its code: as a page's, or as a worker's, which takes its own file's word.
    pub(super) fn policy(&self, asked: &HeaderMap) -> &HeaderValue {
        let what = asked.get("sec-fetch-dest").map(HeaderValue::as_bytes);
        if what == Some(b"worker") { &self.worker_policy } else { &self.page_policy }
    }

    /// Its first page.
    pub(super) fn index(&self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        (headers, self.index.clone()).into_response()
    }

    /// The file of that name, if it was listed and is still there.
    pub(super) async fn file(&self, name: &str, headers: &HeaderMap) -> Option<Response> {
        let entry = self.files.get(name)?;
        let takes_gzip = headers.get_all(header::ACCEPT_ENCODING).iter().any(|v| v.to_str().is_ok_and(names_gzip));
        let zipped = entry.zipped.as_ref().filter(|_| takes_gzip);
        let file = tokio::fs::File::open(zipped.unwrap_or(&entry.path)).await.ok()?;
        let about = file.metadata().await.ok()?;
        let changed = about.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let tag = format!("\"{:x}-{changed:x}\"", about.len());
        let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
        let mut answer = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            Body::from_stream(ReaderStream::with_capacity(file, PIECE_BYTES)).into_response()
        };
        let out = answer.headers_mut();
        if !known {
            out.insert(header::CONTENT_LENGTH, HeaderValue::from(about.len()));
        }
        if zipped.is_some() {
            out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let keep = if is_named_by_content(name) { "private, max-age=31536000, immutable" } else { "no-cache" };
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
        out.insert(header::VARY, HeaderValue::from_static("accept-encoding, sec-fetch-dest"));
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static(entry.kind));
        out.insert(header::ETAG, HeaderValue::from_str(&tag).expect("hexadecimal digits"));
        Some(answer)
    }
}

fn list(root: &Path, folder: &Path, depth: usize, into: &mut HashMap<String, PathBuf>) -> Result<(), SiteError> {
    let failed = |source| SiteError::Read { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let path = entry.path();
        if kind.is_dir() && depth < MAX_DEPTH {
            list(root, &path, depth + 1, into)?;
        } else if kind.is_dir() || into.len() >= MAX_FILES {
            return Err(SiteError::TooMuch { folder: root.to_owned() });
        } else if kind.is_file()
            && let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str)
        {
            into.insert(name.to_owned(), path);
        }
    }
    Ok(())
}

/// Media types of what a viewer is made of; what is none of these is not served.
fn kind(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "json" | "webmanifest" => "application/json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "ttf" => "font/ttf",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

/// Whether an `Accept-Encoding` (RFC 9110 §12.5.3) takes gzip.
fn names_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

/// Bundlers put a hash of the content into a name: another content has another name.
fn is_named_by_content(name: &str) -> bool {
    name.split(['.', '/', '-']).any(|part| part.len() >= 16 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The page's own scripts are named by their hashes, so that no other one runs. Decoders are WebAssembly and run in workers
/// that are made of blobs; the page styles itself as it goes.
fn page_policy(index: &str) -> HeaderValue {
    let mut scripts = String::new();
    for rest in index.split("<script>").skip(1) {
        let Some((script, _)) = rest.split_once("</script>") else { break };
        scripts.push_str(&format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(script))));
    }
    let text = format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'{scripts}; worker-src 'self' blob:; \
         style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; \
         media-src 'self' blob:; object-src blob:; frame-src blob:; manifest-src 'self'; form-action 'none'; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::from_str(&text).expect("words and base64")
}

/// Decoders glue themselves to their WebAssembly by functions made of text. They get to do that in a worker, where there is
/// no page to take over, and nothing but this origin to talk to.
const WORKER_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'unsafe-eval'; connect-src 'self'; \
     worker-src 'self' blob:; base-uri 'none'";
const MAX_FILES: usize = 4_000;
const MAX_DEPTH: usize = 8;
const PIECE_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn site() -> (tempfile::TempDir, Site) {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        put("index.html", "<html><script>one()</script><script src=\"/a.js\"></script><script>two()</script></html>");
        put("a.js", "long text");
        put("a.js.gz", "zipped");
        put("a.js.map", "{}");
        put("notes.sh", "rm");
        std::fs::create_dir(dir.path().join("assets")).unwrap();
        put("assets/x.svg", "<svg/>");
        std::fs::write(dir.path().parent().unwrap().join("outside.js"), "no").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link.txt")).unwrap();
        let site = Site::open(dir.path()).unwrap();
        (dir, site)
    }

    async fn body(answer: Response) -> String {
        String::from_utf8(axum::body::to_bytes(answer.into_body(), 1000).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn only_listed_files_of_known_kinds_are_served() {
        let (_dir, site) = site();
        let none = HeaderMap::new();
        assert_eq!(body(site.file("a.js", &none).await.unwrap()).await, "long text");
        assert_eq!(body(site.file("assets/x.svg", &none).await.unwrap()).await, "<svg/>");
        for name in [
            "",
            "index.html",
            "../outside.js",
            "assets/../a.js",
            "link.txt",
            "notes.sh",
            "a.js.map",
            "a.js.gz",
            "/etc/passwd",
            "assets",
        ] {
            assert!(site.file(name, &none).await.is_none(), "{name}");
        }
    }

    #[tokio::test]
    async fn who_takes_gzip_gets_what_was_zipped_at_the_installation() {
        let (_dir, site) = site();
        for (accepted, text) in
            [("gzip, br", "zipped"), ("br;q=1.0, GZIP;q=0.8", "zipped"), ("gzip;q=0", "long text"), ("br", "long text")]
        {
            let headers: HeaderMap =
                [(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted))].into_iter().collect();
            let answer = site.file("a.js", &headers).await.unwrap();
            assert_eq!(answer.headers().contains_key(header::CONTENT_ENCODING), text == "zipped", "{accepted}");
            assert_eq!(body(answer).await, text, "{accepted}");
        }
    }

    #[test]
    fn the_policy_names_the_pages_own_scripts_and_no_host() {
        let (_dir, site) = site();
        let policy = site.policy(&HeaderMap::new()).to_str().unwrap();
        assert_eq!(policy.matches("'sha256-").count(), 2);
        assert!(policy.contains(&format!("'sha256-{}'", STANDARD.encode(Sha256::digest("one()")))));
        for word in ["'unsafe-eval'", "http", "*", "script-src 'self' 'unsafe-inline'"] {
            assert!(!policy.contains(word), "{word}");
        }
    }

    #[test]
    fn text_becomes_code_in_a_worker_only() {
        let (_dir, site) = site();
        let asked =
            |what| [(HeaderName::from_static("sec-fetch-dest"), HeaderValue::from_static(what))].into_iter().collect();
        let policy = |what| site.policy(&asked(what)).to_str().unwrap().to_owned();
        assert!(policy("worker").contains("'unsafe-eval'") && !policy("worker").contains("http"));
        for what in ["script", "document", "sharedworker", "serviceworker", "WORKER"] {
            assert!(!policy(what).contains("'unsafe-eval'"), "{what}");
        }
    }

    #[test]
    fn a_folder_without_a_viewer_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Site::open(dir.path()), Err(SiteError::NoViewer { .. })));
        assert!(matches!(Site::open(&dir.path().join("none")), Err(SiteError::Read { .. })));
    }

    #[test]
    fn names_with_a_hash_are_known() {
        assert!(
            is_named_by_content("app.bundle.096daabbdde29bd851ab.js")
                && is_named_by_content("17dd54813d5acc10bf8f.wasm")
        );
        assert!(!is_named_by_content("app.bundle.css") && !is_named_by_content("assets/favicon-32x32.png"));
    }
}
