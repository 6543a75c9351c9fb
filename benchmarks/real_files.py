"""Network files of others: which load, whether their values agree, and a proven bound of each.

    python benchmarks/real_files.py FOLDER [--out docs/results/real_files.md]

ONNX files are compared with onnxruntime (1e-5 relative, inputs of sizes 0.1 to 10). The command fails
where values disagree or a proven bound is below its sampled lower bound.
"""

import argparse
import pathlib
import sys
import time
from typing import Any

import numpy as np

import lmikit
from lmikit import ClosedForm, Graph, InputError, LmikitError, OptionError, SpectralProduct, load_network
from lmikit.adapters import from_nnet

SUFFIXES = (
    ".gz",
    ".model",
    ".bin",
    ".ckpt",
    ".onnx",
    ".nnet",
    ".mat",
    ".npz",
    ".safetensors",
    ".h5",
    ".keras",
    ".pt",
    ".pth",
    ".zip",
)
NEEDED = ("a tensor of shape", "3-D")
UNBOUNDED = ("two values", "slope grows", "jumps", "division by nonzero", "not a division")


def load(path: pathlib.Path) -> tuple[Any, str]:
    """The network, and what had to be said beside the file."""
    tries: list[tuple[str, Any]] = [
        ("", lambda: load_network(path)),
        ("--activation tanh", lambda: load_network(path, "tanh")),
        ("--activation tanh --part controller", lambda: load_network(path, "tanh", part="controller")),
        ("normalised=True", lambda: from_nnet(path, normalised=True)),
    ]
    reason = ""
    for said, attempt in tries:
        try:
            return attempt(), said
        except OptionError as error:
            reason = reason or str(error)
        except InputError as error:
            if not reason or "pass activation" in reason:
                reason = str(error)
            if not any(
                word in str(error) for word in ("part=", "normalised=True", "pass output=name", "logits=True")
            ):
                break
    if "logits=True" in reason:
        return load_network(path, logits=True), "--logits"
    if path.suffix == ".onnx" and "has outputs" in reason:
        import onnx

        name = onnx.load(path).graph.output[0].name
        return load_network(path, output=name), f"--output {name}"
    raise InputError(reason)


def disagreement(path: pathlib.Path, network: Any, said: str) -> float | None:
    """The largest difference from onnxruntime, relative to the largest value; None where it cannot run."""
    if path.suffix != ".onnx":
        return None
    try:
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        session = onnxruntime.InferenceSession(str(path))
    except Exception:  # not installed, or a model that it does not run
        return None
    given = session.get_inputs()
    output = said.removeprefix("--output ") if "--output" in said else session.get_outputs()[0].name
    worst, rng = 0.0, np.random.default_rng(0)
    for size in np.geomspace(0.1, 10.0, 8):
        xs = {}
        for value in given:
            shape = [n if isinstance(n, int) and n > 0 else 1 for n in value.shape]
            dtype = np.float64 if value.type == "tensor(double)" else np.float32
            xs[value.name] = (size * rng.standard_normal(shape)).astype(dtype)
        expected = np.asarray(session.run([output], xs)[0], np.float64).reshape(-1)
        x = np.concatenate([v.astype(np.float64).reshape(-1) for v in xs.values()])
        got = network(x.reshape(-1, network.input_dim)).reshape(-1)
        worst = max(worst, float(np.abs(got - expected).max() / max(1.0, np.abs(expected).max())))
    return worst


def bounds(network: Any) -> tuple[float | None, float, float]:
    """(proven bound or None, sampled lower bound, seconds of the proof)."""
    start = time.perf_counter()
    method = SpectralProduct() if isinstance(network, Graph) else ClosedForm()
    try:
        proven = lmikit.lipschitz(network, method, time_limit=60.0).bound
    except LmikitError:  # too large for the proof: the row says so
        proven = None
    seconds = time.perf_counter() - start
    return proven, lmikit.lower_bound(network, time_limit=1.0).value, seconds


def row(path: pathlib.Path) -> tuple[str, str, bool]:
    """(kind, line of the table, whether all is well)."""
    name = path.name
    try:
        network, said = load(path)
    except LmikitError as error:
        text = str(error).split("; expected")[0].replace("|", "/")[:150]
        kind = "maps to come" if any(word in text for word in NEEDED) else "refused"
        kind = "no global bound" if any(word in text for word in UNBOUNDED) else kind
        return kind, f"| {name} | {kind} | {text} | | | |", True
    off = disagreement(path, network, said)
    proven, lower, seconds = bounds(network)
    good = (proven is None or lower <= proven) and (off is None or off <= 1e-5)
    sizes = f"{type(network).__name__} {network.input_dim} to {network.output_dim}"
    sizes += f", {network.hidden_neurons} neurons" + (f"; {said}" if said else "")
    bound = "too large" if proven is None else f"{proven:.4g}"
    shown = "" if off is None else f"{off:.1e}"
    return (
        "loads",
        f"| {name} | loads | {sizes} | {shown} | {bound} | {lower:.4g} ({seconds:.1f} s) |",
        good,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/results/real_files.md"))
    arguments = parser.parse_args()
    rows = [row(p) for p in sorted(arguments.folder.iterdir()) if p.suffix in SUFFIXES]
    counts = {kind: sum(r[0] == kind for r in rows) for kind in sorted({r[0] for r in rows})}
    total = ", ".join(f"{kind}: {count}" for kind, count in counts.items())
    text = [
        "# Network files of others", "",
        f"Written by `python benchmarks/real_files.py`. {len(rows)} files from public repositories; {total}.",
        "`off` is the largest difference from onnxruntime, relative to the largest value, over inputs of",
        "sizes 0.1 to 10. The bound is proven (closed forms; graphs by norms along paths or the spectral",
        "product), the sampled value a lower bound.", "",
        "| file | | what | off | proven bound | sampled (seconds of the proof) |",
        "|---|---|---|---|---|---|",
        *(r[1] for r in rows),
    ]  # fmt: skip
    arguments.out.write_text("\n".join(text) + "\n", encoding="utf-8")
    print(f"{len(rows)} files; {total}")
    return 0 if all(r[2] for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
