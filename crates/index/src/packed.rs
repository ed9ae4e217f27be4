//! Rows as they lie in memory: the same fields as [`StudyRow`] and [`SeriesRow`], smaller.
//!
//! UIDs take half a byte a character, dates and times are numbers where they are written as the standard wants them, and
//! texts that many rows share are [`Words`]. Unpacking gives back exactly what was packed
//! (`tests::rows_come_back_as_they_were`).

use crate::{QuarantineReason, RequestRow, SeriesRow, StudyRow, words::Words};
use leadglass_model::{Phi, SeriesUid, StudyUid, UnixMillis};
use minicbor::{
    Decode, Decoder, Encode, Encoder,
    data::Type,
    decode::Error as DecodeError,
    encode::{Error as EncodeError, Write},
};

/// A study row, borrowed from its bytes.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(crate) struct PackedStudy<'b> {
    #[b(0)]
    #[cbor(with = "minicbor::bytes")]
    uid: &'b [u8],
    #[b(1)]
    pub(crate) patient_name: Option<&'b str>,
    #[b(2)]
    pub(crate) patient_id: Option<&'b str>,
    #[n(3)]
    pub(crate) issuer: Option<u32>,
    #[b(4)]
    pub(crate) birth_date: When<'b>,
    #[n(5)]
    pub(crate) sex: Option<u32>,
    #[b(6)]
    pub(crate) date: When<'b>,
    #[b(7)]
    pub(crate) time: When<'b>,
    #[b(8)]
    pub(crate) id: Option<&'b str>,
    #[n(9)]
    pub(crate) description: Option<u32>,
    #[b(10)]
    pub(crate) accession_number: Option<&'b str>,
    #[n(11)]
    pub(crate) referring_physician: Option<u32>,
    #[n(12)]
    timezone_offset: Option<u32>,
    #[n(13)]
    created_at: u64,
    #[n(14)]
    pub(crate) quarantine: Option<QuarantineReason>,
}

/// A series row without its count, borrowed from its bytes.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(crate) struct PackedSeries<'b> {
    #[b(0)]
    #[cbor(with = "minicbor::bytes")]
    uid: &'b [u8],
    #[n(1)]
    pub(crate) modality: Option<u32>,
    #[n(2)]
    number: Option<i64>,
    #[n(3)]
    description: Option<u32>,
    #[b(4)]
    date: When<'b>,
    #[b(5)]
    time: When<'b>,
    #[n(6)]
    body_part: Option<u32>,
    #[n(7)]
    laterality: Option<u32>,
    #[b(8)]
    performed_date: When<'b>,
    #[b(9)]
    performed_time: When<'b>,
    /// Scheduled step and procedure of each request.
    #[b(10)]
    requests: Option<Vec<(Option<&'b str>, Option<&'b str>)>>,
}

/// A date or a time: digits as a number behind a 1, which keeps leading zeros, with six digits of fraction or none; or
/// text as written.
#[derive(Clone, Copy)]
pub(crate) enum When<'b> {
    None,
    Digits(u64),
    Text(&'b str),
}

impl<'b> PackedStudy<'b> {
    /// Reads what [`pack_study`] wrote.
    pub(crate) fn read(bytes: &'b [u8]) -> Option<Self> {
        minicbor::decode(bytes).ok()
    }

    /// The texts that it shares.
    pub(crate) fn words(&self) -> impl Iterator<Item = u32> {
        let words = [self.issuer, self.sex, self.description, self.referring_physician, self.timezone_offset];
        words.into_iter().flatten()
    }

    pub(crate) fn uid(&self) -> Option<StudyUid> {
        StudyUid::parse(&unpack_uid(self.uid)).ok()
    }

    /// The row as it was.
    pub(crate) fn unpack(&self, words: &Words) -> Option<StudyRow> {
        let word = |at: Option<u32>| at.map(|at| Phi::new(words.text(at).to_owned()));
        let text = |text: Option<&str>| text.map(|text| Phi::new(text.to_owned()));
        Some(StudyRow {
            uid: self.uid()?,
            patient_name: text(self.patient_name),
            patient_id: text(self.patient_id),
            issuer: word(self.issuer),
            birth_date: self.birth_date.text().map(Phi::new),
            sex: word(self.sex),
            date: self.date.text().map(Phi::new),
            time: self.time.text().map(Phi::new),
            id: text(self.id),
            description: word(self.description),
            accession_number: text(self.accession_number),
            referring_physician: word(self.referring_physician),
            timezone_offset: self.timezone_offset.map(|at| words.text(at).to_owned()),
            created_at: UnixMillis(self.created_at),
            quarantine: self.quarantine,
        })
    }
}

