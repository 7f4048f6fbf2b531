//! A second signal while work in hand does not end.

use aws_sim::FaultRule;

use super::scenario::Scenario;
use crate::process::Signal;
use crate::world::lines;

#[tokio::test]
async fn second_stop_signal_ends_the_process_at_once_during_any_wait() {
    let reference = Scenario::undisturbed(1).await;
    for operation in ["DescribeImages", "BatchDeleteImage", "Publish", "DeleteMessageBatch"] {
        let scenario = Scenario::new(1).await;
        scenario.world.sim.set_faults(FaultRule::on(operation).hang());
        let mut worker = scenario.world.worker().await;
        scenario.world.called(operation).await;
        worker.signal(Signal::TERM);
        worker.logged("draining", |line| line["in_flight"] == 1).await;
        worker.signal(Signal::TERM);

        let ended = worker.ended().await;
        assert_eq!(ended.code, Some(1), "{operation}: {:#?}", ended.log);
        assert!(ended.stderr.contains("stopped at once by a second signal"), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{operation}: {}", ended.stderr);
        assert_eq!(lines(&ended, "cannot go on").len(), 1, "{operation}: {:#?}", ended.log);
        assert_eq!(lines(&ended, "stopped").len(), 0, "{operation}: {:#?}", ended.log);

        let invisible = scenario.in_flight();
        assert_eq!(invisible.len(), 1, "{operation}: delivered again after its timeout");
        scenario.finish(&invisible).await;
        scenario.assert_ends_like(&reference);
    }
}
