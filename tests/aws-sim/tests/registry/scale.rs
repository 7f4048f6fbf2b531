//! Repositories of ten thousand images are listed and read in a moment.

use std::time::Duration;

use aws_sdk_ecr::types::{ListImagesFilter, TagStatus};
use tokio::time::Instant;

use super::{Scene, by_digest};

const COUNT: usize = 10_000;

/// Many times what it takes, and far from what it would take if every image were compared with every other.
const LIMIT: Duration = Duration::from_secs(5);

// Real time: what is measured is the work, so the simulation's own latency is off.
#[tokio::test]
async fn ten_thousand_images_are_pushed_listed_and_read() {
    let config = aws_sim::SimConfig { latency: Duration::ZERO, ..aws_sim::SimConfig::default() };
    let sim = aws_sim::Sim::new(config);
    let repo = sim.create_repository("team/app");
    let client = aws_sdk_ecr::Client::new(&sim.sdk_config());
    let scene = Scene { sim, repo, client };

    let started = Instant::now();
    let images = (0..COUNT).map(|n| (format!("v{n}"), format!("content {n}")));
    let digests = scene.sim.push_images(&scene.repo, images);
    assert_eq!(digests.len(), COUNT);
    assert_eq!(scene.sim.tag_target(&scene.repo, "v17").as_ref(), Some(&digests[17]));
    println!("pushed in {:?}", started.elapsed());

    let started = Instant::now();
    let describe = scene.client.describe_images().repository_name("team/app").max_results(1000);
    let details = describe.into_paginator().items().send();
    let details = details.collect::<Result<Vec<_>, _>>().await.unwrap();
    assert_eq!(details.len(), COUNT);
    assert!(details.iter().all(|detail| detail.image_tags().len() == 1));
    assert_eq!(scene.sim.calls_of("DescribeImages").len(), COUNT / 1000);
    println!("described in {:?}", started.elapsed());

    let filter = ListImagesFilter::builder().tag_status(TagStatus::Tagged).build();
    let list = scene.client.list_images().repository_name("team/app").filter(filter);
    let listed = list.max_results(1000).into_paginator().items().send();
    assert_eq!(listed.collect::<Result<Vec<_>, _>>().await.unwrap().len(), COUNT);
    println!("listed in {:?}", started.elapsed());

    for digests in digests.chunks(100) {
        let ids = digests.iter().map(|digest| by_digest(digest)).collect();
        let get = scene.client.batch_get_image().repository_name("team/app");
        let got = get.set_image_ids(Some(ids)).send().await.unwrap();
        assert_eq!(got.images().len(), digests.len());
    }
    println!("read in {:?}", started.elapsed());
    assert!(started.elapsed() < LIMIT, "took {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_page_may_end_between_two_tags_of_an_image() {
    let scene = Scene::new();
    scene.sim.push_image(&scene.repo, &["a", "b", "c", "d", "e"], "one");
    scene.sim.push_image(&scene.repo, &["f"], "two");
    scene.sim.push_image(&scene.repo, &[], "three");
    let list = scene.client.list_images().repository_name("team/app").max_results(2);
    let rows = list.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap();
    let mut tags: Vec<_> = rows.into_iter().map(|id| id.image_tag.unwrap_or_default()).collect();
    tags.sort();
    assert_eq!(tags, ["", "a", "b", "c", "d", "e", "f"]);
    assert_eq!(scene.sim.calls_of("ListImages").len(), 4);
}
