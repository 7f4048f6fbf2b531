use super::*;
use crate::domain::findings::{Package, Score};

const IMAGE: &str = "/detail/resources/0/details/awsEcrContainerImage";
const OTHER: &str = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";

fn found() -> Value {
    event("inspector2_finding.active.critical")
}

fn finding(event: &Value) -> Finding {
    match assess(event).claim {
        Claim::Active(finding) => *finding,
        other => panic!("{other:?}"),
    }
}

/// Returns the fixture without any ARN of the image; the details of its resource and the envelope
/// are left.
fn without_arns() -> Value {
    with(without(found(), "/detail/resources/0", "id"), "/resources", json!([]))
}

#[test]
fn active_finding_has_all_fields_of_the_event() {
    let expected = Finding {
        severity: Severity::Critical,
        id: "CVE-0000-0001".to_owned(),
        packages: vec![Package {
            name: "libexample".to_owned(),
            installed: Some("1.0".to_owned()),
            fixed: Some("0:1.1".to_owned()),
        }],
        unnamed_package: false,
        score: Score::new(9.8),
        link: Some("https://nvd.nist.gov/vuln/detail/CVE-0000-0001".to_owned()),
        fixable: Some(true),
        exploitable: Some(true),
        first_observed: None,
    };
    assert_eq!(finding(&found()), expected);
    let event = assess(&found());
    assert_eq!(event.kind, Kind::Inspector2Finding);
    assert_eq!(event.repository.to_string(), "111122223333/eu-west-1/team/app");
    assert_eq!(event.tags, [Tag::parse("3.0.0").unwrap()]);
}

#[test]
fn absent_null_and_empty_fields_are_unknown() {
    let bare = finding(&event("inspector2_finding.active.optional_absent"));
    assert_eq!(bare, Finding::new("unnamed", Severity::Critical));
    let mut event = found();
    for key in ["fixAvailable", "exploitAvailable", "inspectorScore", "packageVulnerabilityDetails"]
    {
        event["detail"][key] = json!(null);
    }
    event["detail"]["severity"] = json!(null);
    assert_eq!(finding(&event), Finding::new("CVE-0000-0001 - libexample", Severity::Undefined));
    let details = "/detail/packageVulnerabilityDetails";
    for packages in [json!(null), json!([]), json!([null, {}, {"name": ""}])] {
        let event = with(found(), &format!("{details}/vulnerablePackages"), packages);
        assert_eq!(finding(&event).packages, []);
    }
    let fixed = format!("{details}/vulnerablePackages/0/fixedInVersion");
    assert_eq!(finding(&with(found(), &fixed, json!("NotAvailable"))).packages[0].fixed, None);
    assert_eq!(finding(&with(found(), "/detail/inspectorScore", json!(11.5))).score, None);
}

#[test]
fn known_words_are_mapped_and_new_words_are_unknown() {
    for (word, severity) in
        [("LOW", Severity::Low), ("UNTRIAGED", Severity::Untriaged), ("GRAVE", Severity::Undefined)]
    {
        assert_eq!(finding(&with(found(), "/detail/severity", json!(word))).severity, severity);
    }
    for (word, known) in
        [("YES", Some(true)), ("PARTIAL", Some(true)), ("NO", Some(false)), ("NEW", None)]
    {
        let event = with(found(), "/detail/fixAvailable", json!(word));
        let event = finding(&with(event, "/detail/exploitAvailable", json!(word)));
        assert_eq!((event.fixable, event.exploitable), (known, known));
    }
}

#[test]
fn texts_of_the_event_become_one_short_line() {
    let text = format!("a\n\u{7}b{}", "c".repeat(300));
    let mut event = found();
    let details = &mut event["detail"]["packageVulnerabilityDetails"];
    for key in ["vulnerabilityId", "sourceUrl"] {
        details[key] = json!(text);
    }
    for key in ["name", "version", "fixedInVersion"] {
        details["vulnerablePackages"][0][key] = json!(text);
    }
    let finding = finding(&event);
    let package = &finding.packages[0];
    for line in [
        Some(&finding.id),
        finding.link.as_ref(),
        Some(&package.name),
        package.installed.as_ref(),
        package.fixed.as_ref(),
    ] {
        let line = line.unwrap();
        assert!(line.starts_with("a  b") && line.len() == 256, "{line}");
    }
}

#[test]
fn only_active_findings_count() {
    let reason = |word| ignored(&with(found(), "/detail/status", json!(word)));
    assert_eq!(reason("SUPPRESSED"), "the finding is suppressed");
    assert_eq!(reason("CLOSED"), "the finding is closed");
}

#[test]
fn finding_in_an_unknown_state_makes_no_claim() {
    for status in ["OPEN", "active", ""] {
        let event = assess(&with(found(), "/detail/status", json!(status)));
        assert_eq!(event.claim, Claim::Nothing, "{status}");
        assert_eq!(event.repository.to_string(), "111122223333/eu-west-1/team/app");
        assert!(event.digest.is_some());
    }
}

