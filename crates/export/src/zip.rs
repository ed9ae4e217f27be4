//! A ZIP of stored files, laid out before it is written (APPNOTE.TXT 6.3.10).
//!
//! Each file's length is known beforehand and its CRC is not, so it follows in a data descriptor (§4.3.9). Nothing is
//! compressed: images are already, and a compressed length would be unknown. ZIP64 stands exactly where a field would
//! overflow, so that lengths do not depend on content.

use std::ops::Range;

/// A file on its way into the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path: ASCII, `/` between folders.
    pub name: String,
    /// Its length, bytes.
    pub len: u64,
}

/// CRC-32 of a file's bytes (ISO-HDLC), as they go by.
#[derive(Debug, Clone, Default)]
pub struct Checked(crc32fast::Hasher);

impl Checked {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The CRC of all that was taken.
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

/// The archive as a plan.
#[derive(Debug, Clone)]
pub struct Zip {
    members: Vec<Member>,
    /// Where each local header begins; one more than there are members: where the central directory does.
    starts: Vec<u64>,
    time: (u16, u16),
    directory_len: u64,
}

impl Zip {
    /// The archive of these files in this order, all of them as of `time_s`, seconds since 1970.
    pub fn new(members: Vec<Member>, time_s: u64) -> Self {
        let mut starts = Vec::with_capacity(members.len() + 1);
        let mut at = 0;
        for member in &members {
            starts.push(at);
            at += local_len(member) + member.len + descriptor_len(member.len);
        }
        starts.push(at);
        let mut zip = Self { members, starts, time: dos_time(time_s), directory_len: 0 };
        zip.directory_len = zip.directory(&vec![0; zip.members.len()]).len() as u64;
        zip
    }

    /// The files.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Bytes of all of it.
    pub fn len(&self) -> u64 {
        self.directory_start() + self.directory_len
    }

    /// Never: there is always the end of a directory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the central directory begins.
    pub fn directory_start(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Where a member lies: its header, bytes and descriptor.
    pub fn place(&self, member: usize) -> Range<u64> {
        self.starts[member]..self.starts[member + 1]
    }

    /// The first member that does not end before `offset`.
    pub fn member_at(&self, offset: u64) -> usize {
        self.starts.partition_point(|start| *start <= offset).saturating_sub(1).min(self.members.len())
    }

    /// What stands before a member's bytes (§4.3.7).
    pub fn header(&self, member: usize) -> Vec<u8> {
        let Member { name, len } = &self.members[member];
        let big = is_big(*len);
        let mut out = Vec::with_capacity(64 + name.len());
        put32(&mut out, 0x0403_4b50);
        put16(&mut out, if big { VERSION_ZIP64 } else { VERSION });
        put16(&mut out, FLAGS);
        put16(&mut out, STORED);
        put16(&mut out, self.time.1);
        put16(&mut out, self.time.0);
        put32(&mut out, 0);
        let size = if big { u32::MAX } else { 0 };
        put32(&mut out, size);
        put32(&mut out, size);
        put16(&mut out, short(name.len()));
        put16(&mut out, if big { 20 } else { 0 });
        out.extend_from_slice(name.as_bytes());
        if big {
            put16(&mut out, 1);
            put16(&mut out, 16);
            out.extend_from_slice(&[0; 16]);
        }
        out
    }

    /// What stands behind them.
    pub fn descriptor(&self, member: usize, crc: u32) -> Vec<u8> {
        let len = self.members[member].len;
        let mut out = Vec::with_capacity(24);
        put32(&mut out, 0x0807_4b50);
        put32(&mut out, crc);
        for _ in 0..2 {
            if is_big(len) {
                out.extend_from_slice(&len.to_le_bytes());
            } else {
                put32(&mut out, low(len));
            }
        }
        out
    }

    /// The central directory and its end (§4.3.12 to §4.3.16), given the CRC of each member.
    pub fn directory(&self, crcs: &[u32]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.members.len() * 96 + 98);
        for ((member, start), crc) in self.members.iter().zip(&self.starts).zip(crcs) {
            let (far, big) = (is_big(*start), is_big(member.len));
            let extra = if big { 16 } else { 0 } + if far { 8 } else { 0 };
            put32(&mut out, 0x0201_4b50);
            put16(&mut out, UNIX | VERSION_ZIP64);
            put16(&mut out, if big || far { VERSION_ZIP64 } else { VERSION });
            put16(&mut out, FLAGS);
            put16(&mut out, STORED);
            put16(&mut out, self.time.1);
            put16(&mut out, self.time.0);
            put32(&mut out, *crc);
            put32(&mut out, if big { u32::MAX } else { low(member.len) });
            put32(&mut out, if big { u32::MAX } else { low(member.len) });
            put16(&mut out, short(member.name.len()));
            put16(&mut out, if extra == 0 { 0 } else { extra + 4 });
            put16(&mut out, 0);
            put16(&mut out, 0);
            put16(&mut out, 0);
            put32(&mut out, MODE << 16);
            put32(&mut out, if far { u32::MAX } else { low(*start) });
            out.extend_from_slice(member.name.as_bytes());
            if extra != 0 {
                put16(&mut out, 1);
                put16(&mut out, extra);
                if big {
                    out.extend_from_slice(&member.len.to_le_bytes());
                    out.extend_from_slice(&member.len.to_le_bytes());
                }
                if far {
                    out.extend_from_slice(&start.to_le_bytes());
                }
            }
        }
        let (count, len, start) = (self.members.len() as u64, out.len() as u64, self.directory_start());
        let wide = count >= u64::from(u16::MAX) || is_big(len) || is_big(start);
        if wide {
            put32(&mut out, 0x0606_4b50);
            out.extend_from_slice(&44_u64.to_le_bytes());
            put16(&mut out, UNIX | VERSION_ZIP64);
            put16(&mut out, VERSION_ZIP64);
            put32(&mut out, 0);
            put32(&mut out, 0);
            for number in [count, count, len, start, 0x0706_4b50] {
                // The last is the locator's signature and the disk that the record lies on.
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&(start + len).to_le_bytes());
            put32(&mut out, 1);
        }
        put32(&mut out, 0x0605_4b50);
        put16(&mut out, 0);
        put16(&mut out, 0);
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        put16(&mut out, count);
        put16(&mut out, count);
        put32(&mut out, low(len));
        put32(&mut out, low(start));
        put16(&mut out, 0);
        out
    }
}

fn local_len(member: &Member) -> u64 {
    30 + member.name.len() as u64 + if is_big(member.len) { 20 } else { 0 }
}

const fn descriptor_len(len: u64) -> u64 {
    if is_big(len) { 24 } else { 16 }
}

const fn is_big(number: u64) -> bool {
    number >= u32::MAX as u64
}

fn low(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn short(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn put16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Date and time as MS-DOS wrote them (§4.4.6), UTC; 1980 for what is before.
fn dos_time(time_s: u64) -> (u16, u16) {
    let first = (0x21, 0);
    let Some(at) = i64::try_from(time_s).ok().and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok()) else {
        return first;
    };
    let Ok(year @ 0..=127) = u16::try_from(at.year() - 1980) else { return first };
    let date = year << 9 | u16::from(u8::from(at.month())) << 5 | u16::from(at.day());
    (date, u16::from(at.hour()) << 11 | u16::from(at.minute()) << 5 | u16::from(at.second() / 2))
}

/// The CRC follows in a descriptor.
const FLAGS: u16 = 1 << 3;
const STORED: u16 = 0;
const VERSION: u16 = 20;
const VERSION_ZIP64: u16 = 45;
/// Attributes are those of Unix.
const UNIX: u16 = 3 << 8;
/// A file that its owner may read and write, and others read.
const MODE: u32 = 0o100_644;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Read};

