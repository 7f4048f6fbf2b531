//! Exceptions: what they cover, when they expire, and how people see that.

use std::time::{Duration, SystemTime};

use aws_sim::{Finding, ScanResult, SimConfig};
use serde_json::json;
use tokio::time::sleep;

use super::support::{World, quarantine};

/// An exception with these keys that expires on this day.
fn exception(keys: &str, expires: &str) -> String {
    let rest = "reason = \"not reachable\"\nowner = \"security\"";
    format!("[[policy.exceptions]]\n{keys}\n{rest}\nexpires = \"{expires}\"\n")
}

fn one() -> ScanResult {
    ScanResult::enhanced(&[]).with(Finding::new("CVE-2026-0001", "CRITICAL"))
}

fn digest_of_1_0() -> String {
    World::new().image(&["1.0"], one())
}

/// A simulation that starts this long before the start of 2026-01-03.
fn before_midnight(time: Duration) -> SimConfig {
    let midnight = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_398_400);
    SimConfig { epoch: midnight - time, ..SimConfig::default() }
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// Returns whether an image tagged 1.0 with these findings keeps its tag.
async fn is_covered(exceptions: &str, scan: ScanResult) -> bool {
    let world = World::configured(exceptions);
    let digest = world.image(&["1.0"], scan);
    world.scanned(&digest);
    world.run_to_the_end().await;
    let kept = world.tags(&digest) == ["1.0"];
    assert_eq!(kept, world.notices().is_empty());
    kept
}

