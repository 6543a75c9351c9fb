"""The contracts of docs/contracts.md: for everything that is registered, and for classes of one's own."""

import dataclasses
import inspect
import json
import pathlib
import re
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse as sp

import lmikit
from lmikit import InputError, Network
from lmikit.certificates._kinds import _CHECKERS
from lmikit.claims import Box
from lmikit.control import System, h_infinity_norm
from lmikit.graph import Graph, GraphBuilder, graph_lower_bound
from lmikit.lmi import LMI, SDP
from lmikit.maps import (
    AbstractLinearMap,
    Convolution2d,
    DenseMap,
    ProductMap,
    SelectMap,
    SparseMap,
    StackMap,
    SumMap,
    TransposedMap,
)
from lmikit.methods import AbstractMethod
from lmikit.network import Activation, LinearFractional
from lmikit.nonlinear import AbstractGroups
from lmikit.solvers import AbstractSolver, Clarabel

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "contracts.md"


def concrete(root):
    """Every class of the package below an abstract one that has instances."""
    found = {root}
    for _ in range(4):
        found |= {sub for cls in found for sub in cls.__subclasses__()}
    return {c for c in found if not inspect.isabstract(c) and c.__module__.startswith("lmikit.")}


# --- linear maps ---------------------------------------------------------------------------------


def example_maps():
    rng = np.random.default_rng(0)
    W, V = rng.integers(-3, 4, (2, 4, 6)).astype(float)
    sparse = SparseMap(sp.csr_array(V))
    kernel = rng.integers(-2, 3, (2, 1, 2, 2)).astype(float)
    return [
        DenseMap(W),
        sparse,
        SelectMap([2, 0, 0, 5], 6),
        StackMap((DenseMap(W), sparse)),
        SumMap((DenseMap(W), sparse)),
        ProductMap(SelectMap([2, 0, 1, 1, 3], 4), sparse),
        TransposedMap(DenseMap(W)),
        Convolution2d(kernel, (1, 3, 4), padding=1),
    ]


def test_every_map_is_among_the_examples():
    assert {type(m) for m in example_maps()} == concrete(AbstractLinearMap)


@pytest.mark.parametrize("linear", example_maps(), ids=lambda m: type(m).__name__)
def test_contract_of_a_map(linear, tmp_path):
    """On small integers, where every product is exact: no tolerance."""
    rng = np.random.default_rng(1)
    rows, columns = linear.shape
    W = linear.to_sparse().toarray()
    assert W.shape == linear.shape
    assert np.array_equal(W, linear.to_dense())
    x, u = rng.integers(-4, 5, (columns, 3)).astype(float), rng.integers(-4, 5, (rows, 3)).astype(float)
    for product, expected, at in ((linear.matvec, W, x), (linear.rmatvec, W.T, u)):
        assert np.array_equal(product(at), expected @ at)
        assert np.array_equal(product(at[:, 0]), expected @ at[:, 0])
    assert np.array_equal(linear.T.to_dense(), W.T)
    assert np.array_equal(linear.scaled(-3).to_dense(), W / 8.0)
    keep = np.arange(rows - 1), np.arange(1, columns)
    assert np.array_equal(linear.restricted(*keep).to_dense(), W[np.ix_(*keep)])
    assert linear.largest_entry() == np.abs(W).max() == linear.extremes()[1]
    assert linear.extremes()[0] == np.abs(W[W != 0.0]).min()
    assert sorted(linear.nonzeros()) == sorted(W[W != 0.0])
    assert linear.digest != linear.scaled(1).digest
    g = GraphBuilder()
    graph = g.output(linear @ g.input(columns))
    graph.save(tmp_path / "map.npz")
    assert Graph.from_file(tmp_path / "map.npz").digest == graph.digest


# --- nonlinearities, methods, solvers: the contracts are elsewhere, and cover everything -----------


def test_what_is_registered_is_tested():
    import test_activations
    import test_graph
    import test_methods_contract
    import test_solvers_contract

    assert {type(g) for g in test_graph.GROUPS} == concrete(AbstractGroups)
    assert {type(a) for a in test_activations.INSTANCES} | {lmikit.Slopes} == concrete(Activation)
    assert set(test_methods_contract.METHODS) == concrete(AbstractMethod)
    tested = {p.values[0].__class__ for p in test_solvers_contract.SOLVERS}
    assert tested == concrete(AbstractSolver)
    ready = [p for p in test_solvers_contract.SOLVERS if not p.marks]
    assert len(ready) >= 3  # no licence and no extra is needed for these


