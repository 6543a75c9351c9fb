"""RS-LMI on convolutions: the sketch size on MNIST, and one step on networks of the shape of ResNet-18.

    python benchmarks/rs_lmi_convolutions.py [--sections sketches,steps] [--epochs 2] [--seeds 1]

writes docs/results/rs_lmi_convolutions.json (a row per run, as it goes) and .md. Takes `mnist.npz` from the
data folder (LMIKIT_DATA, or ../shared/data) and torch for the losses. One thread, float32.
"""

import argparse
import json
import os
import pathlib
import time
import tracemalloc

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

import lmikit
from lmikit import training
from lmikit.maps import Convolution2d
from lmikit.sketching import Gaussian

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = pathlib.Path(os.environ.get("LMIKIT_DATA", ROOT.parent / "shared" / "data")) / "mnist.npz"
OUT = pathlib.Path(os.environ.get("LMIKIT_RESULTS", ROOT / "docs" / "results")) / "rs_lmi_convolutions.json"
CONV = Convolution2d(np.zeros((16, 1, 5, 5)), (1, 28, 28), stride=2, padding=2)
TARGET = 5.0
ACTIVATIONS = {"relu": torch.relu, "abs": torch.abs, "selu": torch.selu}


class OneConvolution(nn.Module):
    """16 kernels of 5 x 5 at stride 2, then 3136-128-10: 1C2F."""

    def __init__(self, activation):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 5, stride=2, padding=2)
        self.first, self.last = nn.Linear(3136, 128), nn.Linear(128, 10)
        self.phi = ACTIVATIONS[activation]

    def forward(self, x):
        x = self.phi(self.conv(x)).flatten(1)
        return self.last(self.phi(self.first(x)))


class Residual(nn.Module):
    """ResNet-18 without normalisation: what a step costs depends on its shape alone."""

    def __init__(self, side, classes):
        super().__init__()
        large = side > 64
        self.stem = nn.Conv2d(3, 64, 7 if large else 3, 2 if large else 1, 3 if large else 1, bias=False)
        self.pool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        blocks, width = [], 64
        for out in (64, 128, 256, 512):
            for stride in (1 if out == 64 else 2, 1):
                short = nn.Conv2d(width, out, 1, stride, bias=False) if width != out else nn.Identity()
                first = nn.Conv2d(width, out, 3, stride, 1, bias=False)
                blocks.append(nn.ModuleList([first, nn.Conv2d(out, out, 3, 1, 1, bias=False), short]))
                width = out
        self.blocks, self.head = nn.ModuleList(blocks), nn.Linear(512, classes)

    def forward(self, x):
        x = self.pool(torch.relu(self.stem(x)))
        for first, second, short in self.blocks:
            x = torch.relu(short(x) + 0.3 * second(torch.relu(first(x))))
        return self.head(x.mean((2, 3)))


def images():
    with np.load(DATA) as d:
        X = [torch.as_tensor((d[k] / 255).astype(np.float32))[:, None] for k in ("x_train", "x_test")]
        return X[0], torch.as_tensor(d["y_train"].astype(np.int64)), X[1], d["y_test"]


def run_sketches(args):
    X, y, Xt, yt = images()
    for seed in range(args.first, args.first + args.seeds):
        order = torch.as_tensor(np.random.default_rng(seed).permutation(len(X)))
        batches = [(X[i], y[i]) for i in order.split(128)[:-1]]
        cases = [
            (a, s, m) for a in ("relu", "abs") for s in ("none", "gaussian", "kept") for m in (8, 16, 32, 64)
        ]
        cases = [c for c in cases if c[1] != "none" or c[2] == 8] + [
            ("selu", "none", 8),
            ("selu", "kept", 16),
        ]
        chosen = [c for c in cases if not args.only or "-".join(map(str, c)) in args.only.split(",")]
        for activation, sketch, m in chosen:
            torch.manual_seed(seed)
            module = OneConvolution(activation)
            callback = training.TorchLoss(module, nn.CrossEntropyLoss(), batches)
            steps, began = args.epochs * len(batches), time.process_time()
            adam = training.Adam(learning_rate=3e-3, decay="cosine")
            if sketch == "none":
                weights = training.sgd(callback, callback.initial, steps=steps, optimiser=adam).weights
            else:
                options = training.RSLMIOptions(
                    optimiser=adam,
                    m=m,
                    sketch=Gaussian() if sketch == "gaussian" else None,
                    seed=seed,
                )
                r = training.rs_lmi(
                    callback,
                    callback.initial,
                    activation,
                    steps=steps,
                    target=TARGET,
                    convolutions=[CONV],
                    options=options,
                )
                weights = r.state.weights
            seconds = time.process_time() - began
            callback.load(weights)
            with torch.no_grad():
                accuracy = float((module(Xt).argmax(1).numpy() == yt).mean())
            network = network_of(weights, activation)
            record(
                "sketches",
                activation=activation,
                sketch=sketch,
                m=m,
                seed=seed,
                epochs=args.epochs,
                accuracy=accuracy,
                product=lmikit.lipschitz(network, lmikit.SpectralProduct()).bound,
                torus=on_a_torus(network, args.proof),
                seconds=seconds,
                proof=args.proof,
            )


