use super::*;

fn finding(number: usize) -> Finding {
    Finding {
        packages: vec![
            Package {
                name: "libssl3".to_owned(),
                installed: Some("3.0.11-1~deb12u2".to_owned()),
                fixed: Some("3.0.14-1~deb12u1".to_owned()),
            },
            Package { name: "openssl".to_owned(), installed: None, fixed: None },
        ],
        score: Score::new(9.8),
        link: Some(format!("https://security-tracker.debian.org/tracker/CVE-2026-{number:04}")),
        fixable: Some(true),
        exploitable: Some(false),
        first_observed: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)),
        ..Finding::new(format!("CVE-2026-{number:04}"), Severity::High)
    }
}

#[test]
fn packed_finding_is_read_back_unchanged() {
    let bare = Finding::new("é", Severity::Undefined);
    let mut list: FindingList = [finding(1), bare.clone()].into_iter().collect();
    list.extend([finding(2)]);
    let read: Vec<_> = list.iter().map(FindingRef::to_finding).collect();
    assert_eq!(read, [finding(1), bare, finding(2)]);
    assert_eq!((list.len(), list.counts().of(Severity::High)), (3, 2));
    let mut both = FindingList::default();
    both.append(list.clone());
    both.append(list);
    assert_eq!((both.len(), both.counts().of(Severity::High)), (6, 4));
}

#[test]
fn finding_of_usual_size_takes_less_than_250_bytes() {
    let list: FindingList = (0..1_000).map(finding).collect();
    assert!(list.weight() < 250 * 1_000, "{}", list.weight());
}

#[test]
fn packages_beyond_the_cap_count_as_unnamed() {
    let mut many = finding(1);
    many.packages = vec![many.packages[0].clone(); MAX_PACKAGES + 1];
    let list: FindingList = [many, finding(2)].into_iter().collect();
    let read: Vec<_> =
        list.iter().map(|one| (one.packages().count(), one.has_unnamed_package())).collect();
    assert_eq!(read, [(MAX_PACKAGES, true), (2, false)]);
}