# --- proofs --------------------------------------------------------------------------------------


def small_network(bias=1.0):
    rng = np.random.default_rng(2)
    W, V = rng.standard_normal((4, 2)), rng.standard_normal((2, 4))
    return Network.from_arrays([W, V], [bias * rng.standard_normal(4), np.zeros(2)])


def a_graph():
    g = GraphBuilder()
    x = g.input(2)
    return g.output(
        x + np.array([[0.5, 0.25], [-0.5, 0.125]]) @ g.relu(np.array([[1.0, 2.0], [0.5, -1.0]]) @ x)
    )


def a_form():
    W, eye = np.array([[0.25, -0.5], [0.125, 0.25]]), np.eye(2)
    return LinearFractional(eye, W, 0.0 * eye, eye, np.zeros(2), np.ones(2))


def an_sdp():
    e = np.eye(2)[:, :1]
    return SDP(np.ones(1), (LMI(np.array([[0.0, 1.0], [1.0, 1.0]]), e, e, np.ones((1, 1))),))


def a_convolution():
    kernel = np.array([[[[0.5, 0.25], [-0.25, 1.0]]]])
    maps = [Convolution2d(kernel, (1, 3, 3), padding=1), Convolution2d(kernel, (1, 4, 4))]
    return Network.from_arrays(maps)


SYSTEM = System([[-1.0, 0.5], [0.0, -2.0]], [[1.0], [0.5]], [[1.0, 1.0]])
BOX = Box([0.1, -0.2], [0.4, 0.3])
PROOFS = {
    "lmikit-cert": (small_network, lmikit.lipschitz),
    "lmikit-graph-cert": (a_graph, lmikit.lipschitz),
    "lmikit-implicit-cert": (a_form, lmikit.lipschitz),
    "lmikit-local-cert": (small_network, lambda net: lmikit.local_lipschitz(net, BOX)),
    "lmikit-cells-cert": (small_network, lambda net: lmikit.exact_lipschitz(net, BOX).certificate),
    "lmikit-point-cert": (
        small_network,
        lambda net: lmikit.certify_point(net, [0.5, 0.5], eps=0.01).certificate,
    ),
    "lmikit-sdp-cert": (an_sdp, lambda sdp: lmikit.prove(sdp).certificate),
    "lmikit-torus-cert": (a_convolution, lmikit.torus_lipschitz),
    "lmikit-control-cert": (lambda: SYSTEM, lambda system: h_infinity_norm(system).certificate),
}  # fmt: skip


def test_every_kind_of_proof_is_here():
    assert set(PROOFS) == set(_CHECKERS)


