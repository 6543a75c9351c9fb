"""Convex training of shallow ReLU networks beside SGD, adversarial training and ADMM.

    python benchmarks/convex_shallow.py [--only servo,wine] [--trials 10] [--figure-trials 10] [--report]

Data: servo, machine, solar and wine of the data folder ($LMIKIT_DATA, or ../shared/data beside the
repository; one that is absent is left out, and the page says so), a generated rastrigin set, and for
cross-entropy the digits of scikit-learn. Each trial is written to docs/results/convex_shallow.jsonl as
it ends, and trials that are there already are not run again, except that one without the figure's attacks
is run anew where --figure-trials asks for them; docs/results/convex_shallow.md and .png come from it.
"""

import argparse
import csv
import itertools
import json
import os
import pathlib
import platform
import time
from typing import Any

import numpy as np

from lmikit import Network, certified_accuracy, lipschitz, pairwise_bounds
from lmikit.training import (
    MLP,
    Adam,
    AdversarialMinibatches,
    Minibatches,
    admm_pauli,
    convex_shallow,
    pgd_attack,
    reduce_lipschitz,
    sgd,
    with_weight_decay,
)

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
UCI = pathlib.Path(os.environ.get("LMIKIT_DATA", ROOT.parent / "shared" / "data")) / "uci"
FILES = {
    "servo": "servo.tsv",
    "machine": "machine.csv",
    "solar": "flare.data2",
    "wine": "winequality-red.csv",
}
NAMES = (*FILES, "rastrigin", "digits")
UNITS, LIPSCHITZ, DECAY = 100, 0.01, 0.01
EPOCHS, BATCH, RATE = 200, 32, 1e-2
ADAM = Adam(learning_rate=RATE, decay="cosine")
PGD_RADIUS = 0.3
BASES = ("SGD", "PGD", "ADMM")
DIGIT_UNITS, DIGIT_LIPSCHITZ, DIGIT_RADIUS = 20, 1e-3, 0.3
RADII = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
PAPER = {  # min / max / average per cent, Table 1 of the paper
    "servo": ("20.8 / 25.4 / 23.7", "3.8 / 6.6 / 5.9"),
    "machine": ("9.1 / 11.1 / 9.7", "5.9 / 8.3 / 7.5"),
    "solar": ("2.8 / 4.3 / 3.8", "2.7 / 5.3 / 3.7"),
    "rastrigin": ("3.7 / 3.9 / 3.9", "4.4 / 3.2 / 3.9"),
    "wine": ("1.2 / 2.1 / 1.6", "3.5 / 7.2 / 5.6"),
}
KINDS = ("beta", "alternating", "joint", "crossed")
UPDATES = 12
OLDER = (
    "Trials without seconds below are of an earlier run: Clarabel, five more joint programs (wine: one), "
    "and no ADMM from PGD."
)
Row = dict[str, Any]


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and target of a data set, every column scaled to mean 0 and variance 1."""
    if name == "servo":
        table = np.loadtxt(UCI / "servo.tsv")
    elif name == "machine":  # two names, six numbers, the target, a published estimate of it
        with open(UCI / "machine.csv", encoding="utf-8", newline="") as file:
            table = np.array([[float(v) for v in row[2:9]] for row in list(csv.reader(file))[1:]])
    elif name == "wine":
        table = np.loadtxt(UCI / "winequality-red.csv", delimiter=";", skiprows=1)
    elif name == "solar":
        table = np.loadtxt(UCI / "flare.data2")
        table = table[:, table.std(axis=0) > 0]
    else:
        x = np.random.default_rng(2026).uniform(-1.0, 1.0, (400, 4))
        table = np.column_stack([x, 40.0 + (x**2 - 10.0 * np.cos(2 * np.pi * x)).sum(axis=1)])
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    return table[:, :-1], table[:, -1]


def run_trial(name: str, trial: int, figure: bool) -> Row:
    """One split, one seed: all baselines and the convex programs that start from them."""
    X, y = load(name)
    order = np.random.default_rng([7, trial]).permutation(len(y))
    test, train = order[: len(y) // 5], order[len(y) // 5 :]
    X, X_test, y, y_test = X[train], X[test], y[train], y[test]
    model = MLP(dims=(X.shape[1], UNITS, 1), output_bias=False)
    batches = Minibatches(model, X, y, batch_size=BATCH, seed=trial)
    steps = EPOCHS * batches.batches_per_epoch
    row: Row = {"data": name, "trial": trial, "rows": len(y), "inputs": X.shape[1]}
    began = time.process_time()
    decayed = with_weight_decay(batches, DECAY, (0, 1, 2))
    weights = sgd(decayed, model.initial(trial), steps=steps, optimiser=ADAM).weights
    base = model.network(weights)
    row["sgd_seconds"] = time.process_time() - began
    row["beta"], _ = improved(base, X, y, weight_decay=DECAY)
    began = time.process_time()
    admm = admm_pauli(batches.full, weights, lipschitz=LIPSCHITZ, mu=0.1, iterations=30)
    row["admm_seconds"] = time.process_time() - began
    tuned = model.network(admm.weights)
    row["joint"], joint = improved(tuned, X, y, lipschitz=LIPSCHITZ)
    paper = {"multipliers": "alternating", "max_iterations": 3, "tol": 1e-3}
    row["alternating"], _ = improved(tuned, X, y, lipschitz=LIPSCHITZ, **paper)
    row["crossed"], _ = improved(tuned, X, y, lipschitz=LIPSCHITZ, pattern_updates=UPDATES)
    row["reduced"], _ = improved(base, X, y, call=reduce_lipschitz, programs=4)
    if figure:
        nets = {"SGD": base, "SGD-ADMM": tuned}
        nets["SGD-C-lip"] = convex_shallow(base, X, y, lipschitz=LIPSCHITZ).network
        attacked = AdversarialMinibatches(model, X, y, PGD_RADIUS, steps=5, batch_size=BATCH, seed=trial)
        robust = sgd(attacked, model.initial(trial), steps=steps, optimiser=ADAM).weights
        nets["PGD"] = model.network(robust)
        again = admm_pauli(batches.full, robust, lipschitz=LIPSCHITZ, mu=0.1, iterations=30)
        nets["PGD-ADMM"] = model.network(again.weights)
        nets["PGD-C-lip"] = convex_shallow(nets["PGD"], X, y, lipschitz=LIPSCHITZ).network
        nets["ADMM-C-lip"] = joint
        row["mse"] = {key: adversarial(net, X_test, y_test) for key, net in nets.items()}
        row["bounds"] = {key: lipschitz(net).bound for key, net in nets.items()}
    return row


def run_digits(trial: int) -> Row:
    """Ten outputs and cross-entropy: 1,000 digits of 8 x 8 pixels for training, the rest for tests."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X = X / 16.0
    order = np.random.default_rng([7, trial]).permutation(len(y))
    test, train = order[1000:], order[:1000]
    model = MLP(dims=(64, DIGIT_UNITS, 10), loss="cross_entropy", output_bias=False)
    batches = Minibatches(model, X[train], y[train], batch_size=BATCH, seed=trial)
    began = time.process_time()
    steps = 30 * batches.batches_per_epoch
    weights = sgd(with_weight_decay(batches, 1e-3, (0, 1, 2)), model.initial(trial), steps=steps).weights
    base = model.network(weights)
    row: Row = {"data": "digits", "trial": trial, "rows": 1000, "inputs": 64}
    row["sgd_seconds"] = time.process_time() - began
    nets = {"SGD": base}
    for key, options in (("joint", {}), ("freed", {"free_outputs": True, "pattern_updates": 1})):
        row[key], nets[key] = improved(
            base, X[train], y[train], lipschitz=DIGIT_LIPSCHITZ, loss="cross_entropy", **options
        )
    row["reduced"], nets["reduced"] = improved(
        base, X[train], y[train], call=reduce_lipschitz, loss="cross_entropy", programs=4
    )
    row["bounds"] = {key: lipschitz(net).bound for key, net in nets.items()}
    row["accuracy"] = {k: float(np.mean(net(X[test]).argmax(axis=1) == y[test])) for k, net in nets.items()}
    row["certified"] = {k: certified(net, X[test], y[test]) for k, net in nets.items()}
    return row


