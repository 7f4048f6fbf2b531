use super::*;

const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[test]
fn names_that_aws_refuses_are_invalid() {
    for bad in ["", "1234", "12345678901a", "1234567890123"] {
        assert!(AccountId::parse(bad).is_err(), "{bad:?}");
    }
    for bad in ["", "eu", "eu--west", "eu-west-1.evil.example", "EU-WEST-1", "eu-west-1\n"] {
        assert!(Region::parse(bad).is_err(), "{bad:?}");
    }
    for bad in ["", "/a", "a/", "a//b", "A", "a b", "a\u{7}", &"a".repeat(257)] {
        assert!(RepositoryName::parse(bad).is_err(), "{bad:?}");
    }
    for bad in ["", "sha256:", "sha256:zz", &format!("sha512:{HEX}"), &format!("sha256:{HEX}0")] {
        assert!(Digest::parse(bad).is_err(), "{bad:?}");
    }
    for bad in ["", ".a", "-a", "a b", "a/b", &"a".repeat(301)] {
        assert!(Tag::parse(bad).is_err(), "{bad:?}");
    }
    for good in ["latest", "_x", "1.2.3-rc.1", &"a".repeat(300)] {
        assert!(Tag::parse(good).is_ok(), "{good:?}");
    }
}

#[test]
fn error_names_at_most_the_start_of_the_value() {
    let error = Digest::parse("x".repeat(1 << 20)).unwrap_err().to_string();
    assert!(error.len() < 200, "{}", error.len());
    assert_eq!(
        AccountId::parse("12").unwrap_err().to_string(),
        r#""12" is not an AWS account id of 12 digits"#
    );
}

#[test]
fn quarantine_tag_matches_only_in_its_exact_form() {
    let digest = Digest::parse(format!("sha256:{HEX}")).unwrap();
    let tag = Tag::quarantine(&digest);
    assert_eq!(tag.as_str(), format!("quarantine-{HEX}"));
    assert!(tag.is_quarantine_of(&digest));
    assert!(!Tag::parse("quarantine-me").unwrap().is_quarantine_of(&digest));

    let all: Vec<_> = Tag::quarantines(&digest).collect();
    assert_eq!(all.len(), Tag::QUARANTINES);
    assert_eq!((all[0].clone(), all[9].as_str()), (tag, &*format!("quarantine-{HEX}.9")));
    assert!(all.iter().all(|tag| tag.is_quarantine_of(&digest)));
    for ending in [".", ".0", ".10", ".1.1", "1", "-1", ".x"] {
        let other = Tag::parse(format!("quarantine-{HEX}{ending}")).unwrap();
        assert!(!other.is_quarantine_of(&digest), "{other}");
    }
}

#[test]
fn referrer_tag_matches_only_in_its_exact_form() {
    let is_referrer = |tag: &str| Tag::parse(tag).unwrap().is_referrer();
    for ending in ["", ".sig", ".att", ".sbom"] {
        assert!(is_referrer(&format!("sha256-{HEX}{ending}")), "{ending:?}");
    }
    for other in ["1.0", "sha256-abc.sig", &format!("sha256-{HEX}.1"), HEX] {
        assert!(!is_referrer(other), "{other}");
    }
}

#[test]
fn arn_of_any_partition_gives_repository_and_digest() {
    let arn =
        RepositoryArn::parse("arn:aws-us-gov:ecr:us-gov-west-1:111122223333:repository/team/app");
    let arn = arn.unwrap();
    assert_eq!(arn.repository.to_string(), "111122223333/us-gov-west-1/team/app");
    assert_eq!(arn.digest, None);

    let text = format!("arn:aws:ecr:eu-west-1:111122223333:repository/team/app/sha256:{HEX}");
    let arn = RepositoryArn::parse(&text).unwrap();
    assert_eq!(arn.repository.name.as_str(), "team/app");
    assert_eq!(arn.digest.unwrap().hex(), HEX);

    for bad in [
        "arn:aws:ec2:eu-west-1:111122223333:instance/i-1",
        "arn:aws:ecr:eu-west-1:111122223333:repository/",
        "arn:aws:ecr:eu-west-1::repository/team/app",
        "urn:aws:ecr:eu-west-1:111122223333:repository/team/app",
        "arn:other:ecr:eu-west-1:111122223333:repository/team/app",
        "arn:aws:ecr-public:eu-west-1:111122223333:repository/team/app",
        "arn:aws:ecr",
    ] {
        assert!(RepositoryArn::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn pull_name_is_what_a_container_runtime_takes_in_every_partition() {
    let digest = Digest::parse(format!("sha256:{}", "a".repeat(64))).unwrap();
    for (region, host) in [
        ("eu-west-1", "eu-west-1.amazonaws.com"),
        ("us-gov-west-1", "us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "eusc-de-east-1.amazonaws.eu"),
        ("us-iso-east-1", "us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", "us-isob-east-1.sc2s.sgov.gov"),
    ] {
        let repository = Repository {
            account: AccountId::parse("111122223333").unwrap(),
            region: Region::parse(region).unwrap(),
            name: RepositoryName::parse("team/app").unwrap(),
        };
        assert_eq!(
            repository.pull_name(&digest),
            format!("111122223333.dkr.ecr.{host}/team/app@{digest}")
        );
    }
}
