#!/usr/bin/env python3
"""C-STORE into Leadglass (sealed, indexed, audited, durable) and into its peers in clear, in the same run.

    benches/ingest.py [--rounds 3] [--ct 500] [--io 2000] [--dx 20] [--work DIR] [--only leadglass,orthanc,storescp]

Makes the data set (fixtures/make_dataset.py), starts each server on an empty directory, sends each set with dcmtk's
storescu (TCP_NODELAY=1) over one and four associations, and prints the median of the rounds as a Markdown table:
instances/s, MB/s, server CPU milliseconds an instance (every process of the server, from the first byte until Leadglass has
drained its journal), peak RSS. Rounds are interleaved, so that a noisy minute hits everybody. Needs: release binaries,
dcmtk, Orthanc, pydicom, numpy. Nothing here is a test: figures belong into benches/README.md, by hand.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENV = dict(os.environ, TCP_NODELAY="1")
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}")


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        total += sum(map(int, fields[11:15]))  # own and waited-for children, user and system
    return total / TICK


def peak_mib(pids):
    peak = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                peak = max(peak, int(line.split()[1]) / 1024)
    return peak


class Leadglass:
    name, aet = "Leadglass", "LEADGLASS"

    def __init__(self, work):
        self.process = subprocess.Popen(
            [ROOT / "target/release/leadglass", "up", "--data", work, "--json", "--no-sample"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENV)
        up = json.loads(self.process.stdout.readline())
        self.port, self.pids = up["dicom"]["port"], [up["pids"]["vault"], up["pids"]["keyd"]]
        self.metrics = up["http"]["plain_dicomweb"].replace("/dicomweb", "/metrics")

    def settle(self):
        while True:
            with urllib.request.urlopen(self.metrics) as page:
                waiting = [line.split()[1] for line in page.read().decode().splitlines()
                           if line.startswith("leadglass_journal_records ")]
            if waiting and float(waiting[0]) == 0:
                return
            time.sleep(0.02)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Orthanc:
    name, aet = "Orthanc", "ORTHANC"

    def __init__(self, work):
        work.mkdir(parents=True)
        self.port, http = free_port(), free_port()
        config = {"StorageDirectory": str(work / "db"), "IndexDirectory": str(work / "db"), "DicomPort": self.port,
                  "HttpPort": http, "DicomAet": self.aet, "Plugins": [], "AuthenticationEnabled": False}
        (work / "orthanc.json").write_text(json.dumps(config))
        program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
        self.process = subprocess.Popen([program, work / "orthanc.json"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, env=ENV)
        self.pids = [self.process.pid]
        wait_port(self.port)
        wait_port(http)

    def settle(self):
        pass

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Storescp:
    name, aet = "dcmtk storescp", "STORESCP"

    def __init__(self, work):
        work.mkdir(parents=True)
        self.port = free_port()
        self.process = subprocess.Popen(["/usr/bin/storescp", "--fork", "+B", "-aet", self.aet, "-od", work, str(self.port)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENV)
        self.pids = [self.process.pid]
        wait_port(self.port)

    def settle(self):
        time.sleep(0.2)  # its children are waited for, so that their CPU counts

    def stop(self):
        self.process.kill()
        self.process.wait()


def send(server, folder, associations):
    files = sorted(folder.glob("**/*.dcm"))
    size = sum(f.stat().st_size for f in files)
    with tempfile.TemporaryDirectory() as lists:
        for k in range(associations):
            (Path(lists) / str(k)).mkdir()
        for i, f in enumerate(files):
            (Path(lists) / str(i % associations) / f"{i:06d}.dcm").symlink_to(f.resolve())
        before, begun = cpu_seconds(server.pids), time.monotonic()
        senders = [subprocess.Popen(
            ["/usr/bin/storescu", "-R", "-aec", server.aet, "127.0.0.1", str(server.port), "+sd", "+r", Path(lists) / str(k)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENV) for k in range(associations)]
        if any(s.wait() for s in senders):
            raise SystemExit(f"{server.name}: a C-STORE failed")
        seconds = time.monotonic() - begun
        server.settle()
        cpu = cpu_seconds(server.pids) - before
    return {"rate": len(files) / seconds, "mb": size / 1e6 / seconds, "cpu": 1000 * cpu / len(files),
            "rss": peak_mib(server.pids)}


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--ct", type=int, default=500)
    words.add_argument("--io", type=int, default=2000)
    words.add_argument("--dx", type=int, default=20)
    words.add_argument("--work", type=Path, default=ROOT / "target/bench")
    words.add_argument("--only", default="leadglass,orthanc,storescp")
    given = words.parse_args()
    data = given.work / f"data-{given.ct}-{given.io}-{given.dx}"
    if not data.exists():
        subprocess.run([os.environ.get("LEADGLASS_PYTHON", sys.executable), ROOT / "fixtures/make_dataset.py", "--out", data,
                        "--ct", str(given.ct), "--io", str(given.io), "--dx", str(given.dx), "--xa-mb", "200", "--qido", "1"],
                       check=True, stdout=subprocess.DEVNULL)
    sets = {f"ct{given.ct}": "CT", f"io{given.io}": "intra-oral", f"dx{given.dx}": "DX 18 MB", "xa1": "XA 200 MB"}
    kinds = [k for k in (Leadglass, Orthanc, Storescp) if k.__name__.lower() in given.only]
    results = {}
    for round_ in range(given.rounds):
        for folder, label in sets.items():
            for associations in (1, 4):
                if folder == "xa1" and associations > 1:
                    continue
                for kind in kinds:
                    work = given.work / f"run-{os.getpid()}"
                    shutil.rmtree(work, ignore_errors=True)
                    server = kind(work)
                    try:
                        figures = send(server, data / folder, associations)
                    finally:
                        server.stop()
                        shutil.rmtree(work, ignore_errors=True)
                    results.setdefault((label, associations, kind.name), []).append(figures)
                    print(f"round {round_ + 1}: {label} x{associations} {kind.name}: {figures['rate']:.1f}/s", file=sys.stderr)
    print("| set | associations | server | instances/s | MB/s | server CPU ms an instance | peak RSS MiB |")
    print("|---|---|---|---|---|---|---|")
    for (label, associations, name), rows in results.items():
        median = {k: statistics.median(r[k] for r in rows) for k in rows[0]}
        print(f"| {label} | {associations} | {name} | {median['rate']:.1f} | {median['mb']:.0f} | {median['cpu']:.2f} | {median['rss']:.0f} |")


if __name__ == "__main__":
    main()
