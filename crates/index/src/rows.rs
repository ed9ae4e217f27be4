//! What stands in the rows, before they are sealed: CBOR maps with small integer keys. A reader skips keys it does not
//! know, so that rows can grow; a number is never used twice.

use leadglass_model::{
    Fault, KeyGen, KeyId, ObjectId, Phi, ReceiverId, SeriesUid, SopClassUid, SopInstanceUid, StudyUid,
    TransferSyntaxUid, UnixMillis,
};
use minicbor::{Decode, Encode};

/// A study, as its first instance described it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StudyRow {
    /// Study Instance UID.
    #[n(0)]
    #[cbor(with = "uid")]
    pub uid: StudyUid,
    /// Patient's Name, component groups separated by `=`.
    #[n(1)]
    pub patient_name: Option<Phi<String>>,
    /// Patient ID.
    #[n(2)]
    pub patient_id: Option<Phi<String>>,
    /// Issuer of Patient ID.
    #[n(3)]
    pub issuer: Option<Phi<String>>,
    /// Patient's Birth Date, `YYYYMMDD` as written.
    #[n(4)]
    pub birth_date: Option<Phi<String>>,
    /// Patient's Sex.
    #[n(5)]
    pub sex: Option<Phi<String>>,
    /// Study Date, as written.
    #[n(6)]
    pub date: Option<Phi<String>>,
    /// Study Time, as written.
    #[n(7)]
    pub time: Option<Phi<String>>,
    /// Study ID.
    #[n(8)]
    pub id: Option<Phi<String>>,
    /// Study Description.
    #[n(9)]
    pub description: Option<Phi<String>>,
    /// Accession Number.
    #[n(10)]
    pub accession_number: Option<Phi<String>>,
    /// Referring Physician's Name.
    #[n(11)]
    pub referring_physician: Option<Phi<String>>,
    /// Timezone Offset From UTC.
    #[n(12)]
    pub timezone_offset: Option<String>,
    /// When the first instance came.
    #[n(13)]
    #[cbor(with = "millis")]
    pub created_at: UnixMillis,
    /// Set when this is not a study of its own but a case of quarantine: it has a StudyRef of its own and is found
    /// only there.
    #[n(14)]
    pub quarantine: Option<QuarantineReason>,
}

/// A series, as its first instance described it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SeriesRow {
    /// Series Instance UID.
    #[n(0)]
    #[cbor(with = "uid")]
    pub uid: SeriesUid,
    /// Modality.
    #[n(1)]
    pub modality: Option<String>,
    /// Series Number.
    #[n(2)]
    pub number: Option<i64>,
    /// Series Description.
    #[n(3)]
    pub description: Option<Phi<String>>,
    /// Series Date, as written.
    #[n(4)]
    pub date: Option<Phi<String>>,
    /// Series Time, as written.
    #[n(5)]
    pub time: Option<Phi<String>>,
    /// Body Part Examined.
    #[n(6)]
    pub body_part: Option<String>,
    /// Laterality.
    #[n(7)]
    pub laterality: Option<String>,
    /// Instances in the series when the row was written. The drain keeps it, in the journal's order.
    #[n(8)]
    pub instances: u32,
    /// Performed Procedure Step Start Date, as written.
    #[n(9)]
    pub performed_date: Option<Phi<String>>,
    /// Performed Procedure Step Start Time, as written.
    #[n(10)]
    pub performed_time: Option<Phi<String>>,
    /// What was ordered: Request Attributes Sequence.
    #[n(11)]
    #[cbor(default)]
    pub requests: Vec<RequestRow>,
}

/// An item of Request Attributes Sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RequestRow {
    /// Scheduled Procedure Step ID.
    #[n(0)]
    pub scheduled_step: Option<Phi<String>>,
    /// Requested Procedure ID.
    #[n(1)]
    pub procedure: Option<Phi<String>>,
}

