//! The worker's answer to a request, as the records of the image have it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::Wish;
use crate::domain::names::Tag;
use crate::domain::record::{Closing, History, Refusal};

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Tags that were given back.
    pub restored: BTreeSet<Tag>,
    /// Tags that the image has by now: from before, or by a delivery that was killed midway.
    pub present: BTreeSet<Tag>,
    /// Tags that another image has now. They were left alone.
    pub superseded: BTreeSet<Tag>,
    /// Why the worker refused.
    pub refused: Option<String>,
    /// Until when the image is left alone, if that was asked for and granted.
    pub held_until: Option<SystemTime>,
    /// Whether a hold ended.
    pub is_withdrawn: bool,
}

impl Answer {
    /// Returns the answer to this request, if there is one yet.
    #[must_use]
    pub(super) fn of(
        history: &History,
        request: &str,
        wish: &Wish,
        now: SystemTime,
    ) -> Option<Self> {
        let all = history.outcomes().iter().map(|noted| &noted.record);
        let of_request = |one: &&Closing| one.request.as_deref() == Some(request);
        let all: Vec<_> = all.filter(of_request).collect();
        if all.is_empty() && !(*wish == Wish::Withdraw && history.is_answered(request)) {
            return None;
        }
        // The second look at a held image adds an outcome. Without times of pushes their order is
        // that of their ids, so all of them are the answer.
        let tags = |of: fn(&Closing) -> &BTreeSet<Tag>| all.iter().copied().flat_map(of).cloned();
        let restored: BTreeSet<_> = tags(|one| &one.restored).collect();
        let refused = all.iter().find_map(|one| one.refused.clone());
        let refused = refused.map(|Refusal(reason)| reason);
        // A hold that was withdrawn before it was carried out is not shown beside the refusal.
        let held_until = match refused {
            None => held_until(history, request, wish, now),
            Some(_) => None,
        };
        Some(Self {
            present: tags(|one| &one.present).filter(|tag| !restored.contains(tag)).collect(),
            superseded: tags(|one| &one.superseded).filter(|tag| !restored.contains(tag)).collect(),
            restored,
            held_until,
            is_withdrawn: *wish == Wish::Withdraw && refused.is_none(),
            refused,
        })
    }

    /// Returns whether nothing of what was asked for was refused.
    #[must_use]
    pub(crate) fn is_done(&self) -> bool {
        self.refused.is_none()
    }
}

/// Returns until when the hold that was asked for lasts. If one in force lasts as long and has the
/// same owner and reason, the worker writes none, and that one is the answer.
fn held_until(
    history: &History,
    request: &str,
    wish: &Wish,
    now: SystemTime,
) -> Option<SystemTime> {
    let own = history.holds().iter().find(|noted| noted.record.request == request);
    let like = || match wish {
        // The worker decides how long a hold may last, and has granted this one.
        Wish::Hold { owner, reason, until } => {
            history.hold_like(owner, reason, *until, now, Duration::MAX)
        }
        Wish::GiveBack | Wish::Withdraw => None,
    };
    own.or_else(like).map(|noted| noted.record.until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::names::Digest;
    use crate::domain::record::{Artifact, Hold, Record};

    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 1_000 * HOUR
    }

    fn tags(names: &[&str]) -> BTreeSet<Tag> {
        names.iter().map(|name| Tag::parse(*name).unwrap()).collect()
    }

    fn digest(of: usize) -> Digest {
        Digest::parse(format!("sha256:{of:064x}")).unwrap()
    }

    fn of(records: &[Record], wish: &Wish) -> Option<Answer> {
        let repository = crate::notify::sample::notice().repository;
        let image = digest(0);
        let artifacts = records.iter().enumerate().map(|(at, record)| Artifact {
            digest: digest(at + 1),
            annotations: record.annotations(),
            pushed_at: None,
        });
        let history = History::read(&repository, &image, artifacts, None);
        Answer::of(&history, "request", wish, now())
    }

    fn outcome(restored: &[&str], present: &[&str]) -> Record {
        Record::Outcome(Closing {
            request: Some("request".to_owned()),
            restored: tags(restored),
            present: tags(present),
            ..Closing::default()
        })
    }

    #[test]
    fn outcomes_of_one_request_are_one_answer_in_any_order() {
        for lost in ["1.0", "1.1", "1.2", "1.3"] {
            let all = ["1.0", "1.1", "1.2", "1.3"];
            let records = [outcome(&all, &["2.0"]), outcome(&[lost], &["1.0", "1.3"])];
            let answer = of(&records, &Wish::GiveBack).unwrap();
            assert_eq!((answer.restored, answer.present), (tags(&all), tags(&["2.0"])));
        }
        assert_eq!(of(&[], &Wish::GiveBack), None);
    }

    #[test]
    fn hold_that_was_in_force_already_is_the_answer() {
        let hold = |until, owner: &str| {
            Record::Hold(Hold {
                until: now() + until,
                issued: now() - HOUR,
                reason: "prod down".to_owned(),
                owner: owner.to_owned(),
                request: format!("another of {owner}"),
                sender: "AROAEXAMPLEID12345678".to_owned(),
            })
        };
        let wish = Wish::Hold {
            until: now() + HOUR + Duration::from_millis(500),
            reason: "prod down".to_owned(),
            owner: "me".to_owned(),
        };
        let held_until = |holds: &[Record], wish| {
            of(&[&[outcome(&[], &["1.0"])], holds].concat(), wish).unwrap().held_until
        };
        let holds = [hold(HOUR / 2, "me"), hold(HOUR, "me"), hold(3 * HOUR, "you")];
        assert_eq!(held_until(&holds, &wish), Some(now() + HOUR), "the same second");
        assert_eq!(held_until(&holds, &Wish::GiveBack), None);
        assert_eq!(held_until(&holds[..1], &wish), None, "it is shorter");
        assert_eq!(held_until(&[], &wish), None);
    }
}
