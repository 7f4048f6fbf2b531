//! One image of an explanation: its verdict, and what led to it.

use std::fmt;

use serde::Serialize;

use super::Verdict;
use crate::domain::evaluation::Evaluation;
use crate::domain::exception::Exceptions;
use crate::domain::findings::{Finding, NO_FIX, Score, SeverityCounts};
use crate::domain::image::{Image, ImageKind};
use crate::domain::image_index::Child;
use crate::domain::names::{Digest, Tag};
use crate::domain::plan::Plan;

/// One image and the decision about it.
#[derive(Debug, Serialize)]
pub(crate) struct ExplainedImage {
    pub(super) verdict: Verdict,
    pub(super) digest: Option<String>,
    pub(super) kind: &'static str,
    pub(super) cause: Option<ExplainedChild>,
    pub(super) reasons: Vec<String>,
    /// The worst findings that count.
    pub(super) findings: Vec<ExplainedFinding>,
    /// The number of findings that count beyond these.
    pub(super) more_findings: u64,
    pub(super) set_aside: Vec<String>,
    pub(super) exceptions: Vec<ExplainedException>,
    pub(super) untag: Vec<String>,
    pub(super) kept: Vec<String>,
    pub(super) kept_because: Vec<String>,
    pub(super) calls: Vec<String>,
    /// The findings that count, if they violate the policy. They decide which topics are notified.
    #[serde(skip)]
    pub(super) violation: Option<SeverityCounts>,
}

#[derive(Debug, Serialize)]
pub(super) struct ExplainedChild {
    pub(super) digest: String,
    pub(super) platform: Option<String>,
}

/// The most packages of a finding that are named.
const MAX_PACKAGES: usize = 5;

/// A finding that counts.
#[derive(Debug, Serialize)]
pub(super) struct ExplainedFinding {
    severity: String,
    id: String,
    score: Option<f64>,
    fixable: Option<bool>,
    packages: Vec<ExplainedPackage>,
}

#[derive(Debug, Serialize)]
struct ExplainedPackage {
    name: String,
    version: Option<String>,
    fixed_in: Option<String>,
}

impl ExplainedFinding {
    fn new(finding: &Finding) -> Self {
        let packages = finding.packages.iter().map(|package| ExplainedPackage {
            name: package.name.clone(),
            version: package.installed.clone(),
            fixed_in: package.fixed.clone().filter(|version| version != NO_FIX),
        });
        Self {
            severity: finding.severity.to_string(),
            id: finding.id.clone(),
            score: finding.score.map(Score::value),
            fixable: finding.fixable,
            packages: packages.take(MAX_PACKAGES).collect(),
        }
    }
}

impl fmt::Display for ExplainedFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.severity, self.id)?;
        if let Some(score) = self.score {
            write!(f, " ({score})")?;
        }
        for (at, package) in self.packages.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { " " } else { "; " }, package.name)?;
            if let Some(version) = &package.version {
                write!(f, " {version}")?;
            }
            if let Some(fix) = &package.fixed_in {
                write!(f, ", fixed in {fix}")?;
            }
        }
        f.write_str(if self.fixable == Some(false) { ", no fix yet" } else { "" })
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ExplainedException {
    pub(super) position: usize,
    pub(super) exception: String,
    pub(super) expires: String,
    pub(super) owner: String,
    pub(super) reason: String,
    /// The accounts and Regions in which it applies, unless it applies in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) applies_in: Option<String>,
}

impl ExplainedImage {
    pub(super) fn new(verdict: Verdict, image: Option<&Image>) -> Self {
        Self {
            verdict,
            digest: image.map(|image| image.digest.to_string()),
            kind: match image.map(|image| image.kind) {
                Some(ImageKind::Index) => "index",
                Some(ImageKind::Artifact) => "artifact",
                Some(ImageKind::Image) | None => "image",
            },
            cause: None,
            reasons: Vec::new(),
            findings: Vec::new(),
            more_findings: 0,
            set_aside: Vec::new(),
            exceptions: Vec::new(),
            untag: Vec::new(),
            kept: Vec::new(),
            kept_because: Vec::new(),
            calls: Vec::new(),
            violation: None,
        }
    }

    pub(super) fn judged(mut self, evaluation: &Evaluation, exceptions: &Exceptions) -> Self {
        self.reasons.extend(evaluation.reasons.iter().cloned());
        self.findings = evaluation.worst.iter().map(ExplainedFinding::new).collect();
        let counted = evaluation.counted.iter().map(|(_, count)| count).sum::<u64>();
        self.more_findings = counted.saturating_sub(self.findings.len() as u64);
        self.violation = evaluation.violates().then(|| evaluation.counted.clone());
        self.set_aside = evaluation.notes.clone();
        let used = evaluation.exceptions.iter();
        let used = used.filter_map(|&id| Some((id.position(), exceptions.get(id)?)));
        self.exceptions = used
            .map(|(position, exception)| ExplainedException {
                position,
                exception: exception.to_string(),
                expires: exception.expires.to_string(),
                owner: exception.owner.clone(),
                reason: exception.reason.clone(),
                applies_in: exception.registries.to_text(),
            })
            .collect();
        self
    }

    /// Adds the tags of the plan. If something blocks the plan, all tags are kept.
    pub(super) fn planned(mut self, plan: &Plan) -> Self {
        self.kept = strings(&plan.kept);
        let tags = strings(&plan.untag);
        if plan.blockers.is_empty() {
            self.untag = tags;
        } else {
            self.kept.extend(tags);
        }
        self.kept_because = plan.kept_because.iter().chain(&plan.blockers).cloned().collect();
        self
    }

    pub(super) fn caused(mut self, cause: Option<&Child>) -> Self {
        self.cause = cause.map(|child| ExplainedChild {
            digest: child.digest.to_string(),
            platform: child.platform.clone(),
        });
        self
    }

    pub(super) fn of(mut self, digest: &Digest) -> Self {
        self.digest = Some(digest.to_string());
        self
    }
}

pub(super) fn strings(tags: &[Tag]) -> Vec<String> {
    tags.iter().map(ToString::to_string).collect()
}
