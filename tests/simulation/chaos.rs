//! The faults of a seed: the fault plan, drawn call by call from the seed.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sim::{ApiCall, Fault, FaultPlan, FaultRule, Service, Sim};
use fastrand::Rng;
use tokio::time::Instant;

use crate::events::{Duty, pushed};
use crate::oracle::Oracle;
use crate::scene::{ACCOUNT, PROTECTED, QUEUE, Refused, Scene};

/// Strikes about every tenth call, up to this many times.
pub struct Chaos {
    rng: Rng,
    left: usize,
    scene: Arc<Scene>,
    oracle: Arc<Mutex<Oracle>>,
    pushes: usize,
    /// How many requests for scans are slow, so that slices of sweeps are slow too.
    slow_scans: usize,
    /// The times in which inspections are slow, so that work is in hand when a task stops.
    slow_looks: Vec<Range<Instant>>,
}

impl Chaos {
    pub fn new(
        seed: u64,
        scene: Arc<Scene>,
        oracle: Arc<Mutex<Oracle>>,
        slow_looks: Vec<Range<Instant>>,
    ) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x00C0_FFEE);
        let left = rng.usize(20..150);
        Self { rng, left, scene, oracle, pushes: 10_000, slow_scans: 60, slow_looks }
    }

    fn draw(&mut self, call: &ApiCall) -> Option<Fault> {
        let codes = |list: &[&'static str], rng: &mut Rng| list[rng.usize(..list.len())];
        let service = call.service;
        let rng = &mut self.rng;
        Some(match rng.u8(..40) {
            0..=3 => Fault::error(codes(service.throttling_codes(), rng)),
            4..=5 => Fault::error(codes(service.server_error_codes(), rng)),
            6..=7 => match Fault::error(codes(service.server_error_codes(), rng)) {
                Fault::ErrorBefore(error) => Fault::ErrorAfter(error),
                other => other,
            },
            8..=9 => Fault::Delay(Duration::from_millis(rng.u64(100..20_000))),
            10..=11 => Fault::DelayReply(Duration::from_millis(rng.u64(100..20_000))),
            12 => Fault::Hang,
            13 => Fault::HangAfter,
            14..=15 => Fault::ConnectionReset,
            16..=17 => Fault::ConnectionResetAfter,
            18..=20 => fail_entries(call, rng)?,
            21..=22 if call.operation == "ReceiveMessage" => {
                Fault::Redeliver(Duration::from_millis(rng.u64(..30_000)))
            }
            23 => Fault::error(codes(service.expired_credentials_codes(), rng)),
            24 => Fault::error(service.access_denied_code()),
            25..=31 => self.somebody_else(),
            32..=33 if needs_a_key(call) => Fault::error(codes(service.key_outage_codes(), rng)),
            35 if is_record(call) => Fault::error("LayersNotFoundException"),
            36 if is_record(call) => Fault::error("LimitExceededException"),
            37 if is_record(call) => Fault::error(service.access_denied_code()),
            38..=39 => self.somebody_else_attaches(),
            34 if needs_a_key(call) => Fault::error(codes(service.key_refusal_codes(), rng)),
            _ => return None,
        })
    }

    /// Somebody else moves or deletes something just before the call.
    fn somebody_else(&mut self) -> Fault {
        let rng = &mut self.rng;
        let images: Vec<_> = self.scene.images.values().collect();
        let one = images[rng.usize(..images.len())].clone();
        let others: Vec<_> =
            images.iter().filter(|other| other.repository == one.repository).collect();
        let other = (**others[rng.usize(..others.len())]).clone();
        let tag = match rng.u8(..4) {
            0 => format!("{PROTECTED}moved"),
            _ => one.tags.first().cloned().unwrap_or_else(|| "fresh".to_owned()),
        };
        let what = rng.u8(..20);
        self.pushes += 1;
        let event = pushed(&other, &tag, self.pushes).to_string();
        let oracle = Arc::clone(&self.oracle);
        let covered = !self.scene.out_of_reach.contains(&one.repository);
        Fault::Act(Arc::new(move |sim: &Sim| match what {
            // A tag moves to another image, and ECR sends the event of it.
            0..=11 if sim.tags(&other.repository, &other.digest).is_some() => {
                sim.tag_image(&other.repository, &tag, &other.digest);
                let id = sim.send(QUEUE, &event);
                let duty = if covered { Duty::Assess(other.clone()) } else { Duty::None };
                let mut oracle = oracle.lock().unwrap();
                oracle.sent(sim, &id, duty);
                oracle.tagged(&other.repository, &tag, sim);
            }
            12..=16 if sim.tag_target(&one.repository, &tag).is_some() => {
                sim.untag_image(&one.repository, &tag);
                oracle.lock().unwrap().touched(&one.repository, sim);
            }
            17..=18
                if one.holders.is_empty() && sim.tags(&one.repository, &one.digest).is_some() =>
            {
                sim.delete_image(&one.repository, &one.digest);
                oracle.lock().unwrap().touched(&one.repository, sim);
            }
            19 => {
                sim.delete_repository(&one.repository);
                oracle.lock().unwrap().touched(&one.repository, sim);
            }
            _ => {}
        }))
    }
}

