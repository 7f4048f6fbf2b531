//! Settlements that the queue does not carry out.

use std::future::pending;

use super::*;

/// The settlements that the queue is asked for, and when.
type Asked = Arc<Mutex<Vec<(Settlement, Instant)>>>;

/// A queue that answers every delete with this failure, or never, and accepts every change of
/// visibility.
fn queue(failure: Option<ErrorClass>) -> (Settler, Asked, JoinSet<()>) {
    let (deletes, delete_entries) = Batcher::new(Operation::DeleteMessageBatch);
    let (changes, change_entries) = Batcher::new(Operation::ChangeMessageVisibilityBatch);
    let asked = Asked::default();
    let (deleted, changed) = (Arc::clone(&asked), Arc::clone(&asked));
    let mut tasks = JoinSet::new();
    tasks.spawn(batch::send_batches(delete_entries, move |_: Vec<ReceiptHandle>| {
        deleted.lock().unwrap().push((Settlement::Delete, Instant::now()));
        async move {
            match failure {
                Some(class) => vec![Err(failed(class))],
                None => pending().await,
            }
        }
    }));
    tasks.spawn(batch::send_batches(change_entries, move |changes: Vec<Visibility>| {
        let settlement = Settlement::Visible(changes[0].timeout);
        changed.lock().unwrap().push((settlement, Instant::now()));
        async { vec![Ok(())] }
    }));
    (Settler { deletes, changes }, asked, tasks)
}

/// Deletes a message that was received just now. Returns the error and the times of the attempts,
/// counted from the receive.
async fn deleted(failure: ErrorClass) -> (SettleError, Vec<Duration>) {
    let start = Instant::now();
    let (settler, asked, _tasks) = queue(Some(failure));
    let instruments = Instruments::new().unwrap();
    let mut lease = HeldLease::new(&message(), VISIBILITY, &settler, &instruments);
    let error = lease.settle(Settlement::Delete).await.unwrap_err();
    let asked = asked.lock().unwrap().iter().map(|&(_, at)| at - start).collect();
    (error, asked)
}

#[tokio::test(start_paused = true)]
async fn transient_failure_is_retried_until_the_lease_ends() {
    let (error, asked) = deleted(ErrorClass::Unavailable).await;
    assert!(matches!(error, SettleError::Aws(_)), "{error:?}");
    let (last, end) = (asked[asked.len() - 1], Duration::from_secs(55));
    assert!(last < end && last + Duration::from_secs(6) > end, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn only_a_refusal_keeps_the_lease() {
    for class in [ErrorClass::Refused, ErrorClass::Credentials] {
        let (error, asked) = deleted(class).await;
        assert!(matches!(error, SettleError::Refused(_)), "{error:?}");
        assert_eq!(asked.len(), 1);
    }
    let (error, asked) = deleted(ErrorClass::Rejected).await;
    assert!(matches!(error, SettleError::Aws(_)), "the queue knows no such lease: {error:?}");
    assert_eq!(asked.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn abandoned_delete_makes_the_message_visible_at_once() {
    let (settler, asked, _tasks) = queue(None);
    let instruments = Instruments::new().unwrap();
    let mut lease = HeldLease::new(&message(), VISIBILITY, &settler, &instruments);
    tokio::select! {
        biased;
        settled = lease.settle(Settlement::Delete) => panic!("{settled:?}"),
        () = sleep(Duration::from_secs(20)) => {}
    }

    lease.release().await.unwrap();

    let asked: Vec<_> = asked.lock().unwrap().iter().map(|&(settlement, _)| settlement).collect();
    assert_eq!(asked, [Settlement::Delete, Settlement::Visible(Duration::ZERO)]);
}
