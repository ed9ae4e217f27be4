#!/usr/bin/env python3
"""32 readers for ten minutes: does the memory of the vault stay flat?

    benches/soak.py [--seconds 600] [--readers 32] [--work DIR]

`wrk` asks for frames of CT slices, radiographs and a multi-frame, for metadata and for rendered pictures in turn, as fast as
they come. The resident memory of vault and key service is read every second. Prints the median of each tenth of the run, and
the most; ends with status 1 where the last tenth is more than a tenth above the second. Needs: release binaries, dcmtk, wrk.
"""

import argparse
import atexit
import shutil
import statistics
import sys
import tempfile
import threading
from pathlib import Path

import peers
from ingest import send
from stow import Plain
from wado import OCTETS, instances, wrk


def resident_mib(pids):
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * 4096 / 2**20


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers.arguments(words)
    words.add_argument("--seconds", type=int, default=600)
    words.add_argument("--readers", type=int, default=32)
    given = peers.settled(words.parse_args())
    data, sets = peers.data_set(given)
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=given.work))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = Plain(folder / "vault")
    try:
        paths = []
        for part, label in sets.items():
            if part.startswith("io"):
                continue
            send(server, data / part, 1)
            found = instances(data / part)
            numbers = range(1, 201) if label.startswith("XA") else (1,)
            paths += [f"{path}/frames/{n}" for path in found[:100] for n in numbers]
            paths += [f"{path}/metadata" for path in found[:20]]
        server.settle()
        root, token, _ = server.target()
        origin, prefix = root.removesuffix("/studies").rsplit("/", 1)
        # In turn, so that large and small ones mix.
        paths = [f"/{prefix}{path}" for n in range(7) for path in paths[n::7]]
        samples, over = [], threading.Event()

        def watch():
            while not over.wait(1):
                samples.append(resident_mib(server.pids))

        watcher = threading.Thread(target=watch)
        watcher.start()
        headers = {"Accept": f"{OCTETS}, application/dicom+json", "Authorization": f"Bearer {token}"}
        found = wrk(folder, origin, paths, headers, given.readers, given.seconds)
        over.set()
        watcher.join()
    finally:
        server.stop()
    tenth = max(1, len(samples) // 10)
    medians = [statistics.median(samples[at:at + tenth]) for at in range(0, tenth * 10, tenth) if samples[at:at + tenth]]
    print(f"{found['requests']} requests, {found['bytes'] / 1e9:.0f} GB, {given.readers} readers, {given.seconds} s")
    print("resident MiB, median of each tenth: " + ", ".join(f"{m:.0f}" for m in medians) + f"; most {max(samples):.0f}")
    sys.exit(1 if medians[-1] > 1.1 * medians[1] else 0)


if __name__ == "__main__":
    main()
