//! What the command line asks for, checked before the first call.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::arguments::Arguments;
use super::senders::KnownSenders;
use super::times;
use crate::app::restore::{Choice, Choosing};
use crate::ask::{Filters, Wish};
use crate::cli::audit_log::AuditLog;
use crate::cli::bad_input::BadInput;
use crate::cli::selection::mistyped;
use crate::clock::Clock;
use crate::config::{self, JudgingSettings, Origin, Sources, closest, did_you_mean};
use crate::domain::globs::Globs;
use crate::domain::image_reference::NamedImage;
use crate::domain::names::Tag;
use crate::domain::policy::Policy;
use crate::domain::record::{LONGEST_NAME, LONGEST_REASON, says_something};
use crate::sweep::Selection;
use crate::table::count;

/// What the command line and the configuration ask for.
pub(super) struct Order {
    pub(super) settings: JudgingSettings,
    pub(super) choice: Choice,
    pub(super) wish: Wish,
    pub(super) typed: Typed,
    /// How long to wait for a further answer, if at all.
    pub(super) patience: Option<Duration>,
    pub(super) audit: Option<AuditLog>,
    /// Who may ask, as far as it is known here.
    pub(super) senders: KnownSenders,
    /// The URL of the worker's queue, if it is given.
    pub(super) queue: String,
    /// How the times were read, for the person who typed them.
    pub(super) read_as: Vec<String>,
}

/// What may have been mistyped, and shows only when the registry was read.
pub(super) struct Typed {
    filters: Filters,
    /// The rules of the policy.
    rules: BTreeSet<String>,
}

impl Typed {
    /// Checks that what was typed exists. Returns what is to be said if a part of it does not.
    ///
    /// # Errors
    /// Says what does not exist.
    pub(super) fn check(&self, choosing: &Choosing) -> Result<Option<String>, String> {
        let mistyped = mistyped(&choosing.unmatched, &choosing.covered);
        let mistyped = match mistyped {
            Some(problem) if choosing.repositories == 0 => return Err(problem),
            mistyped => mistyped,
        };
        let Some(rule) = &self.filters.rule else { return Ok(mistyped) };
        if self.rules.contains(rule) || choosing.rules.contains(rule) || choosing.is_partial {
            return Ok(mistyped);
        }
        let known: Vec<_> = self.rules.union(&choosing.rules).map(String::as_str).collect();
        Err(format!(
            "--rule: no rule of the policy and no image in quarantine has the name {rule:?}; there \
             are: {}{}",
            known.join(", "),
            did_you_mean(closest(rule, known.iter().copied()))
        ))
    }

    /// Says what was looked through if nothing fits.
    pub(super) fn nothing(&self, choosing: &Choosing) -> String {
        let Filters { since, rule, cve, notice } = &self.filters;
        let given = [
            since.map(|since| format!("--since {}", times::written(since))),
            rule.as_ref().map(|rule| format!("--rule {rule}")),
            cve.as_ref().map(|cve| format!("--cve {cve}")),
            notice.as_ref().map(|notice| format!("--notice {notice}")),
        ];
        let given: Vec<_> = given.into_iter().flatten().collect();
        let meant = |typed: &Option<String>, known: &BTreeSet<String>| {
            let typed = typed
                .as_ref()
                .filter(|typed| !known.iter().any(|known| known.eq_ignore_ascii_case(typed)))?;
            closest(typed, known.iter().map(String::as_str)).map(str::to_owned)
        };
        let meant = meant(cve, &choosing.findings).or_else(|| meant(notice, &choosing.notices));
        let Choosing { quarantined, repositories, .. } = choosing;
        let repositories = count(*repositories, "repository", "repositories");
        match (*quarantined as u64, given.as_slice()) {
            (0, _) => format!("nothing to restore: nothing is in quarantine in {repositories}"),
            (images, []) => format!(
                "nothing to restore among {} in quarantine in {repositories}",
                count(images, "image", "images")
            ),
            (images, given) => format!(
                "nothing to restore: looked through {} in quarantine in {repositories}, and none \
                 fits {} (`tagwarden list` shows them){}",
                count(images, "image", "images"),
                given.join(" "),
                did_you_mean(meant.as_deref())
            ),
        }
    }
}

