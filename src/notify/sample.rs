//! A sample notice for tests: a quarantined image with every kind of finding.

use super::{Notice, NoticeTags, notice_id};
use crate::domain::evaluation::{Evaluation, Exceeded};
use crate::domain::exception::ExceptionId;
use crate::domain::findings::{Finding, Package, Score, Severity};
use crate::domain::names::{AccountId, Digest, Region, Repository, RepositoryName, Tag};
use crate::domain::notice::NoticeAction;
use crate::domain::origin::Origin;
use crate::domain::policy::Mode;

pub(super) fn digest(digit: &str) -> Digest {
    Digest::parse(format!("sha256:{}", digit.repeat(64))).unwrap()
}

pub(crate) fn tags(list: &[&str]) -> Vec<Tag> {
    list.iter().map(|tag| Tag::parse(*tag).unwrap()).collect()
}

pub(super) fn package(name: &str, installed: &str, fixed: Option<&str>) -> Package {
    Package {
        name: name.to_owned(),
        installed: Some(installed.to_owned()),
        fixed: fixed.map(str::to_owned),
    }
}

pub(super) fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn findings() -> Vec<Finding> {
    let mut openssl = Finding::new("CVE-2026-0001", Severity::Critical);
    openssl.score = Score::new(9.8);
    openssl.link = Some("https://nvd.nist.gov/vuln/detail/CVE-2026-0001".to_owned());
    openssl.packages = ["openssl", "libssl3", "libcrypto3", "openssl-dev", "openssl-doc"]
        .map(|name| package(name, "3.0.1-r0", Some("3.0.2-r1")))
        .to_vec();
    let mut babel = Finding::new("GHSA-67hx-6x53-jw92", Severity::High);
    babel.score = Score::new(8.0);
    babel.link =
        Some("https://github.com/advisories?query=GHSA-67hx-6x53-jw92&type=reviewed".to_owned());
    babel.packages = vec![package("@babel/traverse", "7.22.0", Some("7.23.2"))];
    let mut zlib = Finding::new("CVE-2026-0002", Severity::High);
    zlib.packages = vec![package("zlib", "1:1.2.13~dfsg-1", None)];
    vec![openssl, babel, zlib]
}

pub(crate) fn notice() -> Notice {
    let repository = Repository {
        account: AccountId::parse("111122223333").unwrap(),
        region: Region::parse("eu-west-1").unwrap(),
        name: RepositoryName::parse("team/app").unwrap(),
    };
    let digest = digest("a");
    let evaluation = Evaluation {
        rule: "base".to_owned(),
        counted: [(Severity::Critical, 1), (Severity::High, 2)].into_iter().collect(),
        exceeded: vec![
            Exceeded { severity: Severity::Critical, count: 1, limit: 0 },
            Exceeded { severity: Severity::High, count: 2, limit: 0 },
        ],
        reasons: texts(&["critical 1 exceeds the limit of 0", "high 2 exceeds the limit of 0"]),
        notes: texts(&[
            "high 1 does not count: excepted by CVE-2025-* until 2026-12-01 \
             (security: not reachable)",
            "high 2 do not count: no fix is available (fixable_only)",
        ]),
        severity: Some(Severity::Critical),
        worst: findings(),
        exceptions: vec![ExceptionId::sample()],
    };
    Notice {
        id: notice_id(&repository, &digest, "event-1"),
        action: NoticeAction::Quarantined,
        mode: Mode::Enforce,
        media_type: Some("application/vnd.oci.image.manifest.v1+json".to_owned()),
        cause: None,
        tags: NoticeTags {
            untagged: tags(&["1.2.3", "latest"]),
            claimed: vec![],
            kept: tags(&["prod"]),
            would_untag: vec![],
            quarantine: Some(Tag::quarantine(&digest)),
        },
        counts: [(Severity::Critical, 1), (Severity::High, 5)].into_iter().collect(),
        reasons: evaluation.reasons.iter().chain(&evaluation.notes).cloned().collect(),
        evaluation: Some(evaluation),
        event: Origin {
            id: Some("event-1".to_owned()),
            source: "aws.ecr".to_owned(),
            detail_type: "ECR Image Scan".to_owned(),
            time: Some("2026-01-02T03:04:05Z".to_owned()),
            at: None,
        },
        event_id: "event-1".to_owned(),
        repository,
        digest,
    }
}
