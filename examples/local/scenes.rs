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
    /// What the short form of the story says behind what was found.
    pub(crate) hint: &'static str,
}

/// What a scan on push finds, such as `CRITICAL=1,HIGH=2`.
pub(crate) enum Scan {
    /// ECR's own scan.
    Basic(&'static str),
    /// Inspector's, which goes on after it.
    Enhanced(&'static str),
    /// Inspector's, with findings that can be read like real ones, worst first.
    Named(&'static [Known]),
    /// An index is not scanned: its images are, each for a platform.
    Index(&'static [(&'static str, &'static str)]),
}

/// A finding as Inspector would describe it.
pub(crate) struct Known {
    /// Its name.
    pub(crate) id: &'static str,
    /// How bad it is.
    pub(crate) severity: &'static str,
    /// The CVSS score.
    pub(crate) score: f64,
    /// The vulnerable package, its version, and the one with the fix.
    pub(crate) package: [&'static str; 3],
}

/// Findings of an image that a newcomer sees first, and whose notice `--notice` shows. They are invented.
const KNOWN: Scan = Scan::Named(&[
    Known {
        id: "CVE-2026-1001",
        severity: "CRITICAL",
        score: 9.8,
        package: ["openssl", "3.0.0", "3.0.2"],
    },
    Known {
        id: "CVE-2026-1002",
        severity: "HIGH",
        score: 8.1,
        package: ["curl", "8.5.0", "8.6.0"],
    },
    Known {
        id: "CVE-2026-1003",
        severity: "HIGH",
        score: 7.5,
        package: ["zlib", "1.3.0", "1.3.1"],
    },
]);

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
            hint: "",
        }],
        turn: Turn::None,
    },
    Scene {
        title: "An image with a critical finding",
        images: &[Image {
            repository: "team/app",
            content: "1.1.0",
            tags: &["1.1.0"],
            scan: KNOWN,
            outcome: "quarantined",
            left: &[],
            hint: "",
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
            hint: "",
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
            hint: "",
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
                hint: "",
            },
            Image {
                repository: "team/app",
                content: "1.4.1",
                tags: &["1.4.1"],
                scan: Scan::Basic(""),
                outcome: "clean",
                left: &["1.4.1", "edge"],
                hint: "",
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
            hint: "",
        }],
        turn: Turn::None,
    },
    Scene {
        title: "A new tag on an image that is known to be bad: the push tells of it, no scan",
        images: &[Image {
            repository: "team/app",
            content: "1.1.0",
            tags: &["hotfix"],
            scan: KNOWN,
            outcome: "quarantined",
            left: &[],
            hint: ": image of 1.1.0",
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
            hint: ", known later",
        }],
        turn: Turn::Found("CVE-2021-44228", "log4j-core"),
    },
    Scene {
        title: "A finding that an exception accepts: the same one, where it does no harm",
        images: &[Image {
            repository: "team/search",
            content: "4.0.0",
            tags: &["4.0.0"],
            scan: Scan::Enhanced("MEDIUM=1"),
            outcome: "clean",
            left: &["4.0.0"],
            hint: "",
        }],
        turn: Turn::Found("CVE-2021-44228", "log4j-core"),
    },
];
