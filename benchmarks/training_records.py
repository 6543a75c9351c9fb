"""Certified accuracy of dense nets trained for it on MNIST, beside the field's records.

    python benchmarks/training_records.py [--seeds 3] [--recipes small,large,...] [--resume]

writes docs/results/training_records.json (a row per run, as it goes) and training_records.md. Takes
`mnist.npz` from the data folder (LMIKIT_DATA, or ../shared/data). One BLAS thread. Every choice in RECIPES
was made on the validation images, 5,000 of the training set; the page reports the test images.
"""

import abc
import argparse
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import lmikit
from lmikit import training
from lmikit._arrays import blas_threads
from lmikit.attacks import Attack

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = pathlib.Path(os.environ.get("LMIKIT_RESULTS", ROOT / "docs" / "results"))
RADII = {"0.3": 0.3, "1.58": 1.58, "36/255": 36 / 255, "72/255": 72 / 255, "108/255": 108 / 255}
Data = dict[str, tuple[np.ndarray, np.ndarray]]
Forward = Callable[[np.ndarray], np.ndarray]
Trained = tuple[lmikit.Network, Forward, Callable[[], lmikit.PairwiseBounds]]

PAGE = """# Certified accuracy on MNIST

Written by `python benchmarks/training_records.py`; mean and standard deviation over the seeds, in percent.

The field's records (GloRo 95.7 at 0.3; CRM-LipLT 63.4 at 1.58; Sandwich 98.2 / 97.0 / 95.4 at 36, 72 and 108
over 255, all convolutional) are on MNIST's original test set. Ours is another, random split of the same
70,000 digits: 55,000 to train, 5,000 to choose by, 10,000 to test. Radii are l2, pixels in [0, 1].

All certified figures are proven: with global bounds, per pair of classes, of the float64 weights in real
arithmetic (logits computed in float64, an error of 1e-9 allowed for); at a point by `certify_points`, on the
first {images} test images. PGD ({steps} steps) attacks these {images} images; what it leaves bounds the
certified share of the same images from above. Seconds are CPU seconds of training on one thread, and in the
last column of the certificates at a point, per image.
"""


def mnist() -> Data:
    """Images (n, 784) in [0, 1] and labels: train, validation, test."""
    file = pathlib.Path(os.environ.get("LMIKIT_DATA", ROOT.parent / "shared" / "data")) / "mnist.npz"
    with np.load(file) as d:
        X, y = (d["x_train"].reshape(-1, 784) / 255).astype(np.float32), d["y_train"].astype(np.int64)
        test = (d["x_test"].reshape(-1, 784) / 255).astype(np.float32), d["y_test"].astype(np.int64)
    order = np.random.default_rng(7).permutation(len(X))
    return {
        "train": (X[order[:55000]], y[order[:55000]]),
        "validation": (X[order[55000:]], y[order[55000:]]),
        "test": test,
    }


