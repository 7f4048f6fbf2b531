//! Plays the scenes, and checks that the worker does what it should.

use aws_sim::{FaultRule, Finding, RepoKey, ScanResult, Sim, manifest};
use serde_json::Value;
use tokio::time::timeout;

use crate::Error;
use crate::log::Assessment;
use crate::narrator::Narrator;
use crate::page::print;
use crate::scenes::{Image, SCENES, Scan, Scene, Turn};
use crate::stage::{PATIENCE, QUEUE, Stage, is_connected, is_scanned};

/// An image that was pushed.
struct Pushed {
    image: &'static Image,
    repository: RepoKey,
    digest: String,
    /// What is scanned: the image itself, or those of the index.
    scanned: Vec<String>,
}

impl Pushed {
    fn push(stage: &Stage, image: &'static Image) -> Self {
        let Image { content, tags, .. } = image;
        let repository = stage.repository(image.repository);
        let push = |tags: &[&str], content: &str, annotations: &[(&str, &str)]| {
            let manifest = manifest::annotated_image(content, annotations);
            stage.sim.push_manifest(&repository, tags, &manifest)
        };
        let mut scanned = Vec::new();
        let digest = match image.scan {
            Scan::Basic(findings) => push(tags, content, &[("aws-sim.findings", findings)]),
            Scan::Enhanced(findings) => {
                let scanning = [("aws-sim.findings", findings), ("aws-sim.scanning", "ENHANCED")];
                push(tags, content, &scanning)
            }
            Scan::Index(platforms) => {
                scanned.extend(platforms.iter().map(|(platform, findings)| {
                    let content = format!("{content} for {platform}");
                    push(&[], &content, &[("aws-sim.findings", findings)])
                }));
                let platforms = platforms.iter().map(|(platform, _)| *platform);
                let children: Vec<_> = scanned.iter().map(String::as_str).zip(platforms).collect();
                stage.sim.push_index(&repository, tags, &children)
            }
        };
        if scanned.is_empty() {
            scanned.push(digest.clone());
        }
        Self { image, repository, digest, scanned }
    }

    /// Whether an assessment is about this.
    fn concerns(&self, assessment: &Assessment) -> bool {
        let digest = assessment.digest.as_ref();
        digest.is_some_and(|digest| *digest == self.digest || self.scanned.contains(digest))
    }
}

/// Plays every scene, tells what happens, and checks that it is what should.
pub(crate) async fn tell(stage: &Stage, narrator: &mut Narrator) -> Result<(), Error> {
    stage.connect();
    for scene in &SCENES {
        print(format_args!("\n{}", scene.title));
        play(stage, narrator, scene)
            .await
            .map_err(|problem| format!("{}: {problem}", scene.title))?;
    }
    Ok(())
}

/// Pushes every image of the story, for events that come from elsewhere; what is going to be scanned of them.
pub(crate) fn push_all(stage: &Stage) -> Vec<String> {
    let images = SCENES.iter().flat_map(|scene| scene.images);
    images.flat_map(|image| Pushed::push(stage, image).scanned).collect()
}

async fn play(stage: &Stage, narrator: &mut Narrator, scene: &Scene) -> Result<(), String> {
    let told = narrator.notices();
    let mut assessed = narrator.assessments().len();
    let pushed: Vec<_> = scene.images.iter().map(|image| Pushed::push(stage, image)).collect();
    if let (&Turn::Moves(tag), Some(last)) = (&scene.turn, pushed.last()) {
        let (repository, digest) = (last.repository.clone(), last.digest.clone());
        let act = move |sim: &Sim| sim.tag_image(&repository, tag, &digest);
        stage.sim.set_faults(FaultRule::on("BatchDeleteImage").once().act(act));
    }
    settle(narrator, &pushed).await?;
    if let (Turn::Found(id, package), Some(last)) = (&scene.turn, pushed.last()) {
        assessed = narrator.assessments().len();
        let Pushed { repository, digest, .. } = last;
        let finding = Finding::new(id, "CRITICAL").in_package(package, "2.14.1");
        let result = ScanResult::enhanced(&[("MEDIUM", 1)]).with(finding.clone());
        stage.sim.set_findings(repository, digest, result);
        stage.sim.emit_finding(repository, digest, &finding, "ACTIVE");
        settle(narrator, &pushed).await?;
    }
    narrator.sum_up();

    for image in &pushed {
        check(stage, narrator.assessments().get(assessed..).unwrap_or_default(), image)?;
    }
    let quarantined = pushed.iter().filter(|one| one.image.outcome == "quarantined").count();
    match narrator.notices() - told {
        notices if notices == quarantined => Ok(()),
        notices => Err(format!("the team received {notices} notices, expected {quarantined}")),
    }
}

/// Tells what happens until every scan has ended, and every event that goes to the worker is done with.
async fn settle(narrator: &mut Narrator, pushed: &[Pushed]) -> Result<(), String> {
    let finished = narrator.follow(|sim, assessments| {
        let is_settled = |event: &Value| {
            let id = event.get("id").and_then(Value::as_str);
            assessments.iter().any(|one| one.is_deleted() && one.event_id.as_deref() == id)
        };
        sim.queue(QUEUE).messages.is_empty()
            && pushed.iter().flat_map(|one| &one.scanned).all(|digest| is_scanned(sim, digest))
            && sim.events().iter().filter(|event| is_connected(event)).all(is_settled)
    });
    timeout(PATIENCE, finished)
        .await
        .map_err(|_| format!("not settled within {} s", PATIENCE.as_secs()))
}

/// Compares what became of an image with what should have.
fn check(stage: &Stage, assessments: &[Assessment], pushed: &Pushed) -> Result<(), String> {
    let Pushed { image, repository, digest, .. } = pushed;
    let of_this = assessments.iter().filter(|one| pushed.concerns(one));
    let outcomes: Vec<_> = of_this.map(|one| one.outcome.as_str()).collect();
    if !outcomes.contains(&image.outcome) {
        return Err(format!("{digest} is {outcomes:?}, expected {}", image.outcome));
    }
    let mut expected: Vec<_> = image.left.iter().map(|tag| (*tag).to_owned()).collect();
    if image.outcome == "quarantined" {
        expected.push(digest.replace("sha256:", "quarantine-"));
    }
    expected.sort();
    let tags = stage.sim.tags(repository, digest);
    if tags.as_ref() == Some(&expected) {
        return Ok(());
    }
    Err(match tags {
        None => format!("{digest} is lost"),
        Some(tags) => format!("{digest} has the tags {tags:?}, expected {expected:?}"),
    })
}
