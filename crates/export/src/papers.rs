//! What a person reads first: README.TXT, INDEX.HTM, and the information of GDPR Art. 15(1) and (2).

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// What the practice has to say of itself; it stands in its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Practice {
    /// Name and address of the controller.
    pub controller: String,
    /// How its data protection officer is reached.
    pub officer: String,
    /// What the images are processed for, and on which ground (Art. 15(1)(a)).
    pub purposes: String,
    /// Recipients by name (c).
    pub recipients: Vec<String>,
    /// How long they are kept, or what decides that (d).
    pub retention: String,
    /// The authority to complain to (f).
    pub authority: String,
    /// Where data come from that the person did not give (g).
    pub source: String,
    /// Transfers to third countries and their safeguards (Art. 15(2)).
    pub transfers: String,
}

impl Practice {
    /// Whether it says nothing at all.
    pub fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Its random name.
    pub id: String,
    /// When it was made: RFC 3339, UTC.
    pub made: String,
    /// The patient's name and number.
    pub patient: String,
    /// Date and description of each study, and its number of images.
    pub studies: Vec<(String, u64)>,
    /// Modalities that occur.
    pub modalities: Vec<String>,
    /// Images and documents.
    pub instances: u64,
    /// Paths of the previews.
    pub previews: Vec<String>,
    /// Whether the report on accesses is in it.
    pub report: bool,
    /// Who has copies of these images by an earlier export, each with the day of the first.
    pub copies: Vec<String>,
}

/// README.TXT
pub fn readme(contents: &Contents, practice: &Practice) -> String {
    format!(
        "YOUR IMAGES\r\n\r\nPatient: {patient}\r\nMade:    {made}\r\nExport:  {id}\r\n\r\n\
         This package holds {n} images and documents of {s} examinations, exactly as the devices made them.\r\n\r\n\
         INDEX.HTM    Begin here: opens in any browser.\r\n\
         PREVIEW      Pictures for looking at, not for diagnosis.\r\n\
         DICOMDIR     The list of all images; a viewer for medical images (DICOM) opens it.\r\n\
         DICOM        The images. Another practice or clinic imports them from here.\r\n\
         METADATA     What is written in the images, as text (DICOM JSON).\r\n\
         INFO         What the law says you are to be told (GDPR Art. 15).\r\n\
         {report}\
         SHA256SUMS   A checksum of every file: sha256sum -c SHA256SUMS\r\n\
         SIGNATURE    Ed25519 over SHA256SUMS by the key in KEY.PEM, which is that of the vault's log:\r\n             \
         openssl pkeyutl -verify -pubin -inkey KEY.PEM -rawin -in SHA256SUMS -sigfile SIGNATURE\r\n\r\n\
         Whoever has this package sees your images: keep it as you would keep a letter from your doctor.\r\n\
         Questions: {officer}\r\n",
        patient = plain(&contents.patient),
        made = contents.made,
        id = contents.id,
        n = contents.instances,
        s = contents.studies.len(),
        report = if contents.report {
            "ACCESS       Who opened your images, with the proof that nobody is missing.\r\n"
        } else {
            ""
        },
        officer = plain(&said(&practice.officer)),
    )
}

/// INDEX.HTM: no script, nothing fetched from anywhere.
pub fn index(contents: &Contents) -> String {
    let mut studies = String::new();
    for (study, instances) in &contents.studies {
        // Writing into a String does not fail.
        let _ = write!(studies, "<li>{} ({instances})</li>", escape(study));
    }
    let mut pictures = String::new();
    for path in &contents.previews {
        let _ = write!(pictures, "<a href=\"{path}\"><img loading=\"lazy\" src=\"{path}\" alt=\"{path}\"></a>");
    }
    let report = if contents.report { "<li><a href=\"ACCESS/REPORT.HTM\">Who opened your images</a></li>" } else { "" };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'\"><title>Your images</title><style>\
         body{{font:11pt/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}}\
         img{{max-width:16rem;max-height:16rem;margin:.3rem}}</style></head><body><h1>Your images</h1>\
         <p>{patient}, made on {made}</p><ul>{studies}</ul>\
         <ul><li><a href=\"INFO/INFO.HTM\">What you are to be told (GDPR Art. 15)</a></li>{report}\
         <li><a href=\"README.TXT\">What is in this package</a></li></ul>\
         <p>The pictures below are for looking at, not for diagnosis. The images themselves lie in the folder DICOM; a viewer \
         for medical images opens the file DICOMDIR.</p><div>{pictures}</div></body></html>\n",
        patient = escape(&contents.patient),
        made = escape(&contents.made),
    )
}

