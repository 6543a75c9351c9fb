"""Endless changes of a valid file: bits, lengths, numbers, fields, nesting, archive members."""

import io
import json
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator

import numpy as np

HUGE = (b"1e999999999", b"99999999999999999999", b"-9223372036854775808", b"1000000000", b"9" * 5000, b"nan")


def mutations(data: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """(what was done, the changed bytes), for ever."""
    while True:
        kinds = [_bits, _cut, _swap, _number, _repeat, _integer, _empty]
        if data[:2] == b"PK":
            kinds += [_member] * 6
        if data[:1] == b"{":
            kinds += [_field] * 6
        change = kinds[rng.integers(len(kinds))]
        yield change.__name__[1:], change(data, rng)


def _bits(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for position in rng.integers(len(data), size=rng.integers(1, 9)):
        changed[position] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(len(data))]


def _empty(data: bytes, rng: np.random.Generator) -> bytes:
    """The beginning stays, the rest is one byte repeated."""
    kept = int(rng.integers(len(data)))
    return data[:kept] + bytes([int(rng.choice([0, 32, 40, 91, 255]))]) * int(rng.choice([1, 100, 100_000]))


def _swap(data: bytes, rng: np.random.Generator) -> bytes:
    a, b = np.sort(rng.integers(len(data), size=2))
    return data[:a] + data[b:] + data[a:b]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    a, b = np.sort(rng.integers(len(data), size=2))
    return data[:a] + data[a:b] * int(rng.choice([2, 5, 1000])) + data[b:]


def _number(data: bytes, rng: np.random.Generator) -> bytes:
    """One decimal number of a text becomes a huge one."""
    found = list(re.finditer(rb"[0-9]+(\.[0-9]+)?", data))
    if not found:
        return _integer(data, rng)
    match = found[rng.integers(len(found))]
    return data[: match.start()] + HUGE[rng.integers(len(HUGE))] + data[match.end() :]


def _integer(data: bytes, rng: np.random.Generator) -> bytes:
    """Four or eight bytes of a binary file become an extreme integer."""
    position = int(rng.integers(max(len(data) - 8, 1)))
    values = (2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, 0, 2**40)
    value = values[rng.integers(len(values))]
    width = int(rng.choice([4, 8]))
    return data[:position] + struct.pack("<Q", value)[:width] + data[position + width :]


def _member(data: bytes, rng: np.random.Generator) -> bytes:
    """A zip archive whose checksums are right and of which one member is changed, renamed or doubled."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    k = int(rng.integers(len(members)))
    name, content = members[k]
    action = rng.integers(4)
    if action == 0:
        members[k] = (
            rng.choice(["W99999999999.npy", "activations.npy", "../x.npy", "meta.npy", "W0_shape.npy"]),
            content,
        )
    elif action == 1:
        members.append((rng.choice(["W7.npy", "b9.npy", "W0_data.npy", "alpha0.npy"]), content))
    else:
        edit = (_bits, _number, _cut, _integer)[rng.integers(4)]
        members[k] = (name, edit(content, rng))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name are meant
        for name, content in members:
            archive.writestr(str(name), content)
    return stream.getvalue()


_VALUES = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    1.5,
    "",
    "0x1p+9999",
    "0x1p-1074",
    "A" * 4096,
    "\u0661",
    [],
    {},
    [[]] * 1000,
)


def _field(data: bytes, rng: np.random.Generator) -> bytes:
    """One field of a JSON file gets another value, another name, or is left out."""
    tree = json.loads(data)
    places = list(_places(tree))
    parent, key = places[rng.integers(len(places))]
    action = rng.integers(6)
    if action == 0:
        del parent[key]
    elif action == 1 and isinstance(parent, dict):
        parent[f"{key}_"] = parent.pop(key)
    elif action == 2 and isinstance(parent, list):
        parent.append(parent[key])
    elif action == 3:
        mark = "nesting goes here"
        parent[key] = mark
        deep = "[" * 100_000 + "]" * 100_000
        return json.dumps(tree).replace(f'"{mark}"', deep).encode()
    else:
        parent[key] = _VALUES[rng.integers(len(_VALUES))]
    return json.dumps(tree).encode()


def _places(tree: object) -> Iterator[tuple]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)
