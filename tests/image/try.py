"""Runs the image's binary as a container runtime would: as the image's user, in its root, read-only, without privileges.

It has no endpoint of its own set: AWS's names are answered by a DNS server, and its certificates made by an authority,
that are both started here; behind them is the simulated AWS of `cargo run --example local -- --serve`. Needs a network
namespace of its own, because it listens on ports 53 and 443.
"""

import argparse
import asyncio
import json
import os
import signal
import ssl
import struct
import subprocess
import tempfile
import urllib.request

REGION = "eu-west-1"
ACCOUNT = "111122223333"
# What only /etc/hosts knows.
HOST = "simulation.test"
PATIENCE = 120
VARIABLES = {
    "AWS_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_EC2_METADATA_DISABLED": "true",
    "TAGWARDEN__QUEUE__URL": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/scan-events",
    "TAGWARDEN__NOTIFY__TOPIC_ARN": f"arn:aws:sns:{REGION}:{ACCOUNT}:image-quarantine",
}


class Names(asyncio.DatagramProtocol):
    """A DNS server for which every name of AWS is this machine, and no other name is there."""

    def __init__(self):
        self.asked = set()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, query, sender):
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        name = ".".join(labels).lower()
        kind = struct.unpack_from(">H", query, at + 1)[0]
        self.asked.add(name)
        known = name.endswith(".amazonaws.com")
        answers = known and kind == 1
        head = query[:2] + struct.pack(">HHHHH", 0x8580 if known else 0x8583, 1, int(answers), 0, 0)
        record = struct.pack(">HHHIH4B", 0xC00C, 1, 1, 60, 4, 127, 0, 0, 1) if answers else b""
        self.transport.sendto(head + query[12 : at + 5] + record, sender)


class Image:
    """The image's binary, by a program that starts it in its root."""

    def __init__(self, binary):
        self.binary = binary

    async def start(self, *arguments, **variables):
        environment = {"PATH": os.environ["PATH"], **VARIABLES, **variables}
        return await asyncio.create_subprocess_exec(
            self.binary, *arguments, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    async def output(self, *arguments, **variables):
        process = await self.start(*arguments, **variables)
        stdout, stderr = await process.communicate()
        return process.returncode, stdout.decode(), stderr.decode()


async def line_with(stream, text, seen=None):
    """The first line that has this in it."""
    while line := (await stream.readline()).decode():
        if seen is not None:
            seen.append(line)
        if text in line:
            return line
    raise AssertionError(f"the output ended without {text!r}: {''.join(seen or [])}")


def authority(folder):
    """A certificate for AWS's names by an authority of our own: the context of a server, and the authority's."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, stderr=subprocess.DEVNULL)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
            "-subj", "/CN=authority of the test", "-addext", "keyUsage=critical,keyCertSign", "-days", "2")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=aws")
    with open(f"{folder}/extensions", "w") as file:
        file.write(f"subjectAltName=DNS:*.{REGION}.amazonaws.com,DNS:*.ecr.{REGION}.amazonaws.com\n")
    openssl("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-out", "cert.pem",
            "-extfile", "extensions", "-days", "2")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    return context, f"{folder}/ca.pem"


async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()


def forwarder(port):
    async def forward(reader, writer):
        upstream, downstream = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pipe(reader, downstream), pipe(upstream, writer), return_exceptions=True)
    return forward


def status(process):
    with open(f"/proc/{process.pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


async def works(image, **variables):
    """A worker gets ready, is alive by its own health check, and ends with 0 at SIGTERM; what the kernel said of it."""
    worker, seen = await image.start("run", **variables), []
    try:
        await line_with(worker.stdout, '"message":"ready"', seen)
        code, _, stderr = await image.output("healthcheck", **variables)
        assert (code, stderr) == (0, ""), (code, stderr)
        with await asyncio.to_thread(urllib.request.urlopen, "http://127.0.0.1:8080/readyz") as answer:
            assert answer.status == 200, answer.status
        facts = status(worker)
        worker.send_signal(signal.SIGTERM)
        rest, stderr = await worker.communicate()
    finally:
        if worker.returncode is None:
            worker.kill()
    seen += rest.decode().splitlines()
    assert (worker.returncode, stderr) == (0, b""), (worker.returncode, stderr, seen)
    assert any(json.loads(line)["message"] == "stopped" for line in seen), seen
    code, _, stderr = await image.output("healthcheck", **variables)
    assert code == 1 and "/healthz" in stderr, (code, stderr)
    return facts


async def main(arguments):
    image = Image(arguments.binary)
    try:
        open(f"{arguments.root}/probe", "w")
        raise AssertionError("the root file system can be written to")
    except OSError as error:
        print(f"the root is read-only: {error.strerror}")

    code, stdout, stderr = await image.output("--version")
    assert (code, stdout) == (0, f"tagwarden {arguments.version}\n"), (code, stdout, stderr)
    code, stdout, stderr = await image.output("check")
    assert code == 0 and "queue.url" in stdout, (code, stdout, stderr)
    print("--version and check do their work")

    simulation = await asyncio.create_subprocess_exec(
        arguments.simulation, "--serve", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        line = await line_with(simulation.stdout, "export AWS_ENDPOINT_URL=")
        port = int(line.split("AWS_ENDPOINT_URL=http://127.0.0.1:")[1].split()[0])
        await line_with(simulation.stdout, "From here on:")
        await against(image, arguments, port)
    finally:
        simulation.kill()
        await simulation.communicate()


async def against(image, arguments, port):
    loop = asyncio.get_running_loop()
    _, names = await loop.create_datagram_endpoint(Names, local_addr=("127.0.0.1", 53))
    with tempfile.TemporaryDirectory() as folder:
        context, certificate = authority(folder)
        wanted = set()
        context.sni_callback = lambda _socket, name, _context: wanted.add(name)
        await asyncio.start_server(forwarder(port), "127.0.0.1", 443, ssl=context)

        code, _, stderr = await image.output("check", "--live")
        assert code == 1 and wanted, (code, stderr, wanted)
        print("an authority that is not in the image's bundle is not trusted:", stderr.splitlines()[-1])

        # As an operator with a proxy of their own does: the bundle is replaced by a mount.
        subprocess.run(["mount", "--bind", certificate, f"{arguments.root}/etc/ssl/certs/ca-certificates.crt"], check=True)
        facts = await works(image)
        print("SQS, by DNS and TLS: ready, alive, stopped in order;", "asked for", sorted(wanted & names.asked))
        assert f"sqs.{REGION}.amazonaws.com" in wanted & names.asked, (wanted, names.asked)

    uid, gid = arguments.user.split(":")
    assert facts["Uid"].split() == [uid] * 4 and facts["Gid"].split() == [gid] * 4, facts
    assert int(facts["CapEff"], 16) == 0 and facts["NoNewPrivs"] == "1", facts
    print(f"user {uid}, group {gid}, no capabilities; {facts['Threads']} threads, at most {facts['VmHWM'].strip()} resident")

    await works(image, AWS_ENDPOINT_URL=f"http://{HOST}:{port}")
    assert HOST not in names.asked, names.asked
    print("a name of /etc/hosts is found too")


parser = argparse.ArgumentParser()
for argument in ["--binary", "--root", "--user", "--version", "--simulation"]:
    parser.add_argument(argument, required=True)
asyncio.run(asyncio.wait_for(main(parser.parse_args()), PATIENCE))
