//! A sample notice for tests: a quarantined image with every kind of finding.

use std::time::Duration;

use super::{
    Advice, AnsweredRefusal, HoldAnswer, LeftTag, Notice, NoticeTags, RestoreAnswer, WayBack,
    notice_id,
};
use crate::domain::evaluation::{Evaluation, Exceeded};
use crate::domain::exception::ExceptionId;
use crate::domain::findings::{Finding, Package, Score, Severity};
use crate::domain::names::{AccountId, Digest, Region, Repository, RepositoryName, Tag};
use crate::domain::notice::NoticeAction;
use crate::domain::origin::Origin;
use crate::domain::policy::{Fingerprint, Mode};
use crate::domain::record::Hold;

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
        next_worst: vec![],
        exceptions: vec![ExceptionId::sample()],
    };
    Notice {
        id: notice_id(&repository, &digest, "event-1"),
        action: NoticeAction::Quarantined,
        mode: Mode::Enforce,
        policy: Fingerprint::sample(),
        media_type: Some("application/vnd.oci.image.manifest.v1+json".to_owned()),
        cause: None,
        tags: NoticeTags {
            untagged: tags(&["1.2.3", "latest"]),
            claimed: vec![],
            kept: tags(&["prod"]),
            would_untag: vec![],
            quarantine: Some(Tag::quarantine(&digest)),
        },
        way_back: WayBack::ByHand,
        answer: None,
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

/// Returns the notice that two tags were given back and that the image is held.
pub(crate) fn restored() -> Notice {
    let answer = RestoreAnswer {
        restored: tags(&["1.2.3", "latest"]),
        present: tags(&["prod"]),
        superseded: tags(&["edge"]),
        left: vec![LeftTag {
            tag: tags(&["beta"]).remove(0),
            reason: "ECR refuses to put it: the repository is full".to_owned(),
        }],
        hold: HoldAnswer::Held(hold()),
        ..RestoreAnswer::new("request-1", "AROAEXAMPLEID12345678")
    };
    let tags = NoticeTags {
        kept: tags(&["prod", "1.2.3", "latest"]),
        quarantine: notice().tags.quarantine,
        ..NoticeTags::default()
    };
    let action = NoticeAction::Restored;
    Notice { action, tags, answer: Some(Box::new(answer)), ..asked() }
}

/// Returns the notice that a request was refused, because the image violates the policy.
pub(crate) fn refused() -> Notice {
    let refusal = AnsweredRefusal {
        reason: "the image still violates the policy, so its tags would be removed again"
            .to_owned(),
        advice: Advice::AskForHold,
    };
    let answer = RestoreAnswer {
        asked: tags(&["1.2.3", "latest"]),
        refusal: Some(refusal),
        ..RestoreAnswer::new("request-1", "AROAEXAMPLEID12345678")
    };
    let tags = NoticeTags { quarantine: notice().tags.quarantine, ..NoticeTags::default() };
    let action = NoticeAction::Refused;
    let way_back = WayBack::Restore { longest_hold: Some(Duration::from_secs(7 * 24 * 3600)) };
    Notice { action, tags, way_back, answer: Some(Box::new(answer)), ..asked() }
}

/// Returns the sample with a request as its event.
fn asked() -> Notice {
    let event = Origin {
        id: None,
        source: "tagwarden".to_owned(),
        detail_type: "Restore Image".to_owned(),
        time: None,
        at: None,
    };
    let notice = notice();
    let id = notice_id(&notice.repository, &notice.digest, "request-1");
    Notice { id, event, event_id: "request-1".to_owned(), ..notice }
}

/// Returns a hold that is in force.
pub(super) fn hold() -> Hold {
    let time = |text| humantime::parse_rfc3339(text).unwrap();
    Hold {
        until: time("2026-12-07T00:00:00Z"),
        issued: time("2026-11-30T03:10:00Z"),
        reason: "the shop is down without it, SEC-99".to_owned(),
        owner: "team-shop@example.com".to_owned(),
        request: "request-1".to_owned(),
        sender: "AROAEXAMPLEID12345678".to_owned(),
    }
}

/// Returns the sample of a notice with this action.
pub(crate) fn of(action: NoticeAction) -> Notice {
    match action {
        NoticeAction::Restored => restored(),
        NoticeAction::Refused => refused(),
        _ => Notice { action, ..notice() },
    }
}
