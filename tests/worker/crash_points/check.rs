//! What a run with crashes has to have in common with the undisturbed run.

use std::collections::{BTreeMap, BTreeSet};

use aws_sim::Call;
use serde_json::Value;

use super::lives::Record;
use super::scenes::Scene;
use crate::support::is_record;

/// What a kill between an untag and its notice may cost, because nothing that is left tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gap {
    /// The event names no digest, and the tag by which the image was found is gone: nobody is told.
    Untold,
    /// The image is told, without tags that the event does not name: it is about another image, or another event is.
    Unnamed,
    /// The registry took the whole image, and the process died before any of it was put back.
    ImageLost,
    /// The same, and it died before a protected tag was put back.
    TagLost,
    /// The notice says what a fresh process sees: it saw no over-reach, and has the hour's allowance to itself.
    OtherWord,
    /// Told under the id of another event about the same image.
    OtherEvent,
}

/// One comparison.
struct Check<'a> {
    scene: &'a Scene,
    reference: &'a Record,
    case: &'a Record,
    gaps: BTreeSet<Gap>,
    problems: Vec<String>,
}

/// The permitted gaps of a run with crashes, or what is wrong with it.
pub(super) fn compare(
    scene: &Scene,
    reference: &Record,
    case: &Record,
) -> Result<BTreeSet<Gap>, Vec<String>> {
    let mut check = Check { scene, reference, case, gaps: BTreeSet::new(), problems: Vec::new() };
    check.changes();
    check.records();
    check.end();
    for (reference, case) in reference.notices.iter().zip(&case.notices) {
        check.problems.extend(case.iter().filter_map(contradiction));
        check.notices(&by_id(reference), &by_id(case));
    }
    for (reference, case) in reference.summaries.iter().zip(&case.summaries) {
        check.summaries(reference, case);
    }
    if check.problems.is_empty() { Ok(check.gaps) } else { Err(check.problems) }
}

