//! The limit: loops that receive ten, parse and delete ten, by the SDK alone.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use tagwarden::domain::names::{AccountId, Region, RegistryId};
use tagwarden::event;
use tokio::task::JoinSet;

/// So many loops at once, until the process is killed.
pub(crate) async fn main(loops: usize) {
    let queue = std::env::var("TAGWARDEN__QUEUE__URL").expect("a queue");
    let sdk = tagwarden::app::aws_from_environment().await;
    let client = Client::new(&sdk);
    println!("ready");
    let mut tasks = JoinSet::new();
    for _ in 0..loops {
        tasks.spawn(receive_and_delete(client.clone(), queue.clone()));
    }
    tasks.join_all().await;
}

async fn receive_and_delete(client: Client, queue: String) {
    let own = RegistryId {
        account: AccountId::parse("111122223333").expect("an account"),
        region: Region::parse("eu-west-1").expect("a Region"),
    };
    loop {
        let receive = client.receive_message().queue_url(&queue).max_number_of_messages(10);
        let answer = receive.wait_time_seconds(20).send().await.expect("an answer");
        let entries = answer.messages().iter().enumerate().filter_map(|(at, message)| {
            event::parse(message.body()?, &own).ok()?;
            let entry = DeleteMessageBatchRequestEntry::builder().id(at.to_string());
            entry.receipt_handle(message.receipt_handle()?).build().ok()
        });
        let entries: Vec<_> = entries.collect();
        if !entries.is_empty() {
            let delete = client.delete_message_batch().queue_url(&queue);
            delete.set_entries(Some(entries)).send().await.expect("an answer");
        }
    }
}
