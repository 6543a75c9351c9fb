"""Stand-alone checker of lmikit-implicit-cert files: NumPy and the standard library, nothing of lmikit.

Copy this file into your project. `check(certificate, network)` takes the paths of a certificate and of a
`.npz` with dense float64 arrays N_vx (N, n), N_vw (N, N), N_yx (m, n), N_yw (m, N), alpha (N,), beta (N,):

    v = N_vx x + N_vw w,   w = phi(v),   y = N_yx x + N_yw w,   alpha <= slopes of phi <= beta.

It returns L: for every x the equations have exactly one solution, and ||y - y'||_2 <= L ||x - x'||_2.
Anything that it raises is a refusal. The slopes are the caller's word. Every decision is made in Python's
integers; floating point proposes a congruence, nothing else. Meant for up to some 200 channels.

    python standalone_implicit_checker.py CERTIFICATE.json NETWORK.npz
"""

import base64
import hashlib
import json
import math
import sys
from fractions import Fraction

import numpy as np

LARGEST_FILE = 2**27  # bytes
STATEMENT = (
    "for every x and any functions with these slopes the equations have exactly one solution, "
    "and ||y - y'||_2 <= L ||x - x'||_2 for all x, x', in real arithmetic on these float maps; not of a "
    "float inference"
)
MAPS = ("N_vx", "N_vw", "N_yx", "N_yw")


class Refused(Exception):
    """Why the claim is not accepted."""


def need(condition, reason):
    if not condition:
        raise Refused(reason)


# ------------------------------------------------------------------------- reading, strictly


def pairs_once(pairs):
    need(len({key for key, _ in pairs}) == len(pairs), "a key is given twice")
    return dict(pairs)


def no_number(text):
    raise Refused(f"the number {text[:40]} is no integer")


def fields(data, names):
    need(type(data) is dict and sorted(data) == sorted(names.split()), f"expected an object of {names}")
    return [data[name] for name in names.split()]


def words(data):
    need(type(data) is str, "expected a string")
    return data


def number(data):
    """The finite float64 that a hexadecimal text is, spelled as Python spells it."""
    try:
        value = float.fromhex(words(data))
    except (ValueError, OverflowError):
        raise Refused("a string is no hexadecimal float") from None
    need(math.isfinite(value) and value.hex() == data, "a string is no finite float64")
    return value


def numbers(data, size):
    dtype, coded = fields(data, "dtype data")
    need(dtype in ("F32", "F64"), "an array has an unknown dtype")
    try:
        raw = base64.b64decode(words(coded), validate=True)
    except ValueError:
        raise Refused("an array is not base64") from None
    need(base64.b64encode(raw).decode() == coded, "an array is not standard base64")
    need(len(raw) == size * (4 if dtype == "F32" else 8), "an array has the wrong size")
    return np.frombuffer(raw, "<f4" if dtype == "F32" else "<f8").astype("<f8")


def read(path):
    with open(path, "rb") as file:
        data = file.read(LARGEST_FILE + 1)
    need(len(data) <= LARGEST_FILE, "a file is too large")
    return data


def certificate_of(path):
    """(L, rho, T, hash) of a certificate file."""
    try:
        data = json.loads(
            read(path).decode("utf-8"),
            object_pairs_hook=pairs_once, parse_constant=no_number, parse_float=no_number,
        )  # fmt: skip
    except (ValueError, RecursionError):
        raise Refused("the certificate is no JSON text") from None
    kind, version, claim, network, proof, tool, margin, unproven = fields(
        data, "format version claim network proof tool margin unproven"
    )
    need(
        kind == "lmikit-implicit-cert" and type(version) is int and version == 1, "another format or version"
    )
    scope, semantics, statement, bound = fields(claim, "scope semantics statement L")
    need((scope, semantics, statement) == ("global", "real", STATEMENT), "another claim")
    sha, neurons = fields(network, "sha256 neurons")
    need(type(neurons) is int and 1 <= neurons <= 10**7, "neurons is no number of neurons")
    rho, multipliers = fields(proof, "rho multipliers")
    for text in fields(tool, "name version produced_by"):
        words(text)
    number(margin)
    (lowest,) = fields(unproven, "optimum_at_least")
    if lowest is not None:
        number(lowest)
    return number(bound), number(rho), numbers(multipliers, neurons), words(sha)


def network_of(path):
    """The six arrays, after their shapes."""
    need(len(read(path)) > 0, "the network's file is empty")
    with np.load(path, allow_pickle=False) as file:
        need(sorted(file.files) == sorted([*MAPS, "alpha", "beta"]), "the network's file has other arrays")
        found = {name: file[name] for name in file.files}
    need(
        all(a.dtype == np.float64 and np.isfinite(a).all() for a in found.values()), "expected finite float64"
    )
    need(found["N_vx"].ndim == found["N_yx"].ndim == 2, "N_vx and N_yx are no matrices")
    (N, n), m = found["N_vx"].shape, found["N_yx"].shape[0]
    shapes = {"N_vx": (N, n), "N_vw": (N, N), "N_yx": (m, n), "N_yw": (m, N), "alpha": (N,), "beta": (N,)}
    need(all(found[name].shape == shape for name, shape in shapes.items()), "the shapes disagree")
    need((found["alpha"] <= found["beta"]).all(), "alpha > beta")
    return found