/// An instance: its current version, and the ones before it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InstanceRow {
    /// SOP Instance UID.
    #[n(0)]
    #[cbor(with = "uid")]
    pub sop_uid: SopInstanceUid,
    /// Series Instance UID.
    #[n(1)]
    #[cbor(with = "uid")]
    pub series_uid: SeriesUid,
    /// SOP Class UID.
    #[n(2)]
    #[cbor(with = "uid")]
    pub sop_class: SopClassUid,
    /// Transfer Syntax UID of the stored data set.
    #[n(3)]
    #[cbor(with = "uid")]
    pub transfer_syntax: TransferSyntaxUid,
    /// The sealed object.
    #[n(4)]
    pub object_id: ObjectId,
    /// The key it is sealed under.
    #[n(5)]
    pub key_id: KeyId,
    /// That key's generation.
    #[n(6)]
    pub key_gen: KeyGen,
    /// The object's first 120 bytes: a reader compares nothing less.
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub header: [u8; 120],
    /// The object's length, bytes.
    #[n(8)]
    pub sealed_len: u64,
    /// The PS3.10 file's length, bytes.
    #[n(9)]
    pub body_len: u64,
    /// Where the data set starts in the file.
    #[n(10)]
    pub dataset_start: u64,
    /// BLAKE3 of the data set.
    #[n(11)]
    #[cbor(with = "minicbor::bytes")]
    pub content_digest: [u8; 32],
    /// Where the frames are; long tables stay in the object.
    #[n(12)]
    pub frames: FrameLayout,
    /// 1 for the first.
    #[n(13)]
    pub version: u32,
    /// Versions before this one, oldest first.
    #[n(14)]
    pub earlier: Vec<EarlierVersion>,
    /// Whether viewers see it.
    #[n(15)]
    pub state: InstanceState,
    /// When it was received.
    #[n(16)]
    #[cbor(with = "millis")]
    pub received_at: UnixMillis,
    /// Who delivered it.
    #[n(17)]
    pub receiver: ReceiverId,
    /// Instance Number.
    #[n(18)]
    pub instance_number: Option<i64>,
    /// Rows.
    #[n(19)]
    pub rows: Option<u16>,
    /// Columns.
    #[n(20)]
    pub columns: Option<u16>,
    /// Number of Frames, as the data set says.
    #[n(21)]
    pub number_of_frames: Option<u32>,
    /// Bits Allocated.
    #[n(22)]
    pub bits_allocated: Option<u16>,
    /// Whether its metadata were kept: then there is a row of them, sealed when this version was received or later, and its
    /// absence is damage. `None`: written before rows said so.
    #[n(23)]
    pub has_metadata: Option<bool>,
}

/// Where frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum FrameLayout {
    /// No pixels, or frames that cannot be told apart.
    #[n(0)]
    None,
    /// Equal and adjacent, from this offset of the file.
    #[n(1)]
    Native {
        /// First byte of the first frame in the file.
        #[n(0)]
        offset: u64,
        /// How many.
        #[n(1)]
        count: u32,
        /// Bytes of each.
        #[n(2)]
        frame_len: u32,
    },
    /// A table inside the sealed object.
    #[n(2)]
    Table {
        /// How many.
        #[n(0)]
        count: u32,
    },
}

/// A version that is not the current one any more.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EarlierVersion {
    /// Which.
    #[n(0)]
    pub version: u32,
    /// Its object.
    #[n(1)]
    pub object_id: ObjectId,
    /// The key it is sealed under.
    #[n(2)]
    pub key_id: KeyId,
    /// That key's generation.
    #[n(3)]
    pub key_gen: KeyGen,
    /// Its first 120 bytes.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub header: [u8; 120],
    /// Its length, bytes.
    #[n(5)]
    pub sealed_len: u64,
    /// Its file's length, bytes.
    #[n(6)]
    pub body_len: u64,
    /// BLAKE3 of its data set.
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub content_digest: [u8; 32],
    /// When it was received.
    #[n(8)]
    #[cbor(with = "millis")]
    pub received_at: UnixMillis,
    /// Who delivered it.
    #[n(9)]
    pub receiver: ReceiverId,
}

/// Whether viewers see an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum InstanceState {
    /// They do.
    #[n(0)]
    Current,
    /// It waits for a person's decision.
    #[n(1)]
    Quarantined(#[n(0)] QuarantineReason),
    /// A person moved or hid it; it is kept.
    #[n(2)]
    Withdrawn,
}

/// Why an instance did not go where it said it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum QuarantineReason {
    /// The study is known with another patient.
    #[n(0)]
    OtherPatient,
    /// The instance is known with other bytes from another device.
    #[n(1)]
    OtherDevice,
    /// The study was erased not long ago.
    #[n(2)]
    Erased,
}

impl QuarantineReason {
    /// The word in answers and audit entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherPatient => "other-patient",
            Self::OtherDevice => "other-device",
            Self::Erased => "erased",
        }
    }

    /// Always [`Fault::Conflict`].
    pub const fn fault(self) -> Fault {
        Fault::Conflict
    }
}

/// UIDs as text, parsed again on the way in.
mod uid {
    use super::*;
    use minicbor::{Decoder, Encoder, decode::Error as DecodeError, encode::Error as EncodeError, encode::Write};

