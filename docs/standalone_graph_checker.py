"""Stand-alone checker of lmikit-graph-cert files: NumPy and the standard library, nothing of lmikit.

Copy this file into your project. `check(certificate, graph)` takes the paths of a certificate and of the
.npz that `Graph.save` wrote; it returns the proven claim (p, q, L), anything it raises is a refusal. It knows
the slopes of relu, leaky_relu, prelu, abs, identity, tanh, sigmoid and of slope classes;
`slopes={name: (alpha, beta)}` adds those that you vouch for. Every decision is made in integers, taken from
the bits of the numbers; floating point only proposes a factor and multiplies integers below 2^16. All in one
matrix: meant for up to some 500 channels.

    python standalone_graph_checker.py CERTIFICATE.json GRAPH.npz
"""

import base64
import hashlib
import json
import re
import sys
from fractions import Fraction

import numpy as np

LARGEST_FILE = 2**27  # bytes
HEX = re.compile(r"(-?)0x([01])(?:\.([0-9a-f]{1,13}))?p([+-][0-9]{1,4})\Z", re.ASCII)
NORMS = ("l1", "l2", "linf")
FIXED = {
    "scope": "global",
    "semantics": "real",
    "statement": "||f(x) - f(x')||_q <= L ||x - x'||_p for all x, x', of the real-arithmetic function "
    "defined by these float weights; not of a float inference",
}
SLOPES = {  # of every difference quotient
    "relu": (0.0, 1.0),
    "abs": (-1.0, 1.0),
    "identity": (1.0, 1.0),
    "tanh": (0.0, 1.0),
    "sigmoid": (0.0, 0.25),
}


class Refused(Exception):
    """Why the claim is not accepted."""


def need(condition, reason):
    if not condition:
        raise Refused(reason)


# ------------------------------------------------------------------------- exact matrices (N, p) = N 2^-p


def exact(values):
    """Floats as integers over one power of two, by their bits."""
    bits = np.array(values, dtype="<f8").view("<i8")
    field = (bits >> 52) & 2047
    need((field < 2047).all(), "NaN or infinity")
    m = (bits & ((1 << 52) - 1)) | ((field > 0).astype(np.int64) << 52)
    m, e = np.where(bits < 0, -m, m), np.maximum(field, 1) - 1075
    power = int(max(0, (-e[m != 0]).max(initial=0)))
    return m.astype(object) << np.where(m != 0, e + power, 0).astype(object), power


def plus(a, b):
    power = max(a[1], b[1])
    return (a[0] << (power - a[1])) + (b[0] << (power - b[1])), power


def times(a, b):
    """The product; zero columns of the second are left alone."""
    used = np.flatnonzero((b[0] != 0).any(axis=0))
    result = np.zeros((a[0].shape[0], b[0].shape[1]), dtype=object)
    if used.size:
        result[:, used] = a[0].dot(b[0][:, used])
    return result, a[1] + b[1]


def scaled(a, rows):
    """diag(rows) a."""
    return rows[0][:, None] * a[0], a[1] + rows[1]


def negative(a):
    return -a[0], a[1]


def turned(a):
    return a[0].T, a[1]


def part(a, rows, columns):
    return a[0][np.ix_(rows, columns)], a[1]


def rational(value):
    n, p = exact(np.array([value]))
    return Fraction(int(n[0]), 1 << p)


# ------------------------------------------------------------------------- reading, strictly


def unique(pairs):
    need(len({k for k, _ in pairs}) == len(pairs), "a key is given twice")
    return dict(pairs)


def no_float(text):
    raise Refused(f"the number {text[:40]} is no integer")


def fields(data, names):
    """The values of an object with exactly these fields."""
    need(type(data) is dict and set(data) == set(names.split()), f"expected an object of {names}")
    return [data[name] for name in names.split()]


def integer(data, low, high):
    need(type(data) is int and low <= data <= high, f"expected an integer from {low} to {high}")
    return data


def text(data):
    need(type(data) is str, "expected a string")
    return data


def items(data):
    need(type(data) is list, "expected a list")
    return data


def hexfloat(data):
    """The finite float64 that the text is exactly."""
    match = HEX.match(text(data))
    need(match, "a string is no hex float")
    _, lead, digits, power = match.groups(default="")
    value = Fraction(int(lead + digits, 16)) * Fraction(2) ** (int(power) - 4 * len(digits))
    result = float.fromhex(data) if value < Fraction(2) ** 1024 else np.inf
    need(abs(result) < np.inf and Fraction(abs(result)) == value, f"{data} is no float64")
    return result


