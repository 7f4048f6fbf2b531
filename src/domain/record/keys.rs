//! The keys that sign records, and the signature.
//!
//! The signature is an HMAC-SHA-256 (RFC 2104) over everything that a record rests on, each part
//! with its length before it, so that no two different records have the same bytes: the version of
//! this form, the artifact type, the partition, Region, account and name of the repository, the
//! digest of the image, and every annotation but the signature itself, in the order of their names.
//! So a record that is copied to another image, repository or account holds nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::ARTIFACT_TYPE;
use super::id::{MAC, framed, said};
use crate::domain::names::{Digest, Repository};
use crate::domain::text::hex;

/// The annotation with the id of the key that signed.
pub(super) const KEY: &str = "tagwarden.key";

const VERSION: &str = "tagwarden.record/1";
/// The fewest characters of a key: 32 random bytes in base64.
const SHORTEST: usize = 43;
/// The most characters of a key.
const LONGEST: usize = 512;
/// The most keys at a time. A rotation needs two.
const MAX_KEYS: usize = 4;

/// Why a text gives no keys. It never shows the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// There is no key.
    #[error("has no key")]
    Empty,
    /// A key is too short or too long, or holds other characters.
    #[error(
        "key {0} is not a key: expected {SHORTEST} to {LONGEST} letters, digits or `+/=_-`, \
         such as `openssl rand -base64 33` prints"
    )]
    NotAKey(usize),
    /// The time after a key is not valid.
    #[error("key {0} has no valid time after its `@`; expected such as 2030-12-31T00:00:00Z")]
    NotATime(usize),
    /// The same key stands twice.
    #[error("key {0} stands twice")]
    Twice(usize),
    /// There are too many keys.
    #[error("has more than {MAX_KEYS} keys")]
    TooMany,
    /// The first key, which signs, has a time after which it does not count.
    #[error("key 1 signs and cannot end: put the new key before it")]
    SigningKeyEnds,
}

/// The keys of `restore.key`. The first one signs, and all of them verify.
#[derive(Clone, PartialEq, Eq)]
pub struct RestoreKeys(Vec<Key>);

#[derive(Clone, PartialEq, Eq)]
struct Key {
    id: String,
    secret: Vec<u8>,
    /// Only what was pushed before this time counts, because the key may be in other hands since.
    accept_until: Option<SystemTime>,
}

impl fmt::Debug for RestoreKeys {
    /// Shows the ids of the keys, which do not reveal the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl RestoreKeys {
    /// Reads keys that are separated by blanks or commas. A key that may be in other hands is
    /// followed by `@` and the time from which nothing counts that was pushed with it.
    ///
    /// # Errors
    /// [`InvalidKeys`] if the text gives no keys. The error does not show the text.
    pub fn parse(text: &str) -> Result<Self, InvalidKeys> {
        let parts = text.split([',', ' ', '\t', '\n', '\r']).filter(|part| !part.is_empty());
        let mut keys: Vec<Key> = Vec::new();
        for (at, part) in (1..).zip(parts) {
            let (secret, until) = match part.split_once('@') {
                Some((secret, until)) => (secret, Some(until)),
                None => (part, None),
            };
            let is_of_a_key = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
            if !(SHORTEST..=LONGEST).contains(&secret.len()) || !secret.bytes().all(is_of_a_key) {
                return Err(InvalidKeys::NotAKey(at));
            }
            let accept_until = until.map(humantime::parse_rfc3339).transpose();
            let accept_until = accept_until.map_err(|_| InvalidKeys::NotATime(at))?;
            let secret = secret.as_bytes().to_vec();
            if keys.iter().any(|key| key.secret == secret) {
                return Err(InvalidKeys::Twice(at));
            }
            if keys.len() == MAX_KEYS {
                return Err(InvalidKeys::TooMany);
            }
            keys.push(Key { id: id_of(&secret), secret, accept_until });
        }
        match keys.first() {
            None => Err(InvalidKeys::Empty),
            Some(first) if first.accept_until.is_some() => Err(InvalidKeys::SigningKeyEnds),
            Some(_) => Ok(Self(keys)),
        }
    }