/// The information of Art. 15(1)(a) to (h) and (2), heading by heading.
pub fn information(contents: &Contents, practice: &Practice) -> Vec<(&'static str, String)> {
    let mut recipients = practice.recipients.join("; ");
    if !contents.copies.is_empty() {
        let before = if recipients.is_empty() { "" } else { ". " };
        // Writing into a String does not fail.
        let _ = write!(recipients, "{before}Copies of these images went to: {}", contents.copies.join("; "));
    }
    vec![
        ("Controller", said(&practice.controller)),
        ("Data protection officer", said(&practice.officer)),
        ("(a) Purposes", said(&practice.purposes)),
        (
            "(b) Categories of data",
            format!(
                "Data concerning health: {} images and documents ({}), with name, number, date of birth and sex as devices \
                 wrote them; who opened them, and when.",
                contents.instances,
                contents.modalities.join(", ")
            ),
        ),
        ("(c) Recipients", said(&recipients)),
        ("(d) How long they are kept", said(&practice.retention)),
        (
            "(e) Your rights",
            "You may ask for rectification, erasure and restriction, and object to the processing. Where the law demands \
             that records are kept, they are erased when that time is over."
                .to_owned(),
        ),
        ("(f) Complaints", said(&practice.authority)),
        ("(g) Source of the data", said(&practice.source)),
        ("(h) Automated decisions", "There are none.".to_owned()),
        ("Third countries (Art. 15(2))", said(&practice.transfers)),
    ]
}

/// INFO/INFO.HTM
pub fn information_page(information: &[(&str, String)]) -> String {
    let mut list = String::new();
    for (heading, text) in information {
        // Writing into a String does not fail.
        let _ = write!(list, "<h2>{}</h2><p>{}</p>", escape(heading), escape(text));
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Information (GDPR Art. 15)</title><style>\
         body{{font:11pt/1.5 system-ui,sans-serif;max-width:45rem;margin:2rem auto;padding:0 1rem}}h2{{font-size:1rem}}\
         </style></head><body><h1>What you are to be told (GDPR Art. 15)</h1>{list}</body></html>\n"
    )
}

/// Text as HTML text or attribute; characters that turn the direction of writing are shown as what they are.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push('\n'),
            c => out.push(shown(c)),
        }
    }
    out
}

/// Text as a part of one line: it neither ends the line, nor turns it, nor speaks to a terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(shown).collect()
}

/// A character, or what stands in the place of one that controls others (UAX #9 for directions).
fn shown(c: char) -> char {
    let turns = matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    if turns || c.is_control() { '\u{FFFD}' } else { c }
}

/// A moment as RFC 3339 has it, UTC, to the second.
pub fn moment(unix_millis: u64) -> String {
    let seconds = i64::try_from(unix_millis / 1000).unwrap_or(0);
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn said(text: &str) -> String {
    if text.trim().is_empty() { NOT_SAID.to_owned() } else { text.to_owned() }
}

/// Stands where the practice said nothing: a gap is to be seen and asked about.
const NOT_SAID: &str = "The practice has not stated this here; it answers the question on request.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_neither_markup_nor_turns_the_line() {
        let contents = Contents {
            id: "00".to_owned(),
            made: "2026-01-01T00:00:00Z".to_owned(),
            patient: "<script>\u{202E}x\0".to_owned(),
            studies: vec![("<b>".to_owned(), 1)],
            modalities: vec!["CT".to_owned()],
            instances: 1,
            previews: vec![],
            report: false,
            copies: vec![],
        };
        let page = index(&contents);
        assert!(
            !page.contains("<script") && !page.contains("<b>") && !page.contains('\u{202E}') && !page.contains('\0')
        );
        let text = readme(&contents, &Practice { officer: "a\r\nb\u{1B}".to_owned(), ..Practice::default() });
        assert!(
            text.contains("Patient: <script>\u{FFFD}x\u{FFFD}\r\n") && text.contains("a\u{FFFD}\u{FFFD}b\u{FFFD}\r\n")
        );
        let information = information(&contents, &Practice::default());
        assert_eq!(information.iter().filter(|(_, text)| text == NOT_SAID).count(), 8, "gaps are seen");
        assert!(information_page(&information).contains("(h) Automated decisions"));
        let contents = Contents { copies: vec!["Clinic (2026-01-31)".to_owned()], ..contents };
        let practice = Practice { recipients: vec!["the laboratory".to_owned()], ..Practice::default() };
        let told = |practice: &Practice| super::information(&contents, practice)[4].1.clone();
        assert_eq!(told(&practice), "the laboratory. Copies of these images went to: Clinic (2026-01-31)");
        assert_eq!(told(&Practice::default()), "Copies of these images went to: Clinic (2026-01-31)");
    }
}
