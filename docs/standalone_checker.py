"""Stand-alone checker of lmikit-cert files: NumPy and the standard library, nothing of lmikit.

Copy this file into your project. `check(path, weights, slopes)` decides the claim for your weights
(2-D float64 arrays, (out, in)) and slope bounds [(alpha, beta), ...], one pair of arrays per hidden
layer. It returns the proven L; anything it raises instead is a refusal. Every decision is made in
integers, which are taken from the bits of the numbers: it does not matter whether the processor
flushes subnormal numbers. Floating point only proposes a factor, and multiplies integers below 2^16.
It takes what the format's page calls lipsdp with dense weights, all in one matrix: meant for up to
some 1,000 neurons.
"""

import base64
import hashlib
import json
import re
import struct
import sys
from fractions import Fraction

import numpy as np

LARGEST_FILE = 2**27  # bytes
HEX = re.compile(r"(-?)0x([01])(?:\.([0-9a-f]{1,13}))?p([+-][0-9]{1,4})\Z", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
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


# ------------------------------------------------------------------------- reading, strictly


def unique(pairs):
    need(len({k for k, _ in pairs}) == len(pairs), "a key is given twice")
    return dict(pairs)


def no_float(text):
    raise Refused(f"the number {text} is no integer")


def fields(data, names):
    """The values of an object with exactly these fields."""
    need(type(data) is dict and set(data) == set(names.split()), f"expected an object of {names}")
    return [data[name] for name in names.split()]


def items(data, size):
    need(type(data) is list and len(data) == size, f"expected a list of {size} entries")
    return data


def integer(data, low, high):
    need(type(data) is int and low <= data <= high, f"expected an integer from {low} to {high}")
    return data


def text(data):
    need(type(data) is str, "expected a string")
    return data


def hexfloat(data):
    """The finite float64 that the text is exactly, by its bits."""
    match = HEX.match(text(data))
    need(match, f"{data!r} is no hex float")
    sign, lead, digits, power = match.groups(default="")
    number, exponent = int(lead + digits, 16), int(power) - 4 * len(digits)
    if number:
        least = max(exponent + number.bit_length() - 53, -1074)
        need(least <= 971, f"{data!r} overflows")
        need(exponent >= least or number % (1 << (least - exponent)) == 0, f"{data!r} is no float64")
        number = number << exponent - least if exponent >= least else number >> least - exponent
        number += least + 1074 << 52
    return struct.unpack("<d", struct.pack("<Q", number | (sign == "-") << 63))[0]


def optional(data):
    return None if data is None else hexfloat(data)


def array(dtype, data, size):
    """A list of floats in the file."""
    need(dtype in ("F32", "F64"), "unknown dtype")
    try:
        raw = base64.b64decode(text(data), validate=True)
    except ValueError:
        raise Refused("an array is not base64") from None
    need(base64.b64encode(raw).decode() == data, "an array is not standard base64")
    need(len(raw) == size * int(dtype[1:]) // 8, "an array has the wrong size")
    values = np.frombuffer(raw, "<f4" if dtype == "F32" else "<f8")
    exact(values)
    return values


def multiplier(data, size):
    dtype, values, sha = fields(data, "dtype data sha256")
    result = array(dtype, values, size)
    need(hashlib.sha256(result.tobytes()).hexdigest() == sha, "a multiplier's hash is wrong")
    return result


def spread(values, where):
    """The values at the places `where`, 0 elsewhere."""
    result = np.zeros(where.size, values.dtype)
    result[where] = values
    return result


def slope_pair(data, size):
    if type(data) is list:
        pair = [np.full(size, hexfloat(v)) for v in items(data, 2)]
    else:
        pair = [array(*fields(v, "dtype data"), size) for v in fields(data, "alpha beta")]
    need(all(a <= b for a, b in zip(*map(units, pair), strict=True)), "alpha > beta")
    return pair


def read(path):
    """(L, rho, powers, slopes, hashes, [(multipliers, who has one)], dims) of a valid file."""
    with open(path, "rb") as stream:
        raw = stream.read(LARGEST_FILE + 1)
    need(len(raw) <= LARGEST_FILE, "the file is too large")
    data = json.loads(
        raw.decode("utf-8"), object_pairs_hook=unique, parse_float=no_float, parse_constant=no_float
    )
    name, version, claim, network, multipliers, method, *fixed, tool, margin, unproven, notes = fields(
        data, FIELDS
    )
    need(name == "lmikit-cert" and type(version) is int and version in (1, 2), "not a certificate")
    need(method == "lipsdp" and fixed == ["deterministic", None, None], "this checker knows lipsdp only")
    fields(claim, "norm scope semantics statement L rho")
    need(all(claim[k] == v for k, v in FIXED.items()), "another claim")
    alg, blas, lifted, shift = fields(notes, "alg blas lifted shift")
    for note in (*fields(tool, "name version produced_by"), alg, blas):
        text(note)
    need(type(lifted) is bool, "verification.lifted is not true or false")
    for note in (margin, shift, *(v for v in fields(unproven, "lower optimum_at_least") if v is not None)):
        hexfloat(note)
    dims, powers, slopes, weights = fields(network, "dims layer_pow2 slopes weights")
    need(type(dims) is list and len(dims) >= 2, "expected at least two dims")
    dims = [integer(n, 1, 2**31) for n in dims]
    powers = [integer(p, -2200, 2200) for p in items(powers, len(dims) - 1)]
    hashes = []
    for weight, m, n in zip(items(weights, len(dims) - 1), dims[1:], dims, strict=False):
        kind, dtype, shape, order, sha = fields(weight, "kind dtype shape order sha256")
        need(kind == "dense" and dtype == "F64" and order == "C", "this checker knows dense F64 weights only")
        need(
            [integer(v, 1, 2**31) for v in items(shape, 2)] == [m, n], "a weight's shape is not that of dims"
        )
        need(SHA256.match(text(sha)), "a weight's hash is no SHA-256")
        hashes.append(sha)
    items(slopes, len(dims) - 2), items(multipliers, len(dims) - 2)
    slopes = [slope_pair(s, n) for s, n in zip(slopes, dims[1:], strict=False)]
    bent = [np.array([a < b for a, b in zip(*map(units, pair), strict=True)], bool) for pair in slopes]
    if version == 2:  # neurons with alpha = beta carry no multiplier
        need(not all(b.all() for b in bent), "version 2 without a neuron of alpha = beta")
        multipliers = [spread(multiplier(t, int(b.sum())), b) for t, b in zip(multipliers, bent, strict=True)]
    else:
        multipliers = [multiplier(t, n) for t, n in zip(multipliers, dims[1:], strict=False)]
        bent = [np.ones(n, bool) for n in dims[1:-1]]
    multipliers = list(zip(multipliers, bent, strict=True))
    return hexfloat(claim["L"]), hexfloat(claim["rho"]), powers, slopes, hashes, multipliers, dims


# ------------------------------------------------------------------------- numbers, by their bits


def exact(values):
    """int64 arrays (m, e) with values = m 2^e exactly, for an array of float32 or float64."""
    width, top = (23, 255) if values.dtype == np.dtype("<f4") else (52, 2047)
    bits = values.view(f"<i{values.dtype.itemsize}").astype(np.int64)
    field = (bits >> width) & top
    need((field < top).all(), "NaN or infinity")
    m = (bits & ((1 << width) - 1)) | ((field > 0).astype(np.int64) << width)
    return np.where(bits < 0, -m, m), np.maximum(field, 1) - (top // 2 + width)


def units(values):
    """The entries of a vector as Python integers, in units of 2^-1074."""
    m, e = exact(values)
    return [a << b for a, b in zip(m.tolist(), (e + 1074).tolist(), strict=True)]


def rational(value):
    return Fraction(units(np.array([value]))[0], 2**1074)


def integers(m, e):
    """(object array of integers n, power p) with m 2^e = n 2^-p exactly."""
    power = int(max(0, (-e[m != 0]).max(initial=0)))
    return m.astype(object) << np.where(m != 0, e + power, 0).astype(object), power


def floats(values, shape):
    """The caller's numbers as a float64 array; never by a cast that loses something."""
    given = np.asarray(values)
    need(given.dtype == np.float64 or given.dtype.kind in "iub", f"expected float64, not {given.dtype}")
    need(given.dtype.kind == "f" or (abs(given.astype(object)) <= 2**53).all(), "an integer beyond 2^53")
    return np.array(np.broadcast_to(given, shape), dtype="<f8", order="C")


def scaled(w, p):
    """2^-p w, which is to be exact in float64, as (m, e)."""
    m, e = exact(w)
    e = e - p
    lost = (np.abs(m) & ((1 << np.clip(-1074 - e, 0, 62)) - 1)) | (np.abs(m) >> np.clip(1024 - e, 0, 62))
    need(not lost.any(), "a power of two that is not exact")
    return m, e


# ------------------------------------------------------------------------- the proof


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


def folded(full, power, weights, slopes, bent):
    """K'NK as integers over a power of two: the neurons that have no multiplier become w = alpha v."""
    rows, q = [np.eye(weights[0][0].shape[1], dtype=int).astype(object)], 0
    free = sum(int(b.sum()) for b in bent)
    n, m = rows[0].shape[0], weights[-1][0].shape[0]
    rows[0] = np.hstack([rows[0], np.zeros((n, free), object)])
    powers, at = [0], n
    for weight, (alpha, _), b in zip(weights, slopes, bent, strict=False):
        (w, p), (a, pa) = integers(*weight), integers(*alpha)
        row = a[:, None] * w.dot(rows[-1])
        row[b] = 0
        q = pa + p + powers[-1]
        for i in np.flatnonzero(b):
            row[i, at], at = 1 << q, at + 1
        rows.append(row)
        powers.append(q)
    q = max(powers)
    k = np.vstack([r << (q - p) for r, p in zip(rows, powers, strict=True)])
    k = np.vstack([np.hstack([k, np.zeros((len(k), m), object)]), np.zeros((m, at + m), object)])
    for i in range(1, m + 1):
        k[-i, -i] = 1 << q
    return k.T.dot(full.dot(k)), power + 2 * q


def lmi(rho, weights, slopes, multipliers):
    """The matrix of the format's step 5 as integers N 2^-p; all but rho are pairs (m, e) of `exact`."""
    sizes = [weights[0][0].shape[1], *(m.shape[0] for m, _ in weights)]
    at = np.cumsum([0, *sizes])
    entries = [
        (0, 0, np.diag(np.full(sizes[0], rho.numerator, dtype=object)), rho.denominator.bit_length() - 1),
        (at[-2], at[-2], np.eye(sizes[-1], dtype=int).astype(object), 0),
    ]
    for k, weight in enumerate(weights):
        w, p = integers(*weight)
        if k == len(slopes):
            entries.append((at[k + 1], at[k], -w, p))
            continue
        (alpha, pa), (beta, pb), (t, pt) = (integers(*v) for v in (*slopes[k], multipliers[k]))
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


def alive(weights, slopes, sizes):
    """Per layer, the neurons through which a path of nonzero weights and slopes leads."""
    useful = [(a[0] != 0) | (b[0] != 0) for a, b in slopes]
    useful = [np.ones(sizes[0], bool), *useful, np.ones(sizes[-1], bool)]
    forward, backward = [useful[0]], [useful[-1]]
    for (w, _), u in zip(weights, useful[1:], strict=True):
        forward.append(u & ((w != 0) @ forward[-1]))
    for (w, _), u in zip(weights[::-1], useful[-2::-1], strict=True):
        backward.append(u & ((w != 0).T @ backward[-1]))
    return [f & b for f, b in zip(forward, backward[::-1], strict=True)]


def check(path, weights, slopes):
    """The proven bound L; raises where it is not proven."""
    bound, rho, powers, theirs, hashes, multipliers, dims = read(path)
    weights = [floats(w, np.shape(w)) for w in weights]
    sizes = [weights[0].shape[1], *(w.shape[0] for w in weights)]
    need(dims == sizes, "another network's sizes")
    need(len(slopes) == len(theirs), "another number of layers")
    for w, sha in zip(weights, hashes, strict=True):
        digest = hashlib.sha256(b"dense F64 %dx%d\n" % w.shape + w.tobytes("C")).hexdigest()
        need(sha == digest, "another network's weights")
    given = [[floats(v, n) for v in pair] for n, pair in zip(sizes[1:], slopes, strict=False)]
    for ours, pair in zip(given, theirs, strict=True):
        need(all(units(a) == units(b) for a, b in zip(ours, pair, strict=True)), "another network's slopes")
    L, rho = rational(bound), rational(rho)
    given = [[exact(v) for v in pair] for pair in given]
    multipliers, bent = [exact(t) for t, _ in multipliers], [b for _, b in multipliers]
    need(rho >= 0 and L >= 0 and all((m >= 0).all() for m, _ in multipliers), "a negative number")
    need(Fraction(4) ** sum(powers) * rho <= L**2, "rho exceeds L^2")
    weights = [scaled(w, p) for w, p in zip(weights, powers, strict=True)]
    # Exact zeros: drop the hidden neurons through which no nonzero path leads.
    keep = alive(weights, given, sizes)
    if not all(k.any() for k in keep):
        return bound
    need(L > 0, "L = 0 for a function that is not constant")
    keep[0][:], keep[-1][:] = True, True
    weights = [
        tuple(v[np.ix_(rows, cols)] for v in w)
        for w, rows, cols in zip(weights, keep[1:], keep, strict=False)
    ]
    given = [[(m[k], e[k]) for m, e in pair] for pair, k in zip(given, keep[1:-1], strict=True)]
    multipliers = [(m[k], e[k]) for (m, e), k in zip(multipliers, keep[1:-1], strict=True)]
    bent = [b[k] for b, k in zip(bent, keep[1:-1], strict=True)]
    matrix = lmi(rho, weights, given, multipliers)
    if not all(b.all() for b in bent):
        matrix = folded(*matrix, weights, given, bent)
    need(is_psd(*matrix), "the matrix is not proven positive semidefinite")
    return bound


if __name__ == "__main__":
    sys.exit(__doc__)  # it is imported, and told the network
