//! Identifiers from a seed, and the digests that the services compute.

use md5::Md5;
use sha2::{Digest, Sha256};

/// Everything that AWS would draw at random, drawn from one seeded generator.
#[derive(Debug)]
pub(crate) struct Ids(fastrand::Rng);

impl Ids {
    pub(crate) fn with_seed(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// An identifier in the form of a version 4 UUID.
    pub(crate) fn uuid(&mut self) -> String {
        let bits = self.0.u128(..);
        // So many hexadecimal digits from so many digits before the end.
        let part = |digits: u32, before: u32| {
            u64::try_from((bits >> (4 * before)) & ((1 << (4 * digits)) - 1)).unwrap_or_default()
        };
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            part(8, 24),
            part(4, 20),
            part(3, 16),
            part(3, 12),
            part(12, 0)
        )
    }

    /// Sixteen hexadecimal digits.
    pub(crate) fn nonce(&mut self) -> String {
        format!("{:016x}", self.0.u64(..))
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// `sha256:` and the digest of the bytes: what a registry calls a manifest.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// The MD5 that SQS answers with, in hexadecimal.
pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let (mut one, mut two) = (Ids::with_seed(7), Ids::with_seed(7));
        let first = one.uuid();
        assert_eq!(first, two.uuid());
        assert_eq!(first.len(), 36);
        assert_ne!(first, one.uuid());
        assert_eq!(md5_hex(b"hello"), "5d41402abc4b2a76b9719d911017c592");
    }
}
