//! What scans find, and the events that say so.

use super::misuse;
use crate::ecr::RepoKey;
use crate::ecr::findings::{Finding, ScanResult};
use crate::sim::Sim;

impl Sim {
    /// Sets what a scan of a digest finds. It can be read at once; no event is sent. The image may be pushed later:
    /// where it is then scanned on push, this is the result.
    #[track_caller]
    pub fn set_findings(&self, repository: &RepoKey, digest: &str, result: ScanResult) {
        self.with_repository(repository, |repository| {
            repository.presets.insert(digest.to_owned(), result);
        });
        self.change(|world| world.apply_preset(repository, digest));
    }

    /// Sends the scan event of an image again, or for the first time.
    ///
    /// # Panics
    ///
    /// Where the image has no scan result.
    #[track_caller]
    pub fn emit_scan_event(&self, repository: &RepoKey, digest: &str) {
        if !self.change(|world| world.emit_scan(repository, digest)) {
            misuse(format_args!("no scan of {digest} in {repository}"));
        }
    }

    /// Sends the event `Inspector2 Finding` for each finding of an enhanced scan, `ACTIVE` unless the finding says
    /// otherwise.
    ///
    /// # Panics
    ///
    /// Where the image has no enhanced scan result.
    #[track_caller]
    pub fn emit_findings(&self, repository: &RepoKey, digest: &str) {
        if !self.change(|world| world.emit_findings(repository, digest)) {
            misuse(format_args!("no enhanced scan of {digest} in {repository}"));
        }
    }

    /// Sends the event `Inspector2 Finding` for one finding in a status of choice, such as `CLOSED`. Neither the image
    /// nor a scan of it need be there.
    pub fn emit_finding(
        &self,
        repository: &RepoKey,
        digest: &str,
        finding: &Finding,
        status: &str,
    ) {
        self.change(|world| world.emit_finding(repository, digest, finding, status));
    }
}