def on_a_torus(network, seconds):
    """None where it does not apply: slopes of both signs, as |x| has."""
    try:
        return lmikit.torus_lipschitz(network, time_limit=seconds).bound
    except lmikit.InputError:
        return None


def network_of(weights, activation):
    conv = Convolution2d(weights[0], (1, 28, 28), stride=2, padding=2)
    biases = [np.repeat(weights[1], 196), weights[3], weights[5]]
    return lmikit.Network.from_arrays([conv, weights[2], weights[4]], biases, activation)


def run_steps(args):
    """Seconds and memory of a step with the penalty, without, and of the loss alone, on one batch."""
    for side, batch in ((32, 64), (224, 8)):
        torch.manual_seed(0)
        module = Residual(side, 10 if side == 32 else 1000)
        generator = np.random.default_rng(0)
        x = torch.as_tensor(generator.standard_normal((batch, 3, side, side), dtype=np.float32))
        labels = torch.as_tensor(generator.integers(0, 10, batch))
        callback = training.TorchLoss(module, nn.CrossEntropyLoss(), [(x, labels)])
        weights = [np.array(w) for w in callback.initial]
        convolutions = geometry(module, side)
        norms = {i: 1.0 for i, w in enumerate(weights) if w.ndim > 1}
        for m in (8, 16):
            penalised = training.with_sketched_penalty(callback, norms, convolutions, m=m)
            nothing = training.with_sketched_penalty(still, norms, convolutions, m=m)
            penalised(weights)
            nothing(weights)
            spent = {}
            for name, call in (
                ("loss", callback),
                ("penalty", nothing),
                ("both", penalised),
            ):
                began = time.process_time()
                call(weights)
                spent[name] = time.process_time() - began
            tracemalloc.start()
            nothing(weights)
            peak = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
            record(
                "steps",
                side=side,
                batch=batch,
                m=m,
                maps=len(norms),
                parameters=int(sum(w.size for w in weights)),
                mebibytes=peak,
                **spent,
            )


def still(weights):
    return 0.0, [np.zeros(1, w.dtype) for w in weights]


def geometry(module, side):
    """Index of each kernel among the parameters -> its Convolution2d, by the shapes that a pass shows."""
    shapes, hooks = {}, []
    for each in module.modules():
        if isinstance(each, nn.Conv2d):
            hooks.append(
                each.register_forward_hook(lambda c, x, _: shapes.update({id(c.weight): (c, x[0].shape[1:])}))
            )
    with torch.no_grad():
        module(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    found = {}
    for i, p in enumerate(module.parameters()):
        if id(p) in shapes:
            conv, image = shapes[id(p)]
            found[i] = Convolution2d(p.detach().numpy(), tuple(image), conv.stride, conv.padding)
    return found


def recorded():
    return json.loads(OUT.read_text()) if OUT.exists() else []


def record(section, **row):
    keys = ("activation", "sketch", "m", "seed") if section == "sketches" else ("side", "m")
    rows = [r for r in recorded() if r["section"] != section or any(r[k] != row[k] for k in keys)]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps([*rows, {"section": section, **row}], indent=1) + "\n")
    print(section, row, flush=True)


