//! Any notice in every form. The bytes are read as choices, so that few of them make a notice of any size.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tagwarden::domain::evaluation::{Evaluation, Exceeded};
use tagwarden::domain::findings::{Finding, Package, Score, Severity, SeverityCounts};
use tagwarden::domain::image_index::Child;
use tagwarden::domain::names::{AccountId, Digest, Region, Repository, RepositoryName, Tag};
use tagwarden::domain::notice::NoticeAction;
use tagwarden::domain::origin::Origin;
use tagwarden::domain::policy::{Fingerprint, Mode, Policy};
use tagwarden::domain::record::Hold;
use tagwarden::notify::render::{Audience, Rendered, render};
use tagwarden::notify::{
    Advice, AnsweredRefusal, HoldAnswer, LeftTag, Notice, NoticeFormat, NoticeTags, RestoreAnswer,
    WayBack, notice_id,
};

/// What SNS takes, subject and attributes included (SNS API reference, Publish).
const MAX_BYTES: usize = 262_144;
/// What Slack takes in one section.
const MAX_CHARS: usize = 3000;
/// The names of the versioned document that are fixed.
const FIXED: [&str; 31] = [
    "/schema",
    "/id",
    "/action",
    "/mode",
    "/summary",
    "/image",
    "/image/account",
    "/image/region",
    "/image/repository",
    "/image/digest",
    "/image/pull",
    "/tags",
    "/tags/untagged",
    "/tags/claimed",
    "/tags/kept",
    "/tags/would_untag",
    "/tags/quarantine",
    "/cause",
    "/findings",
    "/exceeded",
    "/worst",
    "/undo",
    "/answer",
    "/contact",
    "/reasons",
    "/rule",
    "/event",
    "/event/id",
    "/event/source",
    "/event/detail_type",
    "/event/time",
];
const ACTIONS: [&str; 8] = [
    "quarantined",
    "deleted",
    "would_untag",
    "blocked",
    "unscanned",
    "failed",
    "restored",
    "refused",
];

/// Renders a notice in every form, and holds each against what its reader relies on.
pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices { bytes: data, room: MAX_BYTES + MAX_BYTES / 8 };
    let notice = choices.notice();
    let (contact, queue) = (choices.option(Choices::contact), choices.option(Choices::text));
    let audience = Audience { contact: contact.as_deref(), queue: queue.as_deref() };
    for format in [NoticeFormat::Text, NoticeFormat::Json, NoticeFormat::Chat] {
        let rendered = render(&notice, format, audience);
        sns_takes_it(&rendered);
        match format {
            NoticeFormat::Text => people_can_read_it(&notice, &rendered.body),
            NoticeFormat::Json => programs_can_read_it(&notice, &rendered.body),
            NoticeFormat::Chat => chat_shows_it(&notice, &rendered.body),
        }
    }
}