def improved(
    network: Network, X: np.ndarray, y: np.ndarray, call: Any = convex_shallow, **options: Any
) -> Any:
    """(the figures of a call, its network); CPU seconds, the proof included."""
    began = time.process_time()
    result = call(network, X, y, **options)
    return {**summary(result), "seconds": time.process_time() - began}, result.network


def certified(network: Network, X: np.ndarray, y: np.ndarray) -> float:
    """The share of rows that are right and proven within DIGIT_RADIUS."""
    return float(certified_accuracy(pairwise_bounds(network), network(X), y, DIGIT_RADIUS).certified[0])


def summary(result: Any) -> Row:
    objectives = [step.objective for step in result.history]
    return {
        "before": result.initial_objective,
        "after": result.objective,
        "gain": 100.0 * result.improvement,
        "loss_before": result.history[0].loss,
        "loss_after": result.history[-1].loss,
        "gap": max(
            (step.gap / step.objective for step in result.history if step.gap is not None), default=None
        ),
        "bound": result.certificate.bound,
        "monotone": all(b <= a for a, b in itertools.pairwise(objectives)),
    }


def adversarial(network: Network, X: np.ndarray, y: np.ndarray) -> list[float]:
    """Mean squared error on the test rows under attacks of each radius."""
    return [float(np.mean((network(pgd_attack(network, X, y, r))[:, 0] - y) ** 2)) for r in RADII]