impl Chaos {
    /// Somebody else deletes an artifact of an image, or attaches one that looks like a hold.
    fn somebody_else_attaches(&mut self) -> Fault {
        let images: Vec<_> = self.scene.images.values().collect();
        let one = images[self.rng.usize(..images.len())].clone();
        let forges = self.rng.bool();
        Fault::Act(Arc::new(move |sim: &Sim| {
            if sim.tags(&one.repository, &one.digest).is_none() {
                return;
            }
            if forges {
                let hold = [
                    ("tagwarden.kind", "hold"),
                    ("tagwarden.until", "2026-01-08T00:00:00Z"),
                    ("tagwarden.issued", "2026-01-02T03:04:00Z"),
                    ("tagwarden.reason", "none"),
                    ("tagwarden.owner", "nobody"),
                    ("tagwarden.request", "forged"),
                    ("tagwarden.sender", "AROA1:nobody"),
                ];
                let of = "application/vnd.tagwarden.record.v1+json";
                sim.push_referrer(&one.repository, &one.digest, of, &hold);
            } else if let Some(first) = sim.referrers(&one.repository, &one.digest).first() {
                sim.delete_image(&one.repository, &first.digest);
            }
        }))
    }
}

/// Returns whether a call puts a record.
fn is_record(call: &ApiCall) -> bool {
    call.operation == "PutImage" && call.input.get("imageTag").is_none()
}

impl FaultPlan for Chaos {
    fn faults(&mut self, call: &ApiCall) -> Vec<Fault> {
        if call.operation == "StartImageScan" && self.slow_scans > 0 && self.rng.u8(..3) == 0 {
            self.slow_scans -= 1;
            return vec![Fault::Delay(Duration::from_millis(self.rng.u64(500..6_000)))];
        }
        let now = Instant::now();
        let is_slow = self.slow_looks.iter().any(|burst| burst.contains(&now));
        if call.operation == "DescribeImages" && is_slow {
            return vec![Fault::Delay(Duration::from_millis(self.rng.u64(100..6_000)))];
        }
        if self.left == 0 || self.rng.u8(..12) > 0 {
            return Vec::new();
        }
        let fault = self.draw(call);
        self.left -= usize::from(fault.is_some());
        fault.into_iter().collect()
    }
}

/// Returns whether a call encrypts or decrypts, so that its key can be refused.
fn needs_a_key(call: &ApiCall) -> bool {
    ["ReceiveMessage", "SendMessageBatch", "Publish", "PutImage"].contains(&call.operation.as_str())
}

/// Some entries of a batch fail.
fn fail_entries(call: &ApiCall, rng: &mut Rng) -> Option<Fault> {
    let code = match call.operation.as_str() {
        "BatchDeleteImage" => "KmsError",
        "SendMessageBatch" => "InternalError",
        "DeleteMessageBatch" | "ChangeMessageVisibilityBatch" => match rng.u8(..4) {
            0 => "ReceiptHandleIsInvalid",
            _ => "InternalError",
        },
        _ => return None,
    };
    let odd = rng.bool();
    // The choice depends on the entry alone, so the number of questions does not matter.
    let picked = move |entry: &serde_json::Value| (entry.to_string().len() % 2 == 1) == odd;
    Some(Fault::FailEntries { code: code.to_owned(), entries: Arc::new(picked) })
}

/// Half an hour without one permission.
pub fn refusal(refused: Refused, seed: u64) -> Vec<FaultRule> {
    let denied = |rule: FaultRule, service: Service| rule.error(service.access_denied_code());
    // The seed selects each kind of refusal in its turn.
    let keyless = |rule: FaultRule, service: Service| {
        let codes = service.key_refusal_codes();
        let at = usize::try_from(seed / 45).unwrap_or_default() % codes.len();
        rule.error(codes[at])
    };
    match refused {
        Refused::Receive => vec![denied(FaultRule::on("ReceiveMessage"), Service::Sqs)],
        Refused::Delete => ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"]
            .map(|operation| denied(FaultRule::on(operation), Service::Sqs))
            .to_vec(),
        Refused::Registry => vec![denied(FaultRule::on_service(Service::Ecr), Service::Ecr)],
        Refused::Topic => vec![denied(FaultRule::on("Publish"), Service::Sns)],
        Refused::Credentials => [Service::Sqs, Service::Ecr, Service::Sns]
            .map(|service| {
                FaultRule::on_service(service).error(service.expired_credentials_codes()[0])
            })
            .to_vec(),
        Refused::OneRepository => {
            let rule = FaultRule::on_service(Service::Ecr).repository("team/api").account(ACCOUNT);
            vec![denied(rule, Service::Ecr)]
        }
        Refused::QueueKey => ["ReceiveMessage", "SendMessageBatch"]
            .map(|operation| keyless(FaultRule::on(operation), Service::Sqs))
            .to_vec(),
        Refused::TopicKey => vec![keyless(FaultRule::on("Publish"), Service::Sns)],
        Refused::RegistryKey => vec![
            FaultRule::on("BatchGetImage").fail_entries("KmsError"),
            keyless(FaultRule::on("PutImage"), Service::Ecr),
            FaultRule::on("BatchDeleteImage").fail_entries("KmsError"),
        ],
    }
}
