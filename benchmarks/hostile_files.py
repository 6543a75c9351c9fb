"""Hostile files through the command line: python benchmarks/hostile_files.py --write.

Made ones (sizes of 10^12, numbers of 5,000 digits, nesting of 10^5, ...) and mutations of valid files of
every kind go through `lmikit.cli.main` in a child process that may hold 1 GiB more than at its start.
Each must end in under 10 s with exit code 2 and one line on standard error; files that stay valid, and
certificates that are well-formed but refused (exit code 1), are counted apart. Kinds that no command
reads (.vnnlib, training states, certificates of graphs) go through their reader in the same process.
"""

import argparse
import collections
import pathlib
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from hostile_child import MEMORY, SECONDS, Child, command_of
from hostile_mutations import mutations
from hostile_seeds import CERTIFICATES, write_seeds

OUT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "results" / "hostile_files.md"
DIGITS = "9" * 5000
CBF = "VER\n1\nOBJSENSE\nMIN\n"
ASKED = "(declare-const X_0 Real)(assert (>= X_0 0))"


def made() -> Iterator[tuple[str, bytes]]:
    """(kind, content) of files that are made by hand."""
    for size in ("1000000000000", "-9223372036854775808", "9" * 20, DIGITS, "0x10", "1e400", "nan"):
        yield "dat-s", f"1\n1\n{size}\n1\n".encode()
        yield "dat-s", f"{size}\n1\n1\n1\n".encode()
        yield "cbf", f"{CBF}PSDVAR\n1\n{size}\n".encode()
        yield "cbf", f"{CBF}VAR\n{size} 1\nF {size}\n".encode()
        yield "cbf", f"{CBF}VAR\n1 1\nF 1\nCON\n{size} 1\nL+ {size}\n".encode()
        yield "nnet", f"1,{size},1,3,\n{size},1,\n0,\n".encode()
        yield "nnet", f"{size},2,1,3,\n2,1,\n0,\n".encode()
        yield "vnnlib", f"{ASKED}(assert (<= X_0 {size}))".encode() + b"(assert (<= X_1 1))"
        yield "lipschitz", f'{{"format": "lmikit-cert", "version": {size}}}'.encode()
        yield "safetensors", f'{{"w": {{"shape": [{size}, 1]}}}}'.encode()
    yield "vnnlib", (ASKED + "(assert (<= X_0 1))" + "(assert (or (<= X_0 1) (<= X_0 2)))" * 40).encode()
    yield "vnnlib", (ASKED + "(assert " + "(" * 100_000 + ")" * 100_000 + ")").encode()
    for kind in (
        "npz",
        "mat",
        "onnx",
        "nnet",
        "safetensors",
        "dat-s",
        "cbf",
        "vnnlib",
        "state",
        *CERTIFICATES,
    ):
        yield kind, b""
        yield kind, b"\0" * 100_000
        yield kind, b"[" * 100_000
        yield kind, b"PK\x03\x04" + b"\xff" * 64


def files(seeds: dict[str, pathlib.Path], each: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """(kind, "made" or the mutation, content)."""
    for kind, content in made():
        yield kind, "made", content
    for kind, path in seeds.items():
        changes = mutations(path.read_bytes(), np.random.default_rng(seed))
        for _ in range(each):
            yield kind, *next(changes)


def measure(each: int, seed: int) -> dict[str, dict[str, Any]]:
    """By kind of file: how often each outcome, the slowest, and what went wrong."""
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        seeds, child = write_seeds(folder), Child(folder)
        for kind, what, content in files(seeds, each, seed):
            victim = folder / f"victim{seeds[kind].suffix}"
            victim.write_bytes(content)
            through = "reader" if command_of(kind, victim, folder) is None else "command"
            answer = child.ask(kind, victim, through)
            row = rows.setdefault(kind, {"through": through, "n": collections.Counter(), "s": 0.0, "bad": []})
            row["n"][answer["outcome"]] += 1
            row["s"] = max(row["s"], answer["seconds"])
            if answer["outcome"] not in ("refused", "loaded"):
                row["bad"].append(f"{kind}, {what}: {answer['outcome']}: {answer['line'][:200]}")
        child.close()
    return rows


def table(rows: dict[str, dict[str, Any]], each: int, seed: int) -> str:
    """The page."""
    good = sum(row["n"]["refused"] for row in rows.values())
    commands = sum(row["n"]["refused"] for row in rows.values() if row["through"] == "command")
    bad = [line for row in rows.values() for line in row["bad"]]
    total = sum(sum(row["n"].values()) for row in rows.values())
    lines = [
        "# Hostile files",
        "",
        f"`python benchmarks/hostile_files.py --each {each} --seed {seed} --write`",
        "",
        f"{total} files: {sum(1 for _ in made())} made, {each} mutations of a valid file of each kind. "
        f"A child process may hold {MEMORY // 2**20} MiB of address space above its start's. "
        f"**Refused** means: in under {SECONDS:.0f} s, exit code 2, one line on standard error, "
        "nothing on standard output "
        "(for the kinds that no command reads: one InputError of one line, or a refusing `CheckResult`). "
        "**Read** are files that stayed valid (exit code 0) or whose well-formed claim or problem "
        "was refused or not solved (1).",
        "",
        f"**{good} refused ({commands} of them by the command line), {len(bad)} otherwise.**",
        "",
        "| file | through | refused | read | otherwise | slowest (s) |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for kind, row in rows.items():
        shown = (
            f"{kind} certificate"
            if kind in CERTIFICATES
            else "training state"
            if kind == "state"
            else f".{kind}"
        )
        n = row["n"]
        lines.append(
            f"| {shown} | {row['through']} | {n['refused']} | {n['loaded']} | {len(row['bad'])} "
            f"| {row['s']:.2f} |"
        )
    return "\n".join([*lines, "", *(f"- {line}" for line in bad)]).rstrip() + "\n"


def main() -> int:
    """Measure, print, write; 1 if any file ended otherwise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--each", type=int, default=40, help="mutations of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"write {OUT.name}")
    arguments = parser.parse_args()
    rows = measure(arguments.each, arguments.seed)
    text = table(rows, arguments.each, arguments.seed)
    print(text)
    if arguments.write:
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(text, encoding="utf-8")
    return 1 if any(row["bad"] for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
