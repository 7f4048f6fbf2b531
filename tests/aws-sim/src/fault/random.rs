//! Faults by chance.

use super::{Fault, FaultPlan, FaultRule};
use crate::api::ApiCall;

/// Faults at random from a seed, up to a number of them, so that a run always comes to rest. At most one strikes a
/// call: the first of those that were drawn.
#[derive(Debug)]
pub struct RandomFaults {
    seed: u64,
    chances: Vec<Chance>,
    budget: usize,
}

/// A rule with its own generator: what is drawn for it depends on the seed, on its place in the plan and on how many
/// calls there were, and on no other rule.
#[derive(Debug)]
struct Chance {
    probability: f64,
    rule: FaultRule,
    rng: fastrand::Rng,
}

impl RandomFaults {
    /// A plan that strikes at most `budget` times.
    pub fn new(seed: u64, budget: usize) -> Self {
        Self { seed, chances: Vec::new(), budget }
    }

    /// Lets a rule strike with a probability.
    #[must_use]
    pub fn chance(mut self, probability: f64, rule: FaultRule) -> Self {
        // Each place gets the next number of a generator of its own, since neighbouring seeds draw alike.
        let mut seeds = fastrand::Rng::with_seed(self.seed);
        let seed = (0..=self.chances.len()).map(|_| seeds.u64(..)).last().unwrap_or(self.seed);
        let rng = fastrand::Rng::with_seed(seed);
        self.chances.push(Chance { probability, rule, rng });
        self
    }

    /// Lets each of some rules strike with a probability.
    #[must_use]
    pub fn chances(self, probability: f64, rules: impl IntoIterator<Item = FaultRule>) -> Self {
        rules.into_iter().fold(self, |plan, rule| plan.chance(probability, rule))
    }
}

impl FaultPlan for RandomFaults {
    fn faults(&mut self, call: &ApiCall) -> Vec<Fault> {
        let mut struck = Vec::new();
        // Every rule draws for every call, whether or not it could strike.
        for Chance { probability, rule, rng } in &mut self.chances {
            let drawn = rng.f64() < *probability;
            if drawn
                && self.budget > 0
                && struck.is_empty()
                && let Some(fault) = rule.strike(call)
            {
                self.budget -= 1;
                struck.push(fault);
            }
        }
        struck
    }
}
