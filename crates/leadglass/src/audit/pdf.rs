//! Lines of text as a PDF 1.4 document (ISO 32000-1): A4, one of the fonts that every reader has, nothing embedded.
//!
//! That font has the letters of Western European languages (WinAnsi). A letter that it lacks becomes `?`, and the last line
//! says that the page in HTML has it.

use std::fmt::Write as _;

/// The document.
pub(crate) fn document(lines: &[String]) -> Vec<u8> {
    let mut wrapped: Vec<Vec<u8>> = Vec::new();
    let mut lacking = false;
    for line in lines {
        let bytes: Vec<u8> = line
            .chars()
            .map(|c| {
                win_ansi(c).unwrap_or_else(|| {
                    lacking = true;
                    b'?'
                })
            })
            .collect();
        wrap(&bytes, &mut wrapped);
    }
    if lacking {
        wrapped.push(b"Letters shown as ? stand in the report's HTML page.".to_vec());
    }
    let pages: Vec<&[Vec<u8>]> = wrapped.chunks(LINES).collect();
    let mut out = Writer { bytes: b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec(), places: Vec::new() };
    let kids = (0..pages.len()).fold(String::new(), |mut kids, n| {
        // Writing into a String does not fail.
        let _ = write!(kids, "{} 0 R ", FIRST_PAGE + 2 * n);
        kids
    });
    out.object(b"<< /Type /Catalog /Pages 2 0 R >>");
    out.object(format!("<< /Type /Pages /Kids [ {kids}] /Count {} >>", pages.len()).as_bytes());
    out.object(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>");
    for (n, page) in pages.iter().enumerate() {
        let content = FIRST_PAGE + 2 * n + 1;
        out.object(
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> \
                 /Contents {content} 0 R >>"
            )
            .as_bytes(),
        );
        let mut text = format!("BT /F1 {SIZE} Tf {LEADING} TL 42 800 Td\n").into_bytes();
        for line in *page {
            text.push(b'(');
            for byte in line {
                if matches!(byte, b'(' | b')' | b'\\') {
                    text.push(b'\\');
                }
                text.push(*byte);
            }
            text.extend_from_slice(b") Tj T*\n");
        }
        let _ = writeln!(PageNumber(&mut text), "ET BT /F1 8 Tf 42 24 Td (page {} of {}) Tj ET", n + 1, pages.len());
        let mut stream = format!("<< /Length {} >>\nstream\n", text.len()).into_bytes();
        stream.extend_from_slice(&text);
        stream.extend_from_slice(b"\nendstream");
        out.object(&stream);
    }
    out.finish()
}

struct PageNumber<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for PageNumber<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

struct Writer {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Writer {
    fn object(&mut self, body: &[u8]) {
        self.places.push(self.bytes.len());
        self.bytes.extend_from_slice(format!("{} 0 obj\n", self.places.len()).as_bytes());
        self.bytes.extend_from_slice(body);
        self.bytes.extend_from_slice(b"\nendobj\n");
    }

    fn finish(mut self) -> Vec<u8> {
        let table = self.bytes.len();
        let count = self.places.len() + 1;
        let mut tail = format!("xref\n0 {count}\n0000000000 65535 f \n");
        for place in &self.places {
            let _ = writeln!(tail, "{place:010} 00000 n ");
        }
        let _ = write!(tail, "trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n");
        self.bytes.extend_from_slice(tail.as_bytes());
        self.bytes
    }
}

/// Breaks at spaces where there are any.
fn wrap(line: &[u8], out: &mut Vec<Vec<u8>>) {
    let mut rest = line;
    while rest.len() > COLUMNS {
        let (head, _) = rest.split_at(COLUMNS);
        let at = head.iter().rposition(|b| *b == b' ').filter(|at| *at > COLUMNS / 2).unwrap_or(COLUMNS);
        let (head, tail) = rest.split_at(at);
        out.push(head.to_vec());
        rest = tail.strip_prefix(b" ").unwrap_or(tail);
    }
    out.push(rest.to_vec());
}

/// The byte of a character in WinAnsiEncoding (ISO 32000-1 Annex D), for those where it is the character's own number.
fn win_ansi(c: char) -> Option<u8> {
    match c {
        '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{ff}' => u8::try_from(c as u32).ok(),
        '€' => Some(0x80),
        '–' => Some(0x96),
        '—' => Some(0x97),
        '’' => Some(0x92),
        '…' => Some(0x85),
        'Š' => Some(0x8a),
        'Ž' => Some(0x8e),
        'š' => Some(0x9a),
        'ž' => Some(0x9e),
        'Œ' => Some(0x8c),
        'œ' => Some(0x9c),
        _ => None,
    }
}

const SIZE: u32 = 9;
const LEADING: u32 = 12;
/// Lines of a page.
const LINES: usize = 62;
/// Letters of a line: as many as fit when they are of middling width.
const COLUMNS: usize = 108;
/// Number of the first page's object.
const FIRST_PAGE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_stands_where_the_table_says() {
        let lines: Vec<String> =
            (0..200).map(|n| format!("line {n} (with) brackets \\ and Ж {}", "word ".repeat(40))).collect();
        let pdf = document(&lines);
        let text = String::from_utf8_lossy(&pdf).into_owned();
        let start: usize = text.rsplit_once("startxref\n").unwrap().1.lines().next().unwrap().parse().unwrap();
        assert!(pdf[start..].starts_with(b"xref\n0 "));
        let places = String::from_utf8_lossy(&pdf[start..]).into_owned();
        for (n, line) in places.lines().skip(3).take_while(|l| l.ends_with(" n ")).enumerate() {
            let at: usize = line[..10].parse().unwrap();
            assert!(pdf[at..].starts_with(format!("{} 0 obj", n + 1).as_bytes()), "object {}", n + 1);
        }
        assert!(text.contains("\\(with\\)") && text.contains("Letters shown as ?"));
    }

    #[test]
    fn long_lines_are_broken_and_lose_nothing() {
        let mut out = Vec::new();
        wrap("a".repeat(300).as_bytes(), &mut out);
        assert_eq!(out.iter().map(Vec::len).sum::<usize>(), 300);
        assert!(out.iter().all(|line| line.len() <= COLUMNS));
    }
}
