//! Made-up values, by value representation: of no meaning, and of the form that the standard asks for.

use leadglass_tap::Vr;

/// A value that says nothing. Items have none: what stands in them is made up one by one.
pub(crate) const fn dummy(vr: Vr) -> &'static [u8] {
    match &vr.0 {
        b"AS" => b"000D",
        b"DA" => b"19000101",
        b"TM" => b"000000",
        b"DT" => b"19000101000000",
        b"DS" | b"IS" => b"0 ",
        b"CS" | b"AE" | b"SH" | b"LO" | b"ST" | b"LT" | b"UT" | b"UC" => b"REMOVED ",
        b"PN" => b"REMOVED^",
        b"UR" => b"urn:removed ",
        b"AT" | b"FL" | b"OF" | b"OL" | b"SL" | b"UL" => &[0; 4],
        b"FD" | b"OD" | b"OV" | b"SV" | b"UV" => &[0; 8],
        _ => &[0; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_made_up_value_is_even_and_fits_its_representation() {
        let all = [
            b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"OB", b"OD", b"OF",
            b"OL", b"OV", b"OW", b"PN", b"SH", b"SL", b"SS", b"ST", b"SV", b"TM", b"UC", b"UL", b"UN", b"UR", b"US",
            b"UT", b"UV",
        ];
        for vr in all {
            let (vr, value) = (Vr(*vr), dummy(Vr(*vr)));
            assert!(!value.is_empty() && value.len() % 2 == 0 && value.len() <= 16, "{vr}");
            assert_eq!(value.len() % vr.width(), 0, "{vr}");
        }
    }
}
