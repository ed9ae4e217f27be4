#!/usr/bin/env python3
"""A patient of many gigabytes leaves as one package: how fast, and does the memory of the vault stay flat?

    benches/export.py [--gb 20] [--mib 200] [--work DIR]

Objects of `--mib` MiB are sent by STOW-RS until the patient has `--gb` GB; then `leadglass export --out -` streams the package through
this program, which checks each member's CRC as it goes by and its SHA-256 against the package's own list at the end, and keeps
nothing. A small patient (one object) is exported first. Prints MB/s, the peak memory of vault and key service during either
export, and whether the patient's name stands in clear in any file below the vault's folder, or in one that is deleted and still
open. Status 1 where something does, where a sum is wrong, or where the peak of the large export lies more than 32 MiB above
the small one's. Needs: release binaries, and as much disk below `--work` as the patient has.
"""

import argparse
import atexit
import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import peers
from stow import Connection, Plain

sys.path.insert(0, str(peers.ROOT / "fixtures"))
from make_big import EXPLICIT_LE, SC_MULTIFRAME_BYTE, element, part10, uid  # noqa: E402

CANARY = "CANARY^EXPORT"
GROWTH_MIB = 32
DESCRIPTOR = b"PK\x07\x08"


def made(patient, number, mib, pixels):
    """One multi-frame object; the pixels are the same for all, and sealed under another salt each time."""
    short = lambda value: struct.pack("<H", value)
    instance = uid("export", patient, number)
    data = b"".join([
        element(0x0008, 0x0016, b"UI", SC_MULTIFRAME_BYTE), element(0x0008, 0x0018, b"UI", instance),
        element(0x0008, 0x0020, b"DA", "20240102"), element(0x0008, 0x0060, b"CS", "OT"), element(0x0008, 0x0064, b"CS", "SYN"),
        element(0x0010, 0x0010, b"PN", CANARY), element(0x0010, 0x0020, b"LO", patient),
        element(0x0020, 0x000D, b"UI", uid("export study", patient, number // 16)),
        element(0x0020, 0x000E, b"UI", uid("export series", patient, number // 16)), element(0x0020, 0x0013, b"IS", str(number)),
        element(0x0028, 0x0002, b"US", short(1)), element(0x0028, 0x0004, b"CS", "MONOCHROME2"),
        element(0x0028, 0x0008, b"IS", str(mib)), element(0x0028, 0x0010, b"US", short(1024)),
        element(0x0028, 0x0011, b"US", short(1024)), element(0x0028, 0x0100, b"US", short(8)),
        element(0x0028, 0x0101, b"US", short(8)), element(0x0028, 0x0102, b"US", short(7)), element(0x0028, 0x0103, b"US", short(0)),
        struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, len(pixels)),
    ])
    return part10(SC_MULTIFRAME_BYTE, instance, EXPLICIT_LE) + data + pixels


class Members:
    """The members of a package of stored files whose lengths follow them, as it goes by."""

    def __init__(self):
        self.rest, self.name, self.sums, self.kept = bytearray(), None, {}, {}

    def feed(self, piece):
        self.rest += piece
        while self.begin() if self.name is None else self.go_on():
            pass

    def begin(self):
        if len(self.rest) < 30 or self.rest[:4] != b"PK\x03\x04":
            return False
        name, extra = struct.unpack("<HH", self.rest[26:30])
        if len(self.rest) < 30 + name + extra:
            return False
        self.name = self.rest[30:30 + name].decode()
        del self.rest[:30 + name + extra]
        self.crc, self.length, self.sha, self.small = 0, 0, hashlib.sha256(), bytearray()
        return True

    def take(self, count):
        piece = bytes(self.rest[:count])
        del self.rest[:count]
        self.crc, self.length = zlib.crc32(piece, self.crc), self.length + count
        self.sha.update(piece)
        if self.length < 1 << 20:
            self.small += piece

    def go_on(self):
        at = self.rest.find(DESCRIPTOR)
        if at < 0:
            self.take(max(0, len(self.rest) - 3))
            return False
        if len(self.rest) < at + 24:
            return False
        self.take(at)
        crc, short, long = struct.unpack("<IIxxxxQ", self.rest[4:24])[0], *struct.unpack("<I", self.rest[8:12]), \
            struct.unpack("<Q", self.rest[8:16])[0]
        if crc != self.crc or self.length not in (short, long):
            self.take(4)  # the pixels say so
            return True
        self.sums[self.name], self.kept[self.name] = self.sha.hexdigest(), bytes(self.small)
        wide = self.length == long and self.rest[16:20] != b"PK\x03\x04" and self.rest[16:20] != b"PK\x01\x02"
        del self.rest[:24 if wide else 16]
        self.name = None
        return True

    def are_right(self):
        lines = [line for line in self.kept["SHA256SUMS"].decode().splitlines() if not line.startswith("#")]
        told = {line[66:]: line[:64] for line in lines}
        found = {name: sum_ for name, sum_ in self.sums.items() if name not in ("SHA256SUMS", "SIGNATURE")}
        return told == found


def deleted_and_open(pid):
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = os.readlink(link)
        except FileNotFoundError:
            continue  # closed meanwhile
        if name.endswith(" (deleted)"):
            yield name


def exported(server, folder, patient):
    """Peak MiB, bytes, seconds, and whether every sum is right."""
    for pid in server.pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    file = folder / "patient.txt"
    file.write_text(patient)
    words = [peers.PROGRAMS / "leadglass", "export", "--data", folder / "vault", "--out", "-", "--patient-file", file]
    begun, members, taken, open_deleted = time.monotonic(), Members(), 0, set()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        while piece := running.stdout.read(1 << 22):
            members.feed(piece)
            taken += len(piece)
            open_deleted.update(deleted_and_open(server.pids[0]))
    if running.returncode:
        raise SystemExit(f"the export ended with {running.returncode}")
    return peers.peak_mib(server.pids), taken, time.monotonic() - begun, members.are_right(), sorted(open_deleted)


def in_clear(folder):
    """Files that hold the patient's name."""
    canary, found = CANARY.encode(), []
    for path in (path for path in folder.rglob("*") if path.is_file()):
        with open(path, "rb") as file:
            last = b""
            while piece := file.read(1 << 24):
                if canary in last + piece:
                    found.append(str(path))
                    break
                last = piece[-len(canary):]
    return found


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--gb", type=float, default=20)
    words.add_argument("--mib", type=int, default=200)
    words.add_argument("--work")
    given = words.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="export-", dir=given.work))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = Plain(folder / "vault")
    try:
        pixels = hashlib.shake_128(b"pixels").digest(given.mib << 20)
        count = max(1, round(given.gb * 1e9 / len(pixels)))
        connection = Connection(*server.target())
        begun = time.monotonic()
        for patient, objects in (("SMALL", 1), ("LARGE", count)):
            for number in range(objects):
                status, answer = connection.post([made(patient, number, given.mib, pixels)])
                if status != 200:
                    raise SystemExit(f"an object was refused: {status} {answer[:200]}")
        server.settle()
        sent = time.monotonic() - begun
        print(f"{count + 1} objects of {given.mib} MiB stored in {sent:.0f} s, {(count + 1) * len(pixels) / 1e6 / sent:.0f} MB/s")
        small, *_ = exported(server, folder, "SMALL")
        large, taken, seconds, right, deleted = exported(server, folder, "LARGE")
        clear = in_clear(folder / "vault")
    finally:
        server.stop()
    print(f"{taken / 1e9:.1f} GB exported in {seconds:.0f} s, {taken / 1e6 / seconds:.0f} MB/s, every sum {'right' if right else 'WRONG'}")
    print(f"peak MiB: {small:.0f} for one object, {large:.0f} for all; in clear: {clear or 'nothing'}; deleted and open: {deleted or 'nothing'}")
    sys.exit(0 if right and not clear and not deleted and large <= small + GROWTH_MIB else 1)


if __name__ == "__main__":
    main()
