//! Plays the scenes, and checks that the worker does what it should.

use std::collections::BTreeMap;
use std::fmt;

use aws_sim::{FaultRule, Finding, Published, RepoKey, ScanResult, Sim, manifest};
use serde_json::Value;
use tokio::time::timeout;

use crate::Error;
use crate::bus::TaggedImage;
use crate::log::Assessment;
use crate::narrator::Narrator;
use crate::page::{Fate, row};
use crate::scenes::{Image, Known, SCENES, Scan, Scene, Turn};
use crate::stage::{PATIENCE, QUEUE, Stage, is_connected, is_scanned};
use crate::table::{self, After, Why};

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
            Scan::Named(known) => {
                let manifest = manifest::image(content);
                let digest = manifest::digest(&manifest);
                stage.sim.set_findings(&repository, &digest, result_of(known));
                stage.sim.push_manifest(&repository, tags, &manifest)
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

fn result_of(known: &[Known]) -> ScanResult {
    let findings = known.iter().map(|Known { id, severity, score, package: [name, has, fix] }| {
        Finding::new(id, severity).with_score(*score).in_package(name, has).fixed_in(fix)
    });
    findings.fold(ScanResult::enhanced(&[]), ScanResult::with)
}

/// Plays every scene, tells what happens, and checks that it is what should, where the policy is the example's own.
pub(crate) async fn tell(
    stage: &Stage,
    narrator: &mut Narrator,
    is_our_policy: bool,
) -> Result<Sum, Error> {
    stage.connect();
    let mut sum = Sum::default();
    for scene in &SCENES {
        narrator.title(scene.title);
        let problem = |problem| format!("{}: {problem}", scene.title);
        let played = play(stage, narrator, scene).await.map_err(problem)?;
        if is_our_policy {
            played.check(stage, narrator).map_err(problem)?;
        }
        for image in &played.pushed {
            sum.add(stage, narrator, image, played.assessed);
        }
    }
    sum.notices = narrator.notices();
    Ok(sum)
}

/// Plays the scene whose notice says the most, and returns the notice.
pub(crate) async fn first_notice(
    stage: &Stage,
    narrator: &mut Narrator,
) -> Result<Published, Error> {
    stage.connect();
    let is_it = |scene: &&Scene| scene.images.iter().any(|one| matches!(one.scan, Scan::Named(_)));
    if let Some(scene) = SCENES.iter().find(is_it) {
        play(stage, narrator, scene).await?;
    }
    let notice = stage.sim.notices(&stage.topic_arn).into_iter().next();
    notice.ok_or_else(|| "the policy needs no notice of a critical finding".into())
}

/// Pushes every image of the story, for events that come from elsewhere; what is going to be scanned of them.
pub(crate) fn push_all(stage: &Stage) -> Vec<String> {
    let images = SCENES.iter().flat_map(|scene| scene.images);
    images.flat_map(|image| Pushed::push(stage, image).scanned).collect()
}

/// A scene that was played.
struct Played {
    pushed: Vec<Pushed>,
    /// How many assessments there were before those that count.
    assessed: usize,
    /// How many notices the team has received.
    notices: usize,
}

async fn play(
    stage: &Stage,
    narrator: &mut Narrator,
    scene: &'static Scene,
) -> Result<Played, String> {
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
    Ok(Played { pushed, assessed, notices: narrator.notices() - told })
}

impl Played {
    /// Compares what the worker did with what it should.
    fn check(&self, stage: &Stage, narrator: &Narrator) -> Result<(), String> {
        let assessments = narrator.assessments().get(self.assessed..).unwrap_or_default();
        for image in &self.pushed {
            check(stage, assessments, image)?;
        }
        let outcomes = self.pushed.iter().map(|one| one.image.outcome);
        let expected = outcomes.filter(|outcome| *outcome == "quarantined").count();
        match self.notices {
            notices if notices == expected => Ok(()),
            notices => Err(format!("the team received {notices} notices, expected {expected}")),
        }
    }
}

/// What became of all tags.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    fates: BTreeMap<Fate, usize>,
    notices: usize,
    deleted: usize,
}

impl Sum {
    /// Counts what became of an image's tags, and prints a line for each unless everything is told anyway.
    fn add(&mut self, stage: &Stage, narrator: &Narrator, of: &Pushed, assessed: usize) {
        let Pushed { image, repository, digest, .. } = of;
        let assessments = narrator.assessments().get(assessed..).unwrap_or_default();
        let mut concerned = assessments.iter().filter(|one| of.concerns(one));
        let mut took = concerned.rfind(|one| one.beside().is_none()).map(|one| one.duration_ms);
        if stage.sim.tags(repository, digest).is_none() {
            self.deleted += 1;
        }
        for tag in image.tags {
            let is_it = |one: &&TaggedImage| {
                one.repository == image.repository && one.tag == *tag && one.digest == *digest
            };
            let seen = narrator.sightings().tags.iter().find(is_it);
            let Some(After { fate, why, .. }) =
                seen.map(|seen| table::after(stage, narrator.sightings(), seen))
            else {
                continue;
            };
            *self.fates.entry(fate).or_default() += 1;
            if !narrator.is_aloud() {
                let reference = format!("{}:{tag}", image.repository);
                row(fate, &reference, &brief(image, &why), took.take());
            }
        }
    }
}

/// Why, in a few words.
fn brief(image: &Image, why: &Why) -> String {
    match (why, &image.scan) {
        (Why::Found(_), Scan::Named([worst, others @ ..])) if image.hint.is_empty() => {
            let [package, version, _] = worst.package;
            format!("{} in {package} {version}, {} high", worst.id, others.len())
        }
        (Why::Found(found), _) => format!("{found}{}", image.hint),
        (Why::Accepted(found), _) => {
            // A policy of somebody's own may accept counts, which no exception names.
            match found.split_whitespace().next() {
                Some(id) if id.starts_with("CVE-") => format!("an exception accepts {id}"),
                _ => format!("the policy accepts {found}"),
            }
        }
        (Why::Moved, _) => "somebody moved it to a fixed image".to_owned(),
        (why, _) => why.to_string(),
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fates, notices, deleted } = self;
        let all: usize = fates.values().sum();
        let parts = fates.iter().map(|(fate, count)| format!("{count} {}", fate.word()));
        write!(f, "{all} tags: {}.  {notices} notices.  ", parts.collect::<Vec<_>>().join(", "))?;
        match deleted {
            0 => f.write_str("No image was deleted."),
            1 => f.write_str("1 image was deleted."),
            _ => write!(f, "{deleted} images were deleted."),
        }
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
