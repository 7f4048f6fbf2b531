use proptest::prelude::*;

use super::*;

#[test]
fn receive_waits_at_most_a_third_of_the_lease_and_the_time_of_a_stop() {
    let wait = |visibility, patience| {
        longest_wait(Duration::from_secs(visibility), Duration::from_millis(patience)).as_secs()
    };
    assert_eq!(wait(60, 20_000), 20);
    assert_eq!(wait(3_600, 115_000), 20, "SQS's longest");
    assert_eq!(wait(47, 20_000), 15);
    assert_eq!(wait(60, 7_500), 7);
    assert_eq!((wait(2, 20_000), wait(60, 1_500)), (1, 1), "the shortest");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn every_message_is_in_one_batch_in_order_and_no_batch_is_too_large(
        sizes in prop::collection::vec(
            prop_oneof![1..50_usize, 100_000..LONGEST_BATCH + 2],
            0..35,
        ),
    ) {
        let messages: Vec<_> = sizes
            .iter()
            .map(|size| Outgoing { body: "x".repeat(*size), delay: Duration::ZERO })
            .collect();
        let batches: Vec<_> = batches(&messages).collect();
        prop_assert_eq!(batches.concat(), messages.clone());
        for batch in batches {
            let bytes: usize = batch.iter().map(|message| message.body.len()).sum();
            prop_assert!((1..=10).contains(&batch.len()));
            prop_assert!(bytes <= LONGEST_BATCH || batch.len() == 1);
        }
    }
}
