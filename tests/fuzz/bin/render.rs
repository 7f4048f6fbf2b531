//! See ../targets/render.rs.
#![no_main]

#[path = "../targets/render.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
