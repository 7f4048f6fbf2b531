"""Runs a real Fluent Bit with deploy/fluent-bit.conf, sends it records as FireLens does, and checks
what arrives in moto's CloudWatch Logs and S3.

    python tests/router/run.py FLUENT_BIT

needs a Python with moto[server] and boto3, and may listen on port 443 of a loopback address,
because older versions of Fluent Bit know no other port for AWS. Versions before 1.9 run without
the features that they lack: the joining of parts, and the limit of the S3 buffer.
"""

import gzip
import json
import logging
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

ROOT = pathlib.Path(__file__).parents[2]
HOST = "localhost"
TASK = "0123456789abcdef0123456789abcdef"
TAG = f"worker-firelens-{TASK}"
GROUP = "/tagwarden/test/worker"
BUCKET = "audit-records"

AUDIT = {"timestamp": "2026-11-22T03:00:00.123456Z", "level": "INFO", "message": "plan", "target": "tagwarden::audit",
         "message_id": "m-1", "repository": "team/app", "untag": "1.2.3, latest", "delete": False}
ASSESSED = {"timestamp": "2026-11-22T03:00:00.223456Z", "level": "INFO", "message": "assessed", "target": "tagwarden::worker",
            "message_id": "m-1", "source": "aws.ecr", "outcome": "quarantined", "receive_count": 1, "why": "tagwarden::audit"}
TEXT = "memory allocation of 64 bytes failed"
LONG = {"target": "tagwarden::audit", "message": "plan", "untag": "x" * 40_000}


def pack(value):
    """The part of MessagePack that the forward protocol needs here."""
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return struct.pack(">BI", 0xCE, value)
    if isinstance(value, str):
        data = value.encode()
        return struct.pack(">BI", 0xDB, len(data)) + data
    if isinstance(value, list):
        return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(pack, value))
    return struct.pack(">BI", 0xDF, len(value)) + b"".join(pack(k) + pack(v) for k, v in value.items())


def records():
    """The records that the log driver makes of the worker's lines. A line over 16 KiB is split."""
    driver = {"container_id": TASK, "container_name": "worker", "source": "stdout"}
    for line in [json.dumps(AUDIT), json.dumps(ASSESSED), TEXT]:
        yield driver | {"log": line}
    line = json.dumps(LONG)
    parts = [line[start:start + 16_384] for start in range(0, len(line), 16_384)]
    for number, part in enumerate(parts, 1):
        last = str(number == len(parts)).lower()
        yield driver | {"log": part, "partial_message": "true", "partial_id": "p-1", "partial_ordinal": str(number), "partial_last": last}


def configuration(directory, parsers, parts):
    """The file with other addresses and parsers, below the lines that ECS writes for FireLens."""
    text = (ROOT / "deploy/fluent-bit.conf").read_text()
    text = text.replace("/fluent-bit/parsers/parsers.conf", str(parsers)).replace("/tmp/s3", f"{directory}/s3")
    text = text.replace("HTTP_Port       2020", f"HTTP_Port       {free_port()}")
    sections = text.split("\n[")
    if not parts:
        sections = [section for section in sections if "partial_message" not in section]
        sections = [re.sub(" +store_dir_limit_size.*", "", section) for section in sections]
    sections = [section.rstrip() + f"\n    endpoint {HOST}\n    tls.ca_file {directory}/cert.pem\n" if section.startswith("OUTPUT") else section for section in sections]
    (directory / "router.conf").write_text("\n[".join(sections))
    generated = f"[INPUT]\n    Name forward\n    unix_path {directory}/fluent.sock\n    Mem_Buf_Limit 25MB\n\n@INCLUDE {directory}/router.conf\n"
    (directory / "fluent-bit.conf").write_text(generated)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, found):
    for _ in range(200):
        if found():
            return
        time.sleep(0.1)
    sys.exit(f"no {what}")


def start_moto(directory):
    certificate = directory / "cert.pem", directory / "key.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*make.split(), "-out", certificate[0], "-keyout", certificate[1]], check=True, capture_output=True)
    moto = DomainDispatcherApplication(create_backend_app)

    def answer(environ, start):
        """moto's answer with the request id that Fluent Bit expects from CloudWatch Logs."""
        return moto(environ, lambda status, headers, *more: start(status, [*headers, ("x-amzn-RequestId", "r-1")], *more))

    server = make_server(HOST, 443, answer, threaded=True, ssl_context=tuple(map(str, certificate)))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = {"endpoint_url": f"https://{HOST}", "region_name": "eu-west-1", "verify": str(certificate[0])}
    logs, s3 = boto3.client("logs", **options), boto3.client("s3", **options)
    logs.create_log_group(logGroupName=GROUP)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return logs, s3


def arrived(logs):
    streams = logs.describe_log_streams(logGroupName=GROUP)["logStreams"]
    names = [stream["logStreamName"] for stream in streams]
    events = [logs.get_log_events(logGroupName=GROUP, logStreamName=name)["events"] for name in names]
    return names, [json.loads(event["message"]) for event in sum(events, [])]


def main(program):
    keys = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1"}
    os.environ.update(keys)
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    parts = tuple(map(int, version.strip("v").split(".")[:2])) >= (1, 9)
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        logs, s3 = start_moto(directory)
        parsers = directory / "parsers.conf"
        parsers.write_text("[PARSER]\n    Name   json\n    Format json\n    Time_Key time\n    Time_Format %d/%b/%Y:%H:%M:%S %z\n")
        configuration(directory, parsers, parts)
        names = {"LOG_GROUP": GROUP, "AUDIT_BUCKET": BUCKET, "AUDIT_PREFIX": "audit"}
        router = subprocess.Popen([program, "-c", directory / "fluent-bit.conf"], env=os.environ | names, stdout=subprocess.DEVNULL)
        try:
            wait_for("socket", (directory / "fluent.sock").exists)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(directory / "fluent.sock"))
                for record in records():
                    client.sendall(pack([TAG, int(time.time()), record]))
                wait_for("log events", lambda: len(arrived(logs)[1]) >= (4 if parts else 6))
            assert not s3.list_objects_v2(Bucket=BUCKET).get("Contents"), "audit records wait for five minutes or for the end"
            router.terminate()
            assert router.wait(60) == 0, "it stops in order"
        finally:
            router.kill()

        streams, lines = arrived(logs)
        assert streams == [f"ecs/{TAG}"], streams
        short = [AUDIT, ASSESSED, {"log": TEXT}]
        assert lines == [*short, LONG] if parts else lines[:3] == short and len(lines) == 6, lines

        objects = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
        assert len(objects) == 1, objects
        key = objects[0]["Key"]
        assert key.startswith(time.strftime("audit/%Y/%m/%d/", time.gmtime())) and TAG in key and key.endswith(".jsonl.gz"), key
        body = gzip.decompress(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).decode()
        assert [json.loads(line) for line in body.splitlines()] == ([AUDIT, LONG] if parts else [AUDIT]), body[:400]
        print(f"Fluent Bit {version}: {len(lines)} log events in {streams[0]}; {key}" + ("" if parts else "; lines in parts not tried"))


if __name__ == "__main__":
    main(sys.argv[1])
