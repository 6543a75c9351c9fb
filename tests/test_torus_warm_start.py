"""Warm starts of torus bounds: the same answer in fewer steps, no harm done, misfits refused."""

import dataclasses
import functools

import numpy as np
import pytest
from torus_helpers import conv

import lmikit
from lmikit import InputError, Network


def layers(headed):
    """Convolutions with a stride before fully connected layers, or a stack that ends in an image."""
    rng = np.random.default_rng(4)
    if not headed:
        return [conv(rng, 2, (2, 4, 4), 3, padding=1) for _ in range(4)]
    first = conv(rng, 2, (1, 4, 4), 3, padding=1)
    second = conv(rng, 2, first.output_shape, 3, stride=2, padding=1)
    return [first, second, rng.standard_normal((3, 8)) / 3, rng.standard_normal((2, 3)) / 2]


@functools.cache
def known(headed):
    """A network, its certificate and the steps that it took."""
    network = Network.from_arrays(layers(headed))
    return network, *solved(network)


def moved(network, share, seed=0):
    """The network with all weights changed by that share of their norm."""
    rng = np.random.default_rng(seed)

    def noisy(a):
        noise = rng.standard_normal(a.shape)
        return a + share * np.linalg.norm(a) / np.linalg.norm(noise) * noise

    maps = [layer.linear for layer in network.layers]
    kernels = [
        dataclasses.replace(m, kernel=noisy(m.kernel)) if hasattr(m, "kernel") else noisy(m.to_dense())
        for m in maps
    ]
    return Network.from_arrays(kernels)


def solved(network, **options):
    """(certificate, steps)."""
    seen = []
    return lmikit.torus_lipschitz(network, progress=seen.append, **options), len(seen)


@pytest.mark.parametrize("headed", [False, True])
def test_a_warm_start_saves_steps_and_changes_no_answer(headed):
    network, cold, steps = known(headed)
    tolerance = 1e-4 if headed else 1e-6
    again, fewer = solved(network, warm_start=cold)
    assert again.bound == pytest.approx(cold.bound, rel=tolerance)
    assert fewer < 0.7 * steps
    other = moved(network, 1e-2)
    expected, steps = solved(other)
    found, fewer = solved(other, warm_start=cold.witness)
    assert found.bound == pytest.approx(expected.bound, rel=tolerance)
    assert found.witness.optimum_at_least <= expected.bound
    assert fewer < steps


@pytest.mark.parametrize("headed", [False, True])
def test_a_cut_search_is_no_worse_than_what_it_was_given(headed):
    network, best, _ = known(headed)
    cut = lmikit.torus_lipschitz(network, warm_start=best, time_limit=0.0)
    assert best.bound <= cut.bound * (1.0 + 1e-4)
    assert cut.bound <= best.bound * (1.0 + 1e-2)
    larger = tuple(c + 1 for c in best.witness.cells)  # another torus, multipliers of the same sizes
    found = lmikit.torus_lipschitz(network, warm_start=best, cells=larger)
    assert found.witness.cells == larger
    assert found.bound == pytest.approx(lmikit.torus_lipschitz(network, cells=larger).bound, rel=1e-4)


@pytest.mark.parametrize("headed", [False, True])
@pytest.mark.parametrize("kind", ["random", "zero", "huge"])
def test_a_useless_start_does_no_harm(headed, kind):
    network, best, _ = known(headed)
    rng = np.random.default_rng(1)

    def spoilt(t):
        factor = {
            "random": np.exp(6.0 * rng.standard_normal(t.size)),
            "zero": 0.0,
            "huge": 1e290,
            "tiny": 1e-290,
        }
        return t * factor[kind]

    parts = {name: tuple(map(spoilt, getattr(best.witness, name))) for name in ("multipliers", "head")}
    found = lmikit.torus_lipschitz(network, warm_start=dataclasses.replace(best.witness, **parts))
    assert found.bound == pytest.approx(best.bound, rel=1e-4)


def test_what_does_not_fit_is_refused():
    network = Network.from_arrays(layers(True))
    witness = lmikit.torus_lipschitz(network, time_limit=0.0).witness
    for broken, message in (
        (
            lmikit.lipschitz(network, lmikit.SpectralProduct()),
            "expected a TorusCertificate or a TorusWitness",
        ),
        (dataclasses.replace(witness, head=witness.head[:0]), "sizes of the network's channels and neurons"),
        (dataclasses.replace(witness, multipliers=witness.multipliers[::-1][:1]), "sizes"),
        (dataclasses.replace(witness, head=(-witness.head[0],)), "negative"),
        (dataclasses.replace(witness, head=(np.nan * witness.head[0],)), "NaN"),
        (dataclasses.replace(witness, d_in=0.0), "positive number"),
        (lmikit.torus_lipschitz(Network.from_arrays(layers(False)), time_limit=0.0), "does not fit"),
    ):
        with pytest.raises(InputError, match=message):
            lmikit.torus_lipschitz(network, warm_start=broken)


def test_a_missing_array_module_is_an_error_and_no_looser_bound():
    with pytest.raises(lmikit.BackendMissing, match="nothing"):
        lmikit.torus_lipschitz(Network.from_arrays(layers(True)), array_module="nothing")
