//! Plans of every kind, as `tagwarden plan` writes them, or as somebody edited them.

use serde_json::{Value, json};
use tagwarden::sweep::{Document, SCHEMA};

fn digest(of: usize) -> String {
    format!("sha256:{of:064x}")
}

fn finding(severity: &str, id: &str, package: &str, installed: &str, fixed: Option<&str>) -> Value {
    let score = if severity == "critical" { 9.8 } else { 7.5 };
    json!({
        "severity": severity, "id": id, "package": package, "installed": installed,
        "fixed": fixed, "score": score,
        "link": format!("https://nvd.nist.gov/vuln/detail/{id}"),
    })
}

fn image(at: usize, repository: &str, untag: &[&str]) -> Value {
    json!({
        "account": "111122223333", "region": "eu-west-1", "repository": repository,
        "digest": digest(at), "kind": if at.is_multiple_of(5) { "index" } else { "image" },
        "pushed_at": "2026-11-27T04:05:06Z", "size": 181_912_345,
        "tags": untag, "untag": untag, "verdict": "untag", "rule": "base",
        "reasons": ["critical 1 > 0", "high 2 > 0"],
        "counts": {"critical": 1, "high": 2},
        "findings": [
            finding("critical", "CVE-2021-44228", "log4j-core", "2.14.1", Some("2.17.1")),
            finding("high", "CVE-2026-0002", "openssl", "3.0.0-1~deb12u1", Some("3.0.2")),
            finding("high", "CVE-2026-0003", "zlib", "1.2.11", None),
        ],
    })
}

fn document(changes: Value) -> Document {
    let mut document = json!({
        "schema": SCHEMA, "tagwarden": "0.1.0", "made_at": "2026-11-30T15:02:07Z",
        "account": "111122223333", "region": "eu-west-1", "complete": true, "images": [],
        "registries": [{"account": "111122223333", "region": "eu-west-1"}],
        "policy": {
            "source": "tagwarden.toml",
            "fingerprint": "1f2e5c7a90b3d4e6f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f",
            "mode": "enforce",
        },
    });
    for (key, value) in changes.as_object().expect("an object") {
        document[key] = value.clone();
    }
    serde_json::from_value(document).expect("a plan")
}

fn counts(repository: &str, census: Value, findings: Value) -> Value {
    json!({
        "account": "111122223333", "region": "eu-west-1", "repository": repository,
        "census": census, "findings": findings,
    })
}

/// A plan as a company with two hundred repositories gets it.
pub(super) fn usual() -> Document {
    let mut images = Vec::new();
    for (at, (repository, tags)) in [
        ("team/app", &["1.2.0", "stable"][..]),
        ("team/app", &["1.1.0"]),
        ("team/shop/frontend", &["2026-11-20", "2026-11-20-rc1", "latest"]),
        ("platform/base/java-21-distroless", &["21.0.2"]),
        ("team/web", &["2.0.0"]),
        ("team/web", &["1.9.8", "1.9"]),
    ]
    .into_iter()
    .enumerate()
    {
        images.push(image(at, repository, tags));
    }
    images[2]["counts"] = json!({"critical": 4, "high": 31, "medium": 112});
    images[2]["more_findings"] = json!(144);
    images[2]["kept"] = json!(["prod-eu"]);
    images[2]["reasons"] = json!([
        "critical 4 > 0",
        "high 31 > 0",
        format!("because of {} (linux/arm64)", digest(77)),
        "prod-eu is protected (prod-*)",
    ]);
    let mut kept = image(20, "team/billing", &[]);
    kept["tags"] = json!(["prod-eu", "7.4.1"]);
    kept["verdict"] = json!("blocked");
    kept["reasons"] = json!(["critical 1 > 0", "in use: 2 other images are left, 3 are required"]);
    images.push(kept);
    document(json!({
        "images": images,
        "totals": {
            "repositories": 214, "images": 9812,
            "census": {
                "clean": 9363, "untag": 6, "blocked": 1, "never_scanned": 380, "unsupported": 30,
                "expired": 2, "scanning": 4, "quarantined": 20, "not_an_image": 5, "failed": 1,
            },
            "findings": {"critical": 10, "high": 43, "medium": 5120, "low": 8011, "untriaged": 7},
            "worst": {"critical": 7, "medium": 2222, "low": 401},
        },
        "repositories": [
            counts("team/app", json!({"untag": 2, "clean": 40}), json!({"critical": 2, "high": 4})),
            counts("team/shop/frontend", json!({"untag": 1}), json!({"critical": 4, "high": 31})),
            counts("platform/base/java-21-distroless", json!({"untag": 1, "unsupported": 30}),
                json!({"critical": 1, "high": 2})),
            counts("team/web", json!({"untag": 2}), json!({"critical": 2, "high": 4})),
            counts("team/billing", json!({"blocked": 1}), json!({"critical": 1, "high": 2})),
            counts("team/legacy", json!({"never_scanned": 380, "expired": 2}), json!({})),
            counts("team/new", json!({"scanning": 4, "failed": 1}), json!({})),
        ],
        "failed": [{
            "account": "111122223333", "region": "eu-west-1", "repository": "team/secret",
            "problem": "ecr:DescribeImages: AccessDeniedException: not authorized to perform \
                ecr:DescribeImages on arn:aws:ecr:eu-west-1:111122223333:repository/team/secret",
        }],
    }))
}