def digest(network):
    """SHA-256 over the entries that are not zero, row by row, and the slopes."""
    sha = hashlib.sha256(b"lmikit-fractional-1\n")
    for name in MAPS:
        a = network[name]
        rows, columns = np.nonzero(a)
        ends = np.concatenate([[0], np.cumsum((a != 0).sum(axis=1))])
        sha.update(f"{a.shape[0]}x{a.shape[1]}\n".encode())
        sha.update(ends.astype("<i8").tobytes() + columns.astype("<i8").tobytes())
        sha.update(a[rows, columns].astype("<f8").tobytes())
    for name in ("alpha", "beta"):
        sha.update(network[name].astype("<f8").tobytes())
    return sha.hexdigest()


# ------------------------------------------------------------------------- the proof, in integers


def integers(values):
    """(N, p) with values = N 2^-p exactly."""
    ratios = [float(v).as_integer_ratio() for v in np.ravel(values)]
    power = max((q.bit_length() - 1 for _, q in ratios), default=0)
    whole = np.empty(len(ratios), dtype=object)
    whole[:] = [p << (power - q.bit_length() + 1) for p, q in ratios]
    return whole.reshape(np.shape(values)), power


def matrix(network, rho, t):
    """(N, p): the symmetric matrix of z = (x, w) and y, times 2^p.

    z'Mz = rho |x|^2 + sum 2 t (w - alpha v)(w - beta v) - 2 y'(N_yx x + N_yw w) + |y|^2, v = N_vx x + N_vw w.
    """
    n, N, m = network["N_vx"].shape[1], t.size, len(network["N_yx"])
    V, pv = integers(np.hstack([network["N_vx"], network["N_vw"]]))
    Y, py = integers(np.hstack([network["N_yx"], network["N_yw"]]))
    (T, pt), (r, pr) = integers(t), integers(rho)
    slopes, ps = integers(np.stack([network["alpha"], network["beta"]]))
    power = pr + pt + 2 * ps + 2 * pv + py
    M = np.zeros((n + N + m, n + N + m), dtype=object)

    def add(rows, columns, block, p):
        M[rows, columns] += block << (power - p)

    x, w, z, y = slice(0, n), slice(n, n + N), slice(0, n + N), slice(n + N, None)
    add(x, x, np.diag(np.full(n, r.item(), dtype=object)), pr)
    add(w, w, np.diag(2 * T), pt)
    mixed = -(T * (slopes[0] + slopes[1]))[:, None] * V
    add(w, z, mixed, pt + ps + pv)
    add(z, w, mixed.T, pt + ps + pv)
    add(z, z, V.T.dot((2 * T * slopes[0] * slopes[1])[:, None] * V), pt + 2 * ps + 2 * pv)
    add(y, z, -Y, py)
    add(z, y, -Y.T, py)
    add(y, y, np.diag(np.full(m, 1, dtype=object)), 0)
    return M, power


def is_positive_definite(M, power):
    """R'MR is strictly diagonally dominant with a positive diagonal, R upper triangular with R_ii > 0."""
    if not all(v > 0 for v in np.diag(M)):
        return False
    d = [(int(v).bit_length() - power) // 2 for v in np.diag(M)]  # 2^-d_i makes the diagonal about 1
    near = np.array([
        [float(Fraction(int(v), 1 << power) / Fraction(2) ** (d[i] + d[j])) for j, v in enumerate(row)]
        for i, row in enumerate(M)
    ])  # fmt: skip
    try:
        factor = np.linalg.inv(np.linalg.cholesky(near)).T
    except np.linalg.LinAlgError:
        return False
    if not np.isfinite(factor).all():
        return False
    R, _ = integers(np.triu(factor))
    if not all(v > 0 for v in np.diag(R)):
        return False
    low = min(d)
    D = np.array([1 << (max(d) - k) for k in d], dtype=object) if max(d) - low < 4000 else None
    if D is None:
        return False
    R = D[:, None] * R  # rows of 2^-d R times a common power of two
    C = R.T.dot(M).dot(R)
    return all(2 * C[i, i] > sum(abs(v) for v in C[i]) for i in range(len(C)))


def check(certificate, network):
    """L where the claim is proven; raises Refused otherwise."""
    bound, rho, t, sha = certificate_of(certificate)
    maps = network_of(network)
    need(digest(maps) == sha, "the certificate is one of another network")
    need(
        t.shape == maps["alpha"].shape and np.isfinite(t).all() and (t > 0).all(),
        "a multiplier is not above 0",
    )
    need(rho > 0, "rho is not above 0")
    need(bound > 0 and Fraction(rho) <= Fraction(bound) ** 2, "L is below what the proof shows")
    need(is_positive_definite(*matrix(maps, rho, t)), "the matrix is not shown to be positive definite")
    return bound


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        found = check(*sys.argv[1:])
    except (Refused, ValueError, OSError, KeyError) as error:
        sys.exit(f"refused: {error}")
    print(f"proven: one solution for every x, and ||y - y'||_2 <= {found!r} ||x - x'||_2")
