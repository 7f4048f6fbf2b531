//! Checks of who may have images restored and held, and of the key. No message shows the key.

use std::time::Duration;

use crate::config::bounds::MAX_SENDERS;
use crate::config::file::{List, RawRestore};
use crate::config::mistake::{Gather, Mistake, Mistakes};
use crate::config::value::{given, wrong};
use crate::domain::record::RestoreKeys;
use crate::restore::{PrincipalId, RestoreSettings};

/// The shortest and the longest value of `restore.max_hold`.
const HOLDS: [Duration; 2] = [Duration::from_secs(3600), Duration::from_secs(90 * 24 * 3600)];

pub(super) fn restore(raw: RawRestore) -> Result<RestoreSettings, Mistakes> {
    let mut all = Gather::default();
    let keys = raw.key.map(|key| RestoreKeys::parse(&key)).transpose();
    let keys = all.add(keys.map_err(|error| Mistake::value("restore.key", error.to_string())));
    let senders = all.add(principals("restore.senders", raw.senders));
    let hold_senders = all.add(principals("restore.hold_senders", raw.hold_senders));
    let max_hold = all.add(max_hold(raw.max_hold));
    all.finish(|| {
        Some(RestoreSettings {
            keys: keys?,
            senders: senders?,
            hold_senders: hold_senders?,
            max_hold: max_hold?,
        })
    })
}

fn max_hold(written: Option<String>) -> Result<Duration, Mistake> {
    const KEY: &str = "restore.max_hold";
    let written = given(KEY, written)?;
    let [least, most] = HOLDS;
    humantime::parse_duration(&written)
        .ok()
        .filter(|duration| (least..=most).contains(duration))
        .ok_or_else(|| wrong(KEY, &written, "a duration with its unit from 1h to 90d"))
}

fn principals(key: &str, List(texts): List) -> Result<Vec<PrincipalId>, Mistake> {
    if texts.len() > MAX_SENDERS {
        let problem = format!("has {} items; expected at most {MAX_SENDERS}", texts.len());
        return Err(Mistake::value(key, problem));
    }
    let mut principals = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let key = format!("{key}[{at}]");
        let principal = PrincipalId::parse(text).map_err(|_| not_a_principal(&key, text))?;
        // The stack lists the operators' role, and people list it again: that does no harm.
        if !principals.contains(&principal) {
            principals.push(principal);
        }
    }
    Ok(principals)
}

/// Returns the mistake of a text that is no id, with the id that was probably meant: SQS, and
/// `aws sts get-caller-identity` as `UserId`, add the name of the session to it.
fn not_a_principal(key: &str, text: &str) -> Mistake {
    let expected = "the unique id of an IAM role (AROA...) or user (AIDA...)";
    let before = text.split(':').next().unwrap_or_default().to_uppercase();
    let meant = PrincipalId::parse(&before).ok();
    wrong(key, text, expected)
        .meant(meant.as_ref().map(PrincipalId::as_str))
        .help("aws iam get-role --role-name NAME --query Role.RoleId --output text")
}
