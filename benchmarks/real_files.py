"""Network files of others: which load, whether their values agree, and a proven bound of each.

    python benchmarks/real_files.py FOLDER [--out docs/results/real_files.md]

Files are compared with onnxruntime, torch or Keras where these run them (1e-5 relative, inputs of sizes 0.1
to 10). The command fails where values disagree or a proven bound is below its sampled lower bound.
"""

import argparse
import dataclasses
import logging
import math
import os
import pathlib
import sys
import time
from typing import Any

import numpy as np

import lmikit
from lmikit import ClosedForm, Graph, LmikitError, Network, SpectralProduct, load_network
from lmikit.adapters import from_nnet
from lmikit.graph import chain_graph

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
UNBOUNDED = ("two values", "slope grows", "jumps", "division by nonzero", "not a division")
NOT_IN_FILE = ("order is not known", "does not say")
_LARGEST = 2000  # neurons up to which every closed form is tried
_LIMIT = 60.0  # seconds of CPU for a proven bound

# What a state dict does not say, from the papers of its networks.
STATED: dict[str, dict[str, Any]] = {
    "MadryCNN": {
        "activation": "relu",
        "input_shape": (1, 28, 28),
        "order": ["0:stride=2:padding=2", "2:stride=2:padding=2", "5", "7"],
    },
    "cifar_marabou_small": {
        "activation": "relu",
        "input_shape": (3, 32, 32),
        "order": ["0:stride=2", "2:stride=2", "5", "7", "9"],
    },
    "mnist_cnn_a_adv": {
        "activation": "relu",
        "input_shape": (1, 28, 28),
        "order": ["0:stride=2:padding=1", "2:stride=2:padding=1", "5", "7"],
    },
    "mnist_convsmall": {
        "activation": "relu",
        "input_shape": (1, 28, 28),
        "order": ["conv1:stride=2:padding=1", "conv2:stride=2:padding=1", "fc1", "fc2"],
    },
    "cifar10_cnn_c": {
        "activation": "relu",
        "input_shape": (3, 32, 32),
        "order": ["0:stride=2", "2:stride=2", "5", "7", "9"],
    },
    "lyaloss_lqr": {"activation": "tanh", "part": "controller"},
}


def load(path: pathlib.Path) -> tuple[Any, dict[str, Any]]:
    """The network, and what had to be said beside the file."""
    stated = next((options for key, options in STATED.items() if key in path.name), None)
    if stated is not None:
        return load_network(path, **stated), stated
    tries: list[dict[str, Any]] = [{}, {"activation": "tanh"}]
    if path.suffix == ".onnx":
        import onnx

        tries += [
            {"logits": True},
            {"output": onnx.load(path, load_external_data=False).graph.output[0].name},
        ]
    reason: LmikitError | None = None
    for options in tries:
        try:
            return load_network(path, **options), options
        except LmikitError as error:
            if reason is None or ("activation" in options and "pass activation" in str(reason)):
                reason = error
    if path.suffix == ".nnet":
        return from_nnet(path, normalised=True), {"normalised": True}
    assert reason is not None
    raise reason


def disagreement(path: pathlib.Path, network: Any, said: dict[str, Any]) -> tuple[float | None, str]:
    """(the largest difference from the framework, relative to the largest value, its name); None: not run."""
    try:
        run, name = _reference(path, said)
    except Exception:  # not installed, or a model that the framework does not read
        return None, ""
    worst, rng = 0.0, np.random.default_rng(0)
    for size in np.geomspace(0.1, 10.0, 8):
        x, expected = run(rng, size)
        got = network(x.reshape(-1, network.input_dim)).reshape(-1)
        if got.size != expected.size:
            return math.inf, name
        worst = max(worst, float(np.abs(got - expected).max() / max(1.0, np.abs(expected).max())))
    return worst, name


def _reference(path: pathlib.Path, said: dict[str, Any]) -> tuple[Any, str]:
    """A function (rng, size) -> (inputs, outputs) of the file's own framework, and its name."""
    if path.suffix == ".onnx":
        return _onnxruntime(path, said), "onnxruntime"
    if path.suffix in (".h5", ".keras"):
        return _keras(path), "keras"
    if path.suffix in (".pt", ".pth", ".model"):
        return _torch(path, said), "torch"
    raise ValueError("no framework")


def _onnxruntime(path: pathlib.Path, said: dict[str, Any]) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(str(path))
    given, output = session.get_inputs(), said.get("output", session.get_outputs()[0].name)

    def run(rng: Any, size: float) -> Any:
        xs = {}
        for value in given:
            shape = [n if isinstance(n, int) and n > 0 else 1 for n in value.shape]
            dtype = np.float64 if value.type == "tensor(double)" else np.float32
            xs[value.name] = (size * rng.standard_normal(shape)).astype(dtype)
        expected = np.asarray(session.run([output], xs)[0], np.float64).reshape(-1)
        rows = {v.shape[0] if v.ndim > 1 else 1 for v in xs.values()}
        samples = rows.pop() if len(rows) == 1 else 1  # a first axis above 1 counts samples
        return np.hstack([v.astype(np.float64).reshape(samples, -1) for v in xs.values()]), expected

    return run