/// Checks the command line and the configuration.
///
/// # Errors
/// [`BadInput`] says what cannot be used.
pub(super) fn order(arguments: &Arguments, sources: &Sources) -> Result<Order, BadInput> {
    let settings = JudgingSettings::load(sources)?;
    check_blanks(arguments)?;
    let now = Clock::of_this_machine().now();
    let mut read_as = Vec::new();
    let since = arguments.since.as_deref().map(|text| times::since(text, now)).transpose()?;
    if let Some(since) = since {
        read_as.push(format!("since {}", times::written(since)));
    }
    let wish = wish(arguments, now)?;
    if let Wish::Hold { until, .. } = &wish {
        check_length(*until, now, &settings, sources)?;
        read_as.push(format!("until {}", times::written(*until)));
    }
    let filters = Filters {
        since,
        rule: arguments.rule.clone(),
        cve: arguments.cve.clone(),
        notice: arguments.notice.clone(),
    };
    let senders = KnownSenders::new(&wish, &settings, sources)?;
    let typed = filters.clone();
    let choice = choice(arguments, filters)?;
    let queue = settings.queue.as_ref().map(|queue| queue.url.clone());
    if queue.is_none() && !arguments.dry_run {
        let problem = "queue.url: is missing; the worker that gives tags back reads its requests \
                       there: give its configuration by --config, or set TAGWARDEN__QUEUE__URL";
        return Err(problem.to_owned().into());
    }
    let patience = humantime::parse_duration(&arguments.timeout)
        .map_err(|_| format!("--timeout: {:?} is no duration, such as 10m", arguments.timeout))?;
    if patience.is_zero() {
        let problem = "--timeout: 0 leaves the worker no time to answer; give a duration such as \
                       10m, or --no-follow, which sends and does not wait";
        return Err(problem.to_owned().into());
    }
    let audit = arguments.audit_log.as_deref().map(AuditLog::open).transpose()?;
    let rules = settings.policy.rules.as_slice().iter().map(|rule| rule.name.clone());
    let rules = rules.chain([Policy::BASE.to_owned()]).collect();
    Ok(Order {
        typed: Typed { filters: typed, rules },
        settings,
        choice,
        wish,
        patience: (!arguments.no_follow).then_some(patience),
        audit,
        senders,
        queue: queue.unwrap_or_default(),
        read_as,
    })
}

/// Checks that nothing is blank: it is a variable that is empty by mistake.
fn check_blanks(arguments: &Arguments) -> Result<(), String> {
    let one = |name, text: &Option<String>| text.clone().map(|text| (name, text));
    let many =
        |name, texts: &[String]| texts.iter().map(|text| (name, text.clone())).collect::<Vec<_>>();
    let given = [
        one("--since", &arguments.since),
        one("--rule", &arguments.rule),
        one("--cve", &arguments.cve),
        one("--notice", &arguments.notice),
        one("--until", &arguments.until),
        one("--reason", &arguments.reason),
        one("--owner", &arguments.owner),
    ];
    let lists = [
        many("IMAGE", &arguments.images),
        many("--repository", &arguments.repository),
        many("--tag", &arguments.tag),
    ];
    let given = given.into_iter().flatten().chain(lists.into_iter().flatten());
    let is_blank = |name: &str, text: &str| match name {
        "--reason" | "--owner" => !says_something(text),
        _ => text.trim().is_empty(),
    };
    match given.into_iter().find(|(name, text)| is_blank(name, text)) {
        Some(("--until", _)) => Err("--until: is empty; say until when the image is to be left \
                                     alone, such as --until 3d or --until 2026-12-07"
            .to_owned()),
        Some(("--reason", text)) => Err(format!(
            "--reason: {}; everybody who meets the held image reads it in records and notices, \
             such as --reason 'prod down, SEC-99'",
            blank(&text)
        )),
        Some(("--owner", text)) => Err(format!(
            "--owner: {}; say who answers for the hold and is asked when it ends, such as --owner \
             me@example.com",
            blank(&text)
        )),
        Some((name, _)) => Err(format!(
            "{name}: is empty, as a variable is that is not set; leave it out, or say which"
        )),
        None => Ok(()),
    }
}