    pub(super) trait Uid: Sized {
        fn text(&self) -> &str;
        fn read(text: &str) -> Option<Self>;
    }

    impl Uid for StudyUid {
        fn text(&self) -> &str {
            self.expose()
        }
        fn read(text: &str) -> Option<Self> {
            Self::parse(text).ok()
        }
    }
    impl Uid for SeriesUid {
        fn text(&self) -> &str {
            self.expose()
        }
        fn read(text: &str) -> Option<Self> {
            Self::parse(text).ok()
        }
    }
    impl Uid for SopInstanceUid {
        fn text(&self) -> &str {
            self.expose()
        }
        fn read(text: &str) -> Option<Self> {
            Self::parse(text).ok()
        }
    }
    impl Uid for SopClassUid {
        fn text(&self) -> &str {
            self.as_str()
        }
        fn read(text: &str) -> Option<Self> {
            Self::parse(text).ok()
        }
    }
    impl Uid for TransferSyntaxUid {
        fn text(&self) -> &str {
            self.as_str()
        }
        fn read(text: &str) -> Option<Self> {
            Self::parse(text).ok()
        }
    }

    pub(super) fn encode<C, W: Write, T: Uid>(
        uid: &T,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.str(uid.text())?.ok()
    }

    pub(super) fn decode<C, T: Uid>(d: &mut Decoder<'_>, _: &mut C) -> Result<T, DecodeError> {
        let at = d.position();
        T::read(d.str()?).ok_or_else(|| DecodeError::message("not a UID").at(at))
    }
}

/// Times as milliseconds.
mod millis {
    use super::UnixMillis;
    use minicbor::{Decoder, Encoder, decode::Error as DecodeError, encode::Error as EncodeError, encode::Write};

    pub(super) fn encode<C, W: Write>(
        time: &UnixMillis,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.u64(time.0)?.ok()
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<UnixMillis, DecodeError> {
        d.u64().map(UnixMillis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series row as it was written before rows knew of requests.
    #[derive(Encode)]
    #[cbor(map)]
    struct Older {
        #[n(0)]
        #[cbor(with = "uid")]
        uid: SeriesUid,
        #[n(1)]
        modality: Option<String>,
        #[n(8)]
        instances: u32,
    }

    #[test]
    fn a_series_row_of_before_is_read_and_a_newer_one_comes_back() {
        let older = Older { uid: SeriesUid::parse("1.2").unwrap(), modality: Some("CT".to_owned()), instances: 3 };
        let bytes = minicbor::to_vec(&older).unwrap();
        let mut row: SeriesRow = minicbor::decode(&bytes).unwrap();
        assert_eq!((row.uid.expose(), row.modality.as_deref(), row.instances), ("1.2", Some("CT"), 3));
        assert!(row.requests.is_empty() && row.performed_date.is_none());
        row.requests = vec![RequestRow { scheduled_step: Some(Phi::new("S1".to_owned())), procedure: None }];
        row.performed_date = Some(Phi::new("20240102".to_owned()));
        let again: SeriesRow = minicbor::decode(&minicbor::to_vec(&row).unwrap()).unwrap();
        assert_eq!(again, row);
    }

    #[test]
    fn an_instance_row_comes_back() {
        let row = InstanceRow {
            sop_uid: SopInstanceUid::parse("1.2.3").unwrap(),
            series_uid: SeriesUid::parse("1.2").unwrap(),
            sop_class: SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap(),
            transfer_syntax: TransferSyntaxUid::parse("1.2.840.10008.1.2.1").unwrap(),
            object_id: ObjectId::from_bytes([1; 16]),
            key_id: KeyId::from_bytes([2; 16]),
            key_gen: KeyGen::FIRST,
            header: [3; 120],
            sealed_len: 4,
            body_len: 5,
            dataset_start: 6,
            content_digest: [7; 32],
            frames: FrameLayout::Native { offset: 8, count: 9, frame_len: 10 },
            version: 2,
            earlier: vec![],
            state: InstanceState::Quarantined(QuarantineReason::OtherDevice),
            received_at: UnixMillis(11),
            receiver: ReceiverId::from_bytes([12; 16]),
            instance_number: Some(-1),
            rows: None,
            columns: Some(512),
            number_of_frames: None,
            bits_allocated: None,
            has_metadata: Some(true),
        };
        let bytes = minicbor::to_vec(&row).unwrap();
        assert_eq!(minicbor::decode::<InstanceRow>(&bytes).unwrap(), row);
    }
}
