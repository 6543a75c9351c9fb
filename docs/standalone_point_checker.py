"""Stand-alone checker of lmikit-point-cert files: NumPy and the standard library, nothing of lmikit.

Copy this file into your project. `check(path, weights, biases, activations)` decides the claim for your
weights (2-D float64 arrays, (out, in)), biases and activations, one (name, parameters) per hidden layer:
("relu", {}), ("leaky_relu", {"negative_slope": 0.01}), ("prelu", {"weight": array}), ("abs", {}),
("identity", {}). A weight may be a convolution, {"kernel": (out, in / groups, kh, kw), "input": (c, h, w),
"stride": (s, s), "padding": ((top, bottom), (left, right)), "dilation": (d, d), "groups": g}, all but the
first two optional, with one bias per output pixel, or a sparse matrix {"shape", "data", "indices", "indptr"}
(CSR, indices in order). It returns the claim as a dict; anything it raises instead is a refusal. Every
decision is made in integers, floating point only proposes a factor and a point. Meant for up to some 2,000
inputs and neurons.
Version 2 (claims about float inferences, rows proven by enclosures) is refused by name.
"""

import base64
import hashlib
import json
import re
import sys
from fractions import Fraction

import numpy as np

HEX = re.compile(r"-?0x[01](\.[0-9a-f]{1,13})?p[+-][0-9]{1,4}\Z")
REAL = "of the real-arithmetic function defined by these float weights; not of a float inference"


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
    need(set(entry) == {"dtype", "data"} and entry["dtype"] in ("F32", "F64"), "unknown dtype")
    data = base64.b64decode(entry["data"], validate=True)
    values = np.frombuffer(data, "<f4" if entry["dtype"] == "F32" else "<f8").astype(float)
    need(values.shape == (size,) and np.isfinite(values).all(), "an array has the wrong size or holds NaN")
    return values


class Exact:
    """Integers m over 2^p, elementwise; products and sums are exact."""

    def __init__(self, m, p=0):
        self.m, self.p = np.asarray(m, dtype=object), p

    @classmethod
    def of(cls, values):
        mantissa, exponent = np.frexp(np.asarray(values, dtype=float))
        power = int(max(0, (53 - exponent[mantissa != 0]).max(initial=0)))
        shift = np.where(mantissa != 0, exponent - 53 + power, 0)
        return cls(np.ldexp(mantissa, 53).astype(np.int64).astype(object) << shift.astype(object), power)

    def at(self, p):
        return self.m * (1 << (p - self.p))

    def __add__(self, other):
        p = max(self.p, other.p)
        return Exact(self.at(p) + other.at(p), p)

    def __sub__(self, other):
        p = max(self.p, other.p)
        return Exact(self.at(p) - other.at(p), p)

    def __mul__(self, other):
        return Exact(self.m * other.m, self.p + other.p)

    def __matmul__(self, other):
        return Exact(self.m.dot(other.m), self.p + other.p)

    def column(self):
        return Exact(self.m[:, None], self.p)

    def transposed(self):
        return Exact(self.m.T, self.p)

    def half(self):
        return Exact(self.m, self.p + 1)

    def sum(self):
        return Exact(self.m.sum(axis=0), self.p)

    def floats(self):
        return np.array([int(v) / (1 << self.p) for v in self.m.ravel()]).reshape(self.m.shape)


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


def slopes(name, parameters, size):
    """(left, right) of an activation with two linear pieces that meet at 0."""
    left = {"relu": 0.0, "abs": -1.0, "identity": 1.0}.get(name)
    if name == "leaky_relu":
        left = float(parameters["negative_slope"])
    if name == "prelu":
        left = np.asarray(parameters["weight"], dtype=float)
    need(left is not None, f"the activation {name!r} is not known here")
    return np.broadcast_to(left, (size,)).astype(float), np.ones(size)


def hashed(head, *arrays):
    return hashlib.sha256(head.encode() + b"".join(a.tobytes("C") for a in arrays)).hexdigest()