/// Says what is wrong with a text that says nothing.
fn blank(text: &str) -> &'static str {
    if text.trim().is_empty() { "is empty" } else { "has neither a letter nor a digit" }
}

/// Returns which images are meant.
fn choice(arguments: &Arguments, filters: Filters) -> Result<Choice, String> {
    let Filters { since, rule, cve, notice } = &filters;
    let is_filtered = since.is_some() || rule.is_some() || cve.is_some() || notice.is_some();
    let is_filtered = is_filtered || !arguments.repository.is_empty();
    match (arguments.images.as_slice(), is_filtered) {
        ([], false) => {
            Err("nothing is named: give an IMAGE, or choose by --since, --rule, --cve, \
                            --notice or --repository; --repository '*' is all that is in \
                            quarantine"
                .to_owned())
        }
        ([], true) => {
            let repositories = Globs::new(arguments.repository.iter().cloned())
                .map_err(|error| format!("--repository: {error}"))?;
            let selection = Selection { repositories, region: None, all: false };
            Ok(Choice::InBulk { selection, filters })
        }
        (_, true) => {
            Err("an IMAGE is given, and a filter too (--since, --rule, --cve, --notice or \
                          --repository); give one or the other"
                .to_owned())
        }
        (names, false) => {
            let images = names
                .iter()
                .map(|name| NamedImage::parse(name).map_err(|error| format!("{name}: {error}")));
            let only = arguments
                .tag
                .iter()
                .map(|tag| Tag::parse(tag.as_str()).map_err(|error| format!("--tag: {error}")));
            Ok(Choice::Named {
                images: images.collect::<Result<_, _>>()?,
                only: only.collect::<Result<_, _>>()?,
            })
        }
    }
}

/// Returns what is asked for.
fn wish(arguments: &Arguments, now: SystemTime) -> Result<Wish, String> {
    if arguments.withdraw {
        return Ok(Wish::Withdraw);
    }
    // Clap lets none of the three stand alone.
    let (Some(until), Some(reason), Some(owner)) =
        (&arguments.until, &arguments.reason, &arguments.owner)
    else {
        return Ok(Wish::GiveBack);
    };
    for (name, text, most) in
        [("--reason", reason, LONGEST_REASON), ("--owner", owner, LONGEST_NAME)]
    {
        let length = text.chars().count();
        if length > most {
            return Err(format!("{name}: has {length} characters; at most {most} are kept"));
        }
    }
    let until = times::until(until, now)?;
    Ok(Wish::Hold { until, reason: reason.clone(), owner: owner.clone() })
}

/// Checks that a hold is no longer than the worker allows, if its setting is known here: that is
/// if this configuration has a source of its own, and not only defaults.
fn check_length(
    until: SystemTime,
    now: SystemTime,
    settings: &JudgingSettings,
    sources: &Sources,
) -> Result<(), BadInput> {
    let is_known = sources.file_name().is_some()
        || config::effective(sources)?
            .iter()
            .any(|entry| entry.key == MAX_HOLD && matches!(entry.origin, Origin::Variable(_)));
    let most = settings.restore.max_hold;
    let length = until.duration_since(now).unwrap_or_default();
    if !is_known || length <= most {
        return Ok(());
    }
    let last = now.checked_add(most).map(times::written).unwrap_or_default();
    let most = humantime::format_duration(most);
    Err(format!(
        "--until: {} is too far away: {MAX_HOLD} is {most}, which is until {last}; hold it no \
         longer than that and again later, or add an exception to the policy",
        times::written(until)
    )
    .into())
}

const MAX_HOLD: &str = "restore.max_hold";
