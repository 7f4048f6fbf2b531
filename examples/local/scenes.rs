//! The scenes: which images are pushed, what happens to them, and what is expected of the worker.

/// An image to push, and what is to become of it.
pub(crate) struct Image {
    /// Where to.
    pub(crate) repository: &'static str,
    /// What is in it: the same content makes the same image.
    pub(crate) content: &'static str,
    /// The tags that it is pushed with.
    pub(crate) tags: &'static [&'static str],
    /// What a scan on push finds.
    pub(crate) scan: Scan,
    /// What the worker is to find.
    pub(crate) outcome: &'static str,
    /// The tags that are to be on it in the end, beside the quarantine tag.
    pub(crate) left: &'static [&'static str],
}

/// What a scan on push finds, such as `CRITICAL=1,HIGH=2`.
pub(crate) enum Scan {
    /// ECR's own scan.
    Basic(&'static str),
    /// Inspector's, which goes on after it.
    Enhanced(&'static str),
    /// An index is not scanned: its images are, each for a platform.
    Index(&'static [(&'static str, &'static str)]),
}

/// What happens besides.
pub(crate) enum Turn {
    /// Nothing.
    None,
    /// Somebody moves this tag to the last image just as the worker is about to untag it.
    Moves(&'static str),
    /// When the worker is done, a finding of this name becomes known, critical and in this package, in the last image.
    Found(&'static str, &'static str),
}

/// Images that are pushed together.
pub(crate) struct Scene {
    /// What it shows.
    pub(crate) title: &'static str,
    /// The images.
    pub(crate) images: &'static [Image],
    /// What happens besides.
    pub(crate) turn: Turn,
}

/// All of them, in order.
pub(crate) const SCENES: [Scene; 9] = [
    Scene {
        title: "A clean image",
        images: &[Image {
            repository: "team/app",
            content: "1.0.0",
            tags: &["1.0.0"],
            scan: Scan::Basic("MEDIUM=2,LOW=5"),
            outcome: "clean",
            left: &["1.0.0"],
        }],
        turn: Turn::None,
    },
    Scene {
        title: "An image with a critical finding",
        images: &[Image {
            repository: "team/app",
            content: "1.1.0",
            tags: &["1.1.0"],
            scan: Scan::Basic("CRITICAL=1,HIGH=2,LOW=4"),
            outcome: "quarantined",
            left: &[],
        }],
        turn: Turn::None,
    },
    Scene {
        title: "High findings, under two tags",
        images: &[Image {
            repository: "team/app",
            content: "1.2.0 stable",
            tags: &["1.2.0", "stable"],
            scan: Scan::Basic("HIGH=3"),
            outcome: "quarantined",
            left: &[],
        }],
        turn: Turn::None,
    },
    Scene {
        title: "A critical finding, and one of the tags is protected",
        images: &[Image {
            repository: "team/app",
            content: "1.3.0 prod-eu",
            tags: &["1.3.0", "prod-eu"],
            scan: Scan::Basic("CRITICAL=2"),
            outcome: "quarantined",
            left: &["prod-eu"],
        }],
        turn: Turn::None,
    },
    Scene {
        title: "A tag that moves to a fixed image just as the worker is about to take it off",
        images: &[
            Image {
                repository: "team/app",
                content: "1.4.0 edge",
                tags: &["1.4.0", "edge"],
                scan: Scan::Basic("CRITICAL=1"),
                outcome: "quarantined",
                left: &[],
            },
            Image {
                repository: "team/app",
                content: "1.4.1",
                tags: &["1.4.1"],
                scan: Scan::Basic(""),
                outcome: "clean",
                left: &["1.4.1", "edge"],
            },
        ],
        turn: Turn::Moves("edge"),
    },
    Scene {
        title: "A multi-arch image of which one platform is vulnerable",
        images: &[Image {
            repository: "team/web",
            content: "2.0.0",
            tags: &["2.0.0"],
            scan: Scan::Index(&[("linux/amd64", "LOW=1"), ("linux/arm64", "CRITICAL=1")]),
            outcome: "quarantined",
            left: &[],
        }],
        turn: Turn::None,
    },
    Scene {
        title: "A new tag on an image that is known to be bad: no scan tells of it, the push does",
        images: &[Image {
            repository: "team/app",
            content: "1.1.0",
            tags: &["hotfix"],
            scan: Scan::Basic("CRITICAL=1,HIGH=2,LOW=4"),
            outcome: "quarantined",
            left: &[],
        }],
        turn: Turn::None,
    },
    Scene {
        title: "A vulnerability that becomes known after the scan, by Inspector",
        images: &[Image {
            repository: "team/shop",
            content: "3.0.0",
            tags: &["3.0.0"],
            scan: Scan::Enhanced("MEDIUM=1"),
            outcome: "quarantined",
            left: &[],
        }],
        turn: Turn::Found("CVE-2021-44228", "log4j-core"),
    },
    Scene {
        title: "A finding that an exception accepts: the same one, in a repository where it does no harm",
        images: &[Image {
            repository: "team/search",
            content: "4.0.0",
            tags: &["4.0.0"],
            scan: Scan::Enhanced("MEDIUM=1"),
            outcome: "clean",
            left: &["4.0.0"],
        }],
        turn: Turn::Found("CVE-2021-44228", "log4j-core"),
    },
];
