"""Every reader of certificate files refuses the same forms, and no number is taken from float operations."""

import itertools
import json

import numpy as np
import pytest
from certificate_forms import forms
from test_certificates_environment import PREPARATIONS, in_thread, needs_x86_glibc
from test_standalone_checker import checker, run

from lmikit import Certificate, LmikitError, Network, Witness, check, verify
from lmikit.network import Slopes


def example():
    network = Network.from_arrays(
        [[[1.0, -2.0], [0.5, 3.0]], [[1.0, 1.0]]], None, Slopes([-0.1, 0.0], [1.0, 1.1])
    )
    return network, verify(network, Witness("lipsdp", 400.0, ([30.0, 20.3],)))


def example_of_version_2():
    network = Network.from_arrays(
        [[[1.0, -2.0], [0.5, 3.0], [1.0, 1.0]], [[1.0, 1.0, 0.5], [0.0, 1.0, 1.0]], [[1.0, 2.0]]],
        None,
        [Slopes([-0.1, 0.5, 0.0], [1.0, 0.5, 1.1]), Slopes([-1.0, 1.0], [-1.0, 1.0])],
    )
    return network, verify(network, Witness("lipsdp", 400.0, ([30.0, 1.0, 20.3], [1.0, 1.0])))


def verdicts(path, network):
    """(stand-alone, check, load)."""
    try:
        alone = checker.check(path, network.weights, network.slopes) > 0
    except (checker.Refused, ValueError, RecursionError):
        alone = False
    try:
        loaded = Certificate.load(path, network).bound > 0
    except LmikitError:
        loaded = False
    return alone, bool(check(path, network)), loaded


@pytest.mark.slow
@pytest.mark.parametrize("make", [example, example_of_version_2])
def test_all_readers_agree_on_every_form(make, tmp_path):
    assert agree(make, tmp_path, 1) > 1338


@pytest.mark.parametrize(("make", "step"), [(example, 2), (example_of_version_2, 5)])
def test_all_readers_agree_on_many_forms(make, step, tmp_path):
    assert agree(make, tmp_path, step) > 300


def agree(make, tmp_path, step):
    """The number of forms, every `step`-th of them, on which all readers agreed."""
    network, certificate = make()
    assert certificate.format_version == (1 if make is example else 2)
    text = certificate.to_text()
    path = tmp_path / "c.json"
    path.write_text(text, encoding="utf-8")
    assert verdicts(path, network) == (True, True, True)
    count, accepted = 0, []
    for name, data in itertools.islice(forms(text), 0, None, step):
        path.write_bytes(data)
        found = verdicts(path, network)
        assert len(set(found)) == 1, (name, found)
        if all(found) or count % 10 == 0:
            assert bool(check(path, network, exact=True)) == found[0], name
        accepted += [name] if all(found) else []
        count += 1
    # What no proof reads may change within its type; a larger L or rho is a weaker claim.
    free = (
        "tool.",
        "margin",
        "unproven.",
        "verification.",
        "whole",
        "claim.L",
        "claim.rho",
        "network.slopes",
    )
    assert all(name.startswith(free) for name in accepted), accepted
    return count


@needs_x86_glibc
@pytest.mark.parametrize("environment", PREPARATIONS)
def test_the_environment_of_the_thread_does_not_matter_to_the_stand_alone_checker(environment, tmp_path):
    """|f'| is 1e-310 1e300 = 1e-10 on the right: L = 2^-300 is false, L = 2^-30 is true."""
    network = Network.from_arrays([[[1e-310]], [[1e300]]])
    data = json.loads(verify(network, Witness("lipsdp", 0.0, ([0.0],))).to_text())

    def verdict(name, **claim):
        data["claim"].update(claim)
        path = tmp_path / name
        path.write_text(json.dumps(data), encoding="utf-8")
        return in_thread(PREPARATIONS[environment], lambda: run(path, network))

    bound = float.fromhex(data["claim"]["L"])
    assert 1e-10 <= bound < 1.001e-10
    assert verdict("proven.json") == bound
    for claim in ({"L": "0x1p-300"}, {"rho": "0x0p+0"}, {"L": "0x0p+0"}, {"L": "0x1p-1074"}):
        assert isinstance(verdict("false.json", **claim), checker.Refused)


def test_hexadecimal_numbers_are_read_by_their_bits():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**64, 3000, dtype=np.uint64).view(np.float64)
    values = [*values[np.isfinite(values)], 0.0, -0.0, 5e-324, -5e-324, 2.0**-1022, 1.7976931348623157e308]
    for value in map(float, values):
        assert np.float64(checker.hexfloat(value.hex())).tobytes() == np.float64(value).tobytes()
    for text in ("0x1p+1024", "0x1p-1075", "0x1.8p-1074", "0x1.fffffffffffffp-1030", "nan", "0x1p0"):
        with pytest.raises(checker.Refused):
            checker.hexfloat(text)