impl Check<'_> {
    /// Says that something differs, and whether that is a permitted gap.
    fn differs(&mut self, gap: Option<Gap>, problem: String) {
        match gap.filter(|gap| self.scene.permits.contains(gap)) {
            Some(gap) => drop(self.gaps.insert(gap)),
            None => self.problems.push(problem),
        }
    }

    /// A sweep's summary is told, of as many repositories, and none under the id of another.
    fn summaries(&mut self, reference: &[Value], case: &[Value]) {
        let says =
            |summary: &Value| [&summary["images"], &summary["repositories"]].map(Value::clone);
        for one in case {
            let mut others = case.iter().filter(|other| other["id"] == one["id"]);
            if others.any(|other| says(other) != says(one)) {
                self.problems.push(format!("another summary has the same id: {one}"));
            }
        }
        for expected in reference {
            if !case.iter().any(|one| one["repositories"] == expected["repositories"]) {
                self.problems.push(format!("no such summary was told: {expected}"));
            }
        }
    }

    /// No call asks for a change that the undisturbed run did not ask for, and no tag ever goes that did not go there.
    fn changes(&mut self) {
        let permitted = changes(&self.reference.calls);
        for change in changes(&self.case.calls).difference(&permitted) {
            self.problems.push(format!("another change: {change:?}"));
        }
        for tag in self.case.went.difference(&self.reference.went) {
            self.problems.push(format!("tag {tag} went"));
        }
    }

    /// Every tag is on a record of its image, or in a notice that the repository is full, before it is removed; and no
    /// record names a tag that the undisturbed run did not remove.
    fn records(&mut self) {
        let mut named = BTreeSet::new();
        let mut calls: Vec<_> = self.case.calls.iter().filter(|call| call.applied).collect();
        calls.sort_by_key(|call| call.effect);
        for call in calls {
            named.extend(recorded(call).into_iter().chain(announced(call)));
            for (digest, tag) in untagged(call) {
                let is_ours = tag.starts_with(&digest.replace("sha256:", "quarantine-"));
                if !is_ours && !named.contains(&(digest.clone(), tag.clone())) {
                    self.problems.push(format!("tag {tag} of {digest} was removed unrecorded"));
                }
            }
        }
        let expected: BTreeSet<_> = self.reference.calls.iter().flat_map(recorded).collect();
        let found: BTreeSet<_> = self.case.calls.iter().flat_map(recorded).collect();
        for (digest, tag) in found.difference(&expected) {
            self.problems.push(format!("a record names another tag: {tag} of {digest}"));
        }
    }

    /// The same tags and images, and nothing in the dead-letter queue. The queue itself is empty when a run ends.
    fn end(&mut self) {
        let (reference, case) = (self.reference, self.case);
        for digest in reference.images.difference(&case.images) {
            let lost = self.was_never_put_back(digest, None).then_some(Gap::ImageLost);
            self.differs(lost, format!("image {digest} is gone"));
        }
        for (tag, digest) in &reference.tags {
            if case.tags.get(tag) == Some(digest) || self.is_lost(digest) {
                continue;
            }
            let lost = self.was_never_put_back(digest, Some(tag)).then_some(Gap::TagLost);
            self.differs(lost, format!("tag {tag} is not where it should be"));
        }
        for tag in case.tags.keys().filter(|tag| !reference.tags.contains_key(*tag)) {
            self.problems.push(format!("tag {tag} is still there"));
        }
        for digest in case.images.difference(&reference.images) {
            self.problems.push(format!("image {digest} is still there"));
        }
        if case.lost_copies > 0 {
            self.problems.push("an image went from its copy".to_owned());
        }
        if case.dead_letters > 0 {
            self.problems.push(format!("{} dead letters", case.dead_letters));
        }
    }

    fn is_lost(&self, digest: &str) -> bool {
        self.reference.images.contains(digest) && !self.case.images.contains(digest)
    }

    fn notices(&mut self, reference: &Told<'_>, case: &Told<'_>) {
        for (id, told) in reference {
            match case.get(id) {
                Some(again) => self.notice(told, again),
                // Nothing is left of it to come back to.
                None if self.is_lost(told.digest) => {}
                None => {
                    let killed = !self.killed_untags(told.digest).is_empty();
                    self.differs(killed.then_some(Gap::Untold), format!("{told:?} was not told"));
                }
            }
        }
        for (id, told) in case.iter().filter(|(id, _)| !reference.contains_key(*id)) {
            let known = reference.values().any(|other| other.digest == told.digest);
            self.differs(known.then_some(Gap::OtherEvent), format!("{id} was told: {told:?}"));
        }
        let digests: BTreeSet<_> = reference.values().map(|told| told.digest).collect();
        digests.into_iter().for_each(|digest| self.tags(digest, reference, case));
    }

    /// The same image and the same word.
    fn notice(&mut self, reference: &Notices<'_>, case: &Notices<'_>) {
        if case.digest != reference.digest {
            self.problems.push(format!("{case:?} is about another image than {reference:?}"));
        }
        if case.words != reference.words {
            // A redelivery may say more. Who is put off by a limit depends on who comes first, and to which process.
            let missing = || reference.words.difference(&case.words);
            let excused =
                missing().all(|word| *word == "blocked") || self.was_killed_after_an_untag();
            let problem = format!("{:?} instead of {:?}", case.words, reference.words);
            self.differs(excused.then_some(Gap::OtherWord), problem);
        }
    }

    /// All notices of an image together name the same tags.
    fn tags(&mut self, digest: &str, reference: &Told<'_>, case: &Told<'_>) {
        let of = |told: &Told<'_>| -> BTreeSet<String> {
            let its = told.values().filter(|told| told.digest == digest);
            its.flat_map(|told| told.gone.clone()).collect()
        };
        let (expected, named) = (of(reference), of(case));
        let killed = self.killed_untags(digest);
        let is_told = case.values().any(|told| told.digest == digest);
        for tag in expected.difference(&named).filter(|_| is_told) {
            let by_the_killed = killed.iter().any(|(_, taken)| taken == tag);
            let gap = by_the_killed.then_some(Gap::Unnamed);
            self.differs(gap, format!("tag {tag} was named in no notice"));
        }
        for tag in named.difference(&expected) {
            self.problems.push(format!("tag {tag} was said to have gone"));
        }
        let stayed = self.reference.tags.iter().filter(|(tag, of)| {
            let went = named.contains(*tag) || self.reference.went.contains(*tag);
            *of == digest && !went && !tag.starts_with("quarantine-")
        });
        for (tag, _) in stayed {
            let its = case.values().filter(|told| told.digest == digest);
            if !its.into_iter().all(|told| told.kept.contains(tag.as_str())) {
                self.problems.push(format!("tag {tag} was not said to be kept"));
            }
        }
    }

    /// Calls of killed processes that took a tag off this image, and the tag.
    fn killed_untags(&self, digest: &str) -> Vec<(usize, String)> {
        let alive = self.case.crashes.last().copied().unwrap_or_default();
        let took_effect = self.case.calls.iter().take(alive).filter(|call| call.applied);
        let untags = took_effect.flat_map(|call| {
            let ids = untagged(call).into_iter();
            ids.filter(|(of, _)| of == digest).map(|(_, tag)| (call.seq, tag))
        });
        untags.collect()
    }

    fn was_killed_after_an_untag(&self) -> bool {
        let digests = self.reference.calls.iter().flat_map(untagged);
        digests.into_iter().any(|(digest, _)| !self.killed_untags(&digest).is_empty())
    }

    /// Whether a killed process took tags off this image, and nobody put the image (or this tag of it) back after that.
    fn was_never_put_back(&self, digest: &str, tag: Option<&str>) -> bool {
        let Some((taken, _)) = self.killed_untags(digest).into_iter().next() else { return false };
        let after = self.case.calls.iter().filter(|call| call.seq > taken && call.applied);
        let mut puts = after.filter(|call| call.operation == "PutImage");
        !puts.any(|call| {
            call.request["imageDigest"] == digest
                && tag.is_none_or(|tag| call.request["imageTag"] == tag)
        })
    }
}

