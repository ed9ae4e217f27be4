//! Text compressed on its way out (RFC 9110 §8.4): JSON and XML, by zstd (RFC 8878) or gzip, for whoever takes that. Never
//! clinical bytes or pictures, which are compressed already or must come as they lie.

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{Stream, StreamExt, stream};
use std::io::{self, Write};

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// The one that a request likes best; of equals zstd, which costs less.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        Self::read(headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()))
    }

    fn read<'h>(lines: impl Iterator<Item = &'h str>) -> Option<Self> {
        let (mut zstd, mut gzip, mut any) = (None, None, None);
        for coding in lines.flat_map(|line| line.split(',')).take(MAX_CODINGS) {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or("").to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            // What cannot be read is no wish.
            let weight = weight.map_or(Some(1.0), |weight| weight.trim().parse::<f32>().ok().filter(|w| *w <= 1.0));
            let weight = weight.unwrap_or(0.0);
            match name.as_str() {
                "zstd" => zstd = Some(weight),
                "gzip" | "x-gzip" => gzip = Some(weight),
                "*" => any = Some(weight),
                _ => {}
            }
        }
        // A star means gzip, which everybody reads; zstd is named by whoever reads it.
        let (zstd, gzip) = (zstd.unwrap_or(0.0), gzip.or(any).unwrap_or(0.0));
        if zstd > 0.0 && zstd >= gzip {
            return Some(Self::Zstd);
        }
        (gzip > 0.0).then_some(Self::Gzip)
    }

    /// Its name in `Content-Encoding`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What an entity tag ends with in this coding: other bytes, another tag.
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::Zstd => "-zst",
            Self::Gzip => "-gz",
        }
    }

    /// A whole body, compressed; as it is where that gains nothing.
    pub(crate) fn whole(self, body: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
        if body.len() < SHORT_BYTES {
            return Err(body);
        }
        let packed = || {
            let mut encoder = Encoder::new(self)?;
            let mut packed = encoder.write(&body)?;
            packed.extend(encoder.finish()?);
            Ok::<_, io::Error>(packed)
        };
        match packed() {
            Ok(packed) => Ok(packed),
            Err(_) => Err(body),
        }
    }

    /// A body that comes in pieces; `broken` is what an encoder that fails means.
    pub(crate) fn pieces<E: Send + 'static>(
        self,
        pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
        broken: fn(io::Error) -> E,
    ) -> impl Stream<Item = Result<Bytes, E>> + Send + 'static {
        let begun = Encoder::new(self).map_err(broken);
        stream::unfold(Some((Box::pin(pieces), begun)), move |state| async move {
            let (mut pieces, encoder) = state?;
            let mut encoder = match encoder {
                Ok(encoder) => encoder,
                Err(error) => return Some((Err(error), None)),
            };
            loop {
                match pieces.next().await {
                    Some(Ok(piece)) => match encoder.write(&piece) {
                        Ok(ready) if ready.is_empty() => {}
                        Ok(ready) => return Some((Ok(ready.into()), Some((pieces, Ok(encoder))))),
                        Err(error) => return Some((Err(broken(error)), None)),
                    },
                    Some(Err(error)) => return Some((Err(error), None)),
                    None => return Some((encoder.finish().map(Bytes::from).map_err(broken), None)),
                }
            }
        })
    }
}

enum Encoder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
        })
    }

    /// Takes bytes; what of all is ready by now.
    fn write(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => {
                encoder.write_all(bytes)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    /// The rest.
    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}

/// The fastest that zstd calls a level.
const ZSTD_LEVEL: i32 = 1;
/// A shorter body fits into one packet as it is.
const SHORT_BYTES: usize = 1 << 10;
const MAX_CODINGS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use Coding::{Gzip, Zstd};
    use flate2::read::GzDecoder;
    use futures::TryStreamExt;
    use std::io::Read as _;

    #[test]
    fn the_best_of_what_is_taken_is_given() {
        for (header, given) in [
            ("", None),
            ("gzip", Some(Gzip)),
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("zstd;q=0.5, gzip;q=0.8", Some(Gzip)),
            ("zstd;q=0.8, gzip;q=0.8", Some(Zstd)),
            ("br;q=1.0, gzip;q=0.8, *;q=0.1", Some(Gzip)),
            ("gzip;q=0, *", None),
            ("gzip;q=0, zstd", Some(Zstd)),
            ("*", Some(Gzip)),
            ("ZSTD;q=0, X-GZIP", Some(Gzip)),
            ("gzip;q=x", None),
            ("gzip;q=7", None),
            ("identity, *;q=0", None),
            ("deflate", None),
        ] {
            assert_eq!(Coding::read(std::iter::once(header)), given, "{header:?}");
        }
        assert_eq!(Coding::read(["gzip", "zstd"].into_iter()), Some(Zstd), "on two lines");
    }

    fn plain(coding: Coding, packed: &[u8]) -> Vec<u8> {
        match coding {
            Zstd => zstd::stream::decode_all(packed).unwrap(),
            Gzip => {
                let mut out = Vec::new();
                GzDecoder::new(packed).read_to_end(&mut out).unwrap();
                out
            }
        }
    }

    #[test]
    fn what_is_compressed_is_read_again_whole_or_in_pieces() {
        let body: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for coding in [Zstd, Gzip] {
            let packed = coding.whole(body.clone()).unwrap();
            assert!(packed.len() < body.len() / 2);
            assert_eq!(plain(coding, &packed), body);
            let pieces: Vec<Result<Bytes, io::Error>> =
                body.chunks(999).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let pieces = coding.pieces(stream::iter(pieces), |error| error);
            let packed = futures::executor::block_on(pieces.try_collect::<Vec<_>>()).unwrap().concat();
            assert_eq!(plain(coding, &packed), body);
            assert_eq!(coding.whole(b"[]".to_vec()), Err(b"[]".to_vec()), "too short to gain anything");
        }
    }

    #[test]
    fn what_breaks_off_does_not_end_as_if_it_were_whole() {
        let pieces = [Ok(Bytes::from_static(b"[")), Err(io::Error::other("gone"))];
        let pieces = Gzip.pieces(stream::iter(pieces), |error| error);
        assert!(futures::executor::block_on(pieces.try_collect::<Vec<_>>()).is_err());
    }
}
