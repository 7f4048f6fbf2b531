//! What the command line takes.

use std::path::PathBuf;

use clap::Args;

use crate::cli::Format;

const HELP: &str = "\
All tags that were removed from an image come back, unless --tag or --since
says which. The worker decides: it gives back only what its own records name,
only if whoever sends may restore (restore.senders), and only if the image is
within the policy now, or is held by --until.

Exit codes:
  0  every tag is back, or is on another image now and was left alone; or
     nothing was to be done
  1  something was refused, not sent or not answered, or the work was
     interrupted: run it again to go on, which does nothing twice
  2  the command line or the configuration cannot be used, whoever asks may not,
     or nobody agreed; nothing was sent

Examples:
  tagwarden restore team/app:1.2.3
  tagwarden restore --since 01:00 --repository 'team/*' --dry-run
  tagwarden restore --rule strict --since 8h
  tagwarden restore team/app:1.2.3 --until 2026-12-07 \\
    --reason 'SEC-99' --owner me@example.com
  tagwarden restore team/app:1.2.3 --withdraw";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Arguments {
    /// An image, such as team/app:1.2.3, also by a tag that was removed from it, or
    /// team/app@sha256:0123abcd by the first digits, 8 or more, of its digest
    #[arg(value_name = "IMAGE")]
    pub(super) images: Vec<String>,
    /// In bulk: what was removed since a time: 2026-11-30T01:00:00Z, a date, a time of today in UTC
    /// such as 01:00, or an age such as 8h
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// In bulk: what this rule of the policy removed
    #[arg(long, value_name = "NAME")]
    pub(super) rule: Option<String>,
    /// In bulk: images whose record names this finding among its worst
    #[arg(long, value_name = "ID")]
    pub(super) cve: Option<String>,
    /// In bulk: what this notice is about
    #[arg(long, value_name = "ID")]
    pub(super) notice: Option<String>,
    /// In bulk: only these repositories of the policy; may be given more than once
    #[arg(long, value_name = "GLOB")]
    pub(super) repository: Vec<String>,
    /// Give back only this tag of the image; may be given more than once
    #[arg(long, value_name = "TAG", requires = "images")]
    pub(super) tag: Vec<String>,
    /// Hold the image: leave it alone until a date, a time or for a duration, although it violates
    /// the policy
    #[arg(long, value_name = "DATE|DURATION", requires_all = ["reason", "owner"])]
    pub(super) until: Option<String>,
    /// Why the image is needed
    #[arg(long, value_name = "TEXT", requires = "until")]
    pub(super) reason: Option<String>,
    /// Who answers for it
    #[arg(long, value_name = "WHO", requires = "until")]
    pub(super) owner: Option<String>,
    /// End the hold of the image
    #[arg(long, requires = "images", conflicts_with_all = ["until", "tag"])]
    pub(super) withdraw: bool,
    /// Only show what would be asked for
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not ask for the account number
    #[arg(long)]
    pub(super) yes: bool,
    /// Do not wait for the worker's answers
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) no_follow: bool,
    /// Give up if no further image is answered for this long; see also --no-follow
    #[arg(long, value_name = "DURATION", default_value = "10m", conflicts_with = "no_follow")]
    pub(super) timeout: String,
    /// Append the record of every message to this file, as JSON lines; -v shows it
    #[arg(long, value_name = "FILE")]
    pub(super) audit_log: Option<PathBuf>,
    /// The form of what is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}
