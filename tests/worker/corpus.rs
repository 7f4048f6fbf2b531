//! Replays the corpus of the fuzz targets with the functions that the fuzzer runs, so that no
//! defect comes back. Then changes the corpus at random, in the same way in every run.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::path::Path;

#[path = "../fuzz/targets/config.rs"]
mod config;
#[path = "../fuzz/targets/ecr.rs"]
mod ecr;
#[path = "../fuzz/targets/event.rs"]
mod event;
#[path = "../fuzz/mutation.rs"]
mod mutation;
#[path = "../fuzz/targets/records.rs"]
mod records;
#[path = "../fuzz/targets/render.rs"]
mod render;

/// Runs a target on every file of these folders, then on this many changed files, or as many as
/// `TAGWARDEN_FUZZ` says. When a file fails, its name is printed before the panic's message.
fn replay(target: fn(&[u8]), folders: &[&str], changed: usize) {
    let mut corpus = Vec::new();
    for folder in folders {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
        let mut paths: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!paths.is_empty(), "{} is empty", folder.display());
        paths.sort();
        for path in paths {
            println!("{}", path.display());
            let input = fs::read(&path).unwrap();
            target(&input);
            corpus.push(input);
        }
    }
    let cases = std::env::var("TAGWARDEN_FUZZ").ok().map(|cases| cases.parse().unwrap());
    let cases = cases.unwrap_or(changed);
    mutation::try_changed(target, &corpus, cases);
    println!("{} files, {cases} changed inputs", corpus.len());
}

#[test]
fn every_ecr_answer_of_the_corpus_is_a_value_or_an_error() {
    replay(ecr::answers, &["fuzz/corpus/answers"], 150);
}

#[test]
fn every_manifest_of_the_corpus_is_read_as_expected() {
    replay(ecr::manifest, &["fuzz/corpus/manifest"], 150);
}

#[test]
fn every_event_of_the_corpus_is_read_as_expected() {
    replay(event::run, &["fuzz/corpus/event", "fixtures"], 500);
}

#[test]
fn every_configuration_of_the_corpus_is_loaded_or_refused_as_expected() {
    replay(config::run, &["fuzz/corpus/config"], 100);
}

#[test]
fn every_notice_of_the_corpus_is_rendered_as_expected() {
    replay(render::run, &["fuzz/corpus/render"], 30);
}

#[test]
fn every_list_of_artifacts_of_the_corpus_is_read_as_a_history() {
    replay(records::run, &["fuzz/corpus/records"], 1_000);
}
