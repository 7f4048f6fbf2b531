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
        let hex = format!("{:032x}", self.0.u128(..));
        let part = |from, to| hex.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-4{}-a{}-{}",
            part(0, 8),
            part(8, 12),
            part(13, 16),
            part(17, 20),
            part(20, 32)
        )
    }

    /// Sixteen hexadecimal digits.
    pub(crate) fn nonce(&mut self) -> String {
        format!("{:016x}", self.0.u64(..))
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