def array(dtype, data, size):
    need(dtype in ("F32", "F64"), "unknown dtype")
    try:
        raw = base64.b64decode(text(data), validate=True)
    except ValueError:
        raise Refused("an array is not base64") from None
    need(base64.b64encode(raw).decode() == data, "an array is not standard base64")
    need(len(raw) == size * int(dtype[1:]) // 8, "an array has the wrong size")
    values = np.frombuffer(raw, "<f4" if dtype == "F32" else "<f8")
    need(np.isfinite(values).all(), "NaN or infinity")
    return values.astype("<f8")


def sized(data):
    size, dtype, values = fields(data, "size dtype data")
    return array(dtype, values, integer(size, 0, 10**8))


def index(data):
    return None if data is None else integer(data, 0, 2**31)


def read_certificate(path):
    """(p, q, L), the nodes of the claim, and the proof (kind, rewritten, parts, gains)."""
    with open(path, "rb") as stream:
        raw = stream.read(LARGEST_FILE + 1)
    need(len(raw) <= LARGEST_FILE, "the file is too large")
    data = json.loads(
        raw.decode("utf-8"), object_pairs_hook=unique, parse_float=no_float, parse_constant=no_float
    )
    names = "format version claim graph proof tool margin unproven"
    name, version, claim, graph, proof, tool, margin, unproven = fields(data, names)
    need(
        name == "lmikit-graph-cert" and type(version) is int and version == 1, "not a certificate of a graph"
    )
    *fixed, p, q, bound = fields(claim, "scope semantics statement p q L")
    need(fixed == list(FIXED.values()) and p in NORMS and q in NORMS, "another claim")
    for note in fields(tool, "name version produced_by"):
        text(note)
    for note in (margin, *(v for v in fields(unproven, "lower optimum_at_least") if v is not None)):
        hexfloat(note)
    kind, rewritten, parts, gains = fields(proof, "kind rewritten parts gains")
    need(text(kind) in ("dissipation", "norms") and type(rewritten) is bool, "another proof")
    found = []
    for item in items(parts):
        row, column, d_in, d_out, multipliers = fields(item, "row column d_in d_out multipliers")
        ends = index(row), index(column), sized(d_in), sized(d_out)
        found.append((*ends, [sized(t) for t in items(multipliers)]))
    claimed = p, q, hexfloat(bound)
    need(claimed[2] >= 0, "a negative L")
    return claimed, items(graph), (kind, rewritten, found, [hexfloat(g) for g in items(gains)])


class Subject:
    """The nodes of a .npz that Graph.save wrote, each ("input" | "affine" | "slopes" | "groups", ...)."""

    def __init__(self, path, slopes):
        with np.load(path, allow_pickle=False) as held:
            entries = {key: held[key] for key in held.files}
        need(
            "graph" in entries,
            "the network's file is none of Graph.save (a chain: chain_graph(network).save)",
        )
        data = json.loads(str(entries.pop("graph")[()]), object_pairs_hook=unique, parse_constant=no_float)
        self.arrays = [entries[f"a{k}"] for k in range(len(entries))][::-1]
        self.slopes = {**SLOPES, **slopes}
        version, nodes = fields(data, "version nodes")
        need(version == 1, "another version of graph files")
        self.sizes, self.nodes, self.records = [], [], []
        for node in items(nodes):
            size, entry, record = self.node(node)
            self.sizes.append(size), self.nodes.append(entry), self.records.append(record)
        need(not self.arrays, "arrays that no node uses")
        need(
            [n[0] for n in self.nodes].count("input") == 1 == (self.nodes[0][0] == "input"), "no input first"
        )

    def parent(self, data):
        return integer(data, 0, len(self.sizes) - 1)

    def node(self, data):
        """(size, node, what a certificate says of it)."""
        need(type(data) is dict, "a node is no object")
        if data.get("node") == "input":
            size = integer(fields(data, "node size")[1], 1, 2**31)
            return size, ("input",), {"kind": "input", "size": size}
        if data.get("node") == "affine":
            _, parents, maps = fields(data, "node parents maps")
            found = [self.map(m) for m in items(maps)]
            bias = self.arrays.pop()
            parents, size = [self.parent(p) for p in items(parents)], bias.size
            need(len(parents) == len(found) > 0, "an affine node needs as many maps as parents")
            for (_, shape, _), p in zip(found, parents, strict=True):
                need(shape == [size, self.sizes[p]], "a map does not fit")
            record = {"kind": "affine", "size": size, "parents": parents}
            record["maps"] = [{"shape": shape, "sha256": sha} for _, shape, sha in found]
            return size, ("affine", list(zip(parents, [m for m, _, _ in found], strict=True))), record
        _, parent, name, parameters = fields(data, "node parent function parameters")
        parent = self.parent(parent)
        size = self.sizes[parent]
        record = {"size": size, "parents": [parent]}
        if name in ("sort_groups", "maxmin", "reflect"):
            function = groups(name, parameters)
            given = parameters if name != "reflect" else {"direction": [float(x).hex() for x in function[1]]}
            need(size % function[2][0].shape[0] == 0, "channels do not fill the groups")
            return size, ("groups", parent, function), {
                "kind": "groups", **record, "function": name, "parameters": given
            }  # fmt: skip
        low, high = (np.broadcast_to(np.float64(v), (size,)) for v in self.bounds(name, parameters))
        need((low <= high).all(), "alpha > beta")
        return size, ("slopes", parent, exact(low), exact(high)), {"kind": "slopes", **record}

    def bounds(self, name, parameters):
        """(alpha, beta) that hold every difference quotient of the function."""
        if name == "slopes":
            return parameters["alpha"], parameters["beta"]
        if name in ("leaky_relu", "prelu"):
            slope = np.float64(parameters["negative_slope" if name == "leaky_relu" else "weight"])
            return np.minimum(slope, 1.0), np.maximum(slope, 1.0)
        need(name in self.slopes, f"this checker knows no slopes of {str(name)[:40]}; pass them")
        return self.slopes[name]

    def map(self, data):
        """(exact matrix, shape, SHA-256) of a map."""
        need(type(data) is dict, "a map is no object")
        kind = data.get("map")
        if kind == "dense":
            w = self.arrays.pop().astype("<f8")
            return exact(w), list(w.shape), sha(b"dense F64 %dx%d\n" % w.shape, w)
        if kind == "sparse":
            values, columns, starts, shape = (self.arrays.pop() for _ in range(4))
            values, columns, starts = values.astype("<f8"), columns.astype("<i8"), starts.astype("<i8")
            rows, width = (int(n) for n in shape)
            need(starts[0] == 0 and starts[-1] == values.size and starts.size == rows + 1, "a sparse map")
            w, place = np.zeros((rows, width)), np.repeat(np.arange(rows), np.diff(starts))
            key = place * width + columns
            need((np.diff(key) > 0).all() and ((columns >= 0) & (columns < width)).all(), "a sparse map")
            w[place, columns] = values
            head = b"csr F64 %dx%d\n" % (rows, width)
            return exact(w), [rows, width], sha(head, starts, columns, values)
        if kind == "select":
            picked, width = self.arrays.pop().astype("<i8"), integer(data["size"], 1, 2**31)
            need(((picked >= 0) & (picked < width)).all(), "a selection beyond its size")
            w = np.zeros((picked.size, width))
            w[np.arange(picked.size), picked] = 1.0
            return exact(w), [picked.size, width], sha(b"select %dx%d\n" % w.shape, picked)
        if kind == "convolution":
            return self.convolution(data)
        parts = [self.map(m) for m in items(fields(data, "map parts")[1])]
        matrices = [m for m, _, _ in parts]
        if kind == "transposed" and len(parts) == 1:
            name, result = "TransposedMap", turned(matrices[0])
        elif kind == "product" and len(parts) == 2:
            name, result = "ProductMap", times(*matrices)
        elif kind == "stack":
            top = max(p for _, p in matrices)
            name, result = "StackMap", (np.vstack([m << (top - p) for m, p in matrices]), top)
        else:
            need(kind == "sum" and parts, "a map of unknown kind")
            name, result = "SumMap", matrices[0]
            for m in matrices[1:]:
                result = plus(result, m)
        head = b"%s %dx%d\n" % (name.encode(), *result[0].shape)
        whole = hashlib.sha256(head + "".join(s for _, _, s in parts).encode()).hexdigest()
        return result, list(result[0].shape), whole

    def convolution(self, data):
        """y[o, i, j] = sum of K[o, c, a, b] x[g(o) + c, s i + d a - p, s j + d b - p], zeros outside."""
        _, _, image, stride, pads, dilation, count = fields(
            data, "map dtype input stride padding dilation groups"
        )
        K = self.arrays.pop().astype("<f8")
        (out, each, *taps), (channels, *size) = K.shape, (integer(n, 1, 2**20) for n in items(image))
        need(integer(count, 1, out) * each == channels and out % count == 0, "a convolution's groups")
        steps = [[integer(n, 1, 2**20) for n in items(pair)] for pair in (stride, dilation)]
        pads = [[integer(n, 0, 2**20) for n in items(pair)] for pair in items(pads)]
        need(len(size) == 2 == len(pads) and all(len(v) == 2 for v in (*steps, *pads)), "a convolution")
        width = [
            (n + sum(p) - d * (k - 1) - 1) // s + 1
            for n, k, s, d, p in zip(size, taps, *steps, pads, strict=True)
        ]
        need(min(width) >= 1, "a convolution without an output")
        w = np.zeros((out, *width, channels, *size))
        for o, c, a, b in np.ndindex(out, each, *taps):
            for i, j in np.ndindex(*width):
                row = steps[0][0] * i + steps[1][0] * a - pads[0][0]
                column = steps[0][1] * j + steps[1][1] * b - pads[1][0]
                if 0 <= row < size[0] and 0 <= column < size[1]:
                    w[o, i, j, o // (out // count) * each + c, row, column] = K[o, c, a, b]
        facts = [K.shape, (channels, *size), *map(tuple, steps[:1]), tuple(map(tuple, pads)), tuple(steps[1])]
        digest = sha(f"convolution2d F64 {[*facts, count]}\n".encode(), K)
        w = w.reshape(out * width[0] * width[1], -1)
        return exact(w), list(w.shape), digest


def sha(head, *arrays):
    return hashlib.sha256(head + b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def groups(name, parameters):
    """(name, direction, N, B) with |N'dw| <= |N'dv| and B'(dw - dv) = 0 in every group."""
    if name == "sort_groups":  # sorting keeps sums, and is 1-Lipschitz
        g = integer(fields(parameters, "size")[0], 1, 2**31)
        return name, None, exact(np.eye(g)), exact(np.ones((g, 1)))
    u = np.float64(fields(parameters, "direction")[0]) if name == "reflect" else np.array([1.0, -1.0])
    need(u.ndim == 1 and u.size > 1 and np.isfinite(u).all() and u.any(), "a direction of a reflection")
    unscaled = u
    u = np.ldexp(u, -int(np.frexp(np.abs(u).max())[1]))
    need(((u == 0) == (unscaled == 0)).all(), "a direction of a reflection")
    p = int(np.argmax(np.abs(u)))
    others = [i for i in range(u.size) if i != p]
    B = np.zeros((u.size, u.size - 1))
    B[others, np.arange(u.size - 1)] = u[p]
    B[p] = -u[others]
    return name, u, exact(u[:, None]), exact(B)


def without_groups(nodes, sizes):
    """Pairs and reflections as one neuron per group: v + u (|s| - s) / u'u, s = u'v; (x_2 + r, x_1 - r)."""
    result, widths, place = [], [], {}

    def add(node, size):
        result.append(node), widths.append(size)
        return len(result) - 1

    def each(count, block):
        return exact(np.kron(np.eye(count), block))

    for k, (node, size) in enumerate(zip(nodes, sizes, strict=True)):
        if node[0] == "affine":
            place[k] = add(("affine", [(place[p], m) for p, m in node[1]]), size)
        elif node[0] == "slopes":
            place[k] = add(("slopes", place[node[1]], *node[2:]), size)
        elif node[0] == "groups":
            name, u, _, _ = node[2]
            need(name != "sort_groups", "sorted groups have no rewriting")
            parent, count = place[node[1]], size // u.size
            read = np.array([[1.0, -1.0]]) if name == "maxmin" else u[None]
            s = add(("affine", [(parent, each(count, read))]), count)
            low = 0.0 if name == "maxmin" else -1.0
            w = add(("slopes", s, exact(np.full(count, low)), exact(np.ones(count))), count)
            if name == "maxmin":
                back = [(parent, each(count, [[0.0, 1.0], [1.0, 0.0]])), (w, each(count, [[1.0], [-1.0]]))]
            else:
                square = sum(rational(x) ** 2 for x in u)
                need((square.numerator & (square.numerator - 1)) == 0, "2 u / u'u is not exact")
                into = u[:, None] / float(square)
                need(
                    all(rational(a) * square == rational(b) for a, b in zip(into[:, 0], u, strict=True)),
                    "u / u'u",
                )
                back = [
                    (parent, each(count, np.eye(u.size))),
                    (w, each(count, into)),
                    (s, each(count, -into)),
                ]
            place[k] = add(("affine", back), size)
        else:
            place[k] = add(node, size)
    return result, widths


# ------------------------------------------------------------------------- the proof


def eliminated(nodes, sizes):
    """Per node (v, w, channels): rows over z = (x, all channels) and who stays; Y; columns of z that count.

    A channel whose row of v is zero does not move; one with alpha = beta is w = alpha v. Of the others those
    stay that Y reads, or a v that counts.
    """
    applied = [k for k, node in enumerate(nodes) if node[0] in ("slopes", "groups")]
    start = dict(zip(applied, np.cumsum([sizes[0], *(sizes[k] for k in applied)]).tolist(), strict=False))
    width = sizes[0] + sum(sizes[k] for k in applied)
    values, moving = [], {}
    for k, (node, size) in enumerate(zip(nodes, sizes, strict=True)):
        if node[0] == "input":
            rows = np.zeros((size, width), dtype=object)
            rows[np.arange(size), np.arange(size)] = 1
            values.append((rows, 0))
        elif node[0] == "affine":
            total = None
            for p, m in node[1]:
                term = times(m, values[p])
                total = term if total is None else plus(total, term)
            values.append(total)
        else:
            v = values[node[1]]
            moves = (v[0] != 0).any(axis=1)
            own = np.zeros((size, width), dtype=object)
            if node[0] == "groups":
                g = node[2][2][0].shape[0]
                moves = np.repeat(moves.reshape(-1, g).any(axis=1), g)
                linear = (0 * own, 0)
            else:
                straight = plus(node[3], negative(node[2]))[0] == 0
                linear = scaled(v, (np.where(straight, node[2][0], 0), node[2][1]))
                moves = moves & ~straight
            moving[k] = np.flatnonzero(moves)
            own[moving[k], start[k] + moving[k]] = 1
            values.append(plus(linear, (own, 0)))
    used = (values[-1][0] != 0).any(axis=0)
    for k in reversed(applied):
        keep = used[start[k] + moving[k]]
        if nodes[k][0] == "groups":
            g = nodes[k][2][2][0].shape[0]
            keep = np.repeat(keep.reshape(-1, g).any(axis=1), g)
            used[start[k] + moving[k]] = keep
        moving[k] = moving[k][keep]
        used |= (values[nodes[k][1]][0][moving[k]] != 0).any(axis=0)
    used[: sizes[0]] = True
    return {k: (values[nodes[k][1]], start[k], moving[k]) for k in applied}, values[-1], np.flatnonzero(used)


def form(node, kept, t):
    """(ww, wv, vv) with sigma = w'ww w + 2 w'wv v + v'vv v <= 0, on the channels that stay."""
    if node[0] == "slopes":  # 2 t (w - alpha v)(w - beta v)
        alpha, beta, t = ((m[kept], p) for m, p in (node[2], node[3], exact(t)))
        total, both = plus(alpha, beta), (alpha[0] * beta[0], alpha[1] + beta[1])
        entries = (2 * t[0], t[1]), (-total[0] * t[0], total[1] + t[1]), (2 * both[0] * t[0], both[1] + t[1])
        return [(np.diag(m), p) for m, p in entries]
    _, _, N, B = node[2]
    g, k = B[0].shape
    upper = np.triu_indices(k)
    each = t.reshape(-1, 1 + k * (k + 1))[kept[::g] // g]
    found = []
    for lam, *rest in each:  # lam (|N'w|^2 - |N'v|^2) + (B'(w - v))'(nu B'v + mu B'w)
        nu, mu = np.zeros((k, k)), np.zeros((k, k))
        nu[upper], mu[upper] = np.split(np.array(rest), 2)
        nu, mu = (exact(np.triu(m) + np.triu(m, 1).T) for m in (nu, mu))
        scale = exact(np.array([lam]))
        norm = times(N, turned(N))
        norm = norm[0] * scale[0][0], norm[1] + scale[1]
        from_nu, from_mu = (times(times(B, m), turned(B)) for m in (nu, mu))
        across = plus(from_nu, negative(from_mu))
        found.append((plus(norm, from_mu), (across[0], across[1] + 1), negative(plus(norm, from_nu))))
    return [diagonal([f[i] for f in found], g) for i in range(3)]


def diagonal(blocks, g):
    power = max(p for _, p in blocks)
    full = np.zeros((g * len(blocks),) * 2, dtype=object)
    for i, (m, p) in enumerate(blocks):
        full[i * g : (i + 1) * g, i * g : (i + 1) * g] = m << (power - p)
    return full, power


def matrix(nodes, sizes, one, shape):
    """The matrix of the format's page for one part, (integers, power); None where its output is constant."""
    row, column, d_in, d_out, multipliers = one
    applied, Y, used = shape
    if column is not None:
        used = np.concatenate([[column], used[used >= sizes[0]]])
    y = part(Y, np.arange(sizes[-1]) if row is None else [row], used)
    if not (y[0] != 0).any():
        return None
    n, inputs = used.size, sizes[0] if column is None else 1
    at = {int(c): i for i, c in enumerate(used)}
    m = y[0].shape[0]
    terms = [(np.s_[:n, n:], negative(turned(y))), (np.s_[n:, :n], negative(y))]
    for d, where, count in ((d_in, 0, inputs), (d_out, n, m)):
        values = exact(np.broadcast_to(d, (count,)))
        terms.append((np.s_[where : where + count, where : where + count], (np.diag(values[0]), values[1])))
    for (k, (v, start, kept)), t in zip(applied.items(), multipliers, strict=True):
        if kept.size:
            ww, wv, vv = form(nodes[k], kept, t)
            R = part(v, kept, used)
            own = [at[start + int(c)] for c in kept]
            across = times(wv, R)
            terms.append((np.ix_(own, own), ww))
            terms += [(np.ix_(own, np.arange(n)), across), (np.ix_(np.arange(n), own), turned(across))]
            if (vv[0] != 0).any():
                terms.append((np.s_[:n, :n], times(turned(R), times(vv, R))))
    power = max(p for _, (_, p) in terms)
    full = np.zeros((n + m, n + m), dtype=object)
    for place, (entries, p) in terms:
        full[place] += entries << (power - p)
    return full, power


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


def is_psd(full, power):
    """B = D N D with diagonal in [1/2, 2); F = B - G G' is diagonally dominant, hence B >= 0."""
    if not all(v > 0 for v in np.diag(full)):
        return False
    d = np.array([(int(v).bit_length() - power) // 2 for v in np.diag(full)], dtype=object)
    shifts = d[:, None] + d[None, :]
    scale = max(0, power + int(shifts.max()), 120)
    whole = full << (scale - power - shifts).astype(object)
    if max(abs(int(v)) for v in whole.ravel()) >= 4 << scale:
        return False
    b = np.array([[int(v) / (1 << scale) for v in row] for row in whole])
    for s in (1e-14, 1e-13, 1e-12, 1e-15):
        try:
            factor = np.linalg.cholesky(b - s * len(b) * np.eye(len(b)))
        except np.linalg.LinAlgError:
            continue
        if np.isfinite(factor).all() and np.abs(factor).max() < 2:
            g = np.rint(np.ldexp(np.tril(factor), 60)).astype(np.int64).astype(object)
            f = whole - (product(g, g.T) << (scale - 120))
            if all(2 * d >= row for d, row in zip(np.diag(f), np.abs(f).sum(axis=1), strict=True)):
                return True
    return False


def norm_is_below(w, gain):
    """||W||_2 <= gain: one entry per row and column at most, none larger; or [[g I, W'], [W, g I]] >= 0."""
    numbers, p = w
    there = numbers != 0
    g, q = exact(np.array([gain]))
    if max(there.sum(axis=0).max(), there.sum(axis=1).max()) <= 1:
        return all(abs(int(v)) << q <= int(g[0]) << p for v in numbers.ravel())
    rows, columns = numbers.shape
    full = np.zeros((rows + columns,) * 2, dtype=object)
    full[:columns, columns:], full[columns:, :columns] = numbers.T << q, numbers << q
    full[np.arange(rows + columns), np.arange(rows + columns)] = int(g[0]) << p
    return is_psd(full, p + q)


def gain_of(nodes, gains):
    """The gain of the output: sums over parents, products along paths."""
    left, found = iter(gains), []
    for node in nodes:
        if node[0] == "affine":
            total = Fraction(0)
            for p, w in node[1]:
                gain = next(left, None)
                need(gain is not None and gain >= 0 and norm_is_below(w, gain), "a gain is below its norm")
                total += rational(gain) * found[p]
            found.append(total)
        elif node[0] == "slopes":
            most = max(Fraction(abs(int(v)), 1 << p) for m, p in node[2:] for v in m)
            found.append(most * found[node[1]])
        else:
            found.append(found[node[1]] if node[0] == "groups" else Fraction(1))
    need(next(left, None) is None, "more gains than maps")
    return found[-1]


def end(d, summed, full):
    """c of D = diag(d): its largest entry, or their sum."""
    need(d.size in (1, full) and (d > 0).all(), "D has another size or an entry that is not positive")
    values = [rational(v) for v in d]
    return max(values) if not summed else sum(values) * (full if d.size == 1 else 1)


def square_of(nodes, sizes, p, q, parts):
    """The largest c_in c_out of the parts, after their matrices were proven; None where y is constant."""
    rows = range(sizes[-1]) if q == "linf" else (None,)
    columns = range(sizes[0]) if p == "l1" else (None,)
    wanted = [(r, c) for r in rows for c in columns]
    need([one[:2] for one in parts] == wanted, "the parts are not one for each row and column")
    counts = []
    for node, size in zip(nodes, sizes, strict=True):
        if node[0] == "slopes":
            counts.append((size, 1))
        elif node[0] == "groups":
            g, k = node[2][3][0].shape
            counts.append((size // g * (1 + k * (k + 1)), 1 + k * (k + 1)))
    shape, squares, constant = eliminated(nodes, sizes), [], True
    for one in parts:
        row, column, d_in, d_out, multipliers = one
        need([t.size for t in multipliers] == [n for n, _ in counts], "multipliers of another size")
        for t, (_, step) in zip(multipliers, counts, strict=True):
            need((t[::step] >= 0).all(), "a negative multiplier")
        c_in = end(d_in, p == "linf", sizes[0] if column is None else 1)
        squares.append(c_in * end(d_out, q == "l1", sizes[-1] if row is None else 1))
        found = matrix(nodes, sizes, one, shape)
        if found is not None:
            constant = False
            need(is_psd(*found), "the matrix is not proven positive semidefinite")
    return None if constant else max(squares)


def check(certificate, graph, slopes=None):
    """The proven claim (p, q, L); raises where it is not proven."""
    (p, q, bound), theirs, (kind, rewritten, parts, gains) = read_certificate(certificate)
    subject = Subject(graph, slopes or {})
    need(len(theirs) == len(subject.nodes), "a graph of another number of nodes")
    nodes = []
    for record, node, ours, size in zip(theirs, subject.nodes, subject.records, subject.sizes, strict=True):
        if node[0] == "slopes":  # the file's slopes are what is proven; the function's must lie in them
            need(type(record) is dict and {"alpha", "beta"} <= set(record), "another graph")
            record = dict(record)
            pair = [array(*fields(record.pop(key), "dtype data"), size) for key in ("alpha", "beta")]
            low, high = map(exact, pair)
            for less, more in ((low, node[2]), (node[3], high)):
                need((plus(more, negative(less))[0] >= 0).all(), "slopes narrower than the function's")
            node = ("slopes", node[1], low, high)
        need(json.dumps(record, sort_keys=True) == json.dumps(ours, sort_keys=True), "another graph")
        nodes.append(node)
    sizes = subject.sizes
    if rewritten:
        nodes, sizes = without_groups(nodes, sizes)
    if kind == "norms":
        need((p, q) == ("l2", "l2") and not parts, "a proof by norms is for l2 and has no parts")
        square = gain_of(nodes, gains) ** 2
    else:
        need(not gains, "a dissipation has gains of maps")
        square = square_of(nodes, sizes, p, q, parts)
    need(square is None or square <= rational(bound) ** 2, "L is below what the proof shows")
    return p, q, bound


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        found = check(*sys.argv[1:])
    except Refused as error:
        sys.exit(f"refused: {error}")
    except (ValueError, OSError, KeyError, IndexError, TypeError) as error:
        sys.exit(f"refused: {type(error).__name__}: {error}")
    print("proven: ||f(x) - f(x')||_{1} <= {2!r} ||x - x'||_{0}".format(*found))
