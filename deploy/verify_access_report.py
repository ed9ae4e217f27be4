#!/usr/bin/env python3
"""Checks an access report (leadglass-access-report/1) with nothing but Python's standard library.

    verify_access_report.py REPORT.json [VAULT_KEY [WITNESS_KEY]]

The keys are those that `leadglass audit keys` prints; without them the report's own are taken, which shows only that it fits
together. Exit code 0: it holds. What is checked: the checkpoint's Ed25519 signatures, each entry's proof (RFC 6962), that the
patient's entries count without a gap and name the one before, and that the table of accesses is what the entries say.
"""
import hashlib, json, sys
from base64 import b64decode

# Ed25519, RFC 8032 section 5.1.7; slow and plain.
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    e, f = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    g, h = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n, point):
    out = (0, 1, 1, 0)
    while n:
        if n & 1:
            out = add(out, point)
        point, n = add(point, point), n >> 1
    return out


def point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - x2) % P or (x == 0 and sign):
        raise ValueError("no point")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def signed(key, message, signature):
    try:
        r, a, s = point(signature[:32]), point(key), int.from_bytes(signature[32:], "little")
    except ValueError:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    left, right = times(s, BASE), add(r, times(k, a))
    same = (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0
    return len(signature) == 64 and s < L and same


def signatures(note, key, kind):
    """The text of a signed note, and what the key `name+id+base64` put under it."""
    name, _, public = key.split("+", 2)
    public = b64decode(public)[1:]
    ident = hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]
    at = note.rindex("\n\n")
    for line in note[at + 2 :].splitlines():
        dash, signer, text = line.split(" ", 2)
        raw = b64decode(text)
        if dash == "\u2014" and signer == name and raw[:4] == ident:
            yield note[: at + 1], public, raw[4:]


def cbor(data):
    """A map of small integers to integers, bytes and texts: all that an entry is."""

    def head(at):
        major, low = data[at] >> 5, data[at] & 31
        size = {24: 1, 25: 2, 26: 4, 27: 8}.get(low, 0)
        return major, int.from_bytes(data[at + 1 : at + 1 + size], "big") if size else low, at + 1 + size

    def item(at):
        major, value, at = head(at)
        if major in (2, 3):
            raw = data[at : at + value]
            return (raw if major == 2 else raw.decode()), at + value
        return value, at

    _, count, at = head(0)
    out = {}
    for _ in range(count):
        key, at = item(at)
        out[key], at = item(at)
    return out


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def included(leaf, seq, size, proof, root):
    """RFC 9162 section 2.1.3.2."""
    n, last, value = seq, size - 1, leaf
    for sibling in proof:
        if n & 1 or n == last:
            value = node(sibling, value)
            while n and not n & 1:
                n, last = n >> 1, last >> 1
        else:
            value = node(value, sibling)
        n, last = n >> 1, last >> 1
    return last == 0 and value == root


class DoesNotHold(Exception):
    pass


def need(holds, otherwise):
    """Not `assert`, which Python leaves out when it is told to optimize."""
    if not holds:
        raise DoesNotHold(otherwise)


def main(path, vault=None, witness=None):
    report = json.load(open(path, encoding="utf-8"))
    need(report["format"] == "leadglass-access-report/1", "another form")
    need(vault in (None, report["vault_key"]), "the vault's key is another one")
    vault, note = report["vault_key"], report["checkpoint"]
    need(any(signed(k, t.encode(), s) for t, k, s in signatures(note, vault, 1)), "the vault did not sign the checkpoint")
    theirs = witness or report.get("witness_key")
    seen = [
        int.from_bytes(s[:8], "big")
        for t, k, s in (signatures(note, theirs, 4) if theirs else ())
        if signed(k, f"cosignature/v1\ntime {int.from_bytes(s[:8], 'big')}\n{t}".encode(), s[8:])
    ]
    need(seen or not witness, "the witness did not sign the checkpoint")
    origin, size, root = note.splitlines()[:3]
    need(origin == vault.split("+")[0], "the checkpoint is another log's")
    previous, opened, accesses, others, event, asked = None, {}, [], [], None, None
    inside = lambda ms: report.get("from_ms", 0) <= ms < report.get("to_ms", 2**64)
    for number, proven in enumerate(report["entries"]):
        raw, seq = b64decode(proven["leaf"]), proven["seq"]
        entry, leaf = cbor(raw), hashlib.sha256(b"\0" + raw).digest()
        need(entry[1] == seq and entry.get(11, b"").hex() == report["subject"], f"entry {seq} is not the patient's")
        need(included(leaf, seq, int(size), map(b64decode, proven["proof"]), b64decode(root)), f"entry {seq} is not in the log")
        need(entry[12] == number and entry.get(13) == previous, f"there is a gap before entry {seq}")
        previous, event, asked = leaf, entry[3], entry[2]
        row = {"entry": seq, "at_ms": asked, "actor": entry.get(7, b"").hex(), "study": entry.get(14, b"").hex()}
        row["outcome"] = ("success", "refused", "failed")[entry[4]]
        if 23 in entry:
            row["reason"] = entry[23]
        if event == 110103 and inside(asked):
            counts = {"instances": 0, "frames": 0, "bytes": 0}
            accesses.append(row | counts | {"role": entry.get(9, ""), "purpose": entry.get(10, "")})
            opened[entry[5]] = accesses[-1]
        elif event == 1000001 and entry.get(22) in opened:
            counts = {"instances": entry.get(18, 0), "frames": entry.get(19, 0), "bytes": entry.get(20, 0)}
            opened[entry[22]].update(counts, closed_by=seq, until_ms=asked)
        elif event not in (110103, 1000001) and inside(asked):
            others.append(row | {"event": event})
    need(event == 110101, "it does not end with its being asked for: the newest entries were left out")
    need(report["accesses"] == accesses and report["others"] == others, "the table is not what the entries say")
    print(f"holds: {len(accesses)} accesses, {len(report['entries'])} entries of {size}, none missing up to {asked} ms")
    print(f"witnessed at {max(seen, default=None)}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except DoesNotHold as why:
        sys.exit(f"DOES NOT HOLD: {why}")
