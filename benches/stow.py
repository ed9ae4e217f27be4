#!/usr/bin/env python3
"""STOW-RS into Leadglass (sealed, indexed, audited, durable) and into Orthanc's DICOMweb plugin in clear, in the same run.

    benches/stow.py [--rounds 3] [--ct 500] [--io 2000] [--dx 20] [--batch 1,20] [--sets ct,io,dx,xa]
                    [--only plain,https,orthanc] [--quick]

The same sets, rules and figures as benches/ingest.py. The sender is a bare socket with TCP_NODELAY, one connection a thread
that is kept alive, one and four threads; each request carries so many instances (`--batch`; large ones go one by one) and the
next one waits for its answer. Leadglass is asked over its plain loopback listener and over HTTPS. An instance counts when the
answer lists no failure. Needs: release binaries, Orthanc with its DICOMweb plugin, pydicom, numpy.

`LEADGLASS_PROGRAMS=target/debug benches/stow.py --quick` tries it out; what it then prints is no measurement.
"""

import argparse
import json
import os
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import peers

BOUNDARY = "leadglass-bench-8f3a1c"
HEAD = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
TAIL = f"--{BOUNDARY}--\r\n".encode()
# Failed SOP Sequence and Other Failures Sequence (PS3.18 Table 10.5.3-1), in DICOM JSON. Orthanc sends the first one empty.
FAILURES = ("00081198", "0008119A")
PLUGINS = ("/usr/share/orthanc/plugins/libOrthancDicomWeb.so", "/usr/lib/orthanc/libOrthancDicomWeb.so")
BATCH_BYTES = 32 << 20


class Plain(peers.Leadglass):
    name, secure = "Leadglass", False

    def target(self):
        return self.up["http"]["plain_dicomweb"] + "/studies", self.up["token"], None


class Https(peers.Leadglass):
    name, secure = "Leadglass, https", True

    def target(self):
        return self.up["http"]["dicomweb"] + "/studies", self.up["token"], self.up["ca"]


class Orthanc(peers.Orthanc):
    def __init__(self, work, settings=None):
        found = [path for path in PLUGINS if Path(path).exists()]
        if not found:
            raise SystemExit("Orthanc's DICOMweb plugin is missing: Debian package orthanc-dicomweb")
        super().__init__(work, found[:1], settings)

    def target(self):
        return f"http://127.0.0.1:{self.http}/dicom-web/studies", None, None


class Connection:
    """HTTP/1.1 as far as a STOW-RS sender needs it."""

    def __init__(self, url, token, ca):
        where = urlsplit(url)
        self.socket = socket.create_connection((where.hostname, where.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if where.scheme == "https":
            context = ssl.create_default_context(cafile=ca)
            context.set_alpn_protocols(["http/1.1"])
            self.socket = context.wrap_socket(self.socket, server_hostname=where.hostname)
        self.head = (f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nAccept: application/dicom+json\r\n"
                     f"Content-Type: multipart/related; type=\"application/dicom\"; boundary={BOUNDARY}\r\n"
                     + (f"Authorization: Bearer {token}\r\n" if token else ""))
        self.rest = b""

    def post(self, files):
        pieces = [piece for file in files for piece in (HEAD, file, b"\r\n")] + [TAIL]
        head = f"{self.head}Content-Length: {sum(map(len, pieces))}\r\n\r\n".encode()
        # Small pieces travel together; a large file is not copied.
        waiting = bytearray(head)
        for piece in pieces:
            if len(piece) < 65536:
                waiting += piece
                continue
            self.socket.sendall(waiting)
            self.socket.sendall(piece)
            waiting = bytearray()
        self.socket.sendall(waiting)
        return self.answer()

    def more(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise ConnectionError("the server closed the connection")
        self.rest += piece

    def take(self, count):
        while len(self.rest) < count:
            self.more()
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def line(self):
        while b"\r\n" not in self.rest:
            self.more()
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line

    def answer(self):
        status = int(self.line().split()[1])
        fields = {}
        while line := self.line():
            name, value = line.decode("latin-1").split(":", 1)
            fields[name.strip().lower()] = value.strip()
        if fields.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.line().split(b";")[0], 16):
                body += self.take(size)
                self.take(2)
            self.line()
        else:
            body = self.take(int(fields.get("content-length", 0)))
        return status, body


def batches(folder, most):
    """Lists of files' bytes, at most so many and so long; read before the clock runs."""
    batch, size = [], 0
    for path in sorted(folder.glob("**/*.dcm")):
        data = path.read_bytes()
        if batch and (len(batch) == most or size + len(data) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(data)
        size += len(data)
    if batch:
        yield batch


def send(server, work, threads):
    url, token, ca = server.target()
    connections = [Connection(url, token, ca) for _ in range(threads)]
    wrong = []

    def one(number):
        try:
            for batch in work[number::threads]:
                status, body = connections[number].post(batch)
                if status != 200 or any(json.loads(body).get(tag, {}).get("Value") for tag in FAILURES):
                    wrong.append(f"status {status}: {body[:500]!r}")
                    return
        except (OSError, ValueError) as error:
            wrong.append(repr(error))

    begun = time.monotonic()
    senders = [threading.Thread(target=one, args=(number,)) for number in range(threads)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    seconds = time.monotonic() - begun
    if wrong:
        raise SystemExit(f"{server.name}: STOW-RS failed: {wrong[0]}")
    return sum(map(len, work)), sum(len(f) for batch in work for f in batch), seconds


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers.arguments(words)
    words.add_argument("--batch", default="1,20", help="instances a request")
    words.add_argument("--sets", default="ct,io,dx,xa")
    words.add_argument("--only", default="plain,https,orthanc")
    given = peers.settled(words.parse_args())
    data, sets = peers.data_set(given)
    sets = {folder: label for folder, label in sets.items() if folder.rstrip("0123456789") in given.sets.split(",")}
    kinds = [k for k in (Plain, Https, Orthanc) if k.__name__.lower() in given.only.split(",")]
    results = {}
    for round_ in range(given.rounds):
        for folder, label in sets.items():
            large = folder.startswith(("dx", "xa"))
            for batch in [1] if large else map(int, given.batch.split(",")):
                work = list(batches(data / folder, batch))
                for threads in (1, 4):
                    if folder == "xa1" and threads > 1:
                        continue
                    for kind in kinds:
                        figures = peers.measured(kind, given.work / f"run-{os.getpid()}",
                                                 lambda server: send(server, work, threads))
                        results.setdefault((label, batch, threads, kind.name), []).append(figures)
                        print(f"round {round_ + 1}: {label} by {batch} x{threads} {kind.name}: {figures['rate']:.1f}/s",
                              file=sys.stderr)
    peers.table(["set", "a request", "threads", "server"], results)


if __name__ == "__main__":
    main()
