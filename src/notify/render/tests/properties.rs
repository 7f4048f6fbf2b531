use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::domain::evaluation::{Evaluation, Exceeded};
use crate::domain::findings::{Package, SeverityCounts};
use crate::domain::origin::Origin;
use crate::domain::record::Hold;
use crate::domain::text::is_unseen;
use crate::notify::{Advice, AnsweredRefusal, HoldAnswer, LeftTag, RestoreAnswer, WayBack};

/// Texts that the packages of other people could bring.
fn text() -> impl Strategy<Value = String> {
    let hostile = [
        "@here",
        "<!channel>",
        "<@U024BE7LH>",
        "`",
        "```",
        "*bold*",
        "_x_",
        "~~x~~",
        "&amp;",
        "|",
        "\u{0}",
        "\r\n\r\n",
        "\u{1b}[2J",
        "\u{202e}",
        "\u{2028}",
        "\u{9b}31m",
        "\u{200b}",
        "\u{e0041}",
        "[text](javascript:alert(1))",
        "&lt;!channel&gt;",
        "[click](https://evil.example)",
        "https://evil.example",
        "<https://evil.example|click>",
        "\\",
        "$(reboot)",
        "'; reboot; '",
        "\u{1f525}",
        "CVE-2026-0001",
        " ",
    ];
    prop_oneof![
        8 => vec(select(hostile.to_vec()), 0..8).prop_map(|parts| parts.concat()),
        4 => any::<String>(),
        1 => (select(hostile.to_vec()), 1..20_000_usize)
            .prop_map(|(part, times)| part.repeat(times)),
    ]
}

fn severity() -> impl Strategy<Value = Severity> {
    select(Severity::ALL.to_vec())
}

fn finding() -> impl Strategy<Value = Finding> {
    let option = || proptest::option::of(text());
    let package = (text(), option(), option()).prop_map(|(name, installed, fixed)| Package {
        name,
        installed,
        fixed,
    });
    (text(), severity(), vec(package, 0..6), 0.0..10.0, option()).prop_map(
        |(id, severity, packages, score, link)| Finding {
            packages,
            score: Score::new(score),
            link,
            ..Finding::new(id, severity)
        },
    )
}

fn some_tags() -> impl Strategy<Value = Vec<Tag>> {
    (prop_oneof![9 => 0..5_usize, 1 => 0..1500_usize], 4..300_usize).prop_map(|(count, length)| {
        (0..count)
            .map(|at| Tag::parse(format!("_{at:0>length$}", length = length - 1)).unwrap())
            .collect()
    })
}

fn counts() -> impl Strategy<Value = SeverityCounts> {
    vec((severity(), 0..1_000_000_u64), 0..9).prop_map(|counts| counts.into_iter().collect())
}

/// Contacts that the configuration allows: one line of at most 500 characters.
fn contact() -> impl Strategy<Value = Option<String>> {
    let line = |text: String| text.chars().filter(|&c| !is_unseen(c)).take(500).collect();
    proptest::option::of(text().prop_map(line))
}

fn exceeded() -> impl Strategy<Value = Exceeded> {
    (severity(), 0..1_000_000_u64, 0..9_u64).prop_map(|(severity, more, limit)| Exceeded {
        severity,
        count: limit + 1 + more,
        limit,
    })
}

fn evaluation() -> impl Strategy<Value = Evaluation> {
    let terms = (text(), vec(exceeded(), 0..4));
    (terms, counts(), vec(text(), 0..4), vec(text(), 0..4), vec(finding(), 0..12)).prop_map(
        |((rule, exceeded), counted, reasons, notes, worst)| Evaluation {
            rule,
            exceeded,
            counted,
            reasons,
            notes,
            severity: worst.first().map(|finding| finding.severity),
            worst,
            next_worst: vec![],
            exceptions: vec![],
        },
    )
}

fn any_answer() -> impl Strategy<Value = RestoreAnswer> {
    let hold = (text(), text(), 0..4_000_000_000_u64).prop_map(|(reason, owner, until)| Hold {
        until: SystemTime::UNIX_EPOCH + Duration::from_secs(until),
        issued: SystemTime::UNIX_EPOCH,
        reason,
        owner,
        request: String::new(),
        sender: String::new(),
    });
    let hold = prop_oneof![
        Just(HoldAnswer::None),
        Just(HoldAnswer::Withdrawn),
        hold.prop_map(HoldAnswer::Held)
    ];
    let advice = select(vec![
        Advice::AskForHold,
        Advice::AskSomebodyElse,
        Advice::AskAgain,
        Advice::AskOtherwise,
        Advice::ByHand,
        Advice::Nothing,
    ]);
    let refusal = (text(), advice).prop_map(|(reason, advice)| AnsweredRefusal { reason, advice });
    let tags = (some_tags(), some_tags(), some_tags(), some_tags());
    let left = (some_tags(), text()).prop_map(|(tags, reason)| {
        let left = |tag| LeftTag { tag, reason: reason.clone() };
        tags.into_iter().map(left).collect()
    });
    (text(), text(), tags, left, hold, proptest::option::of(refusal)).prop_map(
        |(request, sender, (asked, restored, present, superseded), left, hold, refusal)| {
            RestoreAnswer {
                request,
                sender,
                asked,
                restored,
                present,
                superseded,
                left,
                hold,
                refusal,
                outcomes: BTreeSet::new(),
            }
        },
    )
}

