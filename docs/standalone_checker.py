"""Stand-alone checker of lmikit-cert files: NumPy and the standard library, nothing of lmikit.

Copy this file into your project. `check(path, weights, slopes)` decides the claim for your weights
(2-D float64 arrays, (out, in)) and slope bounds [(alpha, beta), ...], one pair of arrays per hidden
layer. It returns the proven L; anything it raises instead is a refusal. Every decision is made in
integers, floating point only proposes a factor. It takes what the format's page calls lipsdp with
dense weights, all in one matrix: meant for up to some 1,000 neurons.
"""

import base64
import hashlib
import json
import re
from fractions import Fraction

import numpy as np

HEX = re.compile(r"-?0x[01](\.[0-9a-f]{1,13})?p[+-][0-9]{1,4}\Z")
FIELDS = "format version claim network multipliers method kind delta seed tool margin unproven verification"
STATEMENT = (
    "global l2->l2, of the real-arithmetic function defined by these float weights; not of a float inference"
)
FIXED = {"norm": "l2->l2", "scope": "global", "semantics": "real", "statement": STATEMENT}


class Refused(Exception):
    """Why the claim is not accepted."""


def need(condition, reason):
    if not condition:
        raise Refused(reason)


def unique(pairs):
    need(len({k for k, _ in pairs}) == len(pairs), "a key is given twice")
    return dict(pairs)


def no_float(text):
    raise Refused(f"the number {text} is no integer")


def hexfloat(text):
    need(isinstance(text, str) and HEX.match(text), f"{text!r} is no hex float")
    value = float.fromhex(text)
    need(np.isfinite(value), "a number overflows")
    return value


def decode(entry, size):
    need(entry["dtype"] in ("F32", "F64"), "unknown dtype")
    data = base64.b64decode(entry["data"], validate=True)
    need(entry.get("sha256", h := hashlib.sha256(data).hexdigest()) == h, "a multiplier's hash is wrong")
    values = np.frombuffer(data, "<f4" if entry["dtype"] == "F32" else "<f8").astype(float)
    need(values.shape == (size,) and np.isfinite(values).all(), "an array has the wrong size or holds NaN")
    return values


def integers(values):
    """(object array of integers m, power p) with values = m 2^-p exactly."""
    mantissa, exponent = np.frexp(np.asarray(values, dtype=float))
    power = int(max(0, (53 - exponent[mantissa != 0]).max(initial=0)))
    shift = np.where(mantissa != 0, exponent - 53 + power, 0)
    return np.ldexp(mantissa, 53).astype(np.int64).astype(object) << shift.astype(object), power


def product(a, b):
    """The exact product of object matrices of integers below 2^62 in size, by 16 exact float products."""

    def digits(m):
        m = m.astype(np.int64)
        return [(np.sign(m) * ((np.abs(m) >> (16 * k)) & 0xFFFF)).astype(float) for k in range(4)]

    need(a.shape[1] < 2**20, "the matrix is too large")
    rows, columns = digits(a), digits(b)
    return sum(
        ((x @ y).astype(np.int64).astype(object) << (16 * (i + j)))
        for i, x in enumerate(rows)
        for j, y in enumerate(columns)
    )


def lmi(rho, weights, slopes, multipliers):
    """The matrix of the format's step 5 as integers N 2^-p."""
    sizes = [weights[0].shape[1], *(w.shape[0] for w in weights)]
    at = np.cumsum([0, *sizes])
    entries = [
        (0, 0, *integers(np.diag(np.full(sizes[0], rho)))),
        (at[-2], at[-2], *integers(np.eye(sizes[-1]))),
    ]
    for k, w in enumerate(weights):
        w, p = integers(w)
        if k == len(slopes):
            entries.append((at[k + 1], at[k], -w, p))
            continue
        (alpha, pa), (beta, pb), (t, pt) = (integers(v) for v in (*slopes[k], multipliers[k]))
        total = (alpha << max(pb - pa, 0)) + (beta << max(pa - pb, 0))
        entries.append((at[k + 1], at[k], -(total * t)[:, None] * w, max(pa, pb) + pt + p))
        entries.append((at[k + 1], at[k + 1], np.diag(2 * t), pt))
        if (both := alpha * beta * t).any():
            entries.append((at[k], at[k], 2 * w.T.dot(both[:, None] * w), pa + pb + pt + 2 * p))
    power = max(p for *_, p in entries)
    full = np.zeros((at[-1], at[-1]), dtype=object)
    for i, j, m, p in entries:
        full[i : i + m.shape[0], j : j + m.shape[1]] += m << (power - p)
        if i != j:
            full[j : j + m.shape[1], i : i + m.shape[0]] += (m << (power - p)).T
    return full, power