/// A plan with so many images that they are closed at first, each with texts of its own.
pub(super) fn many() -> Document {
    let images: Vec<_> = (0..30)
        .map(|at| {
            let mut image = image(at, &format!("team/service-{at:02}"), &[&format!("tag-{at:02}")]);
            image["findings"][0]["id"] = json!(format!("CVE-2026-90{at:02}"));
            image["findings"][0]["fixed"] = json!(format!("7.{at:02}.1"));
            image
        })
        .collect();
    document(json!({"images": images}))
}

/// A plan of two Regions.
pub(super) fn two_regions() -> Document {
    let regions = ["eu-west-1", "us-east-1"];
    let registries = regions.map(|region| json!({"account": "111122223333", "region": region}));
    document(json!({"registries": registries, "images": [image(1, "team/web", &["1.0"])]}))
}

/// A plan with nothing in it.
pub(super) fn empty() -> Document {
    document(json!({}))
}

/// A plan that was interrupted, and of which nothing could be read.
pub(super) fn failed() -> Document {
    let failed: Vec<_> = (0..400)
        .map(|at| {
            json!({
                "account": format!("{at:012}"), "region": "ap-southeast-2", "repository": null,
                "problem": "sts:AssumeRole: AccessDenied: ".to_owned() + &"x".repeat(900),
            })
        })
        .collect();
    let registries: Vec<_> = (0..60)
        .map(|at| json!({"account": format!("{at:012}"), "region": "ap-southeast-2"}))
        .collect();
    document(json!({
        "complete": false, "failed": failed, "registries": registries, "only": ["team/*"],
        "policy": {"source": "defaults", "fingerprint": "00", "mode": ""},
    }))
}

/// A plan with the most and the longest of everything.
pub(super) fn huge() -> Document {
    let name = |at: usize| format!("{}/{at}", "long-repository-name.".repeat(12));
    let tags: Vec<_> = (0..100).map(|at| format!("{at:03}{}", "t".repeat(125))).collect();
    let tags: Vec<_> = tags.iter().map(String::as_str).collect();
    let mut images = Vec::new();
    for at in 0..3000 {
        let name = name(at / 20);
        let few = &tags[..if at < 20 { 100 } else { 2 }];
        let mut image = image(at, &name, few);
        image["more_findings"] = json!(u64::MAX);
        image["counts"]["high"] = json!(u64::MAX);
        image["delete"] = json!(at.is_multiple_of(2));
        image["findings"][1]["installed"] = json!("1".repeat(300));
        image["findings"][2]["package"] = json!("p".repeat(300));
        images.push(image);
    }
    let mut repositories = Vec::new();
    for at in 0..400 {
        let census = json!({"untag": 15, "never_scanned": u64::MAX / 2, "unsupported": u64::MAX});
        let findings = json!({"critical": 20, "high": u64::MAX});
        repositories.push(counts(&name(at), census, findings));
    }
    document(json!({
        "images": images,
        "repositories": repositories,
        "totals": {
            "repositories": 400, "images": u64::MAX, "worst": {"critical": 3000},
            "census": {"untag": 3000, "never_scanned": u64::MAX, "unsupported": u64::MAX},
            "findings": {"critical": 3000, "high": u64::MAX},
        },
    }))
}

/// A plan in which every text is this.
pub(super) fn filled_with(text: &str) -> Document {
    let finding = json!({
        "severity": text, "id": text, "package": text, "installed": text, "fixed": text,
        "score": 9.8, "link": text,
    });
    let image = json!({
        "account": text, "region": text, "repository": text, "digest": text, "kind": text,
        "pushed_at": text, "tags": [text], "untag": [text], "kept": [text], "delete": true,
        "verdict": "untag", "rule": text, "reasons": [text], "findings": [finding],
        "counts": {"critical": 1, text: 3},
    });
    let mut kept = image.clone();
    (kept["untag"], kept["verdict"]) = (json!([]), json!("blocked"));
    let mut unread = image.clone();
    (unread["untag"], unread["verdict"]) = (json!([]), json!("failed"));
    document(json!({
        "tagwarden": text, "made_at": text, "account": text, "region": text, "only": [text],
        "policy": {"source": text, "fingerprint": text, "mode": text},
        "registries": [{"account": text, "region": text}],
        "images": [image, kept, unread],
        "repositories": [{
            "account": text, "region": text, "repository": text,
            "census": {"untag": 1, "blocked": 1, "never_scanned": 1, text: 1},
            "findings": {"critical": 2, text: 1},
        }],
        "failed": [{"account": text, "region": text, "repository": text, "problem": text}],
        "totals": {
            "repositories": 1, "images": 4, "worst": {text: 1}, "findings": {text: 1},
            "census": {"untag": 1, "blocked": 1, "failed": 1, "never_scanned": 1, text: 1},
        },
    }))
}