def shifted(rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every image moved by up to one pixel in each direction."""
    images, order = rows.reshape(-1, 28, 28), generator.permutation(len(rows))
    result = np.zeros_like(images)
    moves = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    for i, (a, b) in enumerate(moves):
        k = order[i :: len(moves)]
        into = slice(max(a, 0), 28 + min(a, 0)), slice(max(b, 0), 28 + min(b, 0))
        out = slice(max(-a, 0), 28 + min(-a, 0)), slice(max(-b, 0), 28 + min(-b, 0))
        result[(k, *into)] = images[(k, *out)]
    return result.reshape(rows.shape)


@dataclasses.dataclass(frozen=True)
class AbstractOrthogonal(abc.ABC):
    """Orthogonal hidden layers, a free last one, a loss that sees L_ij; certified by global bounds."""

    dims: tuple[int, ...]
    activation: str
    loss: training.AbstractMarginLoss
    epochs: int
    batch: int = 250
    rate: float = 5e-3
    at_a_point = False

    @abc.abstractmethod
    def train(self, data: Data, seed: int) -> Trained:
        """The network, its forward pass and what proves its pairs."""


@dataclasses.dataclass(frozen=True)
class Orthogonal(AbstractOrthogonal):
    """With NumPy."""

    def train(self, data: Data, seed: int) -> Trained:
        X, y = data["train"]
        steps = self.epochs * (len(X) // self.batch)
        loss = dataclasses.replace(self.loss, ramp=int(0.3 * steps))
        gain = training.NonexpansiveGain()
        callback = training.DenseLoss(
            X, y, loss, gain=gain, activation=self.activation, batch=self.batch, seed=seed, augment=shifted
        )
        retraction = training.Orthogonal()
        start = retraction.projected(training.initial_weights(self.dims, seed, np.float32))
        adam = training.Adam(learning_rate=self.rate, decay="cosine")
        found = training.sgd(callback, start, steps=steps, optimiser=adam, retraction=retraction).weights
        weights = retraction.projected([w.astype(np.float64) for w in found])
        forward = functools.partial(training.dense_forward, weights, activation=self.activation)
        network = training.dense_network(weights, self.activation)
        return network, forward, functools.partial(lmikit.pairwise_bounds, network, lmikit.SpectralProduct())


@dataclasses.dataclass(frozen=True)
class OrthogonalInTorch(AbstractOrthogonal):
    """What `Orthogonal` trains with NumPy, as a torch module: its optimiser, its gradients, `from_torch`."""

    def train(self, data: Data, seed: int) -> Trained:
        import torch

        torch.manual_seed(seed)
        torch.set_num_threads(1)
        X, y = data["train"]
        maps = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(self.dims)]
        after = [training.layers.activation(self.activation, m.out_features) for m in maps]
        model = torch.nn.Sequential(*itertools.chain(*zip(maps, after, strict=True)))[:-1]
        per_epoch, generator = len(X) // self.batch, np.random.default_rng([seed, 0x74])
        loss = dataclasses.replace(self.loss, ramp=int(0.3 * self.epochs * per_epoch))
        adam = torch.optim.Adam(model.parameters(), self.rate)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.epochs * per_epoch)
        hidden = [m.weight for m in maps[:-1]]
        training.layers.keep_orthogonal(adam, hidden)
        for step in range(self.epochs * per_epoch):
            if step % per_epoch == 0:
                order = generator.permutation(len(X))
            k = order[step % per_epoch * self.batch :][: self.batch]
            rows, labels = torch.from_numpy(shifted(X[k], generator)), torch.from_numpy(y[k])
            adam.zero_grad()
            gains = training.product_gains([maps[-1].weight])
            loss.value(model(rows), labels, gains, loss.at(step)).backward()
            adam.step()
            decay.step()
        training.layers.make_orthogonal(hidden)
        network = lmikit.adapters.from_torch(model.eval())
        return network, network, functools.partial(lmikit.pairwise_bounds, network, lmikit.SpectralProduct())


@dataclasses.dataclass(frozen=True)
class Attacked:
    """ReLU, trained on PGD's points with a penalty on norms; certified at the point."""

    dims: tuple[int, ...]
    radius: float
    penalty: float
    epochs: int
    radii: tuple[str, ...]
    batch: int = 250
    rate: float = 2e-3
    inner: int = 3
    at_a_point = True

    def train(self, data: Data, seed: int) -> Trained:
        X, y = data["train"]
        model = training.MLP(dims=self.dims, loss="cross_entropy")
        batches = training.AdversarialMinibatches(
            model, X, y, self.radius, steps=self.inner, batch_size=self.batch, seed=seed
        )
        callback = training.with_norm_penalty(batches, self.penalty)
        steps = self.epochs * batches.batches_per_epoch
        adam = training.Adam(learning_rate=self.rate, decay="cosine")
        weights = training.sgd(callback, model.initial(seed), steps=steps, optimiser=adam).weights
        network = model.network(weights)
        forward = functools.partial(training.dense_forward, weights)
        return network, forward, functools.partial(lmikit.pairwise_bounds, network, lmikit.SpectralProduct())


@dataclasses.dataclass(frozen=True)
class AttackedRows:
    """As `Attacked`, in float32 from random points of the ball, on moved images, the radius growing.

    With `beta` by TRADES: the divergence of the attacked prediction from the clean one beside the clean loss.
    """

    dims: tuple[int, ...]
    radius: float
    penalty: float
    epochs: int
    radii: tuple[str, ...]
    batch: int = 250
    rate: float = 2e-3
    inner: int = 3
    beta: float | None = None
    at_a_point = True

    def train(self, data: Data, seed: int) -> Trained:
        X, y = data["train"]
        steps = self.epochs * (len(X) // self.batch)
        rows_moved = training.RowAttack(self.radius, self.inner, ramp=int(0.3 * steps))
        attack = rows_moved if self.beta is None else training.TRADES(rows_moved, self.beta)
        loss = training.CrossEntropy()
        rows = training.DenseLoss(X, y, loss, batch=self.batch, seed=seed, augment=shifted, attack=attack)
        callback = training.with_norm_penalty(rows, self.penalty)
        start = training.initial_weights(self.dims, seed, np.float32)
        adam = training.Adam(learning_rate=self.rate, decay="cosine")
        found = training.sgd(callback, start, steps=steps, optimiser=adam).weights
        weights = [w.astype(np.float64) for w in found]
        network = training.dense_network(weights)
        forward = functools.partial(training.dense_forward, weights)
        return network, forward, functools.partial(lmikit.pairwise_bounds, network, lmikit.SpectralProduct())


@dataclasses.dataclass(frozen=True)
class PairGains:
    """ReLU and a loss that sees L_ij: of LipSDP with trained multipliers, or of the product of norms.

    Both are certified by LipSDP per pair: with the multipliers that were trained, or solved for.
    """

    dims: tuple[int, ...]
    in_the_loop: bool
    epochs: int
    eps: float
    radii: tuple[str, ...] = ("0.3", "1.58")
    batch: int = 500
    rate: float = 5e-3
    at_a_point = False

    def train(self, data: Data, seed: int) -> Trained:
        X, y = data["train"]
        steps = self.epochs * (len(X) // self.batch)
        loss = training.WorstCaseLogits(self.eps, ramp=int(0.3 * steps))
        gain = training.TrainableMultipliers() if self.in_the_loop else training.ProductGain()
        start = training.initial_weights(self.dims, seed, np.float32)
        if isinstance(gain, training.TrainableMultipliers):
            start = gain.start(start)
        callback = training.DenseLoss(X, y, loss, gain=gain, batch=self.batch, seed=seed, augment=shifted)
        adam = training.Adam(learning_rate=self.rate, decay="cosine")
        found = training.sgd(callback, start, steps=steps, optimiser=adam).weights
        found = [w.astype(np.float64) for w in found]
        weights = found[: 2 * len(self.dims) - 2]
        network = training.dense_network(weights)
        prove = functools.partial(lmikit.pairwise_bounds, network, lmikit.LipSDP(tol=1e-4), each_pair=True)
        if isinstance(gain, training.TrainableMultipliers):
            prove = functools.partial(lmikit.pairwise_bounds, network, witnesses=gain.witnesses(found))
        return network, functools.partial(training.dense_forward, weights), prove


LOOP_NETS = {
    "16": ((784, 16, 10), 8, 1.0),
    "64": ((784, 64, 10), 8, 0.5),
    "128-64": ((784, 128, 64, 10), 6, 0.5),
}
RECIPES: dict[str, Orthogonal | OrthogonalInTorch | Attacked | AttackedRows | PairGains] = {
    "small": Orthogonal((784, 256, 256, 10), "abs", training.WorstCaseLogits(0.5), 60),
    "torch-orthogonal": OrthogonalInTorch((784, 256, 256, 10), "abs", training.WorstCaseLogits(0.5), 40),
    "large": Orthogonal(
        (784, 256, 256, 256, 256, 10), "half_abs", training.CertifiedHinge(2.0, sharpness=3.0), 20
    ),
    "point": Attacked((784, 100, 100, 10), 0.6, 1e-2, 10, ("0.3", "108/255")),
    "far": AttackedRows((784, 128, 100, 10), 1.8, 5e-2, 25, ("1.58", "0.3")),
}
RECIPES |= {
    f"{kind}-{name}": PairGains(dims, kind == "loop", epochs, eps)
    for name, (dims, epochs, eps) in LOOP_NETS.items()
    for kind in ("loop", "product")
}
TRADE_OFF = [(beta, penalty) for beta in (None, 6.0) for penalty in (0.0, 1e-2)]
RECIPES |= {
    f"{'pgd' if beta is None else 'trades'}-{penalty:g}": AttackedRows(
        (784, 100, 100, 10), 0.6, penalty, 6, ("0.3", "108/255"), beta=beta
    )
    for beta, penalty in TRADE_OFF
}
GLOBAL = (Orthogonal, OrthogonalInTorch)  # shown at all radii
WORDS = {
    "small": "orthogonal layers, |x|, worst-case logits at 0.5, 784-256-256-10",
    "torch-orthogonal": "the same in torch: orthogonal layers, |x|, worst-case logits at 0.5, 784-256-256-10",
    "large": "orthogonal layers, half |x|, certified hinge at 2, 784-256-256-256-256-10",
    "point": "ReLU, PGD at 0.6 and norm penalty 1e-2, 784-100-100-10",
    "far": "ReLU, PGD at 1.8 and norm penalty 5e-2, 784-128-100-10",
}
ATTACK_STEPS = 20
FIRST = Attack(steps=50, restarts=5)  # what certify_points tries before it searches


def attacked(network: lmikit.Network, X: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Whether each image is still classified rightly at the points that PGD found."""
    worst = training.pgd_attack(
        network, X, y, radius, loss="cross_entropy", steps=ATTACK_STEPS, step_size=radius / 8
    )
    return np.asarray(network(worst).argmax(axis=1) == y)


def by_global_bounds(bounds: lmikit.PairwiseBounds, logits: np.ndarray, y: np.ndarray) -> dict[str, float]:
    found = lmikit.certified_accuracy(bounds, logits, y, list(RADII.values()), logit_error=1e-9)
    return dict(zip(RADII, found.certified.tolist(), strict=True))


def run(name: str, seed: int, data: Data, images: int, part: str) -> dict[str, Any]:
    """Train and certify once; shares of all images, or at a point of the first `images`."""
    recipe, began = RECIPES[name], time.process_time()
    with blas_threads(1):
        network, forward, prove = recipe.train(data, seed)
        row: dict[str, Any] = {"recipe": name, "seed": seed, "part": part, "images": images}
        row["train_seconds"] = time.process_time() - began
        bounds = prove()
        row["prove_seconds"] = time.process_time() - began - row["train_seconds"]
        X, y = data[part][0].astype(np.float64), data[part][1]
        logits = forward(X)
        row["clean"] = float((logits.argmax(axis=1) == y).mean())
        row["global"] = by_global_bounds(bounds, logits, y)
        X, y = X[:images], y[:images]
        row["global_same"] = by_global_bounds(bounds, logits[:images], y)
        if isinstance(recipe, Attacked | AttackedRows):
            row["point"], row["point_seconds"] = {}, {}
            for label in recipe.radii:
                began = time.process_time()
                table = lmikit.certify_points(network, X, y, eps=RADII[label], attack=FIRST)
                print(f"{name} {seed} within {label}:\n{table}", flush=True)
                row["point"][label] = float(table.certified_accuracy)
                row.setdefault("margin_attack", {})[label] = float(table.attacked_accuracy)
                row["point_seconds"][label] = (time.process_time() - began) / len(X)
        row["pgd"] = {
            label: float(attacked(network, X, y, RADII[label]).mean())
            for label in (RADII if isinstance(recipe, GLOBAL) else recipe.radii)
        }
    return row


def cell(values: list[float], scale: float = 100.0) -> str:
    spread = f" ± {np.std(values) * scale:.2f}" if len(values) > 1 else ""
    return f"{np.mean(values) * scale:.2f}{spread}"


def page(rows: list[dict[str, Any]], images: int) -> str:
    lines = [PAGE.format(images=images, steps=ATTACK_STEPS)]
    for name, recipe in RECIPES.items():
        own = [r for r in rows if r["recipe"] == name and r["part"] == "test"]
        if not own or name not in WORDS:
            continue
        labels = tuple(RADII) if isinstance(recipe, GLOBAL) else recipe.radii
        lines += [f"## {WORDS[name]}", ""]
        lines += [
            f"{len(own)} seed{'s' * (len(own) > 1)}, {recipe.epochs} epochs, "
            f"clean {cell([r['clean'] for r in own])}, trained in "
            f"{np.mean([r['train_seconds'] for r in own]):.0f} CPU seconds.",
            "",
            f"| radius | global, all | at the point ({images}) | global ({images}) | PGD leaves ({images}) "
            "| CPU s per image |",
            "|---|---|---|---|---|---|",
        ]
        for label in labels:
            point = [r["point"][label] for r in own] if "point" in own[0] else []
            seconds = [r["point_seconds"][label] for r in own] if point else []
            lines.append(
                f"| {label} | {cell([r['global'][label] for r in own])} | {cell(point) if point else '-'} | "
                f"{cell([r['global_same'][label] for r in own])} | "
                f"{cell([r['pgd'][label] for r in own])} | "
                f"{f'{np.mean(seconds):.3f}' if seconds else '-'} |"
            )
        for label in labels if "margin_attack" in own[0] else ():
            left = cell([r["margin_attack"][label] for r in own])
            lines += ["", f"Within {label}, attacks on margins by `certify_points` leave {left}."]
        lines.append("")
    return "\n".join(lines + loop_table(rows, images) + trade_off_table(rows, images))


TRADES = """## PGD and TRADES, with and without the norm penalty

ReLU 784-100-100-10, trained at 0.6 for 6 epochs: cross-entropy at attacked points (PGD), or the clean loss
plus 6 times the divergence of the attacked prediction (TRADES, Zhang et al., ICML 2019). At the point, on the
first {images} test images: what PGD leaves / what is certified / the latter in the former.

| training | penalty | seeds | clean | 0.3: PGD | certified | share | 108/255 | certified | share | train s |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def trade_off_table(rows: list[dict[str, Any]], images: int) -> list[str]:
    lines, own_images = [], images
    for beta, penalty in TRADE_OFF:
        kind = "PGD" if beta is None else "TRADES"
        name = f"{kind.lower()}-{penalty:g}"
        own = [r for r in rows if r["recipe"] == name and r["part"] == "test"]
        if own:
            own_images = min(r.get("images", images) for r in own)
            cells = [cell([r["clean"] for r in own])]
            for e in ("0.3", "108/255"):
                left, proven = [r["pgd"][e] for r in own], [r["point"][e] for r in own]
                cells += [cell(left), cell(proven), f"{np.mean(proven) / np.mean(left):.3f}"]
            cells.append(f"{np.mean([r['train_seconds'] for r in own]):.0f}")
            lines.append(f"| {kind} | {penalty:g} | {len(own)} | {' | '.join(cells)} |")
    return [TRADES.format(images=own_images) + "\n".join(lines), ""] if lines else []


LOOP = """## ReLU, the exact semidefinite program in the loop

Worst-case logits at eps with L_ij of LipSDP per pair of classes (multipliers trained with the weights, and
proven per pair without a solve), beside the same training with the product of norms; the latter's networks
are certified by LipSDP per pair, solved. Global bounds, all test images; PGD on the first {images}.

| network, epochs, eps | L_ij in the loss | seeds | clean | 0.3 | 1.58 | PGD 0.3 | 1.58 | train s | prove s |
|---|---|---|---|---|---|---|---|---|---|
"""


def loop_table(rows: list[dict[str, Any]], images: int) -> list[str]:
    lines = []
    for net, (dims, epochs, eps) in LOOP_NETS.items():
        for kind, words in (("product", "product of norms"), ("loop", "LipSDP")):
            own = [r for r in rows if r["recipe"] == f"{kind}-{net}" and r["part"] == "test"]
            if own:
                cells = [cell([r["clean"] for r in own])]
                cells += [
                    cell([r[key][e] for r in own]) for key in ("global", "pgd") for e in ("0.3", "1.58")
                ]
                cells += [f"{np.mean([r[f'{key}_seconds'] for r in own]):.0f}" for key in ("train", "prove")]
                name = f"{'-'.join(map(str, dims))}, {epochs}, {eps}"
                lines.append(f"| {name} | {words} | {len(own)} | {' | '.join(cells)} |")
    return [LOOP.format(images=images) + "\n".join(lines), ""] if lines else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--resume", action="store_true", help="leave out runs that the JSON file has")
    options = parser.parse_args()
    data, file = mnist(), OUT / "training_records.json"
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    for name in options.recipes.split(","):
        for seed in range(options.seeds):
            if options.resume and any((r["recipe"], r["seed"]) == (name, seed) for r in rows):
                continue
            row = run(name, seed, data, options.images, options.part)
            print(json.dumps(row), flush=True)
            if options.part == "validation":  # a choice, not a result
                continue
            same = (name, seed)
            rows = [r for r in rows if (r["recipe"], r["seed"]) != same] + [row]
            file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if options.part == "test":
        (OUT / "training_records.md").write_text(
            page(rows, max(r.get("images", 1000) for r in rows)), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