fn any_way_back() -> impl Strategy<Value = WayBack> {
    select(vec![
        WayBack::Restore { longest_hold: Some(std::time::Duration::from_secs(86_400)) },
        WayBack::Restore { longest_hold: None },
        WayBack::ByHand,
        WayBack::RecordsOff,
        WayBack::NoRoom,
    ])
}

fn any_notice() -> impl Strategy<Value = Notice> {
    let named =
        (select(NoticeAction::ALL.to_vec()), "[a-z0-9._-]{1,256}", proptest::option::of(text()));
    let tags = (some_tags(), some_tags(), some_tags(), some_tags(), any::<bool>());
    let why = (counts(), proptest::option::of(evaluation()), vec(text(), 0..30));
    let event =
        (text(), text(), proptest::option::of(text()), text(), proptest::option::of(text()));
    let restores = (any_way_back(), proptest::option::of(any_answer()));
    (named, tags, why, event, restores).prop_map(|(named, tags, why, event, restores)| {
        let mut notice = notice();
        notice.way_back = restores.0;
        notice.answer = restores.1.map(Box::new);
        notice.action = named.0;
        notice.repository.name = RepositoryName::parse(named.1).unwrap();
        notice.media_type = named.2.clone();
        notice.cause =
            named.2.map(|platform| Child { digest: digest("b"), platform: Some(platform) });
        notice.tags = NoticeTags {
            untagged: tags.0,
            claimed: tags.1,
            kept: tags.2,
            would_untag: tags.3,
            quarantine: notice.tags.quarantine.filter(|_| tags.4),
        };
        notice.counts = why.0;
        notice.reasons = why.2;
        if let Some(evaluation) = &why.1 {
            notice.reasons.extend(evaluation.reasons.iter().chain(&evaluation.notes).cloned());
        }
        notice.evaluation = why.1;
        notice.event = Origin {
            id: Some(event.3.clone()),
            source: event.0,
            detail_type: event.1,
            time: event.2,
            at: None,
        };
        notice.event_id = event.3;
        notice
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_notice_is_too_large_or_breaks_its_form(notice in any_notice(), contact in contact(), queue in proptest::option::of(text())) {
        for format in FORMATS {
            let rendered = render(&notice, format, Audience { contact: contact.as_deref(), queue: queue.as_deref() });
            prop_assert!(rendered.body.len() <= MAX_BYTES, "{format:?}: {}", rendered.body.len());
            let subject = &rendered.subject;
            prop_assert!(subject.len() < 100, "{subject}");
            prop_assert!(subject.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{subject}");
            prop_assert!(subject.starts_with(|c: char| c.is_ascii_alphanumeric()), "{subject}");
            for value in rendered.attributes.values() {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
                prop_assert!(!value.is_empty() && value.bytes().all(plain), "{value:?}");
            }
            if format == NoticeFormat::Text {
                prop_assert!(!rendered.body.contains(|c: char| is_unseen(c) && c != '\n'));
            } else {
                prop_assert!(serde_json::from_str::<Value>(&rendered.body).is_ok());
            }
        }
    }

    #[test]
    fn nothing_in_a_notice_escapes_its_markup_or_mentions_anybody(notice in any_notice(), contact in contact(), queue in proptest::option::of(text())) {
        let chat: Value = serde_json::from_str(&render(&notice, NoticeFormat::Chat, Audience { contact: contact.as_deref(), queue: queue.as_deref() }).body).unwrap();
        let description = chat["content"]["description"].as_str().unwrap();
        let length = description.chars().count();
        prop_assert!(length <= 2900, "too long: {length}: {description}");
        prop_assert!(!description.contains(['<', '>']), "markup: {description}");
        prop_assert!(!description.contains("@here"), "{description}");
        // The invisible space is ours.
        for part in [&chat["id"], &chat["content"]["title"], &chat["metadata"]] {
            let part = part.to_string();
            prop_assert!(!part.contains(|c: char| is_unseen(c) && c != '\u{200b}'), "{part:?}");
            prop_assert!(!part.contains(['<', '>']) && !part.contains("@here"), "{part}");
        }
        let unseen = |c: char| is_unseen(c) && !['\n', '\u{200b}'].contains(&c);
        prop_assert!(!description.contains(unseen), "{description:?}");
        let mut fenced = false;
        for line in description.lines() {
            if line == "```" {
                fenced = !fenced;
            } else if !fenced {
                prop_assert!(line.matches('`').count() % 2 == 0, "{line}");
                let words: String = line.split('`').step_by(2).collect();
                let labels = if line.starts_with('*') { 2 } else { 0 };
                prop_assert_eq!(words.matches('*').count(), labels, "{}", line);
                prop_assert!(!words.contains(['|', '[', ']', '~', '\\']), "{line}");
                for word in words.split(' ').filter(|word| word.contains("://")) {
                    let leads = word.starts_with("https://") || word.starts_with("http://");
                    prop_assert!(leads, "{line}");
                }
                // A mail address of the configuration is shown as it is.
                if line.starts_with("*Ask:*") {
                    continue;
                }
                let called = words.split('@').skip(1).any(|after| !after.starts_with('\u{200b}'));
                prop_assert!(!called, "{line}");
            }
        }
        prop_assert!(!fenced);
    }
}
