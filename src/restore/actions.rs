//! The acts that the metric `image_actions_total` counts.

use strum::VariantArray;

use crate::domain::policy::Mode;
use crate::telemetry::instruments::Instruments;

/// One act of a restore, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub(super) enum RestoreAct {
    /// A tag was given back.
    TagRestored,
    /// A tag is on another image, which keeps it.
    TagSuperseded,
    /// A tag was not given back, or a request was refused.
    Refused,
    /// A hold was written.
    Held,
    /// A hold was ended early.
    Withdrawn,
}

impl RestoreAct {
    fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::TagRestored => ("restore", "done"),
            Self::TagSuperseded => ("restore", "superseded"),
            Self::Refused => ("restore", "refused"),
            Self::Held => ("hold", "done"),
            Self::Withdrawn => ("withdraw", "done"),
        }
    }

    pub(super) fn count(self, instruments: &Instruments, mode: Mode, count: usize) {
        let (action, outcome) = self.labels();
        instruments.image_action(action, outcome, mode.as_str(), count);
    }
}

/// Declares the acts that are counted. A restore is carried out in audit mode too.
pub(crate) fn declare(instruments: &Instruments) {
    for act in RestoreAct::VARIANTS {
        [Mode::Enforce, Mode::Audit].into_iter().for_each(|mode| act.count(instruments, mode, 0));
    }
}
