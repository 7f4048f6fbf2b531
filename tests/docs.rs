//! The documentation is true: links lead somewhere, generated parts are those of the program,
//! configurations can be loaded, and pages keep their form.
//!
//! `TAGWARDEN_UPDATE_DOCS=1 cargo test --test docs` writes the generated parts anew. Nothing here
//! links the library: the real program answers.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "docs/book.rs"]
mod book;
#[path = "docs/commands.rs"]
mod commands;
#[path = "docs/configuration.rs"]
mod configuration;
#[path = "docs/form.rs"]
mod form;
#[path = "docs/generated.rs"]
mod generated;
#[path = "docs/links.rs"]
mod links;
#[path = "docs/pages.rs"]
mod pages;
#[path = "docs/runbook.rs"]
mod runbook;