def page():
    rows = recorded()
    runs = [r for r in rows if r["section"] == "sketches"]
    text = [
        "# RS-LMI on convolutions",
        "",
        "`python benchmarks/rs_lmi_convolutions.py`",
        "",
        "## How large a sketch has to be",
        "",
        "MNIST, 1C2F: 16 kernels of 5 x 5 at stride 2, 3136-128-10, cross-entropy, Adam, "
        f"minibatches of 128, {runs[0]['epochs'] if runs else 0} epoch(s); the penalty at every step, target "
        f"{TARGET:g} for the product of sqrt(tau_k) m_k. Bounds are proven for the weights as penalties left "
        "them, before anything is scaled to the target: the product of norms, and `torus_lipschitz` "
        "(not for |x|; one "
        'multiplier per channel and per dense neuron). "gaussian" draws S anew at each step, as the '
        "paper (arXiv "
        '2506.23977) does; "kept" goes on with the S of the step before, refined. SELU is not 1-Lipschitz: '
        "m_k = 1.758. CPU seconds of training on a shared machine. A solve on the torus ends after at most "
        f"{' or '.join(sorted({format(r['proof'], 'g') for r in runs}))} seconds of its clock (by seed).",
        "",
        "| activation | sketch | m | seeds | test accuracy | product of norms | torus | product "
        "below the target | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    groups = {}
    for r in runs:
        groups.setdefault((r["activation"], r["sketch"], r["m"]), []).append(r)
    for (activation, sketch, m), g in groups.items():
        accuracy, product, seconds = (np.mean([r[k] for r in g]) for k in ("accuracy", "product", "seconds"))
        torus = "-" if g[0]["torus"] is None else f"{np.mean([r['torus'] for r in g]):.2f}"
        below, size = (
            sum(r["product"] < TARGET for r in g),
            "" if sketch == "none" else m,
        )
        text.append(
            f"| {activation} | {sketch} | {size} | {len(g)} | {accuracy:.4f} | {product:.2f} | {torus} | "
            f"{below} of {len(g)} | {seconds:.0f} |"
        )
    text += ["", *least_sizes(runs)]
    text += [
        "",
        "## One step on the shape of ResNet-18",
        "",
        "`with_sketched_penalty` on every convolution and the last matrix; the loss is torch's on "
        "the CPU, one "
        "thread. A penalty costs about what m images cost, whatever the batch is. Memory: the largest sum of "
        "NumPy's live allocations in a step of the penalty.",
        "",
        "| images | batch | maps | parameters | m | loss, CPU s | penalty, CPU s | both | "
        "penalty to loss of a batch of 128 | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        if r["section"] == "steps":
            share, side = 100 * r["penalty"] / (r["loss"] * 128 / r["batch"]), r["side"]
            text.append(
                f"| {side} x {side} | {r['batch']} | {r['maps']} | {r['parameters']:,} | {r['m']} | "
                f"{r['loss']:.2f} | {r['penalty']:.2f} | {r['both']:.2f} | {share:.0f} % | "
                f"{r['mebibytes']:.0f} |"
            )
    OUT.with_suffix(".md").write_text("\n".join([*text, ""]))


def least_sizes(runs):
    """The question of the paper's authors: the least m with L < 20."""
    for activation in ("relu", "abs"):
        for sketch in ("gaussian", "kept"):
            held = [
                r["m"]
                for r in runs
                if (r["activation"], r["sketch"]) == (activation, sketch) and r["product"] < 20
            ]
            if held:
                least = min(held)
                yield f"Least m that was run with a proven product below 20, {activation}, {sketch}: {least}."
                yield ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", default="sketches,steps")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument(
        "--only",
        default="",
        help="activation-sketch-m, separated by commas; all without",
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first seed: rows of others stay")
    parser.add_argument("--proof", type=float, default=10.0, help="seconds for each solve on the torus")
    args = parser.parse_args()
    torch.set_num_threads(1)
    known = {"sketches": run_sketches, "steps": run_steps}
    if not set(args.sections.split(",")) <= set(known):
        parser.error(f"expected --sections among {', '.join(known)}")
    for name in args.sections.split(","):
        known[name](args)
        page()


if __name__ == "__main__":
    main()
