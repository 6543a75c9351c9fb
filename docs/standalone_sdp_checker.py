"""Stand-alone checker of lmikit-sdp-cert files for problems in SDPA files: NumPy and the standard library.

Copy this file into your project. `check(certificate, problem)` takes the paths of a certificate and of a
.dat-s file; it returns the proven (status, lower, upper), anything it raises is a refusal. Every
decision is made in rationals, floating point only proposes. It takes what the format's page describes,
metric "plain", faces included; for blocks up to some 150 rows and 200 variables.

    python standalone_sdp_checker.py CERTIFICATE.json PROBLEM.dat-s
"""

import base64
import hashlib
import json
import math
import sys
from fractions import Fraction

import numpy as np

ZERO = Fraction(0)


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
    need(isinstance(text, str) and "0x" in text, f"{text!r} is no hex float")
    value = float.fromhex(text)
    need(math.isfinite(value), "a number overflows")
    return Fraction(value)


def decode(entry, size):
    need(entry["dtype"] in ("F32", "F64"), "unknown dtype")
    data = base64.b64decode(entry["data"], validate=True)
    need(hashlib.sha256(data).hexdigest() == entry["sha256"], "the hash of an array is wrong")
    values = np.frombuffer(data, "<f4" if entry["dtype"] == "F32" else "<f8").astype(float)
    need(values.shape == (size,) and np.isfinite(values).all(), "an array has the wrong size or holds NaN")
    return [Fraction(v) for v in values.tolist()]


def pairs(n):
    """The upper triangle by columns."""
    return [(i, j) for j in range(n) for i in range(j + 1)]


def read_sdpa(path):
    """(m, c, orders, blocks, rows); blocks {(i, j): {variable: value}}, rows likewise, 0 the constant."""
    with open(path, encoding="ascii") as file:
        lines = [line for line in file if line.strip() and line[0] not in '"*']
    clean = [line.translate(str.maketrans("{}(),", "     ")).split() for line in lines]
    m, count = int(clean[0][0]), int(clean[1][0])
    numbers = [word for line in clean[2:] for word in line]
    sizes, rest = [int(v) for v in numbers[:count]], numbers[count:]
    c, rest = [Fraction(float(v)) for v in rest[:m]], rest[m:]
    need(len(rest) % 5 == 0, "the SDPA file is cut short")
    blocks = [{} for _ in sizes]
    for k in range(0, len(rest), 5):
        variable, block, i, j = (int(v) for v in rest[k : k + 4])
        value = Fraction(float(rest[k + 4]))
        place = (min(i, j) - 1, max(i, j) - 1)
        need(variable not in blocks[block - 1].get(place, {}), "an entry is given twice")
        if value:
            blocks[block - 1].setdefault(place, {})[variable] = -value if variable == 0 else value
    orders = [n for n in sizes if n > 0]
    matrices = [b for b, n in zip(blocks, sizes, strict=True) if n > 0]
    rows = [b.get((i, i), {}) for b, n in zip(blocks, sizes, strict=True) if n < 0 for i in range(-n)]
    return m, c, orders, matrices, rows


def number(value):
    n, power = value.numerator, 1 - value.denominator.bit_length()
    shift = (n & -n).bit_length() - 1
    return f"{n >> shift}p{power + shift}"


def digest(m, c, orders, matrices, rows):
    lines = [f"lmikit-sdp 1 {m}", *(f"c {i + 1} {number(v)}" for i, v in enumerate(c) if v)]
    for n, matrix in zip(orders, matrices, strict=True):
        lines.append(f"lmi {n}")
        for i, j in pairs(n):
            entry = matrix.get((i, j), {})
            lines += [f"{i + 1} {j + 1} {k} {number(entry[k])}" for k in sorted(entry)]
    lines.append(f"linear {len(rows)}")
    lines += [f"{i + 1} {k} {number(row[k])}" for i, row in enumerate(rows) for k in sorted(row)]
    lines.append("zero 0")
    return hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest()


def on_face(n, matrix, face):
    """(order, entries of V'F V)."""
    if face is None:
        return n, matrix
    columns = [[] for _ in range(n)]
    for i, j, v in face["entries"]:
        columns[i].append((j, v))
    result = {}
    for (i, j), entry in matrix.items():
        for a, b in {(i, j), (j, i)}:
            for p, vp in columns[a]:
                for q, vq in columns[b]:
                    if p <= q:
                        place = result.setdefault((p, q), {})
                        for k, value in entry.items():
                            place[k] = place.get(k, ZERO) + vp * vq * value
    return face["columns"], result


