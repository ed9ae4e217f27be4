"""What the benches share: the data set, the servers on empty directories, and what they cost.

A server has a name, the ids of all its processes, `settle()`, which waits until everything that it was told is done, and
`stop()`. Only processes that were started here are ever signalled.
"""

import tempfile
import atexit
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Debian's dcmtk, and what stands on it, leaves Nagle on otherwise: 40 ms a message.
ENV = dict(os.environ, TCP_NODELAY="1")
TICK = os.sysconf("SC_CLK_TCK")
# Elsewhere for a look at a build that is not for measuring.
PROGRAMS = Path(os.environ.get("LEADGLASS_PROGRAMS", ROOT / "target/release"))


def free_ports(count):
    """Ports that are free now, held together so that no two are the same."""
    held = [socket.socket() for _ in range(count)]
    try:
        for s in held:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in held]
    finally:
        for s in held:
            s.close()


def free_port():
    return free_ports(1)[0]


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
    """`programs`: the folder with `leadglass` and `leadglass-keyd`; `config`: text for `up --config`."""

    name, aet = "Leadglass", "LEADGLASS"

    def __init__(self, work, programs=PROGRAMS, config=None):
        words = [Path(programs) / "leadglass", "up", "--data", work, "--json", "--no-sample"]
        if config is not None:
            file = work.with_name(f"{work.name}.toml")
            file.write_text(config)
            words += ["--config", file]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENV)
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise SystemExit(f"{programs}/leadglass up ended before it was ready; what it logged lies in {work}/log")
        self.up = json.loads(line)
        self.port, self.pids = self.up["dicom"]["port"], [self.up["pids"]["vault"], self.up["pids"]["keyd"]]
        page = self.up["http"]["plain_dicomweb"].replace("/dicomweb", "/metrics")
        self.metrics = urllib.request.Request(page, headers={"Authorization": "Bearer " + self.up["tokens"]["dpo"]})

    def settle(self):
        """Until the journal is drained."""
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
    """As Debian ships it; `plugins` are paths of libraries, `settings` more of its configuration."""

    name, aet = "Orthanc", "ORTHANC"

    def __init__(self, work, plugins=(), settings=None):
        work.mkdir(parents=True)
        self.port, self.http = free_port(), free_port()
        config = {"StorageDirectory": str(work / "db"), "IndexDirectory": str(work / "db"), "DicomPort": self.port,
                  "HttpPort": self.http, "DicomAet": self.aet, "Plugins": list(map(str, plugins)),
                  "AuthenticationEnabled": False, "DicomWeb": {"Enable": True}} | (settings or {})
        (work / "orthanc.json").write_text(json.dumps(config))
        program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
        self.process = subprocess.Popen([program, work / "orthanc.json"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, env=ENV)
        self.pids = [self.process.pid]
        wait_port(self.port)
        wait_port(self.http)

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


def arguments(words):
    """What every bench takes."""
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--ct", type=int, default=500)
    words.add_argument("--io", type=int, default=2000)
    words.add_argument("--dx", type=int, default=20)
    words.add_argument("--xa-mb", type=int, default=200)
    words.add_argument("--work", type=Path, default=ROOT / "target/bench")
    words.add_argument("--quick", action="store_true", help="a look, not a measurement: one round over few instances")


def settled(given):
    """The arguments after `--quick`."""
    if given.quick:
        given.rounds, given.ct, given.io, given.dx, given.xa_mb = 1, 20, 40, 4, 20
    return given


def data_set(given):
    """Makes the data set unless it is there; its folder, and the sets in it with their names."""
    data = given.work / f"data-{given.ct}-{given.io}-{given.dx}"
    if given.xa_mb != 200:
        data = data.with_name(f"{data.name}-{given.xa_mb}")
    if not data.exists():
        subprocess.run([os.environ.get("LEADGLASS_PYTHON", sys.executable), ROOT / "fixtures/make_dataset.py", "--out", data,
                        "--ct", str(given.ct), "--io", str(given.io), "--dx", str(given.dx), "--xa-mb", str(given.xa_mb),
                        "--qido", "1"], check=True, stdout=subprocess.DEVNULL)
    return data, {f"ct{given.ct}": "CT", f"io{given.io}": "intra-oral", f"dx{given.dx}": "DX 18 MB",
                  "xa1": f"XA {given.xa_mb} MB"}


def measured(make, work, send):
    """Starts a server on an empty directory, calls `send(server)`, which gives files, bytes and seconds; what it cost.

    Directories are removed at the very end: ext4 without a journal looks twice at every inode that was freed within the
    last minute, which would be counted to whoever comes next.
    """
    work = Path(tempfile.mkdtemp(prefix=f"{work.name}-", dir=work.parent)) / "run"
    atexit.register(shutil.rmtree, work.parent, ignore_errors=True)
    os.sync()  # what a server before this one wrote and did not sync is not written at this one's cost
    server = make(work)
    try:
        before = cpu_seconds(server.pids)
        files, size, seconds = send(server)
        server.settle()
        cpu = cpu_seconds(server.pids) - before
        return {"rate": files / seconds, "mb": size / 1e6 / seconds, "cpu": 1000 * cpu / files, "rss": peak_mib(server.pids)}
    finally:
        server.stop()


def table(heads, results):
    """A Markdown table of medians; `results`: the cells of the heads → the rounds' figures."""
    print(f"| {' | '.join(heads)} | instances/s | MB/s | server CPU ms an instance | peak RSS MiB |")
    print("|" + "---|" * (len(heads) + 4))
    for cells, rows in results.items():
        median = {k: statistics.median(r[k] for r in rows) for k in rows[0]}
        print(f"| {' | '.join(map(str, cells))} | {median['rate']:.1f} | {median['mb']:.0f} | {median['cpu']:.2f} "
              f"| {median['rss']:.0f} |")