fn sns_takes_it(rendered: &Rendered) {
    let Rendered { subject, body, attributes } = rendered;
    assert!((1..100).contains(&subject.len()), "{subject}");
    assert!(subject.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{subject:?}");
    let names: BTreeSet<_> = attributes.keys().copied().collect();
    assert_eq!(names, ["account", "action", "region", "repository", "severity"].into());
    assert!(attributes.values().all(|value| !value.is_empty()));
    assert!(ACTIONS.contains(&attributes["action"].as_str()));
    let of_attributes: usize =
        attributes.iter().map(|(name, value)| name.len() + "String".len() + value.len()).sum();
    let bytes = subject.len() + body.len() + of_attributes;
    assert!(!body.is_empty() && bytes <= MAX_BYTES, "{bytes}");
}

fn people_can_read_it(notice: &Notice, body: &str) {
    assert!(!body.contains(|c: char| c.is_control() && c != '\n'), "{body:?}");
    tags_are_named_or_counted(&notice.tags, body);
    if notice.reasons.len() > 20 * 4 + 5 {
        assert!(body.contains(" more"), "{body}");
    }
    findings_are_named_or_counted(notice, body);
    let Some(answer) = &notice.answer else { return };
    assert!(body.contains("\nAsked by: "), "{body}");
    assert_eq!(
        body.contains("\nHeld: until "),
        matches!(answer.hold, HoldAnswer::Held(_)),
        "{body}"
    );
}

fn programs_can_read_it(notice: &Notice, body: &str) {
    let document: Value = serde_json::from_str(body).unwrap();
    for name in FIXED {
        assert!(document.pointer(name).is_some(), "{name} is missing in {body}");
    }
    assert_eq!(document["schema"], "tagwarden.notice/1");
    assert_eq!(document["action"], notice.action.as_str());
    assert_eq!(document["image"]["digest"], notice.digest.as_str());
    let worst = notice.evaluation.as_ref().map_or(0, |evaluation| evaluation.worst.len());
    let [untagged, claimed, would_untag, kept] = lists(&notice.tags);
    let answer = notice.answer.as_deref();
    assert_eq!(document["answer"].is_null(), answer.is_none());
    let answered = |of: fn(&RestoreAnswer) -> usize| answer.map_or(0, of);
    for (pointer, name, given) in [
        ("/tags/untagged", "tags.untagged", untagged.len()),
        ("/tags/claimed", "tags.claimed", claimed.len()),
        ("/tags/would_untag", "tags.would_untag", would_untag.len()),
        ("/tags/kept", "tags.kept", kept.len()),
        ("/reasons", "reasons", notice.reasons.len()),
        ("/worst", "worst", worst),
        ("/answer/asked", "answer.asked", answered(|answer| answer.asked.len())),
        ("/answer/restored", "answer.restored", answered(|answer| answer.restored.len())),
        ("/answer/present", "answer.present", answered(|answer| answer.present.len())),
        ("/answer/superseded", "answer.superseded", answered(|answer| answer.superseded.len())),
        ("/answer/left", "answer.left", answered(|answer| answer.left.len())),
    ] {
        let shown = document.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len);
        let cut = document.get("cut").and_then(|cut| cut.get(name)).and_then(Value::as_u64);
        assert_eq!(shown as u64 + cut.unwrap_or(0), given as u64, "{name}");
        assert_ne!(cut, Some(0), "{name}");
    }
}

/// What Amazon Q Developer in chat applications shows; anything else it drops in silence (its user guide, "Custom
/// notifications").
fn chat_shows_it(notice: &Notice, body: &str) {
    let document: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&document["version"], &document["source"]), (&"1.0".into(), &"custom".into()));
    let content = &document["content"];
    assert_eq!(content["textType"], "client-markdown");
    assert!(!content["title"].as_str().unwrap().contains(char::is_control));
    let text = content["description"].as_str().unwrap();
    assert!((1..=MAX_CHARS).contains(&text.chars().count()), "{text}");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    assert!(!text.contains("<!") && !text.contains("<@") && !text.contains("@here"), "{text}");
    findings_are_named_or_counted(notice, text);
}

fn lists(tags: &NoticeTags) -> [&[Tag]; 4] {
    [&tags.untagged, &tags.claimed, &tags.would_untag, &tags.kept]
}

/// Every tag is named or counted.
fn tags_are_named_or_counted(tags: &NoticeTags, body: &str) {
    let labels = ["Removed tags", "Removed before", "Would be removed", "Kept tags"];
    for (label, tags) in labels.into_iter().zip(lists(tags)) {
        let start = format!("  {label}:");
        let line = body.lines().find_map(|line| line.strip_prefix(&start));
        let Some(line) = line else {
            assert!(tags.is_empty(), "{label} is missing: {body}");
            continue;
        };
        let cut = line.rsplit_once(" and ").and_then(|(names, more)| {
            Some((names, more.strip_suffix(" more")?.parse::<usize>().ok()?))
        });
        let (names, more) = cut.unwrap_or((line, 0));
        assert_eq!(names.split(", ").count() + more, tags.len(), "{label}: {body}");
    }
}

