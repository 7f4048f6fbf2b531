use std::io;
use std::sync::{Arc, Mutex};

use tracing::{error, info, info_span, warn};
use tracing_subscriber::EnvFilter;

use crate::telemetry::logs::{AUDIT, LogFormat, subscriber};

const DIGEST: &str = "sha256:ff59c958d9258f41e2ff0f6e232552305c42f4dca74cb1a84a6e83711749a7ee";
const QUARANTINE: &str =
    "quarantine-ff59c958d9258f41e2ff0f6e232552305c42f4dca74cb1a84a6e83711749a7ee";
const MESSAGE: &str = "f451d687-1ce7-4aad-a7a0-ebc6fb8940c8";
const EVENT: &str = "e50a2350-66ce-491f-aa39-e2f28103f86e";

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that are logged meanwhile, without their times.
fn lines(colour: bool, log: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let all = subscriber(LogFormat::Pretty, EnvFilter::new("info"), move || writer.clone(), colour);
    tracing::subscriber::with_default(all, log);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let time = "2026-11-30T15:27:00.632Z ".len();
    let widths = || text.lines().map(|line| line.chars().count());
    assert!(colour || widths().all(|width| width < 160), "{text}");
    text.lines().map(|line| line[if colour { 0 } else { time }..].to_owned()).collect()
}

fn message() -> tracing::Span {
    info_span!(
        "process",
        message_id = MESSAGE,
        event_id = EVENT,
        account = "111122223333",
        region = "eu-west-1",
        repository = "team/app",
        digest = DIGEST,
        messaging.system = "aws_sqs",
    )
}

#[test]
fn message_is_summed_up_within_160_columns_and_each_id_is_shown_once() {
    let logged = lines(false, || {
        let _in = message().entered();
        info!(
            target: "tagwarden::worker::completion_log",
            message_id = MESSAGE,
            event_id = EVENT,
            event_kind = "ecr_image_scan",
            source = "aws.ecr",
            detail_type = "ECR Image Scan",
            digest = DIGEST,
            outcome = "quarantined",
            disposition = "delete",
            receive_count = 1,
            body_bytes = 471,
            duration_ms = 280,
            "assessed"
        );
    });
    assert_eq!(
        logged,
        ["INFO  worker: assessed image=111122223333/eu-west-1/team/app@ff59c958d925 \
          message_id=f451d687 outcome=quarantined disposition=delete"]
    );
}

#[test]
fn audit_record_of_a_plan_fits_too() {
    let logged = lines(false, || {
        let _in = message().entered();
        info!(
            target: AUDIT,
            message_id = MESSAGE,
            event_id = EVENT,
            account = %"111122223333",
            region = %"eu-west-1",
            repository = %"team/app",
            digest = %DIGEST,
            mode = "enforce",
            rule = "base",
            reasons = "critical 1 exceeds the limit of 0",
            untag = "1.2.0,stable",
            kept = "",
            quarantine = %QUARANTINE,
            delete = false,
            "plan"
        );
    });
    assert_eq!(
        logged,
        ["INFO  audit: plan image=111122223333/eu-west-1/team/app@ff59c958d925 \
          reasons=\"critical 1 exceeds the limit of 0\" untag=1.2.0,stable"]
    );
}

#[test]
fn what_has_room_is_shown_and_addresses_are_shortened() {
    let logged = lines(false, || {
        info!(
            topic = "arn:aws:sns:eu-west-1:111122223333:image-quarantine",
            message_id = MESSAGE,
            repository = "team/app",
            digest = format!("{DIGEST},{DIGEST}"),
            "notified"
        );
        warn!(quarantine = format!("{QUARANTINE}.2"), why = "two words", "kept");
    });
    assert_eq!(
        logged,
        [
            "INFO  telemetry: notified image=team/app topic=image-quarantine \
             message_id=f451d687 \
             digest=ff59c958d925,ff59c958d925",
            "WARN  telemetry: kept quarantine=quarantine-ff59c958d925….2 why=\"two words\"",
        ]
    );
}

#[test]
fn value_cannot_look_like_another_field_or_line() {
    let logged = lines(false, || {
        error!(why = "x outcome=clean\n2026", y = %"1 z=2", "no \u{1b}[31mred");
    });
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert!(logged[0].contains(r#"why="x outcome=clean\n2026""#), "{logged:?}");
    assert!(logged[0].ends_with(r#" y="1 z=2""#), "{logged:?}");
    assert!(logged[0].starts_with(r"ERROR telemetry: no \u001b[31mred"), "{logged:?}");
}

#[test]
fn error_is_never_cut() {
    let error = format!("ECR PutImage answered Refused (request id {MESSAGE})");
    let lines = Lines::default();
    let writer = lines.clone();
    let all = subscriber(LogFormat::Pretty, EnvFilter::new("info"), move || writer.clone(), false);
    tracing::subscriber::with_default(all, || {
        let _in = message().entered();
        error!(error = error.repeat(4), "cannot mark");
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains(&error.repeat(4)), "{text}");
    assert!(!text.contains("message_id="), "{text}");
}

#[test]
fn terminal_gets_colours() {
    let logged = lines(true, || info!(tags = 3, "kept"));
    assert!(logged[0].contains("\u{1b}[32mINFO \u{1b}[0m"), "{logged:?}");
    assert!(logged[0].ends_with(" kept \u{1b}[2mtags=\u{1b}[0m3"), "{logged:?}");
}
