//! What a notice says of a request to give tags back or to change a hold, in words for people.

use super::words::{Style, enumerated};
use crate::domain::names::Tag;
use crate::domain::record::Hold;
use crate::notify::{Advice, HoldAnswer, LeftTag, RestoreAnswer};

/// The maximum number of tags in a line.
const TAGS: usize = 10;

/// Returns what was done, as the rest of a subject that begins with the name of the image.
pub(super) fn event(answer: &RestoreAnswer) -> &'static str {
    match (&answer.hold, answer.restored.is_empty()) {
        (HoldAnswer::Withdrawn, _) => ": its hold has ended",
        (HoldAnswer::Held(_), true) => " held for a time",
        (HoldAnswer::Already(_), true) => " held already",
        (HoldAnswer::Held(_) | HoldAnswer::Already(_), false) => " restored for a time",
        (HoldAnswer::None, true) => ": nothing left to restore",
        (HoldAnswer::None, false) => " restored",
    }
}

/// Returns what was done, in sentences. `image` is its name.
pub(super) fn done(answer: &RestoreAnswer, image: &str, (was, the_tags): (&str, &str)) -> String {
    match (&answer.hold, answer.restored.is_empty()) {
        (HoldAnswer::Withdrawn, _) => format!(
            "The hold of {image} was ended at somebody's request. If the image violates this \
             registry's policy, tagwarden removes its tags again."
        ),
        (HoldAnswer::Held(_), true) => format!(
            "{image} {was} held at somebody's request: until the hold ends, tagwarden removes none \
             of its tags, whether or not the image violates this registry's policy."
        ),
        (HoldAnswer::Already(_), true) => format!(
            "Somebody asked to hold {image}, and a hold that lasts at least as long was in force \
             already: nothing was changed."
        ),
        (HoldAnswer::Held(_) | HoldAnswer::Already(_), false) => format!(
            "{image} {was} restored for a time: tagwarden gave {the_tags} back at somebody's \
             request. Until the hold ends it removes none, whether or not the image violates this \
             registry's policy."
        ),
        (HoldAnswer::None, true) => format!(
            "Somebody asked to restore {image}, and nothing was left to do when tagwarden looked."
        ),
        (HoldAnswer::None, false) => format!(
            "{image} {was} restored: tagwarden gave {the_tags} back at somebody's request, because \
             this registry's policy would not remove {the_tags} now."
        ),
    }
}

/// Returns what the answer says besides, with labels, in the order of their weight.
pub(super) fn lines(answer: &RestoreAnswer, style: Style) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(refusal) = &answer.refusal {
        lines.push(("Why", style.text(&refusal.reason)));
    }
    match &answer.hold {
        HoldAnswer::Held(hold) => lines.push(("Held", held(hold, style))),
        HoldAnswer::Already(hold) => lines.push(("Already held", held(hold, style))),
        HoldAnswer::None | HoldAnswer::Withdrawn => {}
    }
    let most = style.cut.items.min(TAGS);
    let tags = |list: &[Tag]| enumerated(list, most, ", ", |tag| (style.name)(tag.as_str()));
    for (label, list, why) in [
        ("Still removed", &answer.asked, ""),
        // A delivery that was killed midway may have given them back.
        ("There by now", &answer.present, ""),
        ("Left alone", &answer.superseded, ": pushed anew since, and now on another image"),
    ] {
        if !list.is_empty() {
            lines.push((label, format!("{}{why}", tags(list))));
        }
    }
    if !answer.left.is_empty() {
        let left = |left: &LeftTag| {
            format!("{} ({})", (style.name)(left.tag.as_str()), style.text(&left.reason))
        };
        lines.push(("Not given back", enumerated(&answer.left, most, "; ", left)));
    }
    let (sender, request) = (style.text(&answer.sender), style.text(&answer.request));
    lines.push(("Asked by", format!("{sender} (request {request})")));
    lines
}

fn held(hold: &Hold, style: Style) -> String {
    let until = humantime::format_rfc3339_seconds(hold.until);
    let (owner, reason) = (style.text(&hold.owner), style.text(&hold.reason));
    format!(
        "until {until}, for {owner}: {reason}. From then on the image is judged like any other, \
         and if it still violates the policy, its tags are removed again."
    )
}

/// Returns what people should do.
pub(super) fn next_step(answer: &RestoreAnswer) -> &'static str {
    if let Some(refusal) = &answer.refusal {
        return advice(refusal.advice);
    }
    match answer.hold {
        HoldAnswer::Held(_) | HoldAnswer::Already(_) => {
            "Rebuild the image with fixed packages and push it before the hold ends."
        }
        HoldAnswer::Withdrawn => "Rebuild the image with fixed packages and push it again.",
        HoldAnswer::None if answer.restored.is_empty() => "Nothing.",
        HoldAnswer::None => "Nothing: pulls by tag work again.",
    }
}

fn advice(advice: Advice) -> &'static str {
    match advice {
        Advice::AskForHold => {
            "Rebuild the image with fixed packages and push it again. Until then, somebody who may \
             do so can ask for its tags for a limited time."
        }
        Advice::AskSomebodyElse => "Ask whoever runs tagwarden: they know who may ask for this.",
        Advice::AskAgain => "Ask again.",
        Advice::AskOtherwise => "Ask again, within what the reason allows.",
        Advice::ByHand => "Give the tags back by hand.",
        Advice::Nothing => "Nothing can be done.",
    }
}
