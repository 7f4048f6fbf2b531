//! What the messages of a run are about.

use aws_sim::{RepoKey, ScanResult, Sim};
use serde::{Deserialize, Serialize};

/// A prime, so that every kind of message comes to every repository.
const REPOSITORIES: usize = 199;

/// What the messages of a run are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mix {
    /// Scans without a Critical or High finding.
    Clean,
    /// Of 100 messages 90 clean ones, 8 about images with two tags that have to go, one about the child of an index that has to go,
    /// one that is no event.
    Realistic,
    /// Images with two tags that have to go, and nothing else.
    Violating,
}

/// One message that is to come.
pub(crate) enum Body {
    Clean(usize),
    Event(String),
    Poison,
}

impl Body {
    /// The text that is sent.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Clean(number) => {
                let digest = format!("sha256:{number:064x}");
                let id = format!("00000000-0000-4000-8000-{number:012x}");
                event(
                    &id,
                    &repository(number),
                    &digest,
                    r#""1.2.3","latest""#,
                    r#""MEDIUM":9,"LOW":4"#,
                )
            }
            Self::Event(text) => text,
            Self::Poison => "this is no event".to_owned(),
        }
    }
}

/// The messages of a run, and the registry that they are about.
pub(crate) struct Messages {
    pub(crate) bodies: Box<dyn Iterator<Item = Body>>,
    pub(crate) poison: usize,
    /// Images, and indexes, whose tags have to go.
    pub(crate) violating: usize,
}

/// Fills the registry with what `count` messages are about.
pub(crate) fn prepare(sim: &Sim, mix: Mix, count: usize) -> Messages {
    let (mut poison, mut violating) = (0, 0);
    if mix == Mix::Clean {
        return Messages { bodies: Box::new((0..count).map(Body::Clean)), poison, violating };
    }
    let repositories: Vec<_> =
        (0..REPOSITORIES).map(|number| sim.create_repository(&repository(number))).collect();
    let bodies: Vec<_> = (0..count)
        .zip(repositories.iter().cycle())
        .map(|(number, repository)| match (mix, number % 100) {
            (Mix::Realistic, 40) => {
                poison += 1;
                Body::Poison
            }
            (Mix::Realistic, 70) => {
                violating += 1;
                Body::Event(violating_index(sim, repository, number))
            }
            (Mix::Realistic, rest) if rest % 12 != 5 => Body::Clean(number),
            _ => {
                violating += 1;
                Body::Event(violating_image(sim, repository, number).1)
            }
        })
        .collect();
    Messages { bodies: Box::new(bodies.into_iter()), poison, violating }
}

/// An image that has to go: its digest and its event.
pub(crate) fn violating_image(sim: &Sim, repository: &RepoKey, number: usize) -> (String, String) {
    let tags = [format!("1.2.{number}"), format!("latest-{number}")];
    let tags = tags.each_ref().map(String::as_str);
    let digest = sim.push_image(repository, &tags, &format!("image {number}"));
    let event = found(sim, repository, &digest, number, &tags);
    (digest, event)
}

/// An image with this scan, of which its event counts the findings: the event.
pub(crate) fn image_with(
    sim: &Sim,
    repository: &RepoKey,
    number: usize,
    scan: &ScanResult,
) -> String {
    let tag = format!("1.2.{number}");
    let digest = sim.push_image(repository, &[&tag], &format!("image {number}"));
    sim.set_findings(repository, &digest, scan.clone());
    let counts = scan.counts();
    let counts: Vec<_> =
        counts.iter().map(|(severity, count)| format!("\"{severity}\":{count}")).collect();
    let id = format!("10000000-0000-4000-8000-{number:012x}");
    event(&id, &repository.name, &digest, &format!("\"{tag}\""), &counts.join(","))
}

/// An index with a tag, of which one child has to go: the child's event.
fn violating_index(sim: &Sim, repository: &RepoKey, number: usize) -> String {
    let [bad, good] =
        ["bad", "good"].map(|word| sim.push_image(repository, &[], &format!("{word} {number}")));
    let tag = format!("multi-{number}");
    sim.push_index(repository, &[&tag], &[(&bad, "linux/amd64"), (&good, "linux/arm64")]);
    sim.set_findings(repository, &good, ScanResult::basic(&[("LOW", 1)]));
    found(sim, repository, &bad, number, &[])
}

fn found(sim: &Sim, repository: &RepoKey, digest: &str, number: usize, tags: &[&str]) -> String {
    sim.set_findings(repository, digest, ScanResult::basic(&[("CRITICAL", 1), ("HIGH", 2)]));
    let id = format!("10000000-0000-4000-8000-{number:012x}");
    let tags: Vec<_> = tags.iter().map(|tag| format!("\"{tag}\"")).collect();
    event(&id, &repository.name, digest, &tags.join(","), r#""CRITICAL":1,"HIGH":2"#)
}

pub(crate) fn repository(number: usize) -> String {
    format!("team-{}/app", number % REPOSITORIES)
}

/// Written out, since the process that makes them by the million is also to answer.
fn event(id: &str, repository: &str, digest: &str, tags: &str, counts: &str) -> String {
    format!(
        r#"{{"version":"0","id":"{id}","detail-type":"ECR Image Scan","source":"aws.ecr","account":"111122223333","time":"2026-01-02T03:04:05Z","region":"eu-west-1","resources":["arn:aws:ecr:eu-west-1:111122223333:repository/{repository}"],"detail":{{"scan-status":"COMPLETE","repository-name":"{repository}","image-digest":"{digest}","image-tags":[{tags}],"finding-severity-counts":{{{counts}}}}}}}"#
    )
}
