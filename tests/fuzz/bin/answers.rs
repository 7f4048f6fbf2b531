//! See ../targets/ecr.rs.
#![no_main]

#[path = "../targets/ecr.rs"]
#[expect(dead_code, reason = "the other target uses the rest")]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::answers(data));