    fn written(files: &[(&str, &[u8])]) -> (Zip, Vec<u8>) {
        let members = files.iter().map(|(name, bytes)| Member { name: (*name).to_owned(), len: bytes.len() as u64 });
        let zip = Zip::new(members.collect(), 1_800_000_000);
        let (mut out, mut crcs) = (Vec::new(), Vec::new());
        for (n, (_, bytes)) in files.iter().enumerate() {
            assert_eq!(zip.place(n).start, out.len() as u64);
            out.extend(zip.header(n));
            out.extend_from_slice(bytes);
            let mut checked = Checked::default();
            checked.update(bytes);
            crcs.push(checked.finish());
            out.extend(zip.descriptor(n, crcs[n]));
            assert_eq!(zip.place(n).end, out.len() as u64);
        }
        out.extend(zip.directory(&crcs));
        (zip, out)
    }

    #[test]
    fn what_is_laid_out_is_what_is_written_and_others_read_it() {
        let long = vec![7; 70_000];
        let files: [(&str, &[u8]); 3] = [("README.TXT", b"hello"), ("DICOM/IM000001", &long), ("EMPTY", b"")];
        let (zip, bytes) = written(&files);
        assert_eq!(zip.len(), bytes.len() as u64);
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(archive.len(), 3);
        for (name, wanted) in files {
            let mut found = Vec::new();
            archive.by_name(name).unwrap().read_to_end(&mut found).unwrap();
            assert!(found == wanted, "{name}");
        }
    }

    #[test]
    fn more_than_the_old_fields_hold_is_told_in_the_new_ones() {
        let mut members: Vec<Member> = (0..70_000).map(|n| Member { name: format!("F{n:06}"), len: 0 }).collect();
        members.insert(0, Member { name: "BIG".to_owned(), len: 5 << 30 });
        let zip = Zip::new(members, 0);
        let crcs = vec![0; zip.members().len()];
        let directory = zip.directory(&crcs);
        assert_eq!(zip.len(), zip.directory_start() + directory.len() as u64);
        // Its tail is read by itself: what lies before the directory is a hole.
        let (dir, start) = (tempfile::tempdir().unwrap(), zip.directory_start());
        let path = dir.path().join("a.zip");
        let mut file = std::fs::File::options().create_new(true).read(true).write(true).open(path).unwrap();
        file.set_len(start).unwrap();
        for member in [0, 70_000] {
            std::os::unix::fs::FileExt::write_all_at(&file, &zip.header(member), zip.place(member).start).unwrap();
        }
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(start)).unwrap();
        std::io::Write::write_all(&mut file, &directory).unwrap();
        let mut archive = zip::ZipArchive::new(file).unwrap();
        assert_eq!(archive.len(), 70_001);
        assert_eq!(archive.by_name("BIG").unwrap().size(), 5 << 30);
        assert_eq!(archive.by_name("F069999").unwrap().size(), 0);
    }

    #[test]
    fn any_byte_is_found_in_its_member() {
        let (zip, bytes) = written(&[("A", b"12345"), ("B", b""), ("C", b"x")]);
        for offset in 0..bytes.len() as u64 {
            let member = zip.member_at(offset);
            if member < 3 {
                assert!(zip.place(member).contains(&offset), "{offset} is not in {member}");
            } else {
                assert!(offset >= zip.directory_start());
            }
        }
    }
}