/// Everything that a topic was told under one id.
#[derive(Debug, Default)]
struct Notices<'a> {
    digest: &'a str,
    words: BTreeSet<&'a str>,
    /// Untagged, claimed, or to be untagged but for audit mode.
    gone: BTreeSet<String>,
    /// In every notice.
    kept: BTreeSet<&'a str>,
}

/// A tag cannot have gone and be there.
fn contradiction(notice: &Value) -> Option<String> {
    let list = |name: &str| notice["tags"][name].as_array().unwrap().iter();
    let gone: Vec<_> = list("untagged").chain(list("claimed")).collect();
    let tag = list("kept").find(|tag| gone.contains(tag))?;
    Some(format!("tag {tag} is kept and gone at once: {notice}"))
}

type Told<'a> = BTreeMap<&'a str, Notices<'a>>;

fn by_id(notices: &[Value]) -> Told<'_> {
    let mut told = Told::new();
    for notice in notices {
        let list = |name: &str| notice["tags"][name].as_array().into_iter().flatten();
        let kept = || list("kept").filter_map(Value::as_str);
        let new = Notices { kept: kept().collect(), ..Notices::default() };
        let entry = told.entry(notice["id"].as_str().unwrap()).or_insert(new);
        entry.digest = notice["image"]["digest"].as_str().unwrap();
        entry.words.insert(notice["action"].as_str().unwrap());
        let gone = ["untagged", "claimed", "would_untag"].into_iter().flat_map(list);
        entry.gone.extend(gone.map(|tag| tag.as_str().unwrap().to_owned()));
        let kept: BTreeSet<_> = kept().collect();
        entry.kept.retain(|tag| kept.contains(tag));
    }
    told
}

/// Digest and tag of everything that a call is to untag.
fn untagged(call: &Call) -> Vec<(String, String)> {
    let is_delete = call.operation == "BatchDeleteImage";
    let ids = call.request["imageIds"].as_array().filter(|_| is_delete);
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    ids.into_iter().flatten().map(|id| (text(&id["imageDigest"]), text(&id["imageTag"]))).collect()
}

/// Digest and tag of everything that a call records as removed.
fn recorded(call: &Call) -> Vec<(String, String)> {
    if !is_record(call) {
        return Vec::new();
    }
    let manifest = call.request["imageManifest"].as_str().unwrap_or_default();
    let manifest: Value = serde_json::from_str(manifest).unwrap_or_default();
    let digest = manifest["subject"]["digest"].as_str().unwrap_or_default();
    let tags = manifest["annotations"]["tagwarden.tags"].as_str().unwrap_or_default();
    let tags: Vec<String> = serde_json::from_str(tags).unwrap_or_default();
    tags.into_iter().map(|tag| (digest.to_owned(), tag)).collect()
}

/// Digest and tag of everything that a call announces because the repository is full.
fn announced(call: &Call) -> Vec<(String, String)> {
    let message = call.request["Message"].as_str().unwrap_or_default();
    if call.operation != "Publish" || !message.contains("the repository is full") {
        return Vec::new();
    }
    let notice: Value = serde_json::from_str(message).unwrap_or_default();
    let digest = notice["image"]["digest"].as_str().unwrap_or_default();
    let kept = notice["tags"]["kept"].as_array().into_iter().flatten();
    kept.filter_map(Value::as_str).map(|tag| (digest.to_owned(), tag.to_owned())).collect()
}

/// Everything that calls asked to be changed, whether it took effect or not.
fn changes(calls: &[Call]) -> BTreeSet<(&'static str, String, String)> {
    let mut changes = BTreeSet::new();
    for call in calls {
        changes.extend(untagged(call).into_iter().map(|(digest, tag)| ("untag", digest, tag)));
        if call.operation == "PutImage" && recorded(call).is_empty() {
            let text = |name: &str| call.request[name].as_str().unwrap_or("none").to_owned();
            let manifest = text("imageManifest");
            // What these say depends on where a crash was, and when.
            let kind = ["outcome", "notification"]
                .into_iter()
                .find(|kind| manifest.contains(&format!(r#""tagwarden.kind":"{kind}""#)));
            let what = kind.map_or_else(|| text("imageDigest"), str::to_owned);
            changes.insert(("put", what, text("imageTag")));
        }
    }
    changes
}
