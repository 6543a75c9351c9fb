"""Stand-alone checker of lmikit-torus-cert files: NumPy, the standard library, standalone_graph_checker.py.

Copy both files into your project. `check(certificate, graph)` takes the paths of a certificate and of the
.npz that `Graph.save` wrote; it returns the proven L, anything it raises is a refusal. Every decision is made
in integers: symbols have radii of 2^-96 per kernel entry, from roots of unity in 256 bits; floating point
only proposes factors and Gram matrices. Meant for some 100 rows per frequency.

    python standalone_torus_checker.py CERTIFICATE.json GRAPH.npz
"""

import json
import math
import sys
from fractions import Fraction

import numpy as np
import standalone_graph_checker as base
from standalone_graph_checker import exact, fields, hexfloat, integer, items, need, plus, sized, text, times

BITS = 96
FIXED = {
    "norm": "l2->l2",
    "scope": "global",
    "semantics": "real",
    "statement": "||f(x) - f(x')||_2 <= L ||x - x'||_2 for all x, x', of the real-arithmetic function "
    "defined by these float weights; not of a float inference",
}


# ------------------------------------------------------------------------- roots of unity


def roots(m, bits=256):
    """(cos, sin) of 2 pi j / m times 2^BITS, j = 0 .. m - 1, each within one.

    2 pi / m and its exponential are Taylor sums in fixed point, the others powers of it: at most 2^20
    products, each of which adds less than 2^-240 to the error of a number of size one.
    """
    one = 1 << bits

    def arctan(n):
        term, total, k = one // n, 0, 0
        while term:
            total += (-1) ** k * (term // (2 * k + 1))
            term, k = term // (n * n), k + 1
        return total

    need(m <= 2**20, "a torus of too many cells")
    x = 2 * 4 * (4 * arctan(5) - arctan(239)) // m
    re, im, power, k = 0, 0, (one, 0), 0
    while power[0] or power[1]:
        re, im, k = re + power[0], im + power[1], k + 1
        power = tuple(int(math.copysign(1, v)) * ((abs(v) * x >> bits) // k) for v in (-power[1], power[0]))
    found, at = [], (one, 0)
    for _ in range(m):
        found.append(tuple((v + (1 << (bits - BITS - 1))) >> (bits - BITS) for v in at))
        at = (at[0] * re - at[1] * im) >> bits, (at[0] * im + at[1] * re) >> bits
    return found


# ------------------------------------------------------------------------- the network


class Conv:
    """A convolution: kernel, images, and per axis (size, taps, stride, padding before, dilation)."""

    def __init__(self, K, image, stride, pads, dilation, count):
        self.K, self.image, self.count = K, tuple(image), count
        lines = zip(image[1:], K.shape[2:], stride, pads, dilation, strict=True)
        self.axes = [(n, k, s, p[0], d) for n, k, s, p, d in lines]
        self.stride = tuple(stride)
        after = [p[1] for p in pads]
        width = [
            (n + p + q - d * (k - 1) - 1) // s + 1
            for (n, k, s, p, d), q in zip(self.axes, after, strict=True)
        ]
        need(min(width) >= 1, "a convolution without an output")
        self.output = (K.shape[0], *width)

    def reads(self, axis):
        """(outputs, taps): where each tap reads."""
        _, k, s, p, d = self.axes[axis]
        return s * np.arange(self.output[1 + axis])[:, None] + d * np.arange(k) - p

    def full(self):
        """Integers (out, in, kh, kw) and their power, zeros between groups."""
        numbers, power = exact(self.K)
        out, each = self.K.shape[:2]
        full = np.zeros((out, self.image[0], *self.K.shape[2:]), dtype=object)
        for o in range(out):
            first = o // (out // self.count) * each
            full[o, first : first + each] = numbers[o]
        return full, power


class Subject(base.Subject):
    """The nodes of the file; convolutions stay what they are."""

    def map(self, data):
        need(type(data) is dict, "a map is no object")
        kind = data.get("map")
        if kind == "select":
            picked, width = self.arrays.pop().astype("<i8"), integer(data["size"], 1, 2**31)
            digest = base.sha(b"select %dx%d\n" % (picked.size, width), picked)
            need(((picked >= 0) & (picked < width)).all(), "a selection beyond its size")
            plain = picked.size == width and (picked == np.arange(width)).all()
            return "identity" if plain else ("select", picked), [picked.size, width], digest
        if kind == "transposed" and type(data.get("parts")) is list and len(data["parts"]) == 1:
            inner, shape, digest = self.map(data["parts"][0])
            need(isinstance(inner, Conv), "a transposed map that is no convolution")
            head = b"TransposedMap %dx%d\n" % (shape[1], shape[0])
            return ("adjoint", inner), shape[::-1], base.sha(head + digest.encode())
        need(kind in ("dense", "sparse", "convolution"), "a map of a kind that is not known here")
        return super().map(data)

    def convolution(self, data):
        _, _, image, stride, pads, dilation, count = fields(
            data, "map dtype input stride padding dilation groups"
        )
        K = self.arrays.pop().astype("<f8")
        image = [integer(n, 1, 2**20) for n in items(image)]
        need(K.ndim == 4 and len(image) == 3, "a convolution")
        need(integer(count, 1, K.shape[0]) * K.shape[1] == image[0] and K.shape[0] % count == 0, "groups")
        steps = [[integer(n, 1, 2**20) for n in items(pair)] for pair in (stride, dilation)]
        pads = [[integer(n, 0, 2**20) for n in items(pair)] for pair in items(pads)]
        need(len(pads) == 2 and all(len(v) == 2 for v in (*steps, *pads)), "a convolution")
        conv = Conv(K, image, steps[0], pads, steps[1], count)
        facts = [K.shape, tuple(image), tuple(steps[0]), tuple(map(tuple, pads)), tuple(steps[1]), count]
        shape = [math.prod(conv.output), math.prod(image)]
        return conv, shape, base.sha(f"convolution2d F64 {facts}\n".encode(), K)


def conv_of(m):
    """(convolution, adjoint) of a map, or None."""
    if isinstance(m, Conv):
        return m, False
    adjoint = isinstance(m, tuple) and isinstance(m[0], str) and m[0] == "adjoint"
    return (m[1], True) if adjoint else None


def parents(node):
    return (
        [p for p, _ in node[1]]
        if node[0] == "affine"
        else [node[1]]
        if node[0] in ("slopes", "groups")
        else []
    )


def images(nodes):
    """Shapes from the convolutions, carried through identities and slopes in both directions."""
    shapes, equal = {}, []

    def put(k, shape):
        need(shapes.setdefault(k, shape) == shape, "a node is read as two images")

    for k, node in enumerate(nodes):
        if node[0] == "slopes":
            equal.append((node[1], k))
        for p, m in node[1] if node[0] == "affine" else ():
            pair = conv_of(m)
            if pair:
                first, second = (k, p) if pair[1] else (p, k)
                put(first, pair[0].image), put(second, pair[0].output)
            elif isinstance(m, str):
                equal.append((p, k))
    for _ in range(2):
        for order in (equal, equal[::-1]):
            for a, b in order:
                for one, other in ((a, b), (b, a)):
                    if one in shapes:
                        put(other, shapes[one])
    return shapes


def selected(node):
    """The indices of a node that only selects."""
    one = node[1][0][1] if node[0] == "affine" and len(node[1]) == 1 else None
    return one[1] if isinstance(one, tuple) and isinstance(one[0], str) and one[0] == "select" else None


def window(nodes, shapes, k):
    """(source, shape, size, stride) where node k is the maximum over windows without padding, else None."""
    if k < 3 or nodes[k - 1][0] != "groups" or nodes[k - 1][2][0] != "sort_groups":
        return None
    read, last, size = selected(nodes[k - 2]), selected(nodes[k]), nodes[k - 1][2][2][0].shape[0]
    if read is None or last is None or nodes[k - 1][1] != k - 2 or nodes[k][1][0][0] != k - 1:
        return None
    source = nodes[k - 2][1][0][0]
    readers = [p for j, node in enumerate(nodes) if j not in (k, k - 1) for p in parents(node)]
    if source not in shapes or k - 1 in readers or k - 2 in readers or read.size % size:
        return None
    channels, height, width = shapes[source]
    h, w = (len(set(v.tolist())) for v in (read[:size] // width, read[:size] % width))
    starts = [int(v) for v in read[::size] if v < height * width]
    wide = sum(v < width for v in starts)
    if h * w != size or wide == 0 or len(starts) % wide:
        return None
    down, right = starts[wide] // width if wide < len(starts) else h, starts[1] if wide > 1 else w
    if down < 1 or right < 1:
        return None
    rows = range(0, height - h + 1, down)
    columns = range(0, width - w + 1, right)
    pixels = [
        [c * height * width + (i + a) * width + j + b for a in range(h) for b in range(w)]
        for c in range(channels)
        for i in rows
        for j in columns
    ]
    pixels = np.array(pixels).reshape(-1)
    fits = np.array_equal(pixels, read) and np.array_equal(last, np.arange(size - 1, read.size, size))
    return (source, shapes[source], (h, w), (down, right)) if fits else None


def with_trees(nodes, sizes):
    """Max-pooling by max(a, b) = b + relu(a - b), halving the values of a window, one pixel the last."""
    shapes, result, widths, place = images(nodes), [], [], {}
    found = {k: w for k in range(len(nodes)) if (w := window(nodes, shapes, k)) is not None}
    inner = {j for k in found for j in (k - 1, k - 2)}

    def append(node, size):
        result.append(node), widths.append(size)
        return len(result) - 1

    for k, (node, size) in enumerate(zip(nodes, sizes, strict=True)):
        if k in found:
            source, (channels, height, width), (h, w), step = found[k]
            small = channels, (height - h) // step[0] + 1, (width - w) // step[1] + 1
            source, base = place[source], (min(step[0], h) - 1) * w + min(step[1], w) - 1
            minus = Conv(-np.ones((channels, 1, 1, 1)), small, (1, 1), [[0, 0]] * 2, (1, 1), channels)

            def reading(
                weights, plus, less, shape=(channels, height, width), h=h, w=w, at=source, minus=minus, s=step
            ):
                K = np.zeros((shape[0], 1, h, w))
                for t, weight in weights.items():
                    K[:, 0, t // w, t % w] = weight
                first = Conv(K, shape, s, [[0, 0]] * 2, (1, 1), shape[0])
                return [(at, first), *((p, "identity") for p in plus), *((p, minus) for p in less)]

            values = [(t, ()) for t in range(h * w) if t != base] + [(base, ())]
            while len(values) > 1:
                halved = []
                for (a, ra), (b, rb) in zip(values[::2], values[1::2], strict=False):
                    v = append(("affine", reading({a: 1.0, b: -1.0}, ra, rb)), size)
                    relu = append(("slopes", v, exact(np.zeros(size)), exact(np.ones(size))), size)
                    halved.append((b, (*rb, relu)))
                values = halved + values[len(values) // 2 * 2 :]
            place[k] = append(("affine", reading({values[0][0]: 1.0}, values[0][1], ())), size)
        elif k not in inner:
            if node[0] == "affine":
                node = "affine", [(place[p], m) for p, m in node[1]]
            elif node[0] in ("slopes", "groups"):
                node = node[0], place[node[1]], *node[2:]
            place[k] = append(node, size)
    return result, widths


class Torus:
    """Images, phases, cells; refuses what is not admissible."""

    def __init__(self, nodes, sizes, cells):
        self.nodes, self.sizes, self.cells = nodes, sizes, cells
        need(all(n[0] in ("input", "affine", "slopes") for n in nodes), "a function of groups of channels")
        self.shapes = images(nodes)
        need(0 in self.shapes, "the input is no image")
        self.trunk = set()
        for k, node in enumerate(nodes):
            plain = node[0] != "affine" or all(m == "identity" if isinstance(m, str) else conv_of(m)
                                               for _, m in node[1])  # fmt: skip
            if k in self.shapes and plain and all(p in self.trunk for p in parents(node)):
                self.trunk.add(k)
        self.outer = len(nodes) - 1
        self.headless = self.outer in self.trunk
        wanted = {0} | {k for k in self.trunk if nodes[k][0] == "slopes"} | ({self.outer} & self.trunk)
        need(len(wanted) > 1, "nothing lies on the torus")
        for k in range(self.outer, 0, -1):
            wanted |= set(parents(nodes[k])) if k in wanted else set()
        self.inside = sorted(wanted)
        self.phases = self.proportions()
        self.demands = self.admissible()

    def proportions(self):
        """Positions per cell of every node of the torus."""
        ratio = {0: (Fraction(1), Fraction(1))}
        for k in self.inside[1:]:
            found = set()
            for p, m in (
                self.nodes[k][1] if self.nodes[k][0] == "affine" else [(self.nodes[k][1], "identity")]
            ):
                pair, scale = conv_of(m), (Fraction(1), Fraction(1))
                if pair:
                    scale = tuple(Fraction(s) if pair[1] else Fraction(1, s) for s in pair[0].stride)
                found.add((ratio[p][0] * scale[0], ratio[p][1] * scale[1]))
            need(len(found) == 1, "images of different strides are added")
            ratio[k] = found.pop()
        whole = []
        for axis in range(2):
            common = math.lcm(*(r[axis].denominator for r in ratio.values()))
            numbers = [int(r[axis] * common) for r in ratio.values()]
            whole.append([n // math.gcd(*numbers) for n in numbers])
        return {k: (whole[0][i], whole[1][i]) for i, k in enumerate(ratio)}

    def admissible(self):
        found = []
        for k in self.phases:
            for axis in range(2):
                found.append((k, axis, self.phases[k][axis], self.shapes[k][1 + axis], 0))
            for p, m in self.nodes[k][1] if self.nodes[k][0] == "affine" else ():
                pair = conv_of(m)
                for axis in range(2) if pair else ():
                    reads, size, place = pair[0].reads(axis), pair[0].image[1 + axis], k if pair[1] else p
                    reach = max(0, -int(reads.min()), int(reads.max()) - size + 1)
                    found.append((k, axis, self.phases[place][axis], size, reach))
                if self.nodes[p][0] == "affine":
                    need(self.zero_outside(p), "a linear map that is read is not zero outside its image")
        for _, axis, phases, size, reach in found:
            need(self.cells[axis] * phases >= size + reach, "the torus is not admissible")
        return [dict(zip(("node", "axis", "phases", "size", "reach"), d, strict=True)) for d in found]

    def zero_outside(self, k):
        for _, m in self.nodes[k][1]:
            pair = conv_of(m)
            for axis in range(2) if pair else ():
                conv = pair[0]
                n, taps, s, p, d = conv.axes[axis]
                if pair[1]:
                    reads = conv.reads(axis)
                    if reads.min() < 0 or reads.max() >= n:
                        return False
                    continue
                positions = self.cells[axis] * self.phases[k][axis]
                for i in range(conv.output[1 + axis], positions):
                    used = [a for a in range(taps) if conv.K.take(a, axis=2 + axis).any()]
                    if any((s * i + d * a - p) % (positions * s) < n for a in used):
                        return False
        return True

    def size(self, k):
        return self.shapes[k][0] * self.phases[k][0] * self.phases[k][1]

    def slopes(self, k):
        """(alpha, beta) per channel, or neuron of the head, with 0 between them."""
        found = []
        for (numbers, power), pick in zip(self.nodes[k][2:], (min, max), strict=True):
            rows = numbers.reshape(self.shapes[k][0] if k in self.trunk else len(numbers), -1)
            found.append((np.array([pick(0, *row) for row in rows], dtype=object), power))
        return found


# ------------------------------------------------------------- balls (N, R, p): |A - N 2^-p| <= R 2^-p


def add(a, b):
    p = max(a[2], b[2])
    mid, rad = ((x << (p - a[2])) + (y << (p - b[2])) for x, y in zip(a[:2], b[:2], strict=True))
    return mid, rad, p


def dot(a, b):
    size = abs(a[0]) + a[1]
    return a[0].dot(b[0]), size.dot(b[1]) + a[1].dot(abs(b[0])), a[2] + b[2]


def rows_times(d, a):
    """diag(d) a, d = (numbers, power)."""
    return d[0][:, None] * a[0], abs(d[0])[:, None] * a[1], d[1] + a[2]


def flip(a):
    return a[0].T, a[1].T, a[2]


def sharp(a):
    return a[0], 0 * a[0], a[1]


class Frequency:
    """The matrix of one frequency, real of twice the order."""

    def __init__(self, torus, table, point):
        self.torus, self.table, self.point = torus, table, point

    def turn(self, Q):
        m = len(self.table)
        cells = self.torus.cells
        return self.table[sum(j * (m // n) * q for j, n, q in zip(self.point, cells, Q, strict=True)) % m]

    def real(self, re, im, rad, power):
        return np.block([[re, -im], [im, re]]), np.block([[rad, rad], [rad, rad]]), power + BITS

    def symbol(self, conv, phases):
        K, power = conv.full()
        read = [f * s for f, s in zip(phases, conv.stride, strict=True)]
        shape = (K.shape[0], *phases, K.shape[1], *read)
        re, im, rad = (np.zeros(shape, dtype=object) for _ in range(3))
        for i, j in np.ndindex(*phases):
            for a, b in np.ndindex(*K.shape[2:]):
                places = [
                    divmod(s * at + d * t - p, r)
                    for at, t, (_, _, s, p, d), r in zip((i, j), (a, b), conv.axes, read, strict=True)
                ]
                cos, sin = self.turn((places[0][0], places[1][0]))
                here = np.s_[:, i, j, :, places[0][1], places[1][1]]
                re[here] += K[:, :, a, b] * cos
                im[here] += K[:, :, a, b] * sin
                rad[here] += abs(K[:, :, a, b])
        full = K.shape[0] * phases[0] * phases[1], -1
        return self.real(*(x.reshape(full) for x in (re, im, rad)), power)

    def values(self):
        torus, values = self.torus, {}
        for k in torus.inside:
            if torus.nodes[k][0] != "affine":
                values[k] = {k: sharp(exact(np.eye(2 * torus.size(k))))}
                continue
            total = {}
            for p, m in torus.nodes[k][1]:
                pair = conv_of(m)
                S = self.symbol(pair[0], torus.phases[p if pair[1] else k]) if pair else None
                S = flip(S) if pair and pair[1] else S
                for s, rows in values[p].items():
                    term = rows if S is None else dot(S, rows)
                    total[s] = add(total[s], term) if s in total else term
            values[k] = total
        return values

    def blocks(self, d_in, multipliers):
        torus, values = self.torus, self.values()
        blocks = {(0, 0): sharp(exact(np.diag(np.full(2 * torus.size(0), d_in))))}

        def put(row, column, e):
            if row < column:
                row, column, e = column, row, flip(e)
            blocks[row, column] = add(blocks[row, column], e) if (row, column) in blocks else e

        for k, t in multipliers.items():
            each = torus.phases[k][0] * torus.phases[k][1]
            spread = [(np.tile(np.repeat(n, each), 2), p) for n, p in (exact(t), *torus.slopes(k))]
            t, alpha, beta = spread
            total, both = plus(alpha, beta), (alpha[0] * beta[0], alpha[1] + beta[1])
            put(k, k, sharp((np.diag(2 * t[0]), t[1])))
            rows = values[torus.nodes[k][1]]
            for s, e in rows.items():
                put(k, s, rows_times((-total[0] * t[0], total[1] + t[1]), e))
            names = sorted(rows) if both[0].any() else []
            for i, early in enumerate(names):
                right = rows_times((2 * both[0] * t[0], both[1] + t[1]), rows[early])
                for late in names[i:]:
                    put(late, early, dot(flip(rows[late]), right))
        return blocks, values


def joined(blocks):
    """One symmetric matrix (N, R, p) and where its blocks lie."""
    names = sorted({k for key in blocks for k in key})
    sizes = [blocks[k, k][0].shape[0] for k in names]
    ends = np.cumsum([0, *sizes])
    place = {k: slice(ends[i], ends[i + 1]) for i, k in enumerate(names)}
    power = max(e[2] for e in blocks.values())
    N, R = (np.zeros((ends[-1], ends[-1]), dtype=object) for _ in range(2))
    for (row, column), e in blocks.items():
        for full, x in zip((N, R), e[:2], strict=True):
            full[place[row], place[column]] = x << (power - e[2])
            full[place[column], place[row]] = full[place[row], place[column]].T
    return N, R, power, place


def is_psd(blocks):
    """All matrices of the ball: E >= -diag(sum_j R_ij p_j / p_i) for every |E| <= R and p > 0.

    p_i = 2^-e_i, near 1 / sqrt(N_ii), so that rows of large and small units do not weigh on each other.
    """
    N, R, power, _ = joined(blocks)
    e = [max(int(v), 1).bit_length() // 2 for v in np.diag(N)]
    lost = np.zeros(len(N), dtype=object)
    for i, j in zip(*np.nonzero(R), strict=True):
        up = e[i] - e[j]
        lost[i] += R[i, j] << up if up >= 0 else -(-R[i, j] >> -up)  # rounded upwards
    return base.is_psd(N - np.diag(lost), power)


def floats(N, power):
    return np.array([[int(v) / (1 << power) for v in row] for row in N])


# ------------------------------------------------------------------------- the head


class Head:
    """The fully connected layers, multiplied out: v_1 reads the trunk, then one layer after the other."""

    def __init__(self, torus):
        self.torus, values, self.stages = torus, {}, []
        for k, node in enumerate(torus.nodes):
            if k in torus.trunk:
                continue
            if node[0] == "slopes":
                self.stages.append((k, self.of(values, node[1], exact(np.eye(torus.sizes[k])))))
                values[k] = {k: exact(np.eye(torus.sizes[k]))}
                continue
            total = {}
            for p, m in node[1]:
                left = exact(np.eye(torus.sizes[p])) if isinstance(m, str) else m
                need(not conv_of(left), "a convolution among the fully connected layers")
                for s, e in self.of(values, p, left).items():
                    total[s] = plus(total[s], e) if s in total else e
            values[k] = total
        self.stages.append((None, values[torus.outer]))
        before = None
        for i, (k, rows) in enumerate(self.stages):
            expected = (
                all(s in torus.phases and torus.nodes[s][0] != "affine" for s in rows)
                if not i
                else set(rows) == {before}
            )
            need(expected, "the fully connected layers are no chain behind the images")
            before = k

    def of(self, values, k, left):
        torus, found, pending = self.torus, {}, {k: left}
        if k not in torus.trunk:
            return {s: times(left, e) for s, e in values[k].items()}
        for index in range(k, -1, -1):
            if index not in pending:
                continue
            rows = pending.pop(index)
            if torus.nodes[index][0] != "affine":
                found[index] = rows
                continue
            for p, m in torus.nodes[index][1]:
                part = rows if isinstance(m, str) else through(rows, *conv_of(m))
                pending[p] = plus(pending[p], part) if p in pending else part
        return found

    def rows(self, frequency):
        """The first half of U(w) as reals, by source."""
        torus, found = self.torus, {}
        for s, (numbers, power) in self.stages[0][1].items():
            (channels, height, width), (f, g) = torus.shapes[s], torus.phases[s]
            split = numbers.reshape(-1, channels, height, width)
            re, im, rad = (np.zeros((len(split), channels, f, g), dtype=object) for _ in range(3))
            for i, j in np.ndindex(height, width):
                cos, sin = frequency.turn((i // f, j // g))
                here = np.s_[:, :, i % f, j % g]
                re[here] += split[:, :, i, j] * cos
                im[here] += split[:, :, i, j] * sin
                rad[here] += abs(split[:, :, i, j])
            re, im, rad = (x.reshape(len(split), -1) for x in (re, im, rad))
            found[s] = np.hstack([re, -im]), np.hstack([rad, rad]), power + BITS
        return found

    def prove(self, gram, d_out, multipliers):
        """The head's matrix times the number of cells, `gram` the sum over all frequencies."""
        torus, blocks = self.torus, {}
        cells = torus.cells[0] * torus.cells[1]
        end = np.diag(exact(np.full(torus.sizes[-1], d_out))[0]) * cells, exact(np.array([d_out]))[1]
        if not multipliers:
            blocks[0, 0] = sharp(plus(end, base.negative(gram)))
        for i, (k, t) in enumerate(multipliers.items()):
            alpha, beta = torus.slopes(k)
            t, total, both = exact(t), plus(alpha, beta), (alpha[0] * beta[0], alpha[1] + beta[1])
            factors, own = (total[0] * t[0], total[1] + t[1]), (np.diag(2 * t[0]) * cells, t[1])
            if i == 0:
                need(not both[0].any(), "slopes of both signs after the images")
                side = factors[0][:, None] * gram[0] * factors[0], gram[1] + 2 * factors[1]
                own = plus(own, base.negative(side))
            else:
                W = self.stages[i][1][self.stages[i - 1][0]]
                blocks[i, i - 1] = sharp((-cells * factors[0][:, None] * W[0], factors[1] + W[1]))
                bent = 2 * cells * (both[0] * t[0])[:, None] * W[0], both[1] + t[1] + W[1]
                blocks[i - 1, i - 1] = add(blocks[i - 1, i - 1], sharp(times(base.turned(W), bent)))
            blocks[i, i] = sharp(own)
        if multipliers:
            count = len(multipliers)
            W = self.stages[-1][1][self.stages[-2][0]]
            blocks[count, count - 1] = sharp((-cells * W[0], W[1]))
            blocks[count, count] = sharp(end)
        need(is_psd(blocks), "the matrix of the fully connected layers is not proven positive semidefinite")


def through(rows, conv, adjoint):
    """rows times a convolution, or times its adjoint."""
    K, power = conv.full()
    targets, sources = (math.prod(s) for s in (conv.output, conv.image))
    result = np.zeros((sources if not adjoint else targets, rows[0].shape[0]), dtype=object)
    lines = [conv.reads(axis) for axis in range(2)]
    for o, c, a, b in np.ndindex(*K.shape):
        if not K[o, c, a, b]:
            continue
        for i, j in np.ndindex(*conv.output[1:]):
            x, y = lines[0][i, a], lines[1][j, b]
            if 0 <= x < conv.image[1] and 0 <= y < conv.image[2]:
                out = (o * conv.output[1] + i) * conv.output[2] + j
                into = (c * conv.image[1] + x) * conv.image[2] + y
                if adjoint:
                    result[out] += rows[0][:, into] * K[o, c, a, b]
                else:
                    result[into] += rows[0][:, out] * K[o, c, a, b]
    return result.T, rows[1] + power


def gram_of(blocks, output):
    """G_w, a symmetric matrix of floats for which the bordered matrix is proven."""
    N, _, power, place = joined(blocks)
    U = np.zeros((next(iter(output.values()))[0].shape[0], len(N)))
    for s, e in output.items():
        U[:, place[s]] = floats(e[0], e[2])
    unit = np.sqrt(np.maximum(np.diag(floats(N, power)), 1e-300))  # of each row that U reads
    size = np.max(
        [(floats(e[1], e[2]) / unit[place[s]]).max(axis=1) * 2.0**BITS for s, e in output.items()], axis=0
    )
    try:
        G = U @ np.linalg.solve(floats(N, power), U.T)
    except np.linalg.LinAlgError as error:
        raise base.Refused("the matrix of a frequency is singular") from error
    G = np.tril(G) + np.tril(G, -1).T
    for above in (1e-11, 1e-9, 1e-7, 1e-5):
        own = G * (1.0 + above)
        floor = 1e-3 * np.trace(G) / len(G) + 2.0**-60 * size**2 + 1e-250
        own[np.diag_indices_from(own)] += above * (np.diag(G) + floor)
        trial = dict(blocks) | {(10**9, s): (-e[0], e[1], e[2]) for s, e in output.items()}
        trial[10**9, 10**9] = sharp(exact(own))
        if is_psd(trial):
            return own
    raise base.Refused("a frequency has no proven Gram matrix")


# ------------------------------------------------------------------------- the certificate


def read(path):
    with open(path, "rb") as stream:
        raw = stream.read(base.LARGEST_FILE + 1)
    need(len(raw) <= base.LARGEST_FILE, "the file is too large")
    data = json.loads(
        raw.decode("utf-8"),
        object_pairs_hook=base.unique,
        parse_float=base.no_float,
        parse_constant=base.no_float,
    )
    names = "format version claim graph proof tool margin unproven"
    name, version, claim, graph, proof, tool, margin, unproven = fields(data, names)
    need(
        name == "lmikit-torus-cert" and type(version) is int and version == 1, "not a certificate on a torus"
    )
    *fixed, bound = fields(claim, "norm scope semantics statement L")
    need(fixed == list(FIXED.values()), "another claim")
    for note in fields(tool, "name version produced_by"):
        text(note)
    for note in (margin, *(v for v in fields(unproven, "lower optimum_at_least") if v is not None)):
        hexfloat(note)
    cells, listed, d_in, d_out, multipliers, head = fields(
        proof, "cells admissibility d_in d_out multipliers head"
    )
    cells = [integer(m, 1, 2**20) for m in items(cells)]
    need(len(cells) == 2, "cells")
    ends = hexfloat(d_in), hexfloat(d_out), hexfloat(bound)
    need(ends[0] > 0 and ends[1] > 0 and ends[2] >= 0, "a weight or L is not positive")
    found = [[sized(t) for t in items(part)] for part in (multipliers, head)]
    need(all((t >= 0).all() for part in found for t in part), "a negative multiplier")
    return items(graph), cells, items(listed), ends, *found


def check(certificate, graph, slopes=None):
    """The proven L; raises where it is not proven."""
    theirs, cells, listed, (d_in, d_out, bound), multipliers, head = read(certificate)
    subject = Subject(graph, slopes or {})
    need(len(theirs) == len(subject.nodes), "a graph of another number of nodes")
    nodes = []
    for record, node, ours, size in zip(theirs, subject.nodes, subject.records, subject.sizes, strict=True):
        if node[0] == "slopes":
            need(type(record) is dict and {"alpha", "beta"} <= set(record), "another graph")
            record = dict(record)
            pair = [base.array(*fields(record.pop(key), "dtype data"), size) for key in ("alpha", "beta")]
            low, high = map(exact, pair)
            for less, more in ((low, node[2]), (node[3], high)):
                need((plus(more, base.negative(less))[0] >= 0).all(), "slopes narrower than the function's")
            node = ("slopes", node[1], low, high)
        need(json.dumps(record, sort_keys=True) == json.dumps(ours, sort_keys=True), "another graph")
        nodes.append(node)
    nodes, sizes = with_trees(nodes, subject.sizes)
    torus = Torus(nodes, sizes, cells)
    need(json.dumps(listed) == json.dumps(listed) and listed == torus.demands, "another list of demands")
    applied = [k for k, node in enumerate(nodes) if node[0] == "slopes"]
    trunk, rest = ([k for k in applied if (k in torus.phases) == inside] for inside in (True, False))
    need([t.size for t in multipliers] == [torus.shapes[k][0] for k in trunk], "multipliers of another size")
    need([t.size for t in head] == [sizes[k] for k in rest], "multipliers of another size")
    need(base.rational(d_in) * base.rational(d_out) <= base.rational(bound) ** 2, "L is below d_in d_out")
    table = roots(math.lcm(*cells))
    last = None if torus.headless else Head(torus)
    need(last is not None or not rest, "nonlinear nodes behind the output")
    gram = None
    for a, b in np.ndindex(*cells):
        opposite = (-a % cells[0], -b % cells[1])
        if (a, b) > opposite:
            continue
        frequency = Frequency(torus, table, (a, b))
        blocks, values = frequency.blocks(d_in, dict(zip(trunk, multipliers, strict=True)))
        if last is None:
            output = values[torus.outer]
            rows = next(iter(output.values()))[0].shape[0]
            blocks |= {(10**9, s): (-e[0], e[1], e[2]) for s, e in output.items()}
            blocks[10**9, 10**9] = sharp(exact(np.diag(np.full(rows, d_out))))
            need(is_psd(blocks), f"the matrix of frequency {(a, b)} is not proven positive semidefinite")
            continue
        G = exact((1.0 if (a, b) == opposite else 2.0) * gram_of(blocks, last.rows(frequency)))
        gram = G if gram is None else plus(gram, G)
    if last is not None:
        last.prove(gram, d_out, dict(zip(rest, head, strict=True)))
    return bound


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        found = check(*sys.argv[1:])
    except base.Refused as error:
        sys.exit(f"refused: {error}")
    except (ValueError, OSError, KeyError, IndexError, TypeError) as error:
        sys.exit(f"refused: {type(error).__name__}: {error}")
    print(f"proven: ||f(x) - f(x')||_2 <= {found!r} ||x - x'||_2")