def _keras(path: pathlib.Path) -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    model = keras.models.load_model(path, compile=False)
    last = model.layers[-1]
    if getattr(last, "activation", None) is keras.activations.softmax:
        last.activation = keras.activations.linear
    shape = [n or 1 for n in model.input_shape]

    def run(rng: Any, size: float) -> Any:
        x = (size * rng.standard_normal(shape)).astype(np.float32)
        return x.astype(np.float64), np.asarray(model.predict(x, verbose=0), np.float64).reshape(-1)

    return run


def _torch(path: pathlib.Path, said: dict[str, Any]) -> Any:
    """The tensors in the order of the file, by torch's own reader and operations."""
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    content = content.get("state_dict", content)
    content = content[0] if isinstance(content, list) else content
    tensors = [v for k, v in content.items() if k.startswith(said.get("part", ""))]
    act = torch.relu if said["activation"] == "relu" else torch.tanh
    words = [dict(w.split("=") for w in entry.split(":")[1:]) for entry in said.get("order", ())]
    kinds = [(int(w.get("stride", 1)), int(w.get("padding", 0))) for w in words]

    def run(rng: Any, size: float) -> Any:
        x = size * torch.tensor(rng.standard_normal(said.get("input_shape", (tensors[0].shape[1],))))
        values = x[None]
        for k, (weight, bias) in enumerate(zip(tensors[::2], tensors[1::2], strict=True)):
            values = act(values) if k else values
            if weight.ndim == 4:
                values = torch.conv2d(values, weight.double(), bias.double(), *kinds[k])
            else:
                values = torch.nn.functional.linear(values.flatten(1), weight.double(), bias.double())
        return x.numpy(), values.numpy().reshape(-1)

    return run


def bounds(network: Any) -> tuple[float, float, float]:
    """(proven bound, sampled lower bound, seconds of CPU of the proof)."""
    start = time.process_time()
    if isinstance(network, Network) and network.hidden_neurons <= _LARGEST:
        proven = lmikit.lipschitz(network, ClosedForm(), time_limit=_LIMIT).bound
    else:
        graph = network if isinstance(network, Graph) else chain_graph(network)
        proven = lmikit.lipschitz(graph, SpectralProduct(), time_limit=_LIMIT).bound
    seconds = time.process_time() - start
    return proven, lmikit.lower_bound(network, time_limit=1.0).value, seconds


@dataclasses.dataclass(frozen=True)
class Row:
    """One file: what became of it, the line of the table, whether nothing is wrong."""

    kind: str
    line: str
    good: bool
    framework: str = ""
    within: bool = False


def row(path: pathlib.Path) -> Row:
    """Load, compare, bound."""
    name = path.name
    try:
        network, said = load(path)
    except LmikitError as error:
        text = str(error).split("; expected")[0].replace("|", "/")[:150]
        kind = "not in the file" if any(word in text for word in NOT_IN_FILE) else "refused"
        kind = "no global bound" if any(word in text for word in UNBOUNDED) else kind
        return Row(kind, f"| {name} | {kind} | {text} | | | |", True)
    off, framework = disagreement(path, network, said)
    proven, lower, seconds = bounds(network)
    good = lower <= proven < math.inf and (off is None or off <= 1e-5)
    sizes = f"{type(network).__name__} {network.input_dim} to {network.output_dim}"
    options = ", ".join(
        f"{k}={','.join(map(str, v)) if isinstance(v, (list, tuple)) else v}" for k, v in said.items()
    )
    sizes += f", {network.hidden_neurons} neurons" + (f"; {options}" if options else "")
    shown = "" if off is None else f"{off:.1e} ({framework})"
    line = f"| {name} | loads | {sizes} | {shown} | {proven:.4g} ({seconds:.1f} s) | {lower:.4g} |"
    return Row("loads", line, good, framework, seconds <= _LIMIT)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/results/real_files.md"))
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = []
    for path in sorted(arguments.folder.iterdir()):
        if path.suffix in SUFFIXES:
            rows.append(row(path))
            print(rows[-1].line, flush=True)
    counts = {kind: sum(r.kind == kind for r in rows) for kind in sorted({r.kind for r in rows})}
    total = ", ".join(f"{kind}: {count}" for kind, count in counts.items())
    compared = {name: sum(r.framework == name for r in rows) for name in ("onnxruntime", "torch", "keras")}
    agreement = ", ".join(f"{count} with {name}" for name, count in compared.items())
    bounded = sum(r.within for r in rows)
    text = [
        "# Network files of others", "",
        f"Written by `python benchmarks/real_files.py`. {len(rows)} files from public repositories; {total}.",
        "Of those that load, these were compared with the framework of the file, on inputs of sizes 0.1 to",
        f"10: {agreement}; `off` is the largest difference, relative to the largest value (above 1e-5",
        f"the command fails). {bounded} have a proven bound within 60 s of CPU, none below its sampled lower",
        f"bound: closed forms up to {_LARGEST} neurons of a chain, else norms along paths. A file without",
        "a global bound holds powers, products or quotients of values.", "",
        "| file | | what | off | proven bound (CPU) | sampled |",
        "|---|---|---|---|---|---|",
        *(r.line for r in rows),
    ]  # fmt: skip
    arguments.out.write_text("\n".join(text) + "\n", encoding="utf-8")
    print(f"{len(rows)} files; {total}; {bounded} bounds within {_LIMIT:.0f} s; {agreement}")
    return 0 if all(r.good for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