def spread(values: list[float], trials: int) -> str:
    """Minimum, maximum and mean, with the number of values where not every trial has one."""
    if not values:
        return "-"
    text = f"{min(values):.1f} / {max(values):.1f} / {np.mean(values):.1f}"
    return text if len(values) == trials else f"{text} ({len(values)} trials)"


def report(rows: list[Row]) -> str:
    """The tables, as Markdown."""
    kinds = (*KINDS, "reduced")
    monotone = all(r[k]["monotone"] for r in rows for k in kinds if k in r)
    gaps = [r[k]["gap"] for r in rows for k in kinds if k in r]
    gap = max((g for g in gaps if g is not None), default=np.nan)
    groups = {name: [r for r in rows if r["data"] == name] for name in NAMES if name != "digits"}
    absent = [name for name, file in FILES.items() if not (UCI / file).is_file()]
    lines = [
        "# Convex training of shallow ReLU networks",
        "",
        "Made by `python benchmarks/convex_shallow.py`; raw numbers in `convex_shallow.jsonl`. "
        f"{UNITS} hidden units, columns scaled to variance 1, a random fifth of the rows held out for tests, "
        f"{EPOCHS} epochs of Adam (batches of {BATCH}, rate {RATE} falling to 0, weight decay {DECAY}), "
        f"loss = mean squared error, weight {LIPSCHITZ} of L^2, weight decay {DECAY}. ADMM: 30 iterations of "
        "100 full-batch steps from the SGD net, the best iterate kept, its multipliers optimised afterwards; "
        "the paper does not publish its budget. Solver: the interior point method of `convex_shallow`. "
        f"Python {platform.python_version()}, two cores shared with other work.",
        *([f"Not run, for want of the data: {', '.join(absent)}."] if absent else []),
        "",
        "## Reduction of the training objective, per cent: min / max / mean over the trials",
        "",
        "| data | trials | weight decay: C-beta over SGD | (paper) | Lipschitz, alternating, over ADMM "
        "| joint | joint, patterns updated | (paper) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, group in groups.items():
        if group:
            gains = [spread([r[k]["gain"] for r in group if k in r], len(group)) for k in KINDS]
            decay, lip = PAPER[name]
            lines.append(f"| {name} | {len(group)} | {' | '.join([gains[0], decay, *gains[1:], lip])} |")
    lines += [
        "",
        "The paper's settings (weights of the penalties, epochs, splits) are not all published, so its "
        "figures show the order of magnitude only. Alternating (the paper's method): at most three "
        f"iterations; patterns updated: at most {UPDATES} more joint programs. "
        "Rastrigin: 400 points of [-1, 1]^4. "
        f"Every history falls monotonically: {monotone}. Largest gap that a program stated, relative to the "
        f"objective: {gap:.1e}.",
        *([OLDER] if any("admm_seconds" not in r for r in rows if r["data"] != "digits") else []),
        "",
        "## CPU seconds (whole calls, proof included; largest over the trials)",
        "",
        "| data | rows x inputs | SGD | ADMM | C-beta | alternating | joint | updated | reduced |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, group in groups.items():
        if group:
            timed = [r for r in group if "admm_seconds" in r]
            if not timed:
                continue
            seconds = [max((r[k] for r in timed), default=np.nan) for k in ("sgd_seconds", "admm_seconds")]
            seconds += [max((r[k]["seconds"] for r in timed if k in r), default=np.nan) for k in kinds]
            cells = " | ".join(f"{s:.1f}" for s in seconds)
            lines.append(f"| {name} | {group[0]['rows']} x {group[0]['inputs']} | {cells} |")
    return "\n".join([*lines, *reductions(groups), *digits(rows), *attacks(groups)]) + "\n"


def reductions(groups: dict[str, list[Row]]) -> list[str]:
    lines = [
        "",
        "## One call after SGD: `reduce_lipschitz`, means over the trials",
        "",
        "| data | trials | proven L before | after | mean squared error before | after |",
        "|---|---|---|---|---|---|",
    ]
    for name, group in groups.items():
        found = [r["reduced"] for r in group if "reduced" in r]
        if found:
            before, after = (np.mean([np.sqrt(r[k]) for r in found]) for k in ("before", "after"))
            losses = [np.mean([r[k] for r in found]) for k in ("loss_before", "loss_after")]
            lines.append(
                f"| {name} | {len(found)} | {before:.3f} | {after:.3f} | {losses[0]:.4f} | {losses[1]:.4f} |"
            )
    return lines


def digits(rows: list[Row]) -> list[str]:
    group = [r for r in rows if r["data"] == "digits"]
    if not group:
        return []
    lines = [
        "",
        "## Ten outputs and cross-entropy: digits of 8 x 8 pixels in [0, 1], means over the trials",
        "",
        f"64-{DIGIT_UNITS}-10, 1,000 rows to train, 797 to test, 30 epochs of Adam, weight decay 0.001. "
        f"Weight {DIGIT_LIPSCHITZ} of L^2; certified: share of the test rows that no perturbation of l2 norm "
        f"{DIGIT_RADIUS} misclassifies, proven per pair of classes. {len(group)} trials.",
        "",
        "| net | cross-entropy | proven L | test accuracy | certified | CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for key in group[0]["bounds"]:
        loss = [r["joint"]["loss_before"] if key == "SGD" else r[key]["loss_after"] for r in group]
        cells = [f"{np.mean([r[k][key] for r in group]):.3f}" for k in ("bounds", "accuracy", "certified")]
        seconds = max(r["sgd_seconds"] if key == "SGD" else r[key]["seconds"] for r in group)
        lines.append(f"| {key} | {np.mean(loss):.4f} | {' | '.join(cells)} | {seconds:.1f} |")
    return lines


def attacks(groups: dict[str, list[Row]]) -> list[str]:
    lines = [
        "",
        "## Test error under attack: median over trials of the mean squared error, projected gradient, l2",
        "",
        f"PGD is adversarial training with radius {PGD_RADIUS}. X-ADMM is ADMM from X, X-C-lip the joint "
        "program from X; the base ADMM is SGD-ADMM. In brackets: at how many radii the net is the best "
        "of its base.",
        "",
        "| data | net | trials | proven L | " + " | ".join(f"radius {r:g}" for r in RADII) + " |",
        "|---|---|---|---|" + "---|" * len(RADII),
    ]
    for name, group in groups.items():
        figures = [r["mse"] for r in group if "mse" in r]
        for base in BASES if figures else ():
            nets = [f"{base}{s}" for s in ("", "-ADMM", "-C-lip")]
            nets = ["SGD-ADMM", "ADMM-C-lip"] if base == "ADMM" else nets
            nets = [net for net in nets if all(net in mse for mse in figures)]
            medians = np.array([np.median([mse[net] for mse in figures], axis=0) for net in nets])
            for net, errors in zip(nets, medians, strict=True):
                bound = np.mean([r["bounds"][net] for r in group if "mse" in r])
                cells = " | ".join(f"{e:.3f}" for e in errors)
                wins = int((errors <= medians.min(axis=0)).sum())
                label = f"{net} ({wins})" if base != "ADMM" or net == "ADMM-C-lip" else f"ADMM ({wins})"
                lines.append(f"| {name} | {label} | {len(figures)} | {bound:.3f} | {cells} |")
    return [*lines, "", "![Test error against attack size](convex_shallow.png)"]


def plot(rows: list[Row], path: pathlib.Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [n for n in NAMES if any(r["data"] == n and "mse" in r for r in rows)]
    if not names:
        return
    figure = Figure(figsize=(3.2 * len(names), 2.8 * len(BASES)), layout="constrained")
    FigureCanvasAgg(figure)
    for i, base in enumerate(BASES):
        for k, name in enumerate(names):
            axes = figure.add_subplot(len(BASES), len(names), i * len(names) + k + 1)
            group = [r["mse"] for r in rows if r["data"] == name and "mse" in r]
            first = "SGD-ADMM" if base == "ADMM" else base
            nets = {base: first, f"{base}-ADMM": f"{base}-ADMM", f"{base}-C-lip": f"{base}-C-lip"}
            for (label, net), style in zip(nets.items(), ("C0--", "C1:", "C2-"), strict=True):
                if all(net in mse for mse in group):
                    axes.plot(RADII, np.median([mse[net] for mse in group], axis=0), style, label=label)
            axes.set_title(f"{name}, from {base}", fontsize=9)
            axes.grid(visible=True, alpha=0.3)
            axes.legend(fontsize=7)
            if i == len(BASES) - 1:
                axes.set_xlabel("attack radius (l2)")
            if k == 0:
                axes.set_ylabel("median test MSE")
    figure.savefig(path, dpi=110)


def read(path: pathlib.Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def complete(row: Row, figure: bool) -> bool:
    """Whether a row holds all that a run would add to it."""
    return "reduced" in row and (row["data"] == "digits" or not figure or "PGD-ADMM" in row.get("mse", {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default=",".join(NAMES), help="data sets, separated by commas")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--figure-trials", type=int, default=10, help="trials that also run the attacks")
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS / "convex_shallow.md")
    parser.add_argument("--report", action="store_true", help="only write the tables and the plot")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    record = args.out.with_suffix(".jsonl")
    for trial in range(0 if args.report else args.trials):
        for name in args.only.split(","):
            figure = trial < args.figure_trials
            done = {(r["data"], r["trial"]) for r in read(record) if complete(r, figure)}
            if (name, trial) in done or (name in FILES and not (UCI / FILES[name]).is_file()):
                continue
            row = run_digits(trial) if name == "digits" else run_trial(name, trial, figure)
            older = {(r["data"], r["trial"]): r for r in read(record)}
            row = {**older.pop((name, trial), {}), **row}
            kept = list(older.values())
            record.write_text("".join(json.dumps(r) + "\n" for r in [*kept, row]), encoding="utf-8")
            gains = {k: round(row[k]["gain"], 2) for k in KINDS if k in row}
            print(name, trial, gains, {k: round(row[k]["seconds"], 1) for k in gains}, flush=True)
    rows = sorted(read(record), key=lambda r: (NAMES.index(r["data"]), r["trial"]))
    args.out.write_text(report(rows), encoding="utf-8")
    plot(rows, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