def positive_semidefinite(a):
    """Whether the symmetric matrix of rationals is proven PSD: a float factor proposes, dominance decides."""
    keep = [i for i, row in enumerate(a) if any(row)]
    a = [[a[i][j] for j in keep] for i in keep]
    n = len(a)
    if n <= 24:
        return eliminate(a)
    if any(a[i][i] <= 0 for i in range(n)):
        return False
    e = [(a[i][i].numerator.bit_length() - a[i][i].denominator.bit_length()) // 2 for i in range(n)]
    unit = [Fraction(2) ** -k for k in e]
    bits = 160
    b = [[a[i][j] * unit[i] * unit[j] for j in range(n)] for i in range(n)]
    bits = max(120, max(v.denominator.bit_length() - 1 for row in b for v in row))
    whole = np.array([[int(v * (1 << bits)) for v in row] for row in b], dtype=object)
    near = np.array([[float(v) for v in row] for row in b])
    shift = 2.0 * n**1.5 * 2.0**-53
    for _ in range(6):
        try:
            g = np.linalg.cholesky(near - shift * np.eye(n))
        except np.linalg.LinAlgError:
            shift /= 8
            continue
        g = np.rint(np.ldexp(g, 58)).astype(np.int64).astype(object)
        rest = whole - g.dot(g.T) * (1 << (bits - 116))
        sums = np.abs(rest).sum(axis=1)
        if all(2 * rest[i, i] >= sums[i] and rest[i, i] >= 0 for i in range(n)):
            return True
        shift *= 16
    return False


def eliminate(a):
    """Exact elimination of a small matrix."""
    a = [row[:] for row in a]
    for k in range(len(a)):
        if a[k][k] < 0 or (a[k][k] == 0 and any(a[k][k + 1 :])):
            return False
        for i in range(k + 1, len(a)):
            if a[i][k]:
                factor = a[i][k] / a[k][k]
                a[i] = [x - factor * y for x, y in zip(a[i], a[k], strict=True)]
    return True


def in_cone(parts, mid, radius):
    """Every point within the radii has PSD blocks and nonnegative rows; parts are orders, then 1 per row."""
    start = 0
    for n in parts:
        a = [[ZERO] * n for _ in range(n)]
        sums = [ZERO] * n
        for k, (i, j) in enumerate(pairs(n)):
            a[i][j] = a[j][i] = mid[start + k]
            for side in {i, j}:
                sums[side] += radius[start + k]
        for i in range(n):
            a[i][i] -= sums[i]
        need(positive_semidefinite(a), "a block or row is not proven positive semidefinite")
        start += n * (n + 1) // 2


def radii(columns, metric, weights, kept, defect):
    """Radii of an exact solution: T diag(w g) T' t = defect, enclosed."""
    if not any(defect):
        return [ZERO] * len(columns)
    m, place = len(kept), {i: k for k, i in enumerate(kept)}
    M = [[ZERO] * m for _ in range(m)]
    for column, g, w in zip(columns, metric, weights, strict=True):
        if g:
            items = [(place[i], v) for i, v in column.items() if i in place]
            for i, v in items:
                for j, u in items:
                    M[i][j] += w * v * u
    power = max(v.denominator.bit_length() - 1 for row in M for v in row)
    near = np.array([[float(v) for v in row] for row in M])
    size = np.abs(np.diagonal(near))
    need((size > 0).all(), "an equation has no variable left")
    scale = np.exp2(-np.round(np.log2(size) / 2))
    inverse = scale[:, None] * np.linalg.inv(near * scale[:, None] * scale) * scale
    need(np.isfinite(inverse).all(), "A A* is singular")
    R = [[Fraction(v) for v in row] for row in inverse.tolist()]
    shift = max(v.denominator.bit_length() - 1 for row in R for v in row)
    whole = [
        np.array([[int(v * (1 << p)) for v in row] for row in a], dtype=object)
        for a, p in ((R, shift), (M, power))
    ]
    left = np.array([Fraction(v) for v in scale.tolist()])
    product = whole[0].dot(whole[1])
    rows = []
    for i in range(m):  # rows of D^-1 (I - R M) D, D = diag(scale)
        rows.append(
            sum(
                (
                    abs(Fraction(int(i == j)) - Fraction(int(product[i, j]), 1 << (shift + power))) * left[j]
                    for j in range(m)
                ),
                ZERO,
            )
            / left[i]
        )
    alpha = max(rows)
    need(alpha < 1, "A A* is not proven regular")
    q = [abs(sum((R[i][j] * defect[j] for j in range(m)), ZERO)) / left[i] for i in range(m)]
    extra = alpha / (1 - alpha) * max(q)
    bound = [(v + extra) * s for v, s in zip(q, left, strict=True)]
    short = [Fraction(math.ceil(v * (1 << 200)), 1 << 200) for v in bound]
    return [
        g * sum((abs(v) * short[place[i]] for i, v in column.items() if i in place), ZERO)
        for column, g in zip(columns, metric, strict=True)
    ]


def dual_value(problem, side, bounds, ray):
    """A proven lower bound of the objective from multipliers near those of the file."""
    m, c, orders, matrices, rows = problem
    need(side["u"] is None and side["s"] == [] and side["metric"] in ("plain", "paid"), "beyond this checker")
    faced = [on_face(n, a, v) for n, a, v in zip(orders, matrices, side["faces"], strict=True)]
    x, columns, weights, metric = [], [], [], []
    for (n, matrix), packed in zip(faced, side["X"], strict=True):
        values = decode(packed, n * (n + 1) // 2)
        alive = [False] * n
        for value, (i, j) in zip(values, pairs(n), strict=True):
            alive[i] |= bool(value)
            alive[j] |= bool(value)
        for value, (i, j) in zip(values, pairs(n), strict=True):
            x.append(value)
            columns.append(matrix.get((i, j), {}))
            weights.append(1 if i == j else 2)
            metric.append(int(alive[i] and alive[j]))
    for value, row in zip(decode(side["z"], len(rows)), rows, strict=True):
        x.append(value)
        columns.append(row)
        weights.append(1)
        metric.append(int(value > 0))
    decode(side["v"], 0)
    right = [ZERO] * m if ray else list(c)
    defect = list(right)
    for value, column, w in zip(x, columns, weights, strict=True):
        for k, v in column.items():
            if k and value:
                defect[k - 1] -= w * v * value
    paid, radius = ZERO, [ZERO] * len(x)
    if side["metric"] == "paid":
        need(bounds is not None, "no bounds are given")
        paid = sum((abs(d) * b for d, b in zip(defect, bounds, strict=True)), ZERO)
    elif any(defect):
        drop = {i: {j: Fraction(a, b) for j, a, b in row} for i, row in side["drop"]}
        for i, row in drop.items():
            need(
                right[i] == sum((f * right[j] for j, f in row.items()), ZERO),
                "a dropped equation contradicts",
            )
            need(not any(j in drop for j in row), "an equation is dropped for a dropped one")
            for column in columns:
                own = sum((f * column.get(j + 1, ZERO) for j, f in row.items()), ZERO)
                need(column.get(i + 1, ZERO) == own, "a dropped equation is no combination")
        kept = [i + 1 for i in range(m) if i not in drop]
        own = [{k: v for k, v in column.items() if k} for column in columns]
        radius = radii(own, metric, weights, kept, [defect[i - 1] for i in kept])
    in_cone([n for n, _ in faced] + [1] * len(rows), x, radius)
    value = -paid
    for point, r, column, w in zip(x, radius, columns, weights, strict=True):
        f = column.get(0, ZERO)
        value -= w * (f * point + abs(f) * r)
    return value


def slack(problem, y, homogeneous, shrink=ZERO):
    """Proves F(y) and h - G y in the cone (of directions; less `shrink` times their diagonals)."""
    _, _, orders, matrices, rows = problem
    mid = []
    for n, matrix in zip(orders, matrices, strict=True):
        for i, j in pairs(n):
            entry = matrix.get((i, j), {})
            value = sum((v * (y[k - 1] if k else int(not homogeneous)) for k, v in entry.items()), ZERO)
            mid.append(value - shrink * value if i == j else value)
            need(not shrink or i != j or value > 0, "the ray is not interior")
    for row in rows:
        mid.append(sum((v * (y[k - 1] if k else int(not homogeneous)) for k, v in row.items()), ZERO))
        need(not shrink or mid[-1] > 0, "the ray is not interior")
    in_cone(orders + [1] * len(rows), mid, [ZERO] * len(mid))


def check(certificate, path):
    """(status, lower, upper), proven; raises Refused or an error where it is not."""
    with open(certificate, encoding="utf-8") as file:
        data = json.load(file, object_pairs_hook=unique, parse_float=no_float, parse_constant=no_float)
    problem = read_sdpa(path)
    m, c = problem[:2]
    need(data["format"] == "lmikit-sdp-cert" and data["version"] == 1, "unknown format")
    need(data["problem"]["sha256"] == digest(*problem), "it is for another problem")
    status = data["claim"]["status"]
    lower, upper = (
        None if v is None else hexfloat(v) for v in (data["claim"]["lower"], data["claim"]["upper"])
    )
    bounds = None if data["bounds"] is None else decode(data["bounds"], m)
    need(bounds is None or min(bounds, default=ZERO) >= 0, "a bound is negative")
    need((lower is not None) == (status in ("optimum", "bounded")), "lower does not fit the status")
    need(
        (upper is not None) == (status in ("optimum", "feasible")) or status == "unbounded",
        "upper does not fit",
    )
    if upper is not None:
        y = decode(data["primal"]["y"], m)
        slack(problem, y, False)
        need(
            sum((a * b for a, b in zip(c, y, strict=True)), ZERO) <= upper,
            "the objective exceeds the upper bound",
        )
    if lower is not None:
        need(
            dual_value(problem, data["dual"], bounds, False) >= lower,
            "the dual value is below the lower bound",
        )
    if status == "infeasible":
        need(dual_value(problem, data["dual_ray"], bounds, True) > 0, "the ray's value is not positive")
    elif status == "unbounded":
        ray = decode(data["primal_ray"]["y"], m)
        need(
            bounds is None and sum((a * b for a, b in zip(c, ray, strict=True)), ZERO) < 0,
            "the ray does not descend",
        )
        if data["primal"] is None:
            slack(problem, ray, True, Fraction(1, 1 << 44))
        else:
            slack(problem, ray, True)
            slack(problem, decode(data["primal"]["y"], m), False)
    else:
        need(status in ("optimum", "bounded", "feasible"), "unknown status")
    return status, lower, upper


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    proven, low, high = check(*sys.argv[1:])
    print(proven, *(float(v) for v in (low, high) if v is not None))
