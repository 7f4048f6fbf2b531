//! The example that stays up, and a visitor who types in a second terminal what it invites to.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::ImageIdentifier;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::{start, tag, unfolded};

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The text after a marker, up to the next space.
fn word_after<'a>(text: &'a str, mark: &str) -> &'a str {
    let (_, rest) = text.split_once(mark).unwrap_or_else(|| panic!("no {mark} in {text}"));
    rest.split_whitespace().next().unwrap()
}

fn registry_of(invitation: &str) -> Client {
    let credentials = Credentials::new("somebody", "somebody", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(word_after(invitation, "AWS_ENDPOINT_URL="))
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    Client::new(&config)
}

/// Pushes the vulnerable image whose manifest the invitation has for the AWS command line.
async fn push_a_vulnerable_image(invitation: &str) {
    let (_, manifest) = invitation.split_once("--image-manifest \\\n  '").unwrap();
    let (manifest, _) = manifest.split_once('\'').unwrap();
    let put = registry_of(invitation).put_image().repository_name("team/app").image_tag("try");
    put.image_manifest(manifest).send().await.unwrap();
}

/// The digest that a tag is on.
async fn target(registry: &Client, repository: &str, tag: &str) -> Option<String> {
    let id = ImageIdentifier::builder().image_tag(tag).build();
    let images = registry.batch_get_image().repository_name(repository).image_ids(id).send();
    let image = images.await.unwrap().images.unwrap_or_default().pop()?;
    image.image_id?.image_digest
}

/// The lines of the invitation that say how a shell becomes one that works on the stage.
fn exports(invitation: &str) -> &str {
    let (_, exports) =
        invitation.split_once("In a second terminal, in this directory, first:\n\n").unwrap();
    exports.split_once("\n\n#").unwrap().0
}

/// The paragraph of the invitation whose comment begins like this.
fn paragraph<'a>(invitation: &'a str, comment: &str) -> &'a str {
    let is_it = |paragraph: &&str| paragraph.starts_with(comment);
    invitation.split("\n\n").find(is_it).unwrap_or_else(|| panic!("no {comment}: {invitation}"))
}

/// Types lines into a shell, as a newcomer does who has copied the exports there, and returns what
/// is printed and the exit code of the last line. Instead of `cargo run`, the program runs that
/// cargo has built for the tests.
async fn typed(invitation: &str, lines: &str) -> (String, Option<i32>) {
    const CARGO: &str =
        r#"cargo() { while [ "$1" != -- ]; do shift; done; shift; "$PROGRAM" "$@"; }"#;
    let script = format!("{CARGO}\n{}\n{lines}", exports(invitation));
    let mut command = Command::new("sh");
    command.args(["-eu", "-c", &script]).env_clear().kill_on_drop(true);
    let output = command.env("PROGRAM", env!("CARGO_BIN_EXE_tagwarden")).output();
    let output = timeout(PATIENCE, output).await;
    let output = output.unwrap_or_else(|_| panic!("still running: {lines}")).unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.code())
}

/// The example that stays up, and what it has printed.
struct Served {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    text: String,
}

impl Served {
    fn start(arguments: &[&str]) -> Self {
        let mut child = start(arguments);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, text: String::new() }
    }

    /// Reads on, up to the next line that begins like this, and returns what came.
    async fn read_to(&mut self, start: &str) -> String {
        let mut read = String::new();
        let reading = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                read.extend([line.as_str(), "\n"]);
                if line.starts_with(start) {
                    return true;
                }
            }
            false
        };
        let found = timeout(PATIENCE, reading).await;
        self.text.push_str(&read);
        assert_eq!(found, Ok(true), "no {start:?} in {}", self.text);
        read
    }

    /// Sends SIGTERM, and returns the table at the end.
    async fn end(mut self) -> String {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        let end = self.read_to("└").await;
        assert!(timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap().success());
        end
    }
}

#[tokio::test]
async fn example_stays_up_for_pushes_until_a_signal() {
    let mut served = Served::start(&["--serve"]);
    let invitation = served.read_to("From here on:").await;

    let wide: Vec<_> = invitation.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:?}");
    assert!(invitation.contains("\nexport TAGWARDEN__POLICY__MODE=enforce\n"), "{invitation}");
    let (shown, code) = typed(&invitation, paragraph(&invitation, "# What it may do here")).await;
    assert_eq!(code, Some(0), "{shown}");
    push_a_vulnerable_image(&invitation).await;
    served.read_to("  settle  ").await;
    assert_eq!(tag(&served.end().await, "try"), ["tagged", "untagged", "1 critical"]);
}

#[tokio::test]
async fn visitor_lists_explains_and_gives_back_what_was_removed() {
    let mut served = Served::start(&["--serve"]);
    let invitation = served.read_to("From here on:").await;
    let registry = registry_of(&invitation);
    assert_eq!(target(&registry, "team/shop", "3.0.0").await, None);

    let commands = paragraph(&invitation, "# What is in quarantine");
    let (shown, code) = typed(&invitation, commands).await;
    assert_eq!(code, Some(0), "{shown}");
    for part in [
        "6 images in quarantine, 8 tags",
        "team/shop:3.0.0 was removed from sha256:",
        "would be removed again",
        "hold it    tagwarden restore team/shop:3.0.0 \\\n",
        "\n1 restored\n",
    ] {
        assert!(shown.contains(part), "{part} is missing: {shown}");
    }
    let digest = target(&registry, "team/shop", "3.0.0").await.unwrap();
    let image = digest.trim_start_matches("sha256:").get(..12).unwrap();
    let told = unfolded(&served.read_to("  settle  ").await);
    let mut rest = told.as_str();
    for part in [
        "  ask     you (AROADEMOOPERATOR0001): give back 3.0.0 of team/shop, image ",
        ", which is held until 2",
        "  record  hold on image ",
        "  back    team/shop:3.0.0    on image ",
        "  record  outcome on image ",
        "  tell    \"team/shop:3.0.0 restored for a time\"",
        "| Held: until ",
        "for you@example.com: prod is down",
        "  settle  ",
    ] {
        let (_, after) = rest.split_once(part).unwrap_or_else(|| panic!("no {part}: {told}"));
        rest = after;
    }
    assert!(told.contains(&format!("team/shop:3.0.0    on image {image}")), "{told}");

    // Again.
    let restore = commands.find("tagwarden restore").unwrap();
    let (shown, code) = typed(&invitation, &commands[restore..]).await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("\n1 held\n"), "{shown}");
    let told = served.read_to("  tell  ").await;
    assert!(!told.contains("  back "), "{told}");
    assert_eq!(target(&registry, "team/shop", "3.0.0").await, Some(digest));

    // Without a hold, while the image violates the policy.
    let (shown, code) = typed(&invitation, "tagwarden restore team/app:1.1.0").await;
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("refused"), "{shown}");
    let told = served.read_to("          | Still removed: 1.1.0, hotfix").await;
    let refused = "  refuse  you (AROADEMOOPERATOR0001): team/app, image ";
    assert!(told.contains(refused) && !told.contains("  back "), "{told}");

    let given_back = "CVE-2021-44228 (critical); given back";
    let end = served.end().await;
    assert_eq!(tag(&end, "3.0.0"), ["tagged", "tagged", given_back]);
    assert_eq!(tag(&end, "1.1.0"), ["tagged", "untagged", "1 critical, 2 high"]);
}
