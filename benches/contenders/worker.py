"""The worker's job as a script on boto3. See README.md beside it."""

import json
import os
import signal
import sys
import threading
import time

import boto3
from botocore.config import Config

CONCURRENCY = int(os.environ.get("CONCURRENCY") or 4)
QUEUE = os.environ["QUEUE_URL"]
TOPIC = os.environ["TOPIC_ARN"]

POISON_SECONDS = 60
MANIFESTS = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.v1+json",
]
# The tag is not there any more, or somebody moved it: both are as good as untagged.
GONE = ("ImageNotFound", "ImageTagDoesNotMatchDigest")

CONFIG = Config(
    region_name=os.environ["AWS_REGION"],
    max_pool_connections=max(10, CONCURRENCY),
    tcp_keepalive=True,
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "max_attempts": 3},
    # What goes out is written below, and AWS looks at it once more.
    parameter_validation=False,
)

stopping = threading.Event()


class Refused(Exception):
    """AWS answered, but did not do or show what was asked for."""


def complain(text):
    print(text, file=sys.stderr, flush=True)


def violates(counts):
    return counts.get("CRITICAL", 0) > 0 or counts.get("HIGH", 0) > 0


class Worker:
    def __init__(self):
        self.sqs = boto3.client("sqs", config=CONFIG)
        self.ecr = boto3.client("ecr", config=CONFIG)
        self.sns = boto3.client("sns", config=CONFIG)

    def poll(self, at_work):
        """Receives and settles until the process stops; holds `at_work` while there are messages in hand."""
        while not stopping.is_set():
            try:
                answer = self.sqs.receive_message(QueueUrl=QUEUE, MaxNumberOfMessages=10, WaitTimeSeconds=20)
                if messages := answer.get("Messages"):
                    with at_work:
                        self.settle(messages)
            except Exception as error:
                complain(f"receive or delete: {error}")
                stopping.wait(1)

    def settle(self, messages):
        lines, entries = [], []
        for message in messages:
            repository, outcome = self.handle(message)
            line = {"message_id": message["MessageId"], "repository": repository, "outcome": outcome}
            lines.append(json.dumps(line) + "\n")
            if outcome not in ("poison", "failed"):
                entries.append({"Id": str(len(entries)), "ReceiptHandle": message["ReceiptHandle"]})
        if entries:
            answer = self.sqs.delete_message_batch(QueueUrl=QUEUE, Entries=entries)
            for failure in answer.get("Failed", []):
                complain(f"delete: {failure}")
        sys.stdout.buffer.write("".join(lines).encode())

    def handle(self, message):
        """The repository that a message is about, and what became of it. One that failed comes again by itself."""
        repository = None
        try:
            try:
                detail = json.loads(message["Body"])["detail"]
                repository = detail["repository-name"]
                if not violates(detail.get("finding-severity-counts") or {}):
                    return repository, "clean"
                digest = detail["image-digest"]
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                self.sqs.change_message_visibility(
                    QueueUrl=QUEUE, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=POISON_SECONDS
                )
                return repository, "poison"
            return repository, self.quarantine(repository, digest)
        except (self.ecr.exceptions.ImageNotFoundException, self.ecr.exceptions.RepositoryNotFoundException):
            return repository, "gone"
        except Exception as error:
            complain(f"message {message['MessageId']}: {error}")
            return repository, "failed"

    def quarantine(self, repository, digest):
        image = {"imageDigest": digest}
        [detail] = self.ecr.describe_images(repositoryName=repository, imageIds=[image])["imageDetails"]
        present = detail.get("imageTags", [])
        scan = self.ecr.describe_image_scan_findings(repositoryName=repository, imageId=image)
        status = scan["imageScanStatus"]["status"]
        if status not in ("COMPLETE", "ACTIVE"):
            raise Refused(f"the scan of {digest} is {status}")
        counts = scan["imageScanFindings"].get("findingSeverityCounts", {})
        if not violates(counts):
            return "clean"
        mark = "quarantine-" + digest.removeprefix("sha256:")
        if mark not in present:
            self.mark(repository, digest, mark)
        tags = [tag for tag in present if tag != mark]
        self.untag(repository, digest, tags)
        self.sns.publish(
            TopicArn=TOPIC,
            Subject=f"{len(tags)} tags quarantined: {repository}"[:99],
            Message=f"{repository}: untagged {', '.join(tags) or 'nothing'} from {digest}, kept as {mark}. "
            f"Findings: critical {counts.get('CRITICAL', 0)}, high {counts.get('HIGH', 0)}.",
        )
        return "quarantined"

    def mark(self, repository, digest, mark):
        answer = self.ecr.batch_get_image(
            repositoryName=repository, imageIds=[{"imageDigest": digest}], acceptedMediaTypes=MANIFESTS
        )
        if not answer.get("images"):
            raise Refused(f"no manifest of {digest}: {answer.get('failures')}")
        found = answer["images"][0]
        media_type = found.get("imageManifestMediaType")
        try:
            self.ecr.put_image(
                repositoryName=repository,
                imageManifest=found["imageManifest"],
                **({"imageManifestMediaType": media_type} if media_type else {}),
                imageDigest=digest,
                imageTag=mark,
            )
        except self.ecr.exceptions.ImageAlreadyExistsException:
            pass

    def untag(self, repository, digest, tags):
        for at in range(0, len(tags), 100):
            ids = [{"imageTag": tag, "imageDigest": digest} for tag in tags[at : at + 100]]
            answer = self.ecr.batch_delete_image(repositoryName=repository, imageIds=ids)
            refused = [failure for failure in answer.get("failures", []) if failure.get("failureCode") not in GONE]
            if refused:
                raise Refused(f"not untagged: {refused}")


def main():
    # Blocked here and so in every thread: sigwait takes them.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    worker = Worker()
    locks = [threading.Lock() for _ in range(CONCURRENCY)]
    pollers = [threading.Thread(target=worker.poll, args=[lock], daemon=True) for lock in locks]
    print("ready", flush=True)
    for poller in pollers:
        poller.start()
    signal.sigwait(signals)
    stopping.set()
    # A second for receives under way; after that, what a receive brings is left alone and comes again.
    until = time.monotonic() + 1
    for poller in pollers:
        poller.join(max(0, until - time.monotonic()))
    for lock in locks:
        lock.acquire()


if __name__ == "__main__":
    main()