#[test]
fn findings_outside_container_images_are_ignored_in_any_shape() {
    let not_ours = "the finding is not in a container image";
    assert_eq!(ignored(&event("inspector2_finding.active.ec2")), not_ours);
    let function = "arn:aws:lambda:eu-west-1:111122223333:function:f:1";
    let function = json!([{"type": "AWS_LAMBDA_FUNCTION", "id": function}]);
    for resources in [function, json!([]), json!(null), json!([null, {}])] {
        let event = with(found(), "/resources", json!(["x", null]));
        assert_eq!(ignored(&with(event, "/detail/resources", resources)), not_ours);
    }
    let other = json!({
        "source": "aws.inspector2", "detail-type": "Inspector2 Finding",
        "detail": {
            "status": 5, "inspectorScore": "high",
            "resources": [{"type": "NEW", "details": [{"image": 5}]}],
        },
    });
    assert_eq!(ignored(&other), not_ours);
}

#[test]
fn place_comes_from_arn_then_details_then_envelope() {
    let place = |event: &Value| assess(event).repository.to_string();
    let here = "111122223333/eu-west-1/team/app";
    let forwarded = |event| with(event, "/account", json!("444455556666"));
    assert_eq!(place(&event("inspector2_finding.active.delegated_administrator")), here);
    let top_only = forwarded(with(found(), "/detail/resources", json!([])));
    assert_eq!(place(&top_only), here);
    let detail_only = forwarded(with(found(), "/resources", json!([])));
    assert_eq!(place(&detail_only), here);
    let no_id = forwarded(without(found(), "/detail/resources/0", "id"));
    assert_eq!(place(&no_id), here);
    let registry = with(without_arns(), &format!("{IMAGE}/registry"), json!("222233334444"));
    assert_eq!(place(&forwarded(registry)), "222233334444/eu-west-1/team/app");
    let owner = forwarded(without(without_arns(), IMAGE, "registry"));
    assert_eq!(place(&owner), here);
    let envelope = without(owner, "/detail", "awsAccountId");
    assert_eq!(place(&envelope), "444455556666/eu-west-1/team/app");
    let nowhere = without(without(envelope, "", "account"), "", "region");
    assert_eq!(place(&nowhere), "999988887777/us-east-1/team/app");
}

#[test]
fn digest_comes_from_any_place_and_two_must_agree() {
    let digest = |event: &Value| assess(event).digest.unwrap().hex()[..4].to_owned();
    assert_eq!(digest(&without_arns()), "cccc");
    let neutral = event("inspector2_finding.active.neutral_image_only");
    assert_eq!(digest(&neutral), "cccc");
    let arn = "arn:aws:ecr:eu-west-1:111122223333:repository/team/app";
    let bare =
        with(with(neutral, "/detail/resources/0/id", json!(arn)), "/resources", json!([arn]));
    assert_eq!(digest(&bare), "cccc", "the neutral form's own");

    let other = json!(format!("sha256:{OTHER}"));
    let hash = format!("{IMAGE}/imageHash");
    let error = malformed(&with(found(), &hash, other.clone()));
    assert_eq!(error, "imageHash and another digest in the event differ");
    let neutral = event("inspector2_finding.active.neutral_image_only");
    let error = malformed(&with(neutral, "/detail/resources/0/details/image/imageDigest", other));
    assert_eq!(error, "imageDigest and another digest in the event differ");

    let tag_only = assess(&without(without_arns(), IMAGE, "imageHash"));
    assert_eq!((tag_only.digest, tag_only.tags.len()), (None, 1));
    let neither = without(without(without_arns(), IMAGE, "imageHash"), IMAGE, "imageTags");
    assert_eq!(ignored(&neither), "the event names neither a digest nor a tag");
}

#[test]
fn one_image_may_be_named_twice_but_two_images_are_malformed() {
    let resource = found()["detail"]["resources"][0].clone();
    let again = with(resource.clone(), "/details/awsEcrContainerImage/imageTags", json!(["x"]));
    let event = with(found(), "/detail/resources", json!([resource, again, null]));
    assert_eq!(assess(&event).tags.len(), 2);

    let arn =
        |name, hex| format!("arn:aws:ecr:eu-west-1:111122223333:repository/{name}/sha256:{hex}");
    let others = [arn("team/app", OTHER), arn("team/other", OTHER)];
    let error = malformed(&with(found(), "/resources", json!(others)));
    assert_eq!(error, "the finding names 3 images; expected one");
    let other = json!({"type": "AWS_ECR_CONTAINER_IMAGE", "id": others[0]});
    let event = with(found(), "/detail/resources", json!([resource, other]));
    assert_eq!(malformed(&event), "the finding names 2 images; expected one");
}

#[test]
fn unknown_shapes_are_malformed() {
    let error = malformed(&without(found(), "/detail", "status"));
    assert!(error.contains("missing field `status`"), "{error}");
    let unnamed = without(without_arns(), IMAGE, "repositoryName");
    assert_eq!(malformed(&unnamed), "the finding names no repository");
    for (pointer, value) in [
        ("/detail/resources", json!("none")),
        ("/detail/resources/0/id", json!("arn:aws:s3:::bucket")),
        ("/detail/inspectorScore", json!("9.8")),
        ("/detail/severity", json!(5)),
        (&format!("{IMAGE}/imageHash"), json!("sha256:xyz")),
        (&format!("{IMAGE}/imageTags"), json!(["a b"])),
        ("/detail", json!(null)),
    ] {
        malformed(&with(found(), pointer, value));
    }
}

#[test]
fn finding_in_an_image_with_only_a_quarantine_tag_is_assessed() {
    let only = json!([format!("quarantine-{HEX}")]);
    let event = with(found(), &format!("{IMAGE}/imageTags"), only);
    assert_eq!(assess(&event).tags.len(), 1);
}
