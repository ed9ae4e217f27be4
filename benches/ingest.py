#!/usr/bin/env python3
"""C-STORE into Leadglass (sealed, indexed, audited, durable) and into its peers in clear, in the same run.

    benches/ingest.py [--rounds 3] [--ct 500] [--io 2000] [--dx 20] [--work DIR] [--only leadglass,orthanc,storescp]
                      [--sets ct,io,dx,xa] [--sender storescu|leadglass] [--quick]

Makes the data set (fixtures/make_dataset.py), starts each server on an empty directory, sends each set with dcmtk's storescu
(TCP_NODELAY=1), or by `leadglass send`, which costs less of the cores that both share, over one and four associations, and
prints the median of the rounds as a Markdown table: instances/s, MB/s, server CPU milliseconds an instance (every process of
the server, from the first byte until Leadglass has drained its journal), peak RSS. Rounds are interleaved, so that a noisy
minute hits everybody. Needs: release binaries, dcmtk, Orthanc, pydicom, numpy. Nothing here is a test: figures belong into
benches/README.md, by hand.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peers


class Null(peers.Leadglass):
    """The vault with a cipher that copies; benches/null.sh builds it."""

    name = "Leadglass, null cipher"

    def __init__(self, work):
        super().__init__(work, peers.ROOT / "target/null/release")


def send(server, folder, associations):
    files = sorted(folder.glob("**/*.dcm"))
    size = sum(len(f.read_bytes()) for f in files)  # from here on the sender reads from memory
    with tempfile.TemporaryDirectory() as lists:
        for k in range(associations):
            (Path(lists) / str(k)).mkdir()
        for i, f in enumerate(files):
            (Path(lists) / str(i % associations) / f"{i:06d}.dcm").symlink_to(f.resolve())
        begun = time.monotonic()
        senders = [subprocess.Popen(
            ["/usr/bin/storescu", "-R", "-aec", server.aet, "127.0.0.1", str(server.port), "+sd", "+r", Path(lists) / str(k)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=peers.ENV) for k in range(associations)]
        if any(s.wait() for s in senders):
            raise SystemExit(f"{server.name}: a C-STORE failed")
        return len(files), size, time.monotonic() - begun


def send_compiled(server, folder, associations):
    """By `leadglass send`: one process for all associations, which times from the first association to the last answer."""
    sizes = [f.stat().st_size for f in folder.glob("**/*.dcm") if f.read_bytes()]  # from here on it reads from memory
    told = subprocess.run([peers.PROGRAMS / "leadglass", "send", "--host", "127.0.0.1", "--port", str(server.port), "--aet", server.aet,
                           "--associations", str(associations), "--json", folder], check=True, capture_output=True, text=True)
    report = json.loads(told.stdout)
    if report["stored"] != len(sizes):
        raise SystemExit(f"{server.name}: a C-STORE failed")
    return len(sizes), sum(sizes), report["duration_s"]


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers.arguments(words)
    words.add_argument("--only", default="leadglass,orthanc,storescp")
    words.add_argument("--sets", default="ct,io,dx,xa")
    words.add_argument("--sender", choices=("storescu", "leadglass"), default="storescu")
    given = peers.settled(words.parse_args())
    by = {"storescu": send, "leadglass": send_compiled}[given.sender]
    data, sets = peers.data_set(given)
    sets = {folder: label for folder, label in sets.items() if folder.rstrip("0123456789") in given.sets.split(",")}
    kinds = [k for k in (peers.Leadglass, Null, peers.Orthanc, peers.Storescp)
             if k.__name__.lower() in given.only.split(",")]
    results = {}
    for round_ in range(given.rounds):
        for folder, label in sets.items():
            for associations in (1, 4):
                if folder == "xa1" and associations > 1:
                    continue
                # Whoever comes first pays for a disk that was idle: everybody does in turn.
                for kind in kinds[round_ % len(kinds):] + kinds[:round_ % len(kinds)]:
                    figures = peers.measured(kind, given.work / f"run-{os.getpid()}",
                                             lambda server: by(server, data / folder, associations))
                    results.setdefault((label, associations, kind.name), []).append(figures)
                    print(f"round {round_ + 1}: {label} x{associations} {kind.name}: {figures['rate']:.1f}/s", file=sys.stderr)
    peers.table(["set", "associations", "server"], results)


if __name__ == "__main__":
    main()