    /// Returns the ids of the keys, the signing one first.
    #[must_use]
    pub fn ids(&self) -> Vec<&str> {
        self.0.iter().map(|key| key.id.as_str()).collect()
    }

    /// Returns the positions, from 1, of keys that nobody has drawn at random: those with few
    /// different characters, those that repeat a shorter text, and those with a word in them that
    /// stands in examples.
    #[must_use]
    pub fn guessable(&self) -> Vec<usize> {
        let keys = (1..).zip(&self.0);
        keys.filter(|(_, key)| is_guessable(&key.secret)).map(|(at, _)| at).collect()
    }

    /// Returns whether it matters when an artifact was pushed.
    #[must_use]
    pub fn need_push_times(&self) -> bool {
        self.0.iter().any(|key| key.accept_until.is_some())
    }

    /// Adds the signature to the annotations of a record about this image.
    #[must_use]
    pub fn sign(
        &self,
        repository: &Repository,
        image: &Digest,
        mut annotations: BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let Some(key) = self.0.first() else { return annotations };
        annotations.insert(KEY.to_owned(), key.id.clone());
        if let Some(mac) = key.mac(repository, image, &annotations) {
            let mac = mac.finalize().into_bytes();
            annotations.insert(MAC.to_owned(), hex(&mac));
        }
        annotations
    }

    /// Returns whether one of the keys has signed these annotations of this image, which was pushed
    /// at this time if the registry gives it. The signature is compared in constant time.
    pub(super) fn verify(
        &self,
        repository: &Repository,
        image: &Digest,
        annotations: &BTreeMap<String, String>,
        pushed_at: Option<SystemTime>,
    ) -> bool {
        let (Some(id), Some(mac)) = (annotations.get(KEY), annotations.get(MAC)) else {
            return false;
        };
        let Some(mac) = bytes(mac) else { return false };
        self.0.iter().filter(|key| key.id == *id).any(|key| {
            let is_in_time = match key.accept_until {
                Some(until) => pushed_at.is_some_and(|at| at < until),
                None => true,
            };
            let signed = key.mac(repository, image, annotations);
            is_in_time && signed.is_some_and(|signed| signed.verify_slice(&mac).is_ok())
        })
    }
}

/// The fewest different characters of a random key: 43 hexadecimal digits have nearly always 13.
const FEWEST_DIFFERENT: usize = 10;
/// Words that stand in examples and in no random key.
const WORDS: [&str; 5] = ["changeme", "change-me", "password", "secret", "example"];

fn is_guessable(secret: &[u8]) -> bool {
    let different: BTreeSet<_> = secret.iter().collect();
    let repeats = (1..=secret.len() / 2)
        .any(|period| secret.iter().zip(secret.iter().skip(period)).all(|(one, next)| one == next));
    let text = String::from_utf8_lossy(secret).to_ascii_lowercase();
    different.len() < FEWEST_DIFFERENT || repeats || WORDS.iter().any(|word| text.contains(word))
}

impl Key {
    fn mac(
        &self,
        repository: &Repository,
        image: &Digest,
        annotations: &BTreeMap<String, String>,
    ) -> Option<Hmac<Sha256>> {
        let mut hmac = Hmac::new_from_slice(&self.secret).ok()?;
        let Repository { account, region, name } = repository;
        let place = [repository.partition(), region.as_str(), account.as_str(), name.as_str()];
        let of = [VERSION, ARTIFACT_TYPE].into_iter().chain(place).chain([image.as_str()]);
        framed(of.chain(said(annotations)), |bytes| hmac.update(bytes));
        Some(hmac)
    }
}

/// Returns the id of a key, from which the key cannot be found: a key is too long to be guessed.
fn id_of(secret: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"tagwarden.key-id\0");
    hash.update(secret);
    hex(&hash.finalize()).chars().take(16).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Option<Vec<u8>> = hex.as_bytes().iter().map(digit).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |sum, digit| sum << 4 | digit))
            .collect(),
    )
}
