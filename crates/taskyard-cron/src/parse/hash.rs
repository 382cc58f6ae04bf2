//! The number behind `H`: the same seed gives the same times permanently, on every machine and in every version.

use crate::field::Field;

/// Returns the FNV-1a hash of the seed and the field's number, finished by the mixer of SplitMix64, because FNV's low
/// bits alone are poorly distributed for seeds that differ in their last character.
pub(super) fn hash(seed: &str, field: Field) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in seed.bytes().chain([0xff, field as u8]) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_it_always_was() {
        assert_eq!(hash("nightly report", Field::Minute), 0xf167840af94a2d11);
        assert_eq!(hash("nightly report", Field::DayOfWeek), 0xf1254e348b939d29);
        assert_eq!(hash("", Field::Second), 0x61c3e3f101d43dd);
    }

    #[test]
    fn spreads_similar_seeds_over_all_minutes() {
        let mut minutes = [0u32; 60];
        for job in 0..6_000 {
            minutes[(hash(&format!("job-{job}"), Field::Minute) % 60) as usize] += 1;
        }
        assert!(minutes.iter().all(|count| (50..=160).contains(count)), "{minutes:?}");
    }
}