def unrolled(weight):
    """(the matrix (out, in) of float64, the hash of the map as it was given)."""
    if not isinstance(weight, dict):
        w = np.array(weight, dtype=float, order="C")
        need(w.ndim == 2, "a weight is no matrix")
        return w, hashed(f"dense F64 {w.shape[0]}x{w.shape[1]}\n", w.astype("<f8"))
    if "kernel" in weight:
        return convolution(**weight)
    rows, columns = weight["shape"]
    data = np.array(weight["data"], dtype=float)
    indices, indptr = (np.array(weight[k], dtype="<i8") for k in ("indices", "indptr"))
    need(indptr.shape == (rows + 1,) and indptr[0] == 0 and (np.diff(indptr) >= 0).all(), "row pointers")
    need(indptr[-1] == data.size == indices.size, "another number of entries")
    row = np.repeat(np.arange(rows), np.diff(indptr))
    place = row * columns + indices
    need(((indices >= 0) & (indices < columns)).all() and (np.diff(place) > 0).all(), "column indices")
    w = np.zeros((rows, columns))
    w[row, indices] = data
    return w, hashed(f"csr F64 {rows}x{columns}\n", indptr, indices, data.astype("<f8"))


def convolution(kernel, input, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """y[o, i, j] = sum of K[o, c, a, b] x[g(o) + c, s i + d a - top, s j + d b - left], zeros outside."""
    K = np.array(kernel, dtype="<f8", order="C")
    need(K.ndim == 4, "a kernel is no (out, in / groups, kh, kw)")
    (out, each, *taps), (channels, *size) = K.shape, (int(n) for n in input)
    stride, dilation, groups = tuple(map(int, stride)), tuple(map(int, dilation)), int(groups)
    padding = tuple((int(a), int(b)) for a, b in padding)
    need(groups >= 1 and groups * each == channels and out % groups == 0, "a convolution's groups")
    need(min(*stride, *dilation) >= 1 and min(min(p) for p in padding) >= 0, "a convolution's numbers")
    width = [
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, k, s, d, p in zip(size, taps, stride, dilation, padding, strict=True)
    ]
    need(min(width) >= 1, "a convolution without an output")
    w = np.zeros((out, *width, channels, *size))
    for o, c, a, b in np.ndindex(out, each, *taps):
        for i, j in np.ndindex(*width):
            row = stride[0] * i + dilation[0] * a - padding[0][0]
            column = stride[1] * j + dilation[1] * b - padding[1][0]
            if 0 <= row < size[0] and 0 <= column < size[1]:
                w[o, i, j, o // (out // groups) * each + c, row, column] = K[o, c, a, b]
    facts = [K.shape, (channels, *size), stride, padding, dilation, groups]
    return w.reshape(out * width[0] * width[1], -1), hashed(f"convolution2d F64 {facts}\n", K)


def digest(hashes, biases, activations):
    sha = hashlib.sha256(b"lmikit-point-network-1\n")
    for own, b, (name, parameters) in zip(hashes, biases, [*activations, ("identity", {})], strict=True):
        sha.update(f"{own} {name}\n".encode() + b.astype("<f8").tobytes())
        for key, value in sorted(parameters.items()):
            array = np.atleast_1d(np.asarray(value, dtype="<f8"))
            sha.update(f"{key} {array.size} ".encode() + array.tobytes())
    return sha.hexdigest()


def terms(layer, pieces, size):
    """minus the sum of multiplier * g as exact coefficients (vv, vw, ww, v, w) per neuron."""
    left, right = pieces
    first, second = Exact.of(left), Exact.of(right)
    sigma = Exact.of(np.where(right >= left, 1.0, -1.0))
    vv = vw = ww = v = w = Exact.of(np.zeros(size))
    for entry in layer:
        need(set(entry) == {"term", "size", "multipliers", "parameters"}, "a term has other fields")
        need(entry["size"] == size and not entry["parameters"], "a term of another size")
        values = decode(entry["multipliers"], size)
        t = Exact.of(values)
        if entry["term"] == "piece_product":
            vv, vw, ww = vv + t * first * second, vw - t * (first + second), ww + t
            continue
        if entry["term"] in ("linear_line", "linear_square"):  # w - v = 0 and (w - v)^2 = 0
            straight = (left == 1.0) & (right == 1.0)
            need(straight[values != 0.0].all(), "a term of neurons without a nonlinearity at another one")
            if entry["term"] == "linear_line":
                v, w = v + t, w - t
            else:
                vv, vw, ww = vv - t, vw + t + t, ww - t
            continue
        need(entry["term"] in ("piece_left", "piece_right"), f"unknown term {entry['term']!r}")
        need((values >= 0).all(), "a negative multiplier")
        slope = first if entry["term"] == "piece_left" else second
        v, w = v + t * sigma * slope, w - t * sigma
    return vv, vw, ww, v, w


def excess_of(m):
    """(equilibration exponents, B as Exact, a proven e > 0 with B >= e I) for the Exact matrix m."""
    n = len(m.m)
    need(all(v > 0 for v in np.diag(m.m)), "a diagonal entry is not positive")
    d = np.array([(int(v).bit_length() - m.p) // 2 for v in np.diag(m.m)], dtype=object)
    shifts = d[:, None] + d[None, :]
    scale = max(0, m.p + int(shifts.max()), 120)
    scaled = m.m << (scale - m.p - shifts).astype(object)
    b = np.array([[int(v) / (1 << scale) for v in row] for row in scaled])
    need(np.abs(b).max() < 4, "the matrix is not positive semidefinite")
    for s in (2.0**-33, 2.0**-38, 1e-15 * n, 1e-16 * n):
        try:
            factor = np.linalg.cholesky(b - s * np.eye(n))
        except np.linalg.LinAlgError:
            continue
        g = np.rint(np.ldexp(np.tril(factor), 60)).astype(np.int64).astype(object)
        f = scaled - (product(g, g.T) << (scale - 120))
        e = min(2 * int(x) - int(row) for x, row in zip(np.diag(f), np.abs(f).sum(axis=1), strict=True))
        if e > 0:
            return d, Exact(scaled, scale), b, Fraction(e, 1 << scale)
    raise Refused("the matrix is not proven positive definite")


def region_of(claim, inputs):
    region = claim["region"]
    need(set(region) == {"kind", "dim", "x0", "radius", "lower", "upper"}, "a region with other fields")
    need(region["dim"] == inputs, "a region of another dimension")
    names = {
        "ball": ("x0", "radius"),
        "box": ("lower", "upper"),
        "ball and box": ("x0", "radius", "lower", "upper"),
    }
    need(region["kind"] in names, "another kind of region")
    have = {k for k in ("x0", "radius", "lower", "upper") if region[k] is not None}
    need(have == set(names[region["kind"]]), "a region that lacks or has too much")
    ball = (decode(region["x0"], inputs), hexfloat(region["radius"])) if "x0" in have else None
    box = (decode(region["lower"], inputs), decode(region["upper"], inputs)) if "lower" in have else None
    need(ball is None or ball[1] > 0, "a radius that is not positive")
    need(box is None or (box[0] <= box[1]).all(), "an empty box")
    where = f"||x - x0||_2 <= {ball[1]!r}" if ball else ""
    where += (" and " if ball and box else "") + ("lower <= x <= upper" if box else "")
    if claim["kind"] == "radius":
        inside = where.replace("||_2 <=", "||_2 <", 1)
        text = f"for every x with {inside}: rows[r].f(x) + offsets[r] > 0 for every row r, {REAL}"
    else:
        text = f"for every x with {where}: rows[r].f(x) + offsets[r] >= lower[r] for every row r, {REAL}"
    need(claim["statement"] == text, "another sentence than that of the fields")
    return ball, box


def group_proves(group, claim, network, ball, box):
    """The rows (indices) that a group is proven to serve."""
    weights, biases, pieces = network
    rows, offsets, lower, kind = claim
    need(set(group) == {"rows", "scales", "mu", "tau", "layers"}, "a group with other fields")
    served = group["rows"]
    need(all(type(r) is int and 0 <= r < len(rows) for r in served) and served, "a row out of range")
    scales, mu = decode(group["scales"], len(served)), hexfloat(group["mu"])
    need((scales > 0).all() and mu >= 0 and (ball is not None or mu == 0), "a sign is wrong")
    need(kind != "radius" or mu > 0, "a radius needs mu > 0")
    need((group["tau"] is None) == (box is None) and len(group["layers"]) == len(pieces), "another shape")
    sizes = [weights[0].shape[1], *(w.shape[0] for w in weights[:-1])]
    at, ones = np.cumsum([0, *sizes]), Exact(np.ones((1, len(served)), dtype=object))
    w, b = [Exact.of(a) for a in weights], [Exact.of(a) for a in biases]
    t, c = Exact.of(scales), Exact.of(rows[served]).transposed()
    curve = linear = Exact.of(np.zeros(sizes[0]))
    constant = t * ((c * b[-1].column()).sum() + Exact.of(offsets[served]) - Exact.of(lower[served]))
    if ball is not None:
        m, x0, radius = Exact.of(np.array([mu])), Exact.of(ball[0]), Exact.of(np.array([ball[1]]))
        curve, linear = curve + m, linear - m * x0
        constant = constant + m * ((x0 * x0).sum() - radius * radius)
    if box is not None:
        tau, low, high = decode(group["tau"], sizes[0]), Exact.of(box[0]), Exact.of(box[1])
        need((tau >= 0).all(), "a negative multiplier")
        tau = Exact.of(tau)
        curve, linear = curve + tau, linear - (tau * (low + high)).half()
        constant = constant + (tau * low * high).sum()
    entries, border = [(0, 0, Exact(np.diag(curve.m), curve.p))], [linear.column() * ones]
    for k, (layer, two) in enumerate(zip(group["layers"], pieces, strict=True)):
        vv, vw, ww, lin_v, lin_w = terms(layer, two, sizes[k + 1])
        if any(vv.m):
            entries.append((at[k], at[k], w[k].transposed() @ (vv.column() * w[k])))
        entries.append((at[k + 1], at[k], (vw.column() * w[k]).half()))
        entries.append((at[k + 1], at[k + 1], Exact(np.diag(ww.m), ww.p)))
        border[k] = border[k] + w[k].transposed() @ ((vv * b[k] + lin_v.half()).column() * ones)
        border.append(((vw * b[k] + lin_w).half()).column() * ones)
        constant = constant + ((vv * b[k] + lin_v) * b[k]).sum() * Exact(ones.m[0])
    border[-1] = border[-1] + w[-1].transposed() @ (t * c).half()
    power = max(e.p for *_, e in entries)
    full = np.zeros((at[-1], at[-1]), dtype=object)
    for i, j, e in entries:
        rows_, columns = e.m.shape
        full[i : i + rows_, j : j + columns] += e.at(power)
        if i != j:
            full[j : j + columns, i : i + rows_] += e.at(power).T
    power_f = max(f.p for f in border)
    f = Exact(np.vstack([f.at(power_f) for f in border]), power_f)
    return [r for r, ok in zip(served, bordered(Exact(full, power), f, constant), strict=True) if ok]


def bordered(m, f, constant):
    """Per row whether [[constant, f'], [f, m]] >= 0: constant + 2f'z + z'mz >= |mz + f|^2 / e at some z."""
    d, b, floats, e = excess_of(m)
    lift = int(max(0, d.max()))
    f = Exact(f.m << (lift - d)[:, None].astype(object), f.p + lift)
    z = np.zeros(f.m.shape)
    for _ in range(2):
        rest = b @ Exact.of(z) + f
        z = z - np.linalg.solve(floats, rest.floats())
    rest = b @ Exact.of(z) + f
    corner, square = constant + (Exact.of(z) * (rest + f)).sum(), (rest * rest).sum()
    values = [
        (Fraction(int(a), 1 << corner.p), Fraction(int(s), 1 << square.p))
        for a, s in zip(corner.m, square.m, strict=True)
    ]
    return [a * e >= s for a, s in values]


def check(path, weights, biases, activations):
    """The proven claim; raises where it is not proven."""
    with open(path, encoding="utf-8") as stream:
        data = json.load(stream, object_pairs_hook=unique, parse_float=no_float, parse_constant=no_float)
    need(isinstance(data, dict) and data.get("format") == "lmikit-point-cert", "not a certificate")
    need(data.get("version") != 2, "version 2 (float inferences, enclosed rows) is beyond this checker")
    need(set(data) == {"format", "version", "claim", "network", "groups", "tool"}, "not a certificate")
    need(type(data["version"]) is int and data["version"] == 1, "another version")
    claim = data["claim"]
    need(set(claim) == {"kind", "statement", "region", "shape", "rows", "offsets", "lower"}, "another claim")
    need(claim["kind"] in ("margin", "radius"), "another kind of claim")
    weights, hashes = zip(*(unrolled(w) for w in weights), strict=True)
    biases = [np.array(b, dtype=float) for b in biases]
    need(all(np.isfinite(a).all() for a in (*weights, *biases)), "the network holds NaN or infinity")
    need(data["network"] == {"digest": digest(hashes, biases, activations)}, "another network")
    count, outputs = claim["shape"]
    need(type(count) is int and count > 0 and outputs == weights[-1].shape[0], "another number of outputs")
    rows = decode(claim["rows"], count * outputs).reshape(count, outputs)
    offsets, lower = decode(claim["offsets"], count), decode(claim["lower"], count)
    ball, box = region_of(claim, weights[0].shape[1])
    need(claim["kind"] == "margin" or (ball is not None and not lower.any()), "a radius with other bounds")
    pieces = [slopes(*a, w.shape[0]) for a, w in zip(activations, weights[:-1], strict=True)]
    proven = set()
    for group in data["groups"]:
        parts = (rows, offsets, lower, claim["kind"])
        proven.update(group_proves(group, parts, (weights, biases, pieces), ball, box))
    need(proven == set(range(count)), f"rows {sorted(set(range(count)) - proven)} are not proven")
    return claim


if __name__ == "__main__":
    sys.exit(__doc__)  # it is imported, and told the network
