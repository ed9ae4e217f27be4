#!/usr/bin/env python3
"""WADO-RS out of Leadglass (opened chunk by chunk, audited) and out of Orthanc's DICOMweb plugin in clear, in the same run.

    benches/wado.py [--rounds 3] [--seconds 3] [--ct 500] [--dx 20] [--only plain,https,orthanc,orthanchttps]
                    [--ask "CT frame,metadata"] [--xa-mb 200] [--quick]

Both servers hold the same sets (fixtures/make_dataset.py, sent by storescu) and are asked over HTTP on the loopback, Leadglass
over HTTPS as well, by `wrk` (Debian package; a compiled client, keep-alive), frame after frame of the series in turn. What is
asked:

- `CT frame`: one frame of 525 KB without compression offered, over 1, 8 and 32 connections, and over 6 as a viewer does;
- `CT frame, gzip offered`: the same as a browser asks;
- `DX frame`: 18 MB; `XA frame`: 1 MB of a 200 MB multi-frame;
- `metadata`: of the series of 500 slices, gzip offered; `rendered`: a CT frame as JPEG;
- `series`: all of it in one multipart answer, by curl;
- `opening`: one small image of another study each time, over 8 connections by curl: each is a key and an entry of the log.

`orthanchttps` is Orthanc with nginx in front of it, both counted; `null` and `nullhttps` are the same vault with a cipher that
copies (`benches/null.sh` builds it): what opening costs; `nolog` with no entry for whoever opens a study (`benches/null.sh log`).

Prints medians of the rounds: requests/s, p50 and p99, MB/s, and the server's CPU a request. A run with a failed request ends
the bench. Needs: release binaries, wrk, curl, Orthanc with its DICOMweb plugin, pydicom, numpy.
"""

import argparse
import atexit
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pydicom

import peers
from ingest import send
from stow import Https, Orthanc, Plain

