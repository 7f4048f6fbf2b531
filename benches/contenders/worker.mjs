// The worker's job as a script on the AWS SDK for JavaScript. See README.md beside it.

import {
  BatchDeleteImageCommand, BatchGetImageCommand, DescribeImageScanFindingsCommand, DescribeImagesCommand, ECRClient,
  PutImageCommand,
} from "@aws-sdk/client-ecr";
import { PublishCommand, SNSClient } from "@aws-sdk/client-sns";
import {
  ChangeMessageVisibilityCommand, DeleteMessageBatchCommand, ReceiveMessageCommand, SQSClient,
} from "@aws-sdk/client-sqs";
import { setTimeout as sleep } from "node:timers/promises";

const CONCURRENCY = Number(process.env.CONCURRENCY || 4);
const { QUEUE_URL: QueueUrl, TOPIC_ARN: TopicArn } = process.env;
if (!QueueUrl || !TopicArn) throw new Error("QUEUE_URL and TOPIC_ARN have to be set");

const POISON_SECONDS = 60;
const MANIFESTS = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
  "application/vnd.docker.distribution.manifest.v1+json",
];
// The tag is not there any more, or somebody moved it: both are as good as untagged.
const GONE = ["ImageNotFound", "ImageTagDoesNotMatchDigest"];

// Every poller may have ten violating images in hand.
const agent = { keepAlive: true, maxSockets: Math.max(50, 10 * CONCURRENCY) };
const config = {
  maxAttempts: 3,
  // Kept only by commands that are sent without options of their own: so none is.
  cacheMiddleware: true,
  requestHandler: {
    httpAgent: agent,
    httpsAgent: agent,
    connectionTimeout: 5_000,
    requestTimeout: 30_000,
    throwOnRequestTimeout: true,
  },
};
// The queue's URL names the queue, AWS_ENDPOINT_URL says where it is.
const sqs = new SQSClient({ ...config, useQueueUrlAsEndpoint: false });
const ecr = new ECRClient(config);
const sns = new SNSClient(config);

let stopping = false;
let abandoned = false;
const atWork = new Set();

const violates = (counts) => counts.CRITICAL > 0 || counts.HIGH > 0;

async function poll() {
  while (!stopping) {
    try {
      const receive = new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 20 });
      const { Messages } = await sqs.send(receive);
      if (abandoned) return;
      if (!Messages?.length) continue;
      const work = settle(Messages);
      atWork.add(work);
      await work.finally(() => atWork.delete(work));
    } catch (error) {
      console.error(`receive or delete: ${error}`);
      await sleep(1000);
    }
  }
}

async function settle(messages) {
  const results = await Promise.all(messages.map(handle));
  const Entries = [];
  let lines = "";
  results.forEach(({ repository, outcome }, at) => {
    const { MessageId, ReceiptHandle } = messages[at];
    lines += `${JSON.stringify({ message_id: MessageId, repository, outcome })}\n`;
    if (outcome !== "poison" && outcome !== "failed") Entries.push({ Id: String(at), ReceiptHandle });
  });
  if (Entries.length) {
    const { Failed = [] } = await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
    for (const failure of Failed) console.error(`delete: ${JSON.stringify(failure)}`);
  }
  process.stdout.write(lines);
}

// What a message says: nothing where it makes no sense, no digest where nothing is to be done.
function read(body) {
  try {
    const { detail } = JSON.parse(body);
    const repository = detail["repository-name"];
    if (typeof repository !== "string") return undefined;
    if (!violates(detail["finding-severity-counts"] ?? {})) return { repository };
    const digest = detail["image-digest"];
    return typeof digest === "string" ? { repository, digest } : undefined;
  } catch {
    return undefined;
  }
}

// The repository that a message is about, and what became of it. One that failed comes again by itself.
async function handle({ Body, MessageId, ReceiptHandle }) {
  const event = read(Body);
  const repository = event?.repository ?? null;
  if (event && !event.digest) return { repository, outcome: "clean" };
  try {
    if (event) return { repository, outcome: await quarantine(repository, event.digest) };
    const VisibilityTimeout = POISON_SECONDS;
    await sqs.send(new ChangeMessageVisibilityCommand({ QueueUrl, ReceiptHandle, VisibilityTimeout }));
    return { repository, outcome: "poison" };
  } catch (error) {
    if (["ImageNotFoundException", "RepositoryNotFoundException"].includes(error.name)) {
      return { repository, outcome: "gone" };
    }
    console.error(`message ${MessageId}: ${error}`);
    return { repository, outcome: "failed" };
  }
}

async function quarantine(repositoryName, imageDigest) {
  const imageId = { imageDigest };
  const images = await ecr.send(new DescribeImagesCommand({ repositoryName, imageIds: [imageId] }));
  const present = images.imageDetails[0].imageTags ?? [];
  const scan = await ecr.send(new DescribeImageScanFindingsCommand({ repositoryName, imageId }));
  const { status } = scan.imageScanStatus;
  if (status !== "COMPLETE" && status !== "ACTIVE") throw new Error(`the scan of ${imageDigest} is ${status}`);
  const counts = scan.imageScanFindings.findingSeverityCounts ?? {};
  if (!violates(counts)) return "clean";
  const mark = `quarantine-${imageDigest.replace("sha256:", "")}`;
  if (!present.includes(mark)) await putMark(repositoryName, imageId, mark);
  const tags = present.filter((tag) => tag !== mark);
  await untag(repositoryName, imageDigest, tags);
  await sns.send(new PublishCommand({
    TopicArn,
    Subject: `${tags.length} tags quarantined: ${repositoryName}`.slice(0, 99),
    Message: `${repositoryName}: untagged ${tags.join(", ") || "nothing"} from ${imageDigest}, kept as ${mark}. `
      + `Findings: critical ${counts.CRITICAL ?? 0}, high ${counts.HIGH ?? 0}.`,
  }));
  return "quarantined";
}

async function putMark(repositoryName, imageId, imageTag) {
  const get = new BatchGetImageCommand({ repositoryName, imageIds: [imageId], acceptedMediaTypes: MANIFESTS });
  const { images = [], failures } = await ecr.send(get);
  if (!images.length) throw new Error(`no manifest of ${imageId.imageDigest}: ${JSON.stringify(failures)}`);
  const { imageManifest, imageManifestMediaType } = images[0];
  try {
    await ecr.send(new PutImageCommand({
      repositoryName, imageManifest, imageManifestMediaType, imageDigest: imageId.imageDigest, imageTag,
    }));
  } catch (error) {
    if (error.name !== "ImageAlreadyExistsException") throw error;
  }
}

async function untag(repositoryName, imageDigest, tags) {
  for (let at = 0; at < tags.length; at += 100) {
    const imageIds = tags.slice(at, at + 100).map((imageTag) => ({ imageTag, imageDigest }));
    const { failures = [] } = await ecr.send(new BatchDeleteImageCommand({ repositoryName, imageIds }));
    const refused = failures.filter((failure) => !GONE.includes(failure.failureCode));
    if (refused.length) throw new Error(`not untagged: ${JSON.stringify(refused)}`);
  }
}

async function stop() {
  stopping = true;
  // A second for receives under way; after that, what a receive brings is left alone and comes again.
  await Promise.race([pollers, sleep(1000)]);
  abandoned = true;
  await Promise.allSettled(atWork);
  process.exit(0);
}
process.once("SIGTERM", stop);
process.once("SIGINT", stop);
console.log("ready");
const pollers = Promise.all(Array.from({ length: CONCURRENCY }, poll));
