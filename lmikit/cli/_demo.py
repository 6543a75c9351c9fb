"""`lmikit demo`: the main job from end to end on a small network trained here."""

import argparse
import json
import logging
import pathlib
import time
import warnings
from typing import Any

import numpy as np

from .. import _api, plots
from .._errors import BackendMissing
from .._files import write_bytes
from .._proving import least_proven
from ..certificates import Certificate, check
from ..methods import LipSDP
from ..network import Network
from ._demo_points import safe_digits
from ._output import json_text
from ._progress import progress_bar

__all__ = ["demo"]

_log = logging.getLogger("lmikit")


def _train() -> tuple[Network, float, np.ndarray, np.ndarray]:
    """A 64-32-32-10 ReLU network trained on scikit-learn's digits, its test accuracy, 40 test digits."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.model_selection import train_test_split
        from sklearn.neural_network import MLPClassifier
    except ImportError as error:
        raise BackendMissing("the demo needs the module 'sklearn'; pip install 'lmikit[demo]'.") from error
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images / 16.0, labels, test_size=0.25, random_state=0)
    model = MLPClassifier((32, 32), max_iter=60, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_x, train_y)
    network = Network.from_arrays([w.T for w in model.coefs_], model.intercepts_, "relu")
    return network, float(model.score(test_x, test_y)), test_x[:40], test_y[:40].astype(int)


def _mutations(text: str) -> dict[str, str]:
    """The same certificate with one thing changed, as file texts."""
    data = json.loads(text)
    claim = json.loads(text)
    smaller = float.fromhex(data["claim"]["rho"]) * 0.98
    claim["claim"]["rho"], claim["claim"]["L"] = (
        smaller.hex(),
        float(np.nextafter(np.sqrt(smaller), np.inf)).hex(),
    )
    return {"rho lowered by 2 %": json.dumps(claim), "the file cut in half": text[: len(text) // 2]}


def _other_network(network: Network) -> Network:
    weights = [w.copy() for w in network.weights]
    weights[0][0, 0] += 0.25
    return Network.from_arrays(weights, [layer.bias for layer in network.layers], "relu")


def _refusals(certificate: Certificate, network: Network, folder: pathlib.Path) -> list[dict[str, Any]]:
    path = folder / "digits.certificate.json"
    text = path.read_text(encoding="utf-8")
    results = []
    for name, mutated in _mutations(text).items():
        victim = folder / "mutated.certificate.json"
        write_bytes(victim, mutated.encode("utf-8"))
        results.append((name, check(victim, network)))
        victim.unlink()
    results.append(("one weight changed", check(certificate, _other_network(network))))
    return [{"mutation": name, "refused": not r.ok, "reason": r.reason} for name, r in results]


def demo(arguments: argparse.Namespace) -> int:
    """`lmikit demo`: 0 if every step went as it must."""
    start = time.perf_counter()
    folder = pathlib.Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    say = (lambda text: None) if arguments.json else print
    say("Training a 64-32-32-10 ReLU network on scikit-learn's digits ...")
    network, accuracy, digits, labels = _train()
    network.save(folder / "digits.npz")
    say(f"test accuracy {accuracy:.1%}; saved as {folder / 'digits.npz'}\n")
    with progress_bar(not arguments.json) as progress:
        comparison = _api.compare(network, progress=progress)
    say(f"{comparison}\n")
    certificate = least_proven(network, LipSDP())
    path = folder / "digits.certificate.json"
    certificate.save(path)
    say(f"Certificate of the tightest method: {path}\n  {certificate.claim}")
    checks = {
        name: check(path, network, exact=exact) for name, exact in (("float64", False), ("exact", True))
    }
    for name, result in checks.items():
        say(f"  independent check, {name}: {'accepted' if result.ok else 'refused: ' + result.reason}")
    refusals = _refusals(certificate, network, folder)
    for row in refusals:
        say(f"  {row['mutation']}: {'refused: ' + row['reason'] if row['refused'] else 'ACCEPTED'}")
    plots.bound_against_time(comparison, folder / "bounds.png")
    say(f"\nPlot of bound against time: {folder / 'bounds.png'}")
    safety, safe = safe_digits(network, digits, labels, folder, say)
    seconds = time.perf_counter() - start
    say(f"Done in {seconds:.1f} s.")
    good = safe and all(r.ok for r in checks.values()) and all(row["refused"] for row in refusals)
    if arguments.json:
        data = {
            "accuracy": accuracy,
            "comparison": comparison.to_dict(),
            "checks": {k: r.ok for k, r in checks.items()},
            "refusals": refusals,
            "points": safety,
            "seconds": seconds,
        }
        print(json_text(data))
    return 0 if good else 1
