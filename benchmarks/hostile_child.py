"""A child process of limited memory that reads hostile files, one by one, and says what came of each."""

import contextlib
import io
import json
import os
import pathlib
import select
import subprocess
import sys
import time
from typing import Any

from hostile_seeds import CERTIFICATES, SUBJECT_NET, SUBJECT_SDP

MEMORY, SECONDS = 2**30, 10.0  # bytes of address space above the start's, and what one file may take


class Child:
    """One process that serves many files; it is replaced after it died or took too long."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None

    def ask(self, kind: str, path: pathlib.Path, through: str) -> dict[str, Any]:
        """{"outcome": "loaded" | "refused" | "error" | "died" | "too slow", "seconds", "line"}."""
        process = self._started()
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the child has no pipes")
        start = time.perf_counter()
        process.stdin.write(json.dumps([kind, str(path), through]) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], 6.0 * SECONDS)
        line = process.stdout.readline() if ready else ""
        seconds = time.perf_counter() - start
        if line:
            return json.loads(line)
        self.close()
        return {
            "outcome": "died" if ready else "too slow",
            "seconds": seconds,
            "line": f"exit {process.returncode}",
        }

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            command = [sys.executable, str(pathlib.Path(__file__).resolve()), str(self.folder)]
            environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
            ready, _, _ = select.select([self._process.stdout], [], [], 300.0)
            if not ready or self._process.stdout is None or self._process.stdout.readline() != "ready\n":
                self.close()
                raise RuntimeError("the child did not start: a valid file was not read")
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            self._process = None


# ------------------------------------------------------------------------------------ the child


def serve(folder: pathlib.Path) -> None:
    """Read every valid file once (which imports what reading needs), limit the memory, then answer."""
    import resource

    answers, sys.stdout = sys.stdout, io.StringIO()
    readers = _readers(folder)
    for kind, path in _seeds(folder).items():
        for through in ("reader", "command"):
            if through == "reader" or command_of(kind, path, folder) is not None:
                answer = _answer(readers, folder, kind, path, through)
                if answer["outcome"] != "loaded":
                    raise RuntimeError(f"the valid file {path} was not read: {answer}")
    pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * os.sysconf("SC_PAGESIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        kind, path, through = json.loads(line)
        print(
            json.dumps(_answer(readers, folder, kind, pathlib.Path(path), through)), file=answers, flush=True
        )


def _seeds(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    text = (folder / "seeds.json").read_text(encoding="utf-8")
    return {kind: pathlib.Path(path) for kind, path in json.loads(text).items()}


def _readers(folder: pathlib.Path) -> dict[str, Any]:
    """The function that reads each kind of file; a certificate's is `lmikit.check`."""
    from hostile_seeds import graph

    import lmikit
    from lmikit.lmi import read_cbf, read_sdpa
    from lmikit.training import TrainingState

    subjects = dict.fromkeys(("lipschitz", "point", "local"), lmikit.load_network(folder / SUBJECT_NET))
    subjects |= {"graph": graph(), "sdp": read_sdpa(folder / SUBJECT_SDP)}
    readers: dict[str, Any] = {
        kind: lambda path, subject=subject: lmikit.check(path, subject) for kind, subject in subjects.items()
    }
    readers |= dict.fromkeys(("npz", "mat", "onnx", "nnet", "safetensors"), lmikit.load_network)
    readers |= {"dat-s": read_sdpa, "cbf": read_cbf, "vnnlib": lmikit.adapters.read_vnnlib}
    readers["pt"] = lambda path: lmikit.adapters.from_state_dict(path, "relu")
    readers |= dict.fromkeys(("h5", "keras"), lmikit.adapters.from_keras_file)
    return readers | {"state": TrainingState.load}


def command_of(kind: str, path: pathlib.Path, folder: pathlib.Path) -> list[str] | None:
    """The command line that reads a file of this kind; None where there is none."""
    if kind in ("vnnlib", "state", "graph"):
        return None
    if kind in CERTIFICATES:
        return ["check", str(path), str(folder / (SUBJECT_SDP if kind == "sdp" else SUBJECT_NET))]
    if kind in ("dat-s", "cbf"):
        return ["solve", str(path), "--time-limit", "5"]
    stated = ["--activation", "relu"] if kind == "pt" else []
    return ["bound", str(path), *stated, "--method", "spectral-product"]


def _answer(
    readers: Any, folder: pathlib.Path, kind: str, path: pathlib.Path, through: str
) -> dict[str, Any]:
    start = time.perf_counter()
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()) as out:
            if through == "reader":
                outcome, line = _through_reader(readers[kind], path)
            else:
                outcome, line = _through_command(command_of(kind, path, folder), errors, out)
    except BaseException as error:  # what no reader may raise is what is looked for here
        outcome, line = "error", f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    if seconds > SECONDS:
        outcome = "too slow"
    return {"outcome": outcome, "seconds": seconds, "line": line[:3000]}


def _through_reader(read: Any, path: pathlib.Path) -> tuple[str, str]:
    from lmikit import InputError
    from lmikit.certificates import CheckResult

    try:
        result = read(path)
    except InputError as error:
        line = str(error)
        return ("error" if "\n" in line or len(line) > 2500 else "refused"), line
    if isinstance(result, CheckResult) and not result.ok:
        return "refused", result.reason
    return "loaded", ""


def _through_command(command: list[str] | None, errors: io.StringIO, out: io.StringIO) -> tuple[str, str]:
    from lmikit.cli import main

    code, line = main(command), errors.getvalue()
    if (code in (0, 1) and out.getvalue()) or code == 1:
        return "loaded", f"exit {code} {line}"
    good = code == 2 and line.count("\n") == 1 and not out.getvalue() and len(line) < 2500
    return ("refused" if good else "error"), f"exit {code}: {line}"


if __name__ == "__main__":
    serve(pathlib.Path(sys.argv[1]))