impl<'b> PackedSeries<'b> {
    /// Reads what [`pack_series`] wrote.
    pub(crate) fn read(bytes: &'b [u8]) -> Option<Self> {
        minicbor::decode(bytes).ok()
    }

    /// The texts that it shares.
    pub(crate) fn words(&self) -> impl Iterator<Item = u32> {
        [self.modality, self.description, self.body_part, self.laterality].into_iter().flatten()
    }

    /// The row as it was, with this count.
    pub(crate) fn unpack(&self, words: &Words, instances: u32) -> Option<SeriesRow> {
        let word = |at: Option<u32>| at.map(|at| words.text(at).to_owned());
        Some(SeriesRow {
            uid: SeriesUid::parse(&unpack_uid(self.uid)).ok()?,
            modality: word(self.modality),
            number: self.number,
            description: word(self.description).map(Phi::new),
            date: self.date.text().map(Phi::new),
            time: self.time.text().map(Phi::new),
            body_part: word(self.body_part),
            laterality: word(self.laterality),
            instances,
            performed_date: self.performed_date.text().map(Phi::new),
            performed_time: self.performed_time.text().map(Phi::new),
            requests: self.requests.iter().flatten().map(|(step, procedure)| request(*step, *procedure)).collect(),
        })
    }
}

/// A study row's bytes; its shared texts are used once more.
pub(crate) fn pack_study(row: &StudyRow, words: &mut Words) -> Box<[u8]> {
    let mut word = |text: &Option<Phi<String>>| text.as_ref().map(|text| words.take(text.expose()));
    let (issuer, sex, description) = (word(&row.issuer), word(&row.sex), word(&row.description));
    let referring_physician = word(&row.referring_physician);
    let uid = pack_uid(row.uid.expose());
    let packed = PackedStudy {
        uid: &uid,
        patient_name: phi(&row.patient_name),
        patient_id: phi(&row.patient_id),
        issuer,
        birth_date: When::of(phi(&row.birth_date)),
        sex,
        date: When::of(phi(&row.date)),
        time: When::of(phi(&row.time)),
        id: phi(&row.id),
        description,
        accession_number: phi(&row.accession_number),
        referring_physician,
        timezone_offset: row.timezone_offset.as_ref().map(|text| words.take(text)),
        created_at: row.created_at.0,
        quarantine: row.quarantine,
    };
    boxed(packed)
}

/// A series row's bytes without its count; its shared texts are used once more.
pub(crate) fn pack_series(row: &SeriesRow, words: &mut Words) -> Box<[u8]> {
    let mut word = |text: Option<&str>| text.map(|text| words.take(text));
    let uid = pack_uid(row.uid.expose());
    let packed = PackedSeries {
        uid: &uid,
        modality: word(row.modality.as_deref()),
        number: row.number,
        description: word(phi(&row.description)),
        date: When::of(phi(&row.date)),
        time: When::of(phi(&row.time)),
        body_part: word(row.body_part.as_deref()),
        laterality: word(row.laterality.as_deref()),
        performed_date: When::of(phi(&row.performed_date)),
        performed_time: When::of(phi(&row.performed_time)),
        requests: (!row.requests.is_empty())
            .then(|| row.requests.iter().map(|one| (phi(&one.scheduled_step), phi(&one.procedure))).collect()),
    };
    boxed(packed)
}

fn request(step: Option<&str>, procedure: Option<&str>) -> RequestRow {
    let text = |text: Option<&str>| text.map(|text| Phi::new(text.to_owned()));
    RequestRow { scheduled_step: text(step), procedure: text(procedure) }
}

/// In one piece of exactly its size: a buffer that grew and shrank leaves holes, a million times.
fn boxed(packed: impl Encode<()>) -> Box<[u8]> {
    let mut scratch = Vec::with_capacity(512);
    minicbor::encode(packed, &mut scratch).expect("a Vec takes every byte");
    Box::from(scratch.as_slice())
}

