//! Data sets in explicit VR little endian, written element by element.

use leadglass_model::{SopClassUid, SopInstanceUid, TransferSyntaxUid};

/// CT Image Storage.
pub const CT_IMAGE_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.2";
/// Explicit VR Little Endian.
pub const EXPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";

/// An invented instance. Its fields may be changed before [`DataSet::encode`].
#[derive(Debug, Clone)]
pub struct DataSet {
    /// Patient's Name.
    pub patient_name: String,
    /// Patient ID.
    pub patient_id: String,
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID.
    pub series: String,
    /// SOP Instance UID.
    pub instance: String,
    /// Instance Number.
    pub number: u32,
    /// Bytes of Pixel Data, even. One frame of 16-bit pixels, one row.
    pub pixel_bytes: u32,
    /// What the pixels are made from.
    pub seed: u8,
}

impl DataSet {
    /// Instance `number` of a study of an invented patient.
    pub fn invented(study: u32, number: u32) -> Self {
        Self {
            patient_name: format!("Invented^Patient{study}"),
            patient_id: format!("P{study:05}"),
            study: format!("2.25.1{study}"),
            series: format!("2.25.1{study}.1"),
            instance: format!("2.25.1{study}.1.{number}"),
            number,
            pixel_bytes: 8_192,
            seed: 1,
        }
    }

    /// SOP class, SOP instance and transfer syntax, as a sender announces them.
    pub fn announced(&self) -> (SopClassUid, SopInstanceUid, TransferSyntaxUid) {
        (
            SopClassUid::parse(CT_IMAGE_STORAGE).expect("a UID"),
            SopInstanceUid::parse(&self.instance).expect("a UID"),
            TransferSyntaxUid::parse(EXPLICIT_VR_LITTLE_ENDIAN).expect("a UID"),
        )
    }

    /// The data set's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.pixel_bytes as usize + 1_024);
        let us = |value: u16| value.to_le_bytes();
        text(&mut out, 0x0008, 0x0016, b"UI", CT_IMAGE_STORAGE);
        text(&mut out, 0x0008, 0x0018, b"UI", &self.instance);
        text(&mut out, 0x0008, 0x0020, b"DA", "20240131");
        text(&mut out, 0x0008, 0x0060, b"CS", "CT");
        text(&mut out, 0x0010, 0x0010, b"PN", &self.patient_name);
        text(&mut out, 0x0010, 0x0020, b"LO", &self.patient_id);
        text(&mut out, 0x0020, 0x000D, b"UI", &self.study);
        text(&mut out, 0x0020, 0x000E, b"UI", &self.series);
        text(&mut out, 0x0020, 0x0013, b"IS", &self.number.to_string());
        short(&mut out, 0x0028, 0x0002, b"US", &us(1));
        text(&mut out, 0x0028, 0x0004, b"CS", "MONOCHROME2");
        short(&mut out, 0x0028, 0x0010, b"US", &us(1));
        short(&mut out, 0x0028, 0x0011, b"US", &us(u16::try_from(self.pixel_bytes / 2).unwrap_or(u16::MAX)));
        for element in [0x0100, 0x0101] {
            short(&mut out, 0x0028, element, b"US", &us(16));
        }
        short(&mut out, 0x0028, 0x0102, b"US", &us(15));
        short(&mut out, 0x0028, 0x0103, b"US", &us(0));
        out.extend_from_slice(&[0xE0, 0x7F, 0x10, 0x00, b'O', b'W', 0, 0]);
        out.extend_from_slice(&self.pixel_bytes.to_le_bytes());
        out.extend((0..self.pixel_bytes).map(|i| (i.wrapping_mul(31) >> 3).to_le_bytes()[0] ^ self.seed));
        out
    }
}

fn text(out: &mut Vec<u8>, group: u16, element: u16, vr: &[u8; 2], value: &str) {
    let mut padded = value.as_bytes().to_vec();
    if padded.len() % 2 == 1 {
        padded.push(if vr == b"UI" { 0 } else { b' ' });
    }
    short(out, group, element, vr, &padded);
}

fn short(out: &mut Vec<u8>, group: u16, element: u16, vr: &[u8; 2], value: &[u8]) {
    out.extend_from_slice(&group.to_le_bytes());
    out.extend_from_slice(&element.to_le_bytes());
    out.extend_from_slice(vr);
    out.extend_from_slice(&u16::try_from(value.len()).expect("a short value").to_le_bytes());
    out.extend_from_slice(value);
}