@pytest.mark.parametrize("kind", PROOFS)
def test_contract_of_a_proof(kind, tmp_path):
    """Accepted in both modes; broken, shortened or told of another subject it is refused, never raised."""
    make, prove = PROOFS[kind]
    subject = make()
    certificate = prove(subject)
    text = certificate.to_text()
    assert json.loads(text)["format"] == kind
    path = tmp_path / "c.json"
    certificate.save(path)
    for exact in (False, True):
        found = lmikit.check(path, subject, exact=exact)
        assert found.ok or (exact and "no exact mode" in found.reason), found.reason
    checker = _CHECKERS[kind]
    document = json.loads(text)
    broken = [text[: len(text) * k // 8] for k in range(8)] + ["[]", "null", text + "x"]
    for key in document:
        rest = {name: value for name, value in document.items() if name != key}
        broken += [json.dumps(rest), json.dumps({**rest, key: [[]]})]
    broken += [json.dumps({**document, "unknown": 1}), json.dumps({**document, "version": 10**6})]
    for one in broken:
        assert not checker(one, subject, False).ok
    with pytest.raises(InputError):
        lmikit.check(path, object())


# --- classes of one's own: one class, no line elsewhere --------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class Circulant(AbstractLinearMap):
    """(W x)_i = sum_j c_{i-j mod n} x_j."""

    c: np.ndarray

    @property
    def shape(self):
        return self.c.size, self.c.size

    def to_sparse(self):
        return sp.csr_array(np.column_stack([np.roll(self.c, k) for k in range(self.c.size)]))

    def matvec(self, x):
        return self.to_sparse() @ x

    def rmatvec(self, u):
        return self.to_sparse().T @ u

    def scaled(self, pow2):
        return Circulant(np.ldexp(self.c, pow2))

    def largest_entry(self):
        return float(np.abs(self.c).max())

    def restricted(self, rows, columns):
        return SparseMap(self.to_sparse()[rows][:, columns])

    @property
    def digest(self):
        return "circulant " + self.c.tobytes().hex()


@dataclasses.dataclass(frozen=True, eq=False)
class Halves(Activation):
    """max(v, v / 2)."""

    name: ClassVar[str] = "halves"

    def bounds(self):
        return 0.5, 1.0

    def __call__(self, v, axis=-1):
        return np.maximum(v, 0.5 * v)

    def derivative(self, v, axis=-1):
        return np.where(v > 0.0, 1.0, 0.5)


@dataclasses.dataclass(frozen=True, eq=False)
class OntoUnitBalls(AbstractGroups):
    """v / max(1, |v|) per group of three: a projection, so |dw| <= |dv|; it keeps nothing."""

    name: ClassVar[str] = "onto_unit_balls"

    @property
    def group_size(self):
        return 3

    @property
    def norm_directions(self):
        return np.eye(3)

    @property
    def identities(self):
        return np.zeros((3, 0))

    def __call__(self, v):
        w = self._grouped(v)
        return (w / np.maximum(1.0, np.linalg.norm(w, axis=1, keepdims=True))).reshape(v.shape)

    def jvp(self, v, dv):
        w, d = self._grouped(v), self._grouped(dv)
        norm = np.linalg.norm(w, axis=1, keepdims=True)
        unit = w / norm
        outside = (d - unit * (unit * d).sum(1, keepdims=True)) / norm
        return np.where(norm > 1.0, outside, d).reshape(dv.shape)

    def vjp(self, v, u):
        return self.jvp(v, u)

    def distance_to_kinks(self, v):
        return np.abs(np.linalg.norm(self._grouped(v), axis=1) - 1.0).min(axis=0) / 2.0

    def parameters(self):
        return {}


@pytest.mark.parametrize(("function", "skip"), [(Halves(), False), (OntoUnitBalls(), True)], ids=str)
def test_a_map_and_a_nonlinearity_of_ones_own(function, skip, tmp_path):
    c = np.array([0.5, -0.25, 0.125, 0.5, 0.0, -0.5])

    def net(linear):
        g = GraphBuilder()
        x = g.input(6)
        h = g.apply(function, linear @ x + np.arange(6) / 8.0)
        return g.output(linear @ (h + x if skip else h))

    own, known = net(Circulant(c)), net(DenseMap(Circulant(c).to_dense()))
    certificate = lmikit.lipschitz(own)
    assert certificate.bound == pytest.approx(lmikit.lipschitz(known).bound, rel=1e-9)
    assert graph_lower_bound(own).value <= certificate.bound
    certificate.save(tmp_path / "own.json")
    for exact in (False, True):
        assert lmikit.check(tmp_path / "own.json", own, exact=exact).ok
    assert not lmikit.check(tmp_path / "own.json", net(Circulant(2.0 * c)))
    with pytest.raises(InputError, match=r"does not write|lmikit's"):
        own.save(tmp_path / "own.npz")
    assert not (tmp_path / "own.npz").exists()


def test_a_solver_of_ones_own():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Borrowed(AbstractSolver):
        def solve(self, sdp, **options):
            return Clarabel().solve(sdp, **options)

    network = small_network()
    assert lmikit.lipschitz(network, solver=Borrowed()).bound == pytest.approx(
        lmikit.lipschitz(network).bound, rel=1e-6
    )


# --- the page ------------------------------------------------------------------------------------


def test_the_page_names_every_contract_and_its_methods():
    text = PAGE.read_text(encoding="utf-8")
    for contract in (AbstractLinearMap, AbstractGroups, Activation, AbstractMethod, AbstractSolver):
        assert f"`{contract.__name__}`" in text
        for name in contract.__abstractmethods__:
            assert f"`{name}`" in text, (contract.__name__, name)
    for kind in _CHECKERS:
        assert f"`{kind}`" in text


def test_the_page_sends_to_tests_that_exist():
    text = PAGE.read_text(encoding="utf-8")
    here = pathlib.Path(__file__).parent
    names, files = set(re.findall(r"`(test_\w+)`", text)), set(re.findall(r"`tests/(test_\w+\.py)`", text))
    assert names
    assert files
    sources = "".join(file.read_text(encoding="utf-8") for file in here.glob("test_*.py"))
    assert not [name for name in names if f"def {name}(" not in sources]
    assert not [name for name in files if not (here / name).is_file()]