fn phi(value: &Option<Phi<String>>) -> Option<&str> {
    value.as_ref().map(|value| value.expose().as_str())
}

/// Two characters a byte: digits, 10 for a dot, 15 for nothing.
fn pack_uid(uid: &str) -> Vec<u8> {
    let nibble = |byte: u8| if byte == b'.' { 10 } else { byte - b'0' };
    uid.as_bytes().chunks(2).map(|pair| nibble(pair[0]) << 4 | pair.get(1).map_or(15, |b| nibble(*b))).collect()
}

fn unpack_uid(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter(|nibble| *nibble != 15);
    nibbles.map(|nibble| if nibble == 10 { '.' } else { char::from(b'0' + nibble) }).collect()
}

impl<'b> When<'b> {
    fn of(text: Option<&'b str>) -> Self {
        let Some(text) = text else { return Self::None };
        let number = |digits: &[u8]| {
            digits.iter().try_fold(1u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
        };
        let digits = match text.as_bytes() {
            plain if plain.len() == 6 || plain.len() == 8 => number(plain),
            [whole @ .., b'.', f1, f2, f3, f4, f5, f6] if whole.len() == 6 => {
                number(&[whole, &[*f1, *f2, *f3, *f4, *f5, *f6]].concat())
            }
            _ => None,
        };
        digits.map_or(Self::Text(text), Self::Digits)
    }

    /// As it was written.
    pub(crate) fn text(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Text(text) => Some(text.to_owned()),
            Self::Digits(number) => {
                let mut text = number.to_string().split_off(1);
                if text.len() == 12 {
                    text.insert(6, '.');
                }
                Some(text)
            }
        }
    }
}

impl<C> Encode<C> for When<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        match self {
            Self::None => e.null()?.ok(),
            Self::Digits(number) => e.u64(*number)?.ok(),
            Self::Text(text) => e.str(text)?.ok(),
        }
    }
}

impl<'b, C> Decode<'b, C> for When<'b> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        match d.datatype()? {
            Type::Null => d.null().map(|()| Self::None),
            Type::String => d.str().map(Self::Text),
            _ => d.u64().map(Self::Digits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts() -> impl Strategy<Value = Option<Phi<String>>> {
        proptest::option::of("[A-Z^=a-zäöü山 ]{0,10}|[0-9]{6}|[0-9]{8}|[0-9]{6}\\.[0-9]{6}|[0-9]{4}\\.[0-9]{2}")
            .prop_map(|t| t.map(Phi::new))
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_were(
            uid in "[0-9]{1,20}(\\.[0-9]{1,12}){0,3}",
            texts in proptest::collection::vec(texts(), 11),
            created_at: u64,
            number: Option<i64>,
            quarantined: bool,
        ) {
            let mut words = Words::default();
            let mut next = texts.into_iter();
            let mut text = || next.next().flatten();
            let row = StudyRow {
                uid: StudyUid::parse(&uid).unwrap(),
                patient_name: text(),
                patient_id: text(),
                issuer: text(),
                birth_date: text(),
                sex: text(),
                date: text(),
                time: text(),
                id: text(),
                description: text(),
                accession_number: text(),
                referring_physician: text(),
                timezone_offset: Some("+0100".to_owned()),
                created_at: UnixMillis(created_at),
                quarantine: quarantined.then_some(QuarantineReason::Erased),
            };
            let bytes = pack_study(&row, &mut words);
            prop_assert_eq!(PackedStudy::read(&bytes).unwrap().unpack(&words).unwrap(), row.clone());
            let series = SeriesRow {
                uid: SeriesUid::parse(&uid).unwrap(),
                modality: row.id.as_ref().map(|t| t.expose().clone()),
                number,
                description: row.description.clone(),
                date: row.date.clone(),
                time: row.time.clone(),
                body_part: row.sex.as_ref().map(|t| t.expose().clone()),
                laterality: None,
                instances: 7,
                performed_date: row.date.clone(),
                performed_time: None,
                requests: vec![RequestRow { scheduled_step: row.id.clone(), procedure: row.sex.clone() }],
            };
            let bytes = pack_series(&series, &mut words);
            prop_assert_eq!(PackedSeries::read(&bytes).unwrap().unpack(&words, 7).unwrap(), series);
        }
    }
}
