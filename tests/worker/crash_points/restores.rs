//! Requests to restore an image. Each scene has an id of its request, so that the same request can
//! be sent again.

use serde_json::json;

use super::scenes::{Scene, TWO_TAGS, world};
use crate::restores::{HOLDER, ask, clean, configured, hold, removed};
use crate::support::{World, critical};

fn set(scan: fn() -> aws_sim::ScanResult, fields: fn(&World) -> serde_json::Value) -> World {
    let world = configured(world());
    let digest = removed(&world, &["1.0", "latest"], scan());
    let mut fields = fields(&world);
    fields["request"] = json!("request-1");
    ask(&world, HOLDER, &digest, &fields);
    world
}

const RESTORED: Scene = Scene { told: &["restored"], went: 0, pairs: 20, ..TWO_TAGS };

pub(super) const GIVEN_BACK: Scene =
    Scene { name: "tags given back", set: || set(clean, |_| json!({})), ..RESTORED };

pub(super) const IMMUTABLE: Scene = Scene {
    name: "immutable tags given back",
    set: || {
        let world = set(clean, |_| json!({}));
        world.sim.set_tag_mutability(&world.repository, "IMMUTABLE", &[]);
        world
    },
    ..RESTORED
};

pub(super) const HELD: Scene =
    Scene { name: "image held", set: || set(critical, |world| hold(world, 24)), ..RESTORED };

pub(super) const REFUSED: Scene = Scene {
    name: "restore refused",
    set: || set(critical, |_| json!({})),
    told: &["refused"],
    ..RESTORED
};

pub(super) const WITHDRAWN: Scene = Scene {
    name: "hold withdrawn",
    set: || {
        let world = configured(world());
        let digest = removed(&world, &["1.0"], critical());
        crate::restores::held(&world, &digest, "hold-1");
        ask(&world, HOLDER, &digest, &json!({"withdraw": true, "request": "request-1"}));
        world
    },
    ..RESTORED
};
