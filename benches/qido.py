#!/usr/bin/env python3
"""QIDO-RS over many studies: Leadglass with 100,000 and Orthanc's DICOMweb plugin with 10,000, in the same run.

    benches/qido.py [--studies 100000] [--orthanc 10000] [--seconds 3] [--only plain,orthanc] [--quick]

Both are filled by storescu with tiny studies of one instance (fixtures/make_dataset.py) and asked over plain HTTP on the
loopback by `wrk`, each query over one connection, and the newest 25 over 8 and 32 as well. Prints requests/s, p50 and p99.
What is aimed at: the p99 of Leadglass below the p50 of Orthanc, which has a tenth of the studies. A run with a failed request
ends the bench. Needs: release binaries, dcmtk, wrk, Orthanc with its DICOMweb plugin, pydicom, numpy.
"""

import argparse
import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pydicom

import peers
from ingest import send
from stow import Orthanc, Plain
from wado import wrk


def studies(given, count):
    """A folder of so many studies."""
    data = given.work / f"studies-{count}"
    if not data.exists():
        sets = [word for name in ("ct", "io", "dx", "us", "j2k") for word in (f"--{name}", "1")]
        subprocess.run([os.environ.get("LEADGLASS_PYTHON", sys.executable), peers.ROOT / "fixtures/make_dataset.py", "--out", data,
                        *sets, "--xa-mb", "1", "--qido", str(count)], check=True, stdout=subprocess.DEVNULL)
    return data / f"qido{count}"


def questions(one):
    """Name, connections, path and query, as OHIF and worklists ask them; `one` is a study that is there."""
    study = f"/studies/{one.StudyInstanceUID}"
    date = str(one.StudyDate)
    listed = "limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060"
    yield from ((f"newest 25{f', {c} connections' if c > 1 else ''}", c, "/studies?limit=25") for c in (1, 8, 32))
    yield "list of OHIF", 1, f"/studies?{listed}"
    yield "25 behind an offset", 1, "/studies?limit=25&offset=9000"
    yield "PatientID", 1, f"/studies?00100020={one.PatientID}&limit=101"
    yield "PatientName=SMI*", 1, "/studies?PatientName=SMI*&limit=25"
    yield "PatientName=*KIM*", 1, f"/studies?PatientName=*KIM*&{listed}"
    yield "StudyDate, a month", 1, f"/studies?StudyDate={date[:6]}01-{date[:6]}31&limit=25"
    yield "ModalitiesInStudy", 1, f"/studies?ModalitiesInStudy={one.Modality}&limit=25"
    yield "StudyInstanceUID", 1, f"/studies?StudyInstanceUID={one.StudyInstanceUID}&{listed}"
    yield "series of a study", 1, f"{study}/series?includefield=0008103E%2C00080021"
    yield "instances of a series", 1, f"{study}/series/{one.SeriesInstanceUID}/instances"


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--studies", type=int, default=100_000)
    words.add_argument("--orthanc", type=int, default=10_000)
    words.add_argument("--seconds", type=int, default=3)
    words.add_argument("--work", type=Path, default=peers.ROOT / "target/bench")
    words.add_argument("--only", default="plain,orthanc")
    words.add_argument("--quick", action="store_true", help="a look, not a measurement: few studies")
    given = words.parse_args()
    if given.quick:
        given.studies, given.orthanc, given.seconds = 300, 300, 1
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: Debian package wrk")
    folder = Path(tempfile.mkdtemp(prefix="qido-", dir=given.work))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    results = {}
    for kind, count in ((Plain, given.studies), (Orthanc, given.orthanc)):
        if kind.__name__.lower() not in given.only.split(","):
            continue
        data = studies(given, count)
        one = pydicom.dcmread(sorted(data.glob("**/*.dcm"))[count // 2], stop_before_pixels=True)
        server = kind(folder / kind.__name__)
        try:
            files, _, seconds = send(server, data, 4)
            server.settle()
            os.sync()  # what was sent is on the disk before anything is asked: a search is an entry, and waits for its sync
            print(f"{server.name}: {files} studies in {seconds:.0f} s, peak RSS {peers.peak_mib(server.pids):.0f} MiB",
                  file=sys.stderr)
            root, token, _ = server.target()
            root = root.removesuffix("/studies")
            origin, prefix = root.rsplit("/", 1)
            headers = {"Accept": "application/dicom+json", **({"Authorization": f"Bearer {token}"} if token else {})}
            for name, connections, path in questions(one):
                found = wrk(folder, origin, [f"/{prefix}{path}"], headers, connections, given.seconds)
                results.setdefault(name, {})[server.name] = found
                print(f"{name}, {server.name}: p50 {found['p50']:.2f} ms", file=sys.stderr)
        finally:
            server.stop()
    names = list(next(iter(results.values())))
    print(f"| query | {' | '.join(f'{name}: requests/s | p50 ms | p99 ms' for name in names)} |")
    print("|" + "---|" * (1 + 3 * len(names)))
    for question, found in results.items():
        cells = (f"{f['requests'] / f['seconds']:.0f} | {f['p50']:.2f} | {f['p99']:.2f}" for f in map(found.get, names))
        print(f"| {question} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