/// Findings that a person is not shown are counted.
fn findings_are_named_or_counted(notice: &Notice, body: &str) {
    let Some(evaluation) = &notice.evaluation else { return };
    let exceeding = |severity| evaluation.exceeded.iter().any(|limit| limit.severity == severity);
    let named = evaluation.worst.iter().filter(|finding| exceeding(finding.severity)).count();
    let count: u64 = evaluation.exceeded.iter().map(|limit| limit.count).sum();
    if named > 0 && count > named as u64 {
        assert!(body.contains(" more: "), "{body}");
    }
}

/// Bytes as choices; when they run out, every choice is the first.
struct Choices<'a> {
    bytes: &'a [u8],
    /// How many bytes more may come of repeated texts: enough to be too many, and not so many that they take long.
    room: usize,
}

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    fn option<T>(&mut self, of: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.byte() % 2 == 1).then(|| of(self))
    }

    /// Mostly few, seldom very many.
    fn count(&mut self) -> usize {
        match usize::from(self.byte()) {
            few @ ..200 => few % 8,
            many => (many - 199) * 27,
        }
    }

    fn list<T>(&mut self, mut of: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let most = self.count().min(12);
        (0..most).map(|_| of(self)).collect()
    }

    /// What the next bytes spell, as often as the one before them says.
    fn text(&mut self) -> String {
        let times = match usize::from(self.byte()) {
            few @ ..240 => 1 + few / 80,
            many => 1 + (many - 239) * 1500,
        };
        let length = usize::from(self.byte() % 64).min(self.bytes.len());
        let (text, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        let times = times.min(1 + self.room / length.max(1));
        self.room = self.room.saturating_sub(times * length);
        String::from_utf8_lossy(text).repeat(times)
    }

    /// What the configuration allows: one line of at most 500 characters.
    fn contact(&mut self) -> String {
        self.text().chars().filter(|c| !c.is_control()).take(500).collect()
    }

    /// Tags that number themselves.
    fn tags(&mut self) -> Vec<Tag> {
        let (count, width) = (self.count(), usize::from(self.byte()).clamp(4, 255));
        (0..count).map(|at| Tag::parse(format!("_{at:0>width$}")).unwrap()).collect()
    }

    fn counts(&mut self) -> SeverityCounts {
        self.list(|choices| {
            let severity = choices.one(&Severity::ALL);
            let count = [0, 1, 7, 300, u64::from(u32::MAX)];
            (severity, choices.one(&count))
        })
        .into_iter()
        .collect()
    }

    fn digest(&mut self) -> Digest {
        let digit = self.one(&["0", "7", "a", "f"]);
        Digest::parse(format!("sha256:{}", digit.repeat(64))).unwrap()
    }

    fn repository(&mut self) -> Repository {
        let name = self.one(&["app", "team/app", "a.b_c-d/e", "long"]);
        let name = if name == "long" { "a".repeat(256) } else { name.to_owned() };
        Repository {
            account: AccountId::parse("111122223333").unwrap(),
            region: Region::parse(self.one(&["eu-west-1", "us-gov-west-1"])).unwrap(),
            name: RepositoryName::parse(name).unwrap(),
        }
    }

    fn finding(&mut self) -> Finding {
        let severity = self.one(&Severity::ALL);
        let mut finding = Finding::new(self.text(), severity);
        finding.packages = self.list(|choices| Package {
            name: choices.text(),
            installed: choices.option(Self::text),
            fixed: choices.option(Self::text),
        });
        finding.score = Score::new(f64::from(self.byte()) / 10.0);
        finding.link = self.option(|choices| {
            let scheme = choices.one(&["https://", "http://", "javascript:", ""]);
            format!("{scheme}{}", choices.text())
        });
        finding
    }

    /// What a policy could say: it names at most ten findings, and counts those that it names.
    fn evaluation(&mut self) -> Evaluation {
        let mut worst = self.list(Self::finding);
        worst.truncate(10);
        worst.sort_by_key(|finding| finding.severity);
        let mut counted = self.counts();
        for finding in &worst {
            counted.add(finding.severity, 1);
        }
        let over = counted.iter().filter(|&(_, count)| count > 0);
        let exceeded = over.map(|(severity, count)| Exceeded { severity, count, limit: count - 1 });
        Evaluation {
            exceeded: exceeded.collect(),
            rule: self.text(),
            reasons: self.list(Self::text),
            notes: self.list(Self::text),
            severity: counted.worst(),
            next_worst: Vec::new(),
            exceptions: Vec::new(),
            counted,
            worst,
        }
    }

    fn answer(&mut self) -> RestoreAnswer {
        let mut answer = RestoreAnswer::new(self.text(), self.text());
        answer.asked = self.tags();
        answer.restored = self.tags();
        answer.present = self.tags();
        answer.superseded = self.tags();
        let left = self.tags().into_iter();
        answer.left = left.map(|tag| LeftTag { tag, reason: self.text() }).collect();
        answer.hold = match self.byte() % 3 {
            0 => HoldAnswer::None,
            1 => HoldAnswer::Withdrawn,
            _ => HoldAnswer::Held(Hold {
                until: SystemTime::UNIX_EPOCH + Duration::from_hours(u64::from(self.byte())),
                issued: SystemTime::UNIX_EPOCH,
                reason: self.text(),
                owner: self.text(),
                request: self.text(),
                sender: self.text(),
            }),
        };
        let advice = [
            Advice::AskForHold,
            Advice::AskSomebodyElse,
            Advice::AskAgain,
            Advice::AskOtherwise,
            Advice::ByHand,
            Advice::Nothing,
        ];
        let advice = self.one(&advice);
        answer.refusal = self.option(|choices| AnsweredRefusal { reason: choices.text(), advice });
        answer
    }

    fn notice(&mut self) -> Notice {
        let action = self.one(&NoticeAction::ALL);
        let mode = self.one(&[Mode::Enforce, Mode::Audit]);
        let (repository, digest) = (self.repository(), self.digest());
        let tags = NoticeTags {
            untagged: self.tags(),
            claimed: self.tags(),
            kept: self.tags(),
            would_untag: self.tags(),
            quarantine: self.option(|_| Tag::quarantine(&digest)),
        };
        let evaluation = self.option(Self::evaluation);
        let mut reasons = self.list(Self::text);
        if let Some(evaluation) = &evaluation {
            reasons.extend(evaluation.reasons.iter().chain(&evaluation.notes).cloned());
        }
        reasons.extend((0..self.count()).map(|at| format!("reason {at}")));
        let event_id = self.text();
        let way_back = self.one(&[
            WayBack::ByHand,
            WayBack::Restore { longest_hold: Some(Duration::from_secs(604_800)) },
            WayBack::Restore { longest_hold: None },
            WayBack::RecordsOff,
            WayBack::NoRoom,
        ]);
        let is_answer = matches!(action, NoticeAction::Restored | NoticeAction::Refused);
        let answer = is_answer.then(|| Box::new(self.answer()));
        Notice {
            id: notice_id(&repository, &digest, &event_id),
            action,
            mode,
            policy: Fingerprint::of(&Policy::default()),
            media_type: self.option(Self::text),
            cause: self.option(|choices| Child {
                digest: choices.digest(),
                platform: choices.option(Self::text),
            }),
            counts: evaluation
                .as_ref()
                .map_or_else(SeverityCounts::default, |evaluation| evaluation.counted.clone())
                .at_least(&self.counts()),
            event: Origin {
                id: None,
                source: self.text(),
                detail_type: self.text(),
                time: self.option(Self::text),
                at: None,
            },
            tags,
            way_back,
            answer,
            reasons,
            evaluation,
            event_id,
            repository,
            digest,
        }
    }
}
