//! PS3.10 files: heads as they should be and as they are.

use crate::build::{BIG, Build, EXPLICIT, IMPLICIT, JPEG, uid};
use leadglass_model::{SopClassUid, SopInstanceUid};
use leadglass_tap::{
    Encoding, Limits, Part10Tap, Tag,
    part10::{HeadReader, HeadStep, IMPLEMENTATION_CLASS_UID, Part10Error, TappedFile, write_head},
};

fn head(syntax: &str) -> Vec<u8> {
    let class = SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").unwrap();
    write_head(&class, &SopInstanceUid::parse("1.2.3.4").unwrap(), &uid(syntax), Some("MODALITY"))
}

fn read(file: &[u8], piece: usize) -> Result<TappedFile, Part10Error> {
    let mut tap = Part10Tap::new(Limits::default());
    for piece in file.chunks(piece) {
        tap.feed(piece)?;
    }
    tap.finish()
}

#[test]
fn our_head_comes_back_in_any_pieces() {
    for (syntax, encoding) in
        [(EXPLICIT, Encoding::ExplicitLe), (IMPLICIT, Encoding::ImplicitLe), (BIG, Encoding::ExplicitBe)]
    {
        let head = head(syntax);
        let data = Build::new(encoding).identity().bytes;
        let file = [head.clone(), data.clone()].concat();
        for piece in (1..200).chain([usize::MAX]) {
            let read = read(&file, piece).unwrap();
            assert_eq!(read.meta.transfer_syntax, Some(uid(syntax)));
            assert_eq!(read.meta.sop_instance_uid.as_ref().unwrap().expose(), "1.2.3.4");
            assert_eq!(read.meta.implementation_class_uid.as_deref(), Some(IMPLEMENTATION_CLASS_UID));
            assert_eq!(read.meta.source_ae_title.as_deref(), Some("MODALITY"));
            assert_eq!(read.dataset_start, head.len() as u64, "in pieces of {piece}");
            assert_eq!(read.instance.dataset_len, data.len() as u64);
            assert_eq!(read.instance.header.study_uid.as_ref().unwrap().expose(), "1.2.3");
        }
    }
}

#[test]
fn a_head_is_even_and_its_group_length_is_true() {
    for ae in [None, Some("A"), Some("a title of more than sixteen"), Some("sch\u{f6}n"), Some("")] {
        let class = SopClassUid::parse("1.2.840.10008.5.1.4.1.1.88.11").unwrap();
        let head = write_head(&class, &SopInstanceUid::parse("1.2").unwrap(), &uid(JPEG), ae);
        assert_eq!(&head[128..132], b"DICM");
        let said = u32::from_le_bytes(head[140..144].try_into().unwrap()) as usize;
        assert_eq!(144 + said, head.len());
        assert!(head.len().is_multiple_of(2));
    }
    assert!(IMPLEMENTATION_CLASS_UID.len() <= 64 && uid(IMPLEMENTATION_CLASS_UID).as_str() == IMPLEMENTATION_CLASS_UID);
    assert!(leadglass_tap::part10::IMPLEMENTATION_VERSION_NAME.len() <= 16);
}

#[test]
fn a_reader_says_where_the_data_set_goes_on() {
    let head = head(EXPLICIT);
    let data = Build::explicit().identity().bytes;
    let file = [head.clone(), data.clone()].concat();
    let mut reader = HeadReader::new();
    let HeadStep::Done { head: found, used } = reader.feed(&file).unwrap() else { panic!("the head is all there") };
    assert_eq!([&found.carried, &file[used..]].concat(), data);
    assert_eq!(found.dataset_start, head.len() as u64);
}

#[test]
fn preamble_group_length_and_meta_may_be_missing() {
    let data = Build::explicit().identity().bytes;
    let full = head(EXPLICIT);
    let no_preamble = [&full[132..], &data].concat();
    let no_length = [&full[..132], &full[144..], &data].concat();
    let mut lying = [full.clone(), data.clone()].concat();
    lying[140] = 3;
    for file in [no_preamble, no_length, lying, data.clone()] {
        for piece in [1, 7, usize::MAX] {
            let read = read(&file, piece).unwrap();
            assert_eq!(read.instance.header.study_uid.unwrap().expose(), "1.2.3");
            assert_eq!(read.dataset_start as usize, file.len() - data.len());
        }
    }
    for encoding in [Encoding::ImplicitLe, Encoding::ExplicitBe] {
        let bare = Build::new(encoding).identity().put(Tag(0x0020, 0x0010), "SH", [b'x'; 100]).bytes;
        assert_eq!(read(&bare, 7).unwrap().instance.elements, 7);
    }
}

#[test]
fn a_tiny_file_without_preamble_is_read_at_its_end() {
    let data = Build::explicit().put(Tag(0x0008, 0x0060), "CS", "CT").bytes;
    assert_eq!(read(&data, 1).unwrap().instance.header.modality.as_deref(), Some("CT"));
    let only_head = head(EXPLICIT);
    let read = read(&only_head, 7).unwrap();
    assert_eq!((read.instance.elements, read.dataset_start), (0, only_head.len() as u64));
}

#[test]
fn what_is_no_dicom_is_said_to_be_none() {
    for other in [
        &b"\xFF\xD8\xFF\xE0 a photo, of no small length, that somebody takes for an x-ray image"[..],
        b"PK\x03\x04 an archive",
    ] {
        let long = [other, &[7; 300]].concat();
        assert_eq!(read(&long, 7), Err(Part10Error::NotDicom));
        assert_eq!(read(other, usize::MAX), Err(Part10Error::NotDicom));
    }
    assert!(matches!(read(&[], 1), Err(Part10Error::Truncated { at: 0 })));
    assert!(matches!(read(&[8, 0], 1), Err(Part10Error::Truncated { at: 2 })));
}

#[test]
fn a_head_cut_anywhere_is_refused_or_a_shorter_head() {
    let head = head(EXPLICIT);
    for len in 1..head.len() {
        if let Ok(read) = read(&head[..len], 7) {
            assert_eq!(read.dataset_start, len as u64);
            assert_eq!(read.instance.elements, 0);
        }
    }
}

#[test]
fn hostile_meta_is_refused() {
    let start = [vec![0; 128], b"DICM".to_vec()].concat();
    let nested = Build::explicit().head(Tag(0x0002, 0x0102), "SQ", u32::MAX).bytes.repeat(3000);
    assert!(matches!(read(&[start.clone(), nested].concat(), 4096), Err(Part10Error::Meta(_))));
    let claimed = Build::explicit().head(Tag(0x0002, 0x0102), "OB", 0xFFFF_FFF0).raw(&[0; 100]).bytes;
    assert!(matches!(read(&[start.clone(), claimed].concat(), 7), Err(Part10Error::Meta(_))));
    let large = Build::explicit().put(Tag(0x0002, 0x0102), "OB", vec![0; 2 << 20]).bytes;
    assert_eq!(read(&[start, large].concat(), 4096), Err(Part10Error::MetaTooLarge));
}
