//! Passphrases that can be read over the telephone: proquints (Wilkerson, arXiv:0901.4016), five letters for 16 bits.

use zeroize::Zeroizing;

/// Six words from 96 random bits, such as `lusab-babad-gutih-tugad-mudof-sakat`.
pub fn passphrase(random: &[u8; 12]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(6 * 6));
    for pair in random.chunks_exact(2) {
        if !text.is_empty() {
            text.push('-');
        }
        let number = u16::from_be_bytes([pair[0], pair[1]]);
        for (shift, letters) in [(12, CONSONANTS), (10, VOWELS), (6, CONSONANTS), (4, VOWELS), (0, CONSONANTS)] {
            let letter = usize::from(number >> shift) % letters.len();
            text.push(char::from(letters[letter]));
        }
    }
    text
}

const CONSONANTS: &[u8] = b"bdfghjklmnprstvz";
const VOWELS: &[u8] = b"aiou";

#[cfg(test)]
mod tests {
    use super::*;

    /// 127.0.0.1 and 63.84.220.193 stand in the paper.
    #[test]
    fn words_are_those_of_the_paper() {
        let random = [127, 0, 0, 1, 63, 84, 220, 193, 0, 0, 255, 255];
        assert_eq!(passphrase(&random).as_str(), "lusab-babad-gutih-tugad-babab-zuzuz");
    }
}