#[tokio::test(start_paused = true)]
async fn exception_matches_only_if_id_digest_package_and_repository_match() {
    let digest = digest_of_1_0();
    let other = format!("sha256:{}", "a".repeat(64));
    let this_image = format!("digest = {digest:?}");
    let cases = [
        (r#"id = "CVE-2026-0001""#.to_owned(), true),
        (r#"id = "CVE-2026-00*""#.to_owned(), true),
        (r#"id = "*""#.to_owned(), true),
        (r#"id = "CVE-2026-0002""#.to_owned(), false),
        (r#"id = "CVE-2026-000""#.to_owned(), false),
        (this_image.clone(), true),
        (format!("digest = {other:?}"), false),
        (format!("{this_image}\nid = \"CVE-2026-0001\""), true),
        (format!("{this_image}\nid = \"CVE-2026-0002\""), false),
        (format!("digest = {other:?}\nid = \"CVE-2026-0001\""), false),
        ("id = \"*\"\npackage = \"openssl\"".to_owned(), true),
        ("id = \"*\"\npackage = \"open*\"".to_owned(), true),
        ("id = \"*\"\npackage = \"libc\"".to_owned(), false),
        ("id = \"*\"\nrepositories = [\"x\", \"team/*\"]".to_owned(), true),
        ("id = \"*\"\nrepositories = [\"x\", \"legacy/*\"]".to_owned(), false),
    ];
    for (keys, covered) in cases {
        assert_eq!(is_covered(&exception(&keys, "2026-12-31"), one()).await, covered, "{keys}");
        // Basic scanning writes findings in another form.
        let basic = ScanResult::basic(&[]).with(Finding::new("CVE-2026-0001", "CRITICAL"));
        assert_eq!(is_covered(&exception(&keys, "2026-12-31"), basic).await, covered, "{keys}");
    }
}

#[tokio::test(start_paused = true)]
async fn finding_in_two_packages_is_excepted_if_both_are() {
    let finding = Finding::new("CVE-2026-0001", "CRITICAL").and_package("libssl3", "3.0.0");
    let scan = || ScanResult::enhanced(&[]).with(finding.clone());
    let of = |package| exception(&format!("id = \"*\"\npackage = {package:?}"), "2026-12-31");
    assert!(!is_covered(&of("openssl"), scan()).await);
    assert!(!is_covered(&of("libssl*"), scan()).await);
    assert!(is_covered(&(of("openssl") + &of("libssl*")), scan()).await);
    assert!(is_covered(&exception("id = \"*\"", "2026-12-31"), scan()).await);
}

#[tokio::test(start_paused = true)]
async fn excepted_findings_are_reported_if_other_findings_count() {
    let toml = exception(r#"id = "CVE-2026-0001""#, "2026-12-31");
    let scan = one()
        .with(Finding::new("CVE-2026-0002", "CRITICAL"))
        .with(Finding::new("CVE-2026-0001", "HIGH"));
    let world = World::configured(&toml);
    let digest = world.image(&["1.0"], scan);
    world.scanned(&digest);

    world.run_to_the_end().await;

    let why = "excepted by CVE-2026-0001 until 2026-12-31 (security: not reachable)";
    let reasons = json!([
        "critical 1 exceeds the limit of 0",
        format!("critical 1 does not count: {why}"),
        format!("high 1 does not count: {why}"),
    ]);
    let notice = world.notice();
    assert_eq!(notice["reasons"], reasons);
    let worst = notice["worst"].as_array().unwrap().iter().map(|finding| &finding["id"]);
    assert_eq!(worst.collect::<Vec<_>>(), ["CVE-2026-0002"]);
}

#[tokio::test(start_paused = true)]
async fn digest_of_an_index_covers_its_images_and_nothing_else() {
    // The exception names nothing, the index, or the image.
    for (named, index_stays, image_stays) in
        [("", false, false), ("index", true, false), ("image", true, true)]
    {
        let mut world = World::new();
        let image = world.image(&["1.0-amd64"], one());
        let of = [(image.as_str(), "linux/amd64")];
        let index = world.sim.push_index(&world.repository, &["1.0"], &of);
        let digest = match named {
            "index" => Some(&index),
            "image" => Some(&image),
            _ => None,
        };
        if let Some(digest) = digest {
            let toml = exception(&format!("digest = {digest:?}"), "2026-12-31");
            world = world.with_file(&toml);
        }
        world.scanned(&image);

        world.run_to_the_end().await;

        assert_eq!(world.tags(&index) == ["1.0"], index_stays, "{named}");
        assert_eq!(world.tags(&image) == ["1.0-amd64"], image_stays, "{named}");
    }
}

#[tokio::test(start_paused = true)]
async fn expired_exception_does_not_count() {
    let by_id = |expires| exception(r#"id = "CVE-2026-0001""#, expires);
    // The date is 2026-01-02.
    for (expires, covered) in [("2026-01-03", true), ("2026-01-02", false), ("2020-01-01", false)] {
        assert_eq!(is_covered(&by_id(expires), one()).await, covered, "{expires}");
    }
    let both = by_id("2026-01-02") + &by_id("2026-01-03");
    assert!(is_covered(&both, one()).await, "another one is in force");
}

#[tokio::test(start_paused = true)]
async fn exception_expires_at_the_start_of_its_day_while_the_worker_runs() {
    let toml = exception(r#"id = "CVE-2026-0001""#, "2026-01-03");
    let world = World::with(before_midnight(minutes(60))).with_file(&toml);
    let digest = world.image(&["1.0"], one());
    let test = async {
        sleep(minutes(60) - Duration::from_secs(1)).await;
        world.scanned(&digest);
        world.done().await;
        assert_eq!(world.tags(&digest), ["1.0"], "a second before midnight");
        sleep(Duration::from_secs(1)).await;
        world.scanned(&digest);
        world.done().await;
    };
    world.run_while(test).await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn metrics_separate_matching_exceptions_from_unused_ones() {
    let exceptions = [
        exception(r#"id = "CVE-2026-0001""#, "2026-12-31"),
        exception(r#"id = "CVE-2026-0001""#, "2026-12-31"),
        exception("id = \"CVE-2020-*\"\npackage = \"log4j\"", "2026-12-31"),
        exception(r#"id = "CVE-2026-0001""#, "2026-01-01"),
    ];
    let world = World::configured(&exceptions.concat());
    let first = world.image(&["1.0"], one());
    // The exception also matches in an image that loses its tags for another reason.
    let second = world.image(&["2.0"], one().with(Finding::new("CVE-2026-0009", "HIGH")));
    let third = world.image(&["3.0"], ScanResult::enhanced(&[("HIGH", 1)]));
    let app = world.app();
    let matches = |name: &str, position: usize, count: usize| {
        let line = format!(
            r#"tagwarden_exception_matches_total{{exception="{name}",position="{position}"}} {count}"#
        );
        let metrics = app.instruments().render().unwrap();
        assert!(metrics.lines().any(|other| other == line), "{line} in {metrics}");
    };
    for (position, name) in
        ["CVE-2026-0001", "CVE-2026-0001", "CVE-2020-* in log4j", "CVE-2026-0001"]
            .iter()
            .enumerate()
    {
        matches(name, position, 0);
    }
    for digest in [&first, &second, &third] {
        world.scanned(digest);
    }

    world.work(&app, &tagwarden::shutdown::Shutdown::default(), world.done()).await.unwrap();

    matches("CVE-2026-0001", 0, 2);
    matches("CVE-2026-0001", 1, 0);
    matches("CVE-2020-* in log4j", 2, 0);
    matches("CVE-2026-0001", 3, 0);
}

/// Exceptions with different standings, one hour before the end of 2026-01-02.
fn aging() -> World {
    let days = ["2025-12-31", "2026-01-03", "2026-01-10", "2026-01-17", "2026-12-31"];
    let exceptions = days.iter().map(|day| exception(&format!("id = \"CVE-{}\"", &day[5..]), day));
    let toml: String = exceptions.collect();
    World::with(before_midnight(minutes(60))).with_file(&toml)
}

#[tokio::test(start_paused = true)]
async fn metrics_show_the_standing_of_exceptions_over_time() {
    let world = aging();
    let app = world.app();
    let stand = |expected: [usize; 3]| {
        let metrics = app.instruments().render().unwrap();
        for (standing, count) in ["active", "expiring", "expired"].iter().zip(expected) {
            let line = format!(r#"tagwarden_exceptions{{standing="{standing}"}} {count}"#);
            assert!(metrics.lines().any(|other| other == line), "{line} in {metrics}");
        }
    };
    stand([0, 0, 0]);
    let test = async {
        world.sim.wait_for_calls("ReceiveMessage", 1).await;
        stand([2, 2, 1]);
        sleep(minutes(44)).await;
        stand([2, 2, 1]);
        // Midnight, and the next check of the expiry dates.
        sleep(minutes(30)).await;
        stand([1, 2, 2]);
        sleep(minutes(24 * 60)).await;
        stand([1, 2, 2]);
    };
    world.work(&app, &tagwarden::shutdown::Shutdown::default(), test).await.unwrap();
}
