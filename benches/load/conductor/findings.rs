//! Images with thousands of findings, of the size that Inspector writes: what they take of memory.

use tokio::time::sleep;

use super::{Aws, Conductor, Contender};
use crate::aws::Order;
use crate::report::{Measurement, Report};

/// What no load may pass at the default settings, in bytes.
const MAX_RESIDENT: u64 = 100_000_000;

/// Findings that are all excepted: the images are clean, and their findings are kept for others.
const EXCEPTED: &str = "[[policy.exceptions]]\nid = 'CVE-*'\nreason = 'load'\nowner = 'load'\n\
                        expires = 2999-12-31\n";

impl Conductor {
    pub(super) async fn findings(&self, report: &mut Report) {
        for (images, findings) in self.scale.findings {
            for (word, is_excepted) in [("violating", false), ("excepted", true)] {
                let name = format!("findings, {images} images of {findings}, {word}");
                let order = Order::Findings { images: *images, findings: *findings, is_excepted };
                self.one_of_findings(report, name, order, is_excepted).await;
            }
        }
        let (repositories, images, findings) = self.scale.swept_findings;
        let name = format!(
            "findings, sweep of {repositories} repositories, {images} images of {findings}"
        );
        let order = Order::SweepFindings { repositories, images, findings };
        self.one_of_findings(report, name, order, false).await;
    }

    async fn one_of_findings(
        &self,
        report: &mut Report,
        name: String,
        order: Order,
        is_excepted: bool,
    ) {
        if !self.wants(&name) {
            return;
        }
        let mut aws = Aws::start().await;
        let contender = match is_excepted {
            true => Contender::worker_with("TAGWARDEN_CONFIG_TEXT", EXCEPTED),
            false => Contender::worker(),
        };
        let running = self.start(&aws, &contender).await;
        let before = running.taken();
        let result = aws.order(&order).await;
        let after = running.taken();
        // Longer than results are kept for other messages.
        sleep(self.scale.rest).await;
        let rested = running.taken();
        let (_, printed) = running.stop().await;
        let mut measurement = Measurement::of_flood(name, &result, before, after, printed);
        measurement.resident = Some(rested.resident);
        assert!(after.peak < MAX_RESIDENT, "{measurement:?}");
        report.add(measurement);
    }
}