def is_psd(full, power):
    """B = D N D with diagonal in [1/2, 2); F = B - G G' is diagonally dominant, hence B >= 0."""
    need(all(v > 0 for v in np.diag(full)), "a diagonal entry is not positive")
    d = np.array([(int(v).bit_length() - power) // 2 for v in np.diag(full)], dtype=object)
    shifts = d[:, None] + d[None, :]
    scale = max(0, power + int(shifts.max()), 120)
    scaled = full << (scale - power - shifts).astype(object)
    b = np.array([[int(v) / (1 << scale) for v in row] for row in scaled])
    need(np.abs(b).max() < 4, "the matrix is not positive semidefinite")
    for s in (1e-14, 1e-13, 1e-12, 1e-15):
        try:
            factor = np.linalg.cholesky(b - s * len(b) * np.eye(len(b)))
        except np.linalg.LinAlgError:
            continue
        if np.isfinite(factor).all() and np.abs(factor).max() < 2:
            g = np.rint(np.ldexp(np.tril(factor), 60)).astype(np.int64).astype(object)
            f = scaled - (product(g, g.T) << (scale - 120))
            if all(2 * d >= row for d, row in zip(np.diag(f), np.abs(f).sum(axis=1), strict=True)):
                return True
    return False


def check(path, weights, slopes):
    """The proven bound L; raises where it is not proven."""
    with open(path, encoding="utf-8") as stream:
        data = json.load(stream, object_pairs_hook=unique, parse_float=no_float, parse_constant=no_float)
    need(
        set(data) == set(FIELDS.split()) and data["format"] == "lmikit-cert" and data["version"] == 1,
        "not a certificate",
    )
    need(data["method"] == "lipsdp" and data["kind"] == "deterministic", "this checker knows lipsdp only")
    need({k: v for k, v in data["claim"].items() if k not in ("L", "rho")} == FIXED, "another claim")
    bound, rho, network = hexfloat(data["claim"]["L"]), hexfloat(data["claim"]["rho"]), data["network"]
    weights = [np.array(w, dtype=float, order="C") for w in weights]
    sizes = [weights[0].shape[1], *(w.shape[0] for w in weights)]
    need(set(network) == {"dims", "layer_pow2", "slopes", "weights"}, "unknown or missing fields")
    need(network["dims"] == sizes and all(np.isfinite(w).all() for w in weights), "another network's sizes")
    need(len(slopes) == len(network["slopes"]) == len(weights) - 1, "another number of layers")
    for w, record in zip(weights, network["weights"], strict=True):
        digest = hashlib.sha256(b"dense F64 %dx%d\n" % w.shape + w.astype("<f8").tobytes("C")).hexdigest()
        need(record["kind"] == "dense" and record["sha256"] == digest, "another network's weights")
    given = []
    for size, pair, (alpha, beta) in zip(sizes[1:], network["slopes"], slopes, strict=False):
        ours = [np.broadcast_to(np.asarray(v, dtype=float), (size,)) for v in (alpha, beta)]
        if isinstance(pair, list):
            theirs = [np.full(size, hexfloat(v)) for v in pair]
        else:
            theirs = [decode(pair[name], size) for name in ("alpha", "beta")]
        need(all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)), "another network's slopes")
        given.append(ours)
    need(len(data["multipliers"]) == len(given), "too few or too many multipliers")
    multipliers = [decode(m, n) for m, n in zip(data["multipliers"], sizes[1:], strict=False)]
    need(rho >= 0 and bound >= 0 and all((t >= 0).all() for t in multipliers), "a negative number")
    pow2 = network["layer_pow2"]
    need(all(type(p) is int and abs(p) <= 2200 for p in pow2), "a power of two out of range")
    need(Fraction(4) ** sum(pow2) * Fraction(rho) <= Fraction(bound) ** 2, "rho exceeds L^2")
    scaled = [np.ldexp(w, -p) for w, p in zip(weights, pow2, strict=True)]
    for v, w, p in zip(scaled, weights, pow2, strict=True):
        need(np.array_equal(np.ldexp(v, p), w), "a power of two that is not exact")
    # Exact zeros: drop the hidden neurons through which no nonzero path leads.
    useful = [np.ones(sizes[0], bool), *((a != 0) | (b != 0) for a, b in given), np.ones(sizes[-1], bool)]
    forward, backward = [useful[0]], [useful[-1]]
    for w, u in zip(scaled, useful[1:], strict=True):
        forward.append(u & ((w != 0) @ forward[-1]))
    for w, u in zip(scaled[::-1], useful[-2::-1], strict=True):
        backward.append(u & ((w != 0).T @ backward[-1]))
    alive = [f & b for f, b in zip(forward, backward[::-1], strict=True)]
    if not alive[-1].any():
        return bound
    need(bound > 0, "L = 0 for a function that is not constant")
    alive[0][:], alive[-1][:] = True, True
    scaled = [w[np.ix_(rows, cols)] for w, rows, cols in zip(scaled, alive[1:], alive, strict=False)]
    given = [[v[keep] for v in pair] for pair, keep in zip(given, alive[1:-1], strict=True)]
    multipliers = [t[keep] for t, keep in zip(multipliers, alive[1:-1], strict=True)]
    need(is_psd(*lmi(rho, scaled, given, multipliers)), "the matrix is not proven positive semidefinite")
    return bound
