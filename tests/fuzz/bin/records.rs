//! See ../targets/records.rs.
#![no_main]

#[path = "../targets/records.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