OCTETS = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*"
# Studies that one token opens in all rounds: what somebody may open within an hour is bounded.
OPENED = 200
# One answer in one line of JSON; addresses are taken in turn.
SCRIPT = """
local paths, at = {}, 0
for line in io.lines(os.getenv("LEADGLASS_PATHS")) do paths[#paths + 1] = line end
function request()
  at = at % #paths + 1
  return wrk.format("GET", paths[at])
end
function done(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.read + summary.errors.connect + summary.errors.timeout
  io.write(string.format('\\nRESULT {"requests": %d, "seconds": %f, "bytes": %d, "bad": %d, "p50": %f, "p99": %f}\\n',
    summary.requests, summary.duration / 1e6, summary.bytes, bad, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


def wrk(folder, origin, paths, headers, connections, seconds):
    (folder / "script.lua").write_text(SCRIPT)
    (folder / "paths").write_text("\n".join(paths))
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", folder / "script.lua"]
    for name, value in headers.items():
        words += ["-H", f"{name}: {value}"]
    env = dict(peers.ENV, LEADGLASS_PATHS=str(folder / "paths"))
    out = subprocess.run([*words, origin], check=True, capture_output=True, text=True, env=env).stdout
    found = json.loads(next(line for line in out.splitlines() if line.startswith("RESULT "))[7:])
    if found["bad"] or not found["requests"]:
        raise SystemExit(f"{origin}{paths[0]}: {found['bad']} of {found['requests']} requests failed")
    return found


def curl(url, headers, ca):
    words = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download} %{time_total}", url]
    for name, value in headers.items():
        words += ["-H", f"{name}: {value}"]
    words += ["--cacert", ca] if ca else []
    status, size, seconds = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    if status != "200":
        raise SystemExit(f"{url}: {status}")
    return {"requests": 1, "seconds": float(seconds), "bytes": int(size), "p50": 1000 * float(seconds), "p99": 1000 * float(seconds)}


def curl_once(folder, origin, paths, headers, connections):
    """Each path once."""
    file = folder / "curl"
    file.write_text("".join(f'url = "{origin}{path}"\noutput = "/dev/null"\n' for path in paths))
    words = ["curl", "-q", "-sS", "--parallel", "--parallel-immediate", "--parallel-max", str(connections), "--fail", "-K", file,
             "-w", "%{time_total} %{size_download}\n"]
    for name, value in headers.items():
        words += ["-H", f"{name}: {value}"]
    began = time.perf_counter()
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split("\n")
    seconds = time.perf_counter() - began
    found = sorted((float(line.split()[0]), int(line.split()[1])) for line in lines if line)
    times = [1000 * took for took, _ in found]
    return {"requests": len(found), "seconds": seconds, "bytes": sum(size for _, size in found),
            "p50": statistics.median(times), "p99": times[int(0.99 * len(times))]}


def instances(folder):
    found = [pydicom.dcmread(f, stop_before_pixels=True) for f in sorted(folder.glob("**/*.dcm"))]
    return [f"/studies/{d.StudyInstanceUID}/series/{d.SeriesInstanceUID}/instances/{d.SOPInstanceUID}" for d in found]


def questions(data, sets):
    """Name, connections → paths and headers."""
    named = {label: instances(data / folder) for folder, label in sets.items()}
    ct, dx, xa = (next(v for k, v in named.items() if k.startswith(word)) for word in ("CT", "DX", "XA"))
    series = ct[0].rsplit("/instances/", 1)[0]
    ct = [path for path in ct if path.startswith(series)]
    octets = {"Accept": OCTETS}
    gzip = {"Accept": OCTETS, "Accept-Encoding": "gzip"}
    frames = [f"{path}/frames/1" for path in ct]
    yield from (("CT frame", c, frames, octets) for c in (1, 6, 8, 32))
    yield from (("CT frame, gzip offered", c, frames, gzip) for c in (1, 8))
    yield "DX frame", 1, [f"{path}/frames/1" for path in dx], octets
    yield "XA frame", 1, [f"{xa[0]}/frames/{n}" for n in (3, 50, 97)], octets
    yield "metadata", 1, [f"{series}/metadata"], {"Accept": "application/dicom+json", "Accept-Encoding": "gzip"}
    yield from (("rendered", c, [f"{path}/rendered" for path in ct], {"Accept": "image/jpeg"}) for c in (1, 8))
    studies = {path.split("/")[2]: path for path in named["intra-oral"]}
    yield "opening", 8, [f"{path}/frames/1" for path in studies.values()], octets
    yield "series", 0, [series], {"Accept": "multipart/related; type=\"application/dicom\"; transfer-syntax=*"}


class OrthancHttps(Orthanc):
    """Behind nginx, as its handbook advises. With TLS of its own, Debian's Orthanc 1.10.1 dies of the first request."""

    name = "Orthanc, https"

    def __init__(self, work):
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if not program:
            raise SystemExit("nginx is missing: Debian package nginx-light")
        super().__init__(work)
        key, self.ca, config = work / "key.pem", work / "cert.pem", work / "nginx.conf"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", self.ca],
                       check=True, capture_output=True)
        self.https = peers.free_port()
        config.write_text(f"""
daemon off; pid {work}/nginx.pid; error_log {work}/nginx.log; worker_processes 2;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000;
  client_body_temp_path {work}; proxy_temp_path {work}; fastcgi_temp_path {work}; uwsgi_temp_path {work}; scgi_temp_path {work};
  upstream orthanc {{ server 127.0.0.1:{self.http}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{self.https} ssl; ssl_certificate {self.ca}; ssl_certificate_key {key};
    location / {{ proxy_pass http://orthanc; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
""")
        self.front = subprocess.Popen([program, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peers.wait_port(self.https)
        workers = subprocess.run(["pgrep", "-P", str(self.front.pid)], capture_output=True, text=True).stdout.split()
        self.pids += [self.front.pid, *map(int, workers)]

    def target(self):
        return f"https://127.0.0.1:{self.https}/dicom-web/studies", None, self.ca

    def stop(self):
        self.front.terminate()
        self.front.wait()
        super().stop()


class Null(Plain):
    """The vault with a cipher that copies; benches/null.sh builds it."""

    name = "Leadglass, null cipher"

    def __init__(self, work):
        super().__init__(work, peers.ROOT / "target/null/release")


class NullHttps(Https):
    name = "Leadglass, null cipher, https"

    def __init__(self, work):
        super().__init__(work, peers.ROOT / "target/null/release")


class NoLog(Plain):
    """The vault without an entry for whoever opens a study; `benches/null.sh log` builds it."""

    name = "Leadglass, no log"

    def __init__(self, work):
        super().__init__(work, peers.ROOT / "target/null-log/release")


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers.arguments(words)
    words.add_argument("--seconds", type=int, default=3)
    words.add_argument("--only", default="plain,https,orthanc")
    words.add_argument("--ask", help="some of what is asked: beginnings of the names above, with commas")
    given = peers.settled(words.parse_args())
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: Debian package wrk")
    data, sets = peers.data_set(given)
    asked = [q for q in questions(data, sets) if not given.ask or q[0].startswith(tuple(given.ask.split(",")))]
    kinds = [k for k in (Plain, Null, NoLog, Https, NullHttps, Orthanc, OrthancHttps) if k.__name__.lower() in given.only.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="wado-", dir=given.work))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    servers, results = [], {}
    try:
        for kind in kinds:
            server = kind(folder / kind.__name__)
            servers.append(server)
            for part in sets:
                if not part.startswith("io") or any(q[0] == "opening" for q in asked):
                    send(server, data / part, 1)
            server.settle()
        for round_ in range(given.rounds):
            for name, connections, paths, headers in asked:
                for server in servers:
                    root, token, ca = server.target()
                    root = root.removesuffix("/studies")
                    origin, prefix = root.rsplit("/", 1)
                    headers = dict(headers, **({"Authorization": f"Bearer {token}"} if token else {}))
                    before = peers.cpu_seconds(server.pids)
                    if name == "opening":
                        # Of each round other ones: what was opened a moment ago is not opened again.
                        once = paths[round_::given.rounds][: OPENED // given.rounds]
                        found = curl_once(folder, origin, [f"/{prefix}{p}" for p in once], headers, connections)
                    elif connections:
                        # A server that reads all of the 200 MB for a frame of them answers within seconds.
                        seconds = max(given.seconds, 12) if name == "XA frame" else given.seconds
                        found = wrk(folder, origin, [f"/{prefix}{p}" for p in paths], headers, connections, seconds)
                    else:
                        found = curl(f"{root}{paths[0]}", headers, ca)
                    found["cpu"] = 1000 * (peers.cpu_seconds(server.pids) - before) / found["requests"]
                    results.setdefault((name, connections or 1, server.name), []).append(found)
                    print(f"round {round_ + 1}: {name} x{connections} {server.name}: p50 {found['p50']:.2f} ms", file=sys.stderr)
                    time.sleep(0.2)
        memory = {server.name: peers.peak_mib(server.pids) for server in servers}
    finally:
        for server in servers:
            server.stop()
    print("| what | connections | server | requests/s | p50 ms | p99 ms | MB/s | server CPU ms a request |")
    print("|---|---|---|---|---|---|---|---|")
    for cells, rows in results.items():
        m = {k: statistics.median(r[k] for r in rows) for k in rows[0]}
        print(f"| {' | '.join(map(str, cells))} | {m['requests'] / m['seconds']:.1f} | {m['p50']:.2f} | {m['p99']:.2f} "
              f"| {m['bytes'] / 1e6 / m['seconds']:.0f} | {m['cpu']:.2f} |")
    print("\nPeak RSS MiB: " + ", ".join(f"{name} {mib:.0f}" for name, mib in memory.items()))


if __name__ == "__main__":
    main()
