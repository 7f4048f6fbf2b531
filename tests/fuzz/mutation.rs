//! Changes the inputs of a corpus at random, the same in every run: it goes where a fuzzer would go
//! first, on any machine and without a nightly toolchain.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use fastrand::Rng;

/// Longer inputs find nothing that shorter ones do not, and take their time.
const LONGEST: usize = 8_192;
/// What readers of JSON, numbers and lines stumble over.
const WORDS: [&str; 24] = [
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "-1",
    "0",
    "1.5",
    "1e308",
    "-1e308",
    "2147483648",
    "9223372036854775808",
    "18446744073709551616",
    "\"NaN\"",
    "\"-Infinity\"",
    "\\u0000",
    "\\ud800",
    "\u{202e}",
    "\u{1b}[2J",
    "\n",
    ",",
    ":",
    "[[[[[[[[[[[[[[[[",
    "{\"a\":{\"a\":{\"a\":",
];

/// Runs a target on so many changed inputs. One that fails is printed, for the corpus.
pub(crate) fn try_changed(target: fn(&[u8]), corpus: &[Vec<u8>], cases: usize) {
    let mut rng = Rng::with_seed(0x7A67);
    for case in 0..cases {
        let input = changed(&mut rng, corpus);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&input))) {
            println!("case {case}: {}", input.escape_ascii());
            resume_unwind(panic);
        }
    }
}

fn changed(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let any = |rng: &mut Rng| corpus[rng.usize(..corpus.len())].clone();
    let mut input = any(rng);
    for _ in 0..rng.usize(1..5) {
        let from = rng.usize(..=input.len());
        let to = (from + rng.usize(..32)).min(input.len());
        let part = input[from..to].to_vec();
        match rng.u8(..8) {
            0 => input.truncate(from),
            1 => drop(input.drain(from..to)),
            2 => drop(input.splice(to..to, part)),
            3 => drop(input.splice(from..to, WORDS[rng.usize(..WORDS.len())].bytes())),
            4 => number(rng, &mut input, from),
            5 if from < input.len() => input[from] ^= 1 << rng.u8(..8),
            6 if from < input.len() => input[from] = rng.u8(..),
            _ => {
                let other = any(rng);
                let start = rng.usize(..=other.len());
                let end = (start + rng.usize(..256)).min(other.len());
                drop(input.splice(from..to, other[start..end].iter().copied()));
            }
        }
    }
    input.truncate(LONGEST);
    input
}

/// Another word in the place of the next number or string.
fn number(rng: &mut Rng, input: &mut Vec<u8>, from: usize) {
    let is_start = |byte: &u8| byte.is_ascii_digit() || *byte == b'"';
    let Some(start) = input[from..].iter().position(is_start).map(|at| from + at) else { return };
    let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b':' | b'\n');
    let end = input[start..].iter().position(is_end).map_or(input.len(), |at| start + at);
    drop(input.splice(start..end, WORDS[rng.usize(..16)].bytes()));
}
