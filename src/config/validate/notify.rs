//! Checks of the topics.

use std::collections::BTreeSet;

use crate::config::file::{FORMATS, List, RawNotify, RawTopic};
use crate::config::mistake::{Gather, Mistake, Mistakes};
use crate::config::value::{
    again, choice, given, globs_or_all, missing, registries, severities, wrong,
};
use crate::domain::globs::Globs;
use crate::domain::names::{AccountId, Region};
use crate::domain::notice::NoticeAction;
use crate::domain::registries::Registries;
use crate::domain::text::is_unseen;
use crate::notify::{NoticeFormat, NotifySettings, TopicSettings};

const TOPIC_EXAMPLE: &str = "the topic's ARN, such as arn:aws:sns:eu-west-1:111122223333:tagwarden";
/// The maximum number of characters of `notify.contact`.
const MAX_CONTACT: usize = 500;

/// Checks the topics. If `needed` is set, there has to be one.
pub(super) fn notify(raw: RawNotify, needed: bool) -> Result<NotifySettings, Mistakes> {
    let mut all = Gather::default();
    let format = given("notify.format", raw.format);
    let format = all.add(format.and_then(|word| self::format("notify.format", &word)));
    let inherited = format.unwrap_or(NoticeFormat::Text);
    let contact = all.add(contact(raw.contact)).flatten();
    let mut topics: Vec<TopicSettings> = Vec::new();
    if let Some(arn) = raw.topic_arn.filter(|arn| !arn.trim().is_empty()) {
        if let Some(region) = all.add(topic_region("notify.topic_arn", &arn)) {
            topics.push(TopicSettings {
                region,
                arn,
                format: inherited,
                contact: contact.clone(),
                repositories: Globs::default(),
                registries: Registries::default(),
                severities: None,
                actions: NoticeAction::ALL.into(),
            });
        }
    } else if raw.topics.is_empty() && needed {
        let expected = format!("{TOPIC_EXAMPLE}, or one of notify.topics in the file");
        all.add::<()>(Err(missing("notify.topic_arn", &expected)));
    }
    for (at, raw) in raw.topics.into_iter().enumerate() {
        let key = format!("notify.topics[{at}]");
        let Some(topic) = all.add(topic(&key, raw, inherited, contact.clone())) else { continue };
        if topics.iter().any(|other| other.arn == topic.arn) {
            all.add::<()>(Err(again(&format!("{key}.arn"), &topic.arn, "topic")));
        }
        topics.push(topic);
    }
    all.finish(|| Some(NotifySettings { topics }))
}

fn topic(
    key: &str,
    raw: RawTopic,
    inherited: NoticeFormat,
    contact: Option<String>,
) -> Result<TopicSettings, Mistakes> {
    let here = key;
    let key = |name: &str| format!("{here}.{name}");
    let mut all = Gather::default();
    let arn = raw.arn.filter(|arn| !arn.trim().is_empty());
    let arn = all.add(arn.ok_or_else(|| missing(&key("arn"), TOPIC_EXAMPLE)));
    let region = arn.as_ref().and_then(|arn| all.add(topic_region(&key("arn"), arn)));
    let format = all.add(raw.format.map_or(Ok(inherited), |raw| format(&key("format"), &raw)));
    let repositories = all.add(globs_or_all(&key("repositories"), raw.repositories));
    let registries = all.add(registries(here, raw.accounts, raw.regions));
    let severities =
        raw.severities.map(|List(words)| severities(&key("severities"), &words, "a list of"));
    let severities = all.add(severities.transpose());
    let actions = all.add(actions(&key("actions"), &raw.actions));
    all.finish(|| {
        Some(TopicSettings {
            region: region?,
            arn: arn?,
            format: format?,
            contact,
            repositories: repositories?,
            registries: registries?,
            severities: severities?,
            actions: actions?,
        })
    })
}

fn format(key: &str, word: &str) -> Result<NoticeFormat, Mistake> {
    let choices = [NoticeFormat::Text, NoticeFormat::Json, NoticeFormat::Chat];
    choice(key, word, &FORMATS.into_iter().zip(choices).collect::<Vec<_>>())
}

fn actions(key: &str, words: &List) -> Result<BTreeSet<NoticeAction>, Mistake> {
    let choices = NoticeAction::ALL.map(|action| (action.as_str(), action));
    if words.0.is_empty() {
        return Ok(NoticeAction::ALL.into());
    }
    words.0.iter().map(|word| choice(key, word, &choices)).collect()
}

/// Returns the text of `notify.contact`, if there is one.
fn contact(raw: Option<String>) -> Result<Option<String>, Mistake> {
    let text = raw.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    match text {
        Some(text) if text.contains(is_unseen) || text.chars().nth(MAX_CONTACT).is_some() => {
            let expected = format!("one line of at most {MAX_CONTACT} visible characters");
            Err(wrong("notify.contact", &text, &expected))
        }
        text => Ok(text),
    }
}

fn topic_region(key: &str, arn: &str) -> Result<Region, Mistake> {
    let parts: Vec<_> = arn.split(':').collect();
    match parts.as_slice() {
        ["arn", partition, "sns", region, account, name]
            if AccountId::parse(*account).is_ok()
                && is_topic_name(name)
                && partition.chars().all(|c| c.is_ascii_lowercase() || c == '-') =>
        {
            Region::parse(*region).map_err(|_| wrong(key, arn, TOPIC_EXAMPLE))
        }
        [.., name] if name.ends_with(".fifo") => Err(wrong(
            key,
            arn,
            "a standard topic: FIFO topics deliver neither to e-mail nor to chat",
        )),
        _ => Err(wrong(key, arn, TOPIC_EXAMPLE)),
    }
}

/// Returns whether a standard topic can have this name (SNS API reference, CreateTopic). The name
/// of a FIFO topic has a dot.
fn is_topic_name(name: &str) -> bool {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=256).contains(&name.len()) && name.chars().all(is_of_a_name)
}
