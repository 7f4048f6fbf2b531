//! The images, and what the worker is expected to make of each.

use aws_sim::{FaultRule, Sim};
use tokio::time::timeout;

use crate::Error;
use crate::narrator::Narrator;
use crate::page::print;
use crate::stage::{PATIENCE, QUEUE, Stage};

/// An image to push, and what is to become of it.
struct Image {
    tags: &'static [&'static str],
    findings: &'static str,
    /// What the worker is to find.
    outcome: &'static str,
    /// The tags that are to be on it in the end, beside the quarantine tag.
    left: &'static [&'static str],
}

/// Images that are pushed together.
struct Scene {
    title: &'static str,
    images: &'static [Image],
    /// A tag that somebody moves to the last image just as the worker is about to untag it.
    moves: Option<&'static str>,
}

const SCENES: [Scene; 5] = [
    Scene {
        title: "A clean image",
        images: &[Image {
            tags: &["1.0.0"],
            findings: "MEDIUM=2,LOW=5",
            outcome: "clean",
            left: &["1.0.0"],
        }],
        moves: None,
    },
    Scene {
        title: "An image with a critical finding",
        images: &[Image {
            tags: &["1.1.0"],
            findings: "CRITICAL=1,HIGH=2,LOW=4",
            outcome: "quarantined",
            left: &[],
        }],
        moves: None,
    },
    Scene {
        title: "High findings, under two tags",
        images: &[Image {
            tags: &["1.2.0", "stable"],
            findings: "HIGH=3",
            outcome: "quarantined",
            left: &[],
        }],
        moves: None,
    },
    Scene {
        title: "A critical finding, and one of the tags is protected",
        images: &[Image {
            tags: &["1.3.0", "prod-eu"],
            findings: "CRITICAL=2",
            outcome: "quarantined",
            left: &["prod-eu"],
        }],
        moves: None,
    },
    Scene {
        title: "A tag that moves to a fixed image just as the worker is about to take it off",
        images: &[
            Image {
                tags: &["1.4.0", "edge"],
                findings: "CRITICAL=1",
                outcome: "quarantined",
                left: &[],
            },
            Image { tags: &["1.4.1"], findings: "", outcome: "clean", left: &["1.4.1", "edge"] },
        ],
        moves: Some("edge"),
    },
];

/// Pushes every image, tells what happens, and checks that it is what should.
pub(crate) async fn tell(stage: &Stage, narrator: &mut Narrator) -> Result<(), Error> {
    stage.connect_scans();
    for scene in &SCENES {
        print(format_args!("\n{}", scene.title));
        play(stage, narrator, scene)
            .await
            .map_err(|problem| format!("{}: {problem}", scene.title))?;
    }
    Ok(())
}

/// Pushes every image of the story, for events that come from elsewhere.
pub(crate) fn push_all(stage: &Stage) {
    for image in SCENES.iter().flat_map(|scene| scene.images) {
        stage.push(image.tags, image.findings);
    }
}

async fn play(stage: &Stage, narrator: &mut Narrator, scene: &Scene) -> Result<(), String> {
    let push = |image: &'static Image| (image, stage.push(image.tags, image.findings));
    let pushed: Vec<_> = scene.images.iter().map(push).collect();
    if let (Some(tag), Some((_, digest))) = (scene.moves, pushed.last()) {
        let (repository, digest) = (stage.repository.clone(), digest.clone());
        let act = move |sim: &Sim| sim.tag_image(&repository, tag, &digest);
        stage.sim.set_faults(FaultRule::on("BatchDeleteImage").once().act(act));
    }

    let told = narrator.notices();
    let finished = narrator.follow(|sim, assessments| {
        let settled = |digest: &String| {
            assessments.iter().any(|one| one.is_deleted() && one.digest.as_ref() == Some(digest))
        };
        sim.queue(QUEUE).messages.is_empty() && pushed.iter().all(|(_, digest)| settled(digest))
    });
    timeout(PATIENCE, finished)
        .await
        .map_err(|_| format!("not settled within {} s", PATIENCE.as_secs()))?;

    for (image, digest) in &pushed {
        check(stage, narrator, image, digest)?;
    }
    let quarantined = pushed.iter().filter(|(image, _)| image.outcome == "quarantined").count();
    match narrator.notices() - told {
        notices if notices == quarantined => Ok(()),
        notices => Err(format!("the team received {notices} notices, expected {quarantined}")),
    }
}

/// Compares what became of an image with what should have.
fn check(stage: &Stage, narrator: &Narrator, image: &Image, digest: &str) -> Result<(), String> {
    let mut assessments = narrator.assessments().iter().rev();
    let outcome = assessments
        .find(|one| one.digest.as_deref() == Some(digest))
        .map_or("not assessed", |one| one.outcome.as_str());
    if outcome != image.outcome {
        return Err(format!("{digest} is {outcome}, expected {}", image.outcome));
    }
    let mut expected: Vec<_> = image.left.iter().map(|tag| (*tag).to_owned()).collect();
    if image.outcome == "quarantined" {
        expected.push(digest.replace("sha256:", "quarantine-"));
    }
    expected.sort();
    let tags = stage.sim.tags(&stage.repository, digest);
    if tags.as_ref() == Some(&expected) {
        return Ok(());
    }
    Err(match tags {
        None => format!("{digest} is lost"),
        Some(tags) => format!("{digest} has the tags {tags:?}, expected {expected:?}"),
    })
}
