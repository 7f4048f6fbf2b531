//! From what was observed to what is to be done: the decision, and the plan of calls that it asks for.

use super::findings::{Findings, Scan};
use super::image::{Digest, Tag};
use super::policy::{Action, Judgement, Policy};

/// What the registry says about one image now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The manifest's digest.
    pub digest: Digest,
    /// Every tag that points to it.
    pub tags: Vec<Tag>,
}

/// The calls that a decision asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Tags to untag.
    pub untag: Vec<Tag>,
    /// Tags that stay: protected ones, and quarantine tags of other images.
    pub kept: Vec<Tag>,
    /// Why tags stay, in words.
    pub kept_because: Vec<String>,
    /// The quarantine tag.
    pub quarantine: Tag,
    /// Whether the image already bears its quarantine tag.
    pub marked: bool,
    /// Whether the image itself is to be deleted when its tags are gone and the team was told.
    pub delete: bool,
}

/// The policy's verdict on an observed image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No limit is exceeded.
    Keep,
    /// Findings are not there yet, or may still be growing; the text says what was seen.
    Wait(String),
    /// There is nothing to judge by; the text says why.
    Unscanned(String),
    /// A limit is exceeded.
    Untag {
        /// By which rule and why.
        judgement: Judgement,
        /// By which findings.
        findings: Findings,
        /// What to do.
        plan: Plan,
    },
}

/// Judges an observed image. `event_over_limit` says whether the event showed more than the policy
/// allows: enhanced scanning's findings can lag behind its event, and lag is not to be taken for clean.
#[must_use]
pub fn decide(policy: &Policy, image: &Image, scan: Scan, event_over_limit: bool) -> Decision {
    let (findings, growing) = match scan {
        Scan::Complete(findings) => (findings, false),
        Scan::Active(findings) => (findings, true),
        Scan::Pending(state) => return Decision::Wait(format!("ECR's scan is {state}")),
        Scan::Unavailable(state) => {
            return Decision::Unscanned(format!("ECR's scan status is {state}"));
        }
    };
    let judgement = policy.judge(&findings.counts);
    if judgement.violates() {
        return Decision::Untag { judgement, findings, plan: plan(policy, image) };
    }
    if growing && event_over_limit {
        return Decision::Wait("ECR shows fewer findings than the event".to_owned());
    }
    Decision::Keep
}

fn plan(policy: &Policy, image: &Image) -> Plan {
    let quarantine = Tag::quarantine(&image.digest);
    let mut plan = Plan {
        untag: Vec::new(),
        kept: Vec::new(),
        kept_because: Vec::new(),
        marked: false,
        delete: false,
        quarantine,
    };
    for tag in &image.tags {
        if *tag == plan.quarantine {
            plan.marked = true;
        } else if tag.is_quarantine() {
            plan.kept_because.push(format!("tag {tag} is the quarantine tag of another image"));
            plan.kept.push(tag.clone());
        } else if let Some(pattern) = policy.protects(tag) {
            plan.kept_because.push(format!("tag {tag} is protected by {pattern:?}"));
            plan.kept.push(tag.clone());
        } else {
            plan.untag.push(tag.clone());
        }
    }
    plan.delete = policy.action == Action::Delete && plan.kept.is_empty();
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::findings::{Severity, SeverityCounts};
    use super::super::policy::Globs;
    use super::*;

    fn tag(text: &str) -> Tag {
        Tag::parse(text).unwrap()
    }

    fn image(tags: &[&str]) -> Image {
        let digest = Digest::parse(format!("sha256:{}", "a".repeat(64))).unwrap();
        Image { digest, tags: tags.iter().map(|text| tag(text)).collect() }
    }

    fn findings(critical: u64) -> Findings {
        let counts: SeverityCounts = [(Severity::Critical, critical)].into_iter().collect();
        Findings { counts, list: Vec::new() }
    }

    fn planned(policy: &Policy, image: &Image) -> Plan {
        match decide(policy, image, Scan::Complete(findings(1)), true) {
            Decision::Untag { plan, .. } => plan,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_tag_goes_but_protected_ones_and_quarantine_tags() {
        let policy = Policy {
            protected_tags: Globs::new(["prod-*".to_owned()]).unwrap(),
            ..Policy::default()
        };
        let own = format!("quarantine-{}", "a".repeat(64));
        let foreign = format!("quarantine-{}", "b".repeat(64));
        let plan = planned(&policy, &image(&["1.0", "prod-eu", &own, &foreign, "latest"]));
        assert_eq!(plan.untag, [tag("1.0"), tag("latest")]);
        assert_eq!(plan.kept, [tag("prod-eu"), tag(&foreign)]);
        assert_eq!(plan.kept_because[0], r#"tag prod-eu is protected by "prod-*""#);
        assert!(plan.marked);
        assert_eq!(plan.quarantine, tag(&own));
    }

    #[test]
    fn the_image_is_deleted_only_by_the_delete_action_and_when_no_tag_is_kept() {
        let mut policy = Policy::default();
        assert!(!planned(&policy, &image(&["1.0"])).delete);
        policy.action = Action::Delete;
        assert!(planned(&policy, &image(&["1.0"])).delete);
        policy.protected_tags = Globs::new(["1.*".to_owned()]).unwrap();
        assert!(!planned(&policy, &image(&["1.0", "2.0"])).delete);
    }

    #[test]
    fn lag_of_enhanced_scanning_is_waited_for_but_a_completed_scan_is_believed() {
        let policy = Policy::default();
        let image = image(&["1.0"]);
        let active = |over| decide(&policy, &image, Scan::Active(findings(0)), over);
        assert!(matches!(active(true), Decision::Wait(_)));
        assert_eq!(active(false), Decision::Keep);
        assert_eq!(decide(&policy, &image, Scan::Complete(findings(0)), true), Decision::Keep);
        let pending = decide(&policy, &image, Scan::Pending("PENDING".into()), false);
        assert_eq!(pending, Decision::Wait("ECR's scan is PENDING".into()));
    }

    #[test]
    fn a_scan_without_findings_to_trust_is_never_taken_for_clean() {
        let decision = decide(
            &Policy::default(),
            &image(&["1.0"]),
            Scan::Unavailable("SCAN_ELIGIBILITY_EXPIRED".into()),
            false,
        );
        assert_eq!(
            decision,
            Decision::Unscanned("ECR's scan status is SCAN_ELIGIBILITY_EXPIRED".into())
        );
    }

    proptest! {
        #[test]
        fn a_protected_tag_never_appears_in_a_plan(
            tags in prop::collection::btree_set("[a-z][a-z0-9.-]{0,6}", 0..12),
            protected in prop::collection::vec("[a-z][a-z0-9]{0,2}\\*?", 0..4),
        ) {
            let policy = Policy {
                protected_tags: Globs::new(protected).unwrap(),
                ..Policy::default()
            };
            let tags: Vec<_> = tags.iter().map(String::as_str).collect();
            let image = image(&tags);
            let plan = planned(&policy, &image);
            prop_assert!(plan.untag.iter().all(|tag| policy.protects(tag).is_none()));
            prop_assert_eq!(plan.untag.len() + plan.kept.len(), image.tags.len());
        }
    }
}
