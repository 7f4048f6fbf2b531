//! Replays the corpus of the fuzz targets, by the very functions that the fuzzer runs: what it once found stays found.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::path::Path;

#[path = "fuzz/targets/config.rs"]
mod config;
#[path = "fuzz/targets/event.rs"]
mod event;
#[path = "fuzz/targets/render.rs"]
mod render;

/// Runs a target on every file of these folders. A file that fails is named before the panic's message.
fn replay(target: fn(&[u8]), folders: &[&str]) {
    let mut files = 0;
    for folder in folders {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
        let mut paths: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!paths.is_empty(), "{} is empty", folder.display());
        paths.sort();
        files += paths.len();
        for path in paths {
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
        }
    }
    println!("{files} files");
}

#[test]
fn every_event_of_the_corpus_is_read_as_it_should_be() {
    replay(event::run, &["fuzz/corpus/event", "fixtures"]);
}

#[test]
fn every_configuration_of_the_corpus_is_loaded_or_refused_as_it_should_be() {
    replay(config::run, &["fuzz/corpus/config"]);
}

#[test]
fn every_notice_of_the_corpus_is_rendered_as_it_should_be() {
    replay(render::run, &["fuzz/corpus/render"]);
}
