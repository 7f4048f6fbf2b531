//! The format `json`: a versioned document for programs.

use serde_json::{Map, Value, json};

use super::Cut;
use super::subject::subject;
use crate::domain::evaluation::Exceeded;
use crate::domain::findings::{Finding, Package, Score};
use crate::domain::text::start;
use crate::notify::undo::{Undo, explain_command};
use crate::notify::{HoldAnswer, Notice, RestoreAnswer};

/// Cuts lists and notes how many items of each are left out.
#[derive(Debug)]
struct Shears {
    cut: Cut,
    left_out: Map<String, Value>,
}

impl Shears {
    fn list<T>(&mut self, name: &str, items: &[T], show: impl FnMut(&T) -> Value) -> Value {
        self.at_most(self.cut.items, name, items, show)
    }

    fn at_most<T>(
        &mut self,
        most: usize,
        name: &str,
        items: &[T],
        show: impl FnMut(&T) -> Value,
    ) -> Value {
        self.note(name, items.len().saturating_sub(most));
        items.iter().take(most).map(show).collect()
    }

    fn note(&mut self, name: &str, left_out: usize) {
        if left_out > 0 {
            self.left_out.insert(name.to_owned(), left_out.into());
        }
    }
}

/// Returns the document with the schema `tagwarden.notice/1`. `docs/notices.md` has every field.
pub(super) fn document(notice: &Notice, contact: Option<&str>, cut: Cut) -> Value {
    let mut shears = Shears { cut, left_out: Map::new() };
    let text = |text: &String| Value::from(start(text, cut.chars));
    let tag = |tag: &_| Value::from(ToString::to_string(tag));
    let removed = cut.removed_tags();
    let tags = json!({
        "untagged": shears.at_most(removed, "tags.untagged", &notice.tags.untagged, tag),
        "claimed": shears.at_most(removed, "tags.claimed", &notice.tags.claimed, tag),
        "kept": shears.list("tags.kept", &notice.tags.kept, tag),
        "would_untag": shears.list("tags.would_untag", &notice.tags.would_untag, tag),
        "quarantine": notice.tags.quarantine.as_ref().map(ToString::to_string),
    });
    let answer = notice.answer.as_deref().map(|answer| self::answer(answer, &mut shears));
    let reasons = shears.list("reasons", &notice.reasons, text);
    let evaluation = notice.evaluation.as_ref();
    let worst = evaluation.map(|evaluation| evaluation.worst.as_slice()).unwrap_or_default();
    let worst = shears.list("worst", worst, |one| finding(one, cut));
    let undo = Undo::of(notice).map(|Undo { command, exception, page, .. }| {
        json!({"command": command, "exception": exception, "page": page})
    });
    let counts: Map<String, Value> = notice
        .counts
        .iter()
        .map(|(severity, count)| (severity.as_key().to_owned(), count.into()))
        .collect();
    let mut document = json!({
        "schema": "tagwarden.notice/1",
        "id": text(&notice.id),
        "action": notice.action.as_str(),
        "mode": notice.mode.as_str(),
        "policy": notice.policy.as_str(),
        "summary": subject(notice),
        "image": {
            "account": notice.repository.account.as_str(),
            "region": notice.repository.region.as_str(),
            "repository": notice.repository.name.as_str(),
            "digest": notice.digest.as_str(),
            "pull": notice.repository.pull_name(&notice.digest),
        },
        "tags": tags,
        "cause": notice.cause.as_ref().map(|child| json!({
            "digest": child.digest.as_str(),
            "platform": child.platform.as_ref().map(text),
        })),
        "findings": counts,
        "exceeded": evaluation.iter().flat_map(|evaluation| &evaluation.exceeded).map(exceeded)
            .collect::<Vec<_>>(),
        "worst": worst,
        "explain": explain_command(notice),
        "undo": undo,
        "answer": answer,
        "contact": contact,
        "reasons": reasons,
        "rule": evaluation.map(|evaluation| text(&evaluation.rule)),
        "event": {
            "id": text(&notice.event_id),
            "source": text(&notice.event.source),
            "detail_type": text(&notice.event.detail_type),
            "time": notice.event.time.as_ref().map(text),
        },
    });
    if !shears.left_out.is_empty()
        && let Some(document) = document.as_object_mut()
    {
        document.insert("cut".to_owned(), shears.left_out.into());
    }
    document
}

fn answer(answer: &RestoreAnswer, shears: &mut Shears) -> Value {
    let cut = shears.cut;
    let text = |text: &String| Value::from(start(text, cut.chars));
    let tag = |tag: &_| Value::from(ToString::to_string(tag));
    let hold = match &answer.hold {
        HoldAnswer::None => Value::Null,
        HoldAnswer::Held(hold) | HoldAnswer::Already(hold) => json!({
            "until": humantime::format_rfc3339_seconds(hold.until).to_string(),
            "reason": text(&hold.reason),
            "owner": text(&hold.owner),
            "already": matches!(answer.hold, HoldAnswer::Already(_)),
        }),
        HoldAnswer::Withdrawn => json!({"withdrawn": true}),
    };
    json!({
        "request": text(&answer.request),
        "sender": text(&answer.sender),
        "asked": shears.list("answer.asked", &answer.asked, tag),
        "restored": shears.list("answer.restored", &answer.restored, tag),
        "present": shears.list("answer.present", &answer.present, tag),
        "superseded": shears.list("answer.superseded", &answer.superseded, tag),
        "left": shears.list("answer.left", &answer.left, |left| {
            json!({"tag": tag(&left.tag), "reason": text(&left.reason)})
        }),
        "hold": hold,
        "refused": answer.refusal.as_ref().map(|refusal| text(&refusal.reason)),
    })
}

fn exceeded(Exceeded { severity, count, limit }: &Exceeded) -> Value {
    json!({"severity": severity.as_key(), "count": count, "limit": limit})
}

fn finding(finding: &Finding, cut: Cut) -> Value {
    let mut shears = Shears { cut, left_out: Map::new() };
    let text = |text: &String| start(text, cut.chars);
    let package = |package: &Package| {
        json!({
            "name": text(&package.name),
            "installed": package.installed.as_ref().map(text),
            "fixed": package.fixed.as_ref().map(text),
        })
    };
    let first = finding.packages.first();
    let mut value = json!({
        "id": text(&finding.id),
        "severity": finding.severity.as_word(),
        "score": finding.score.map(Score::value),
        "package": first.map(|package| text(&package.name)),
        "installed": first.and_then(|package| package.installed.as_ref()).map(text),
        "fixed": first.and_then(|package| package.fixed.as_ref()).map(text),
        "packages": shears.list("packages", &finding.packages, package),
        "link": finding.link.as_ref().map(text),
    });
    if !shears.left_out.is_empty()
        && let Some(value) = value.as_object_mut()
    {
        value.insert("cut".to_owned(), shears.left_out.into());
    }
    value
}
