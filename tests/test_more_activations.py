"""ReLU6, SELU, CELU, Softsign, Hardsigmoid, LogSigmoid, Softshrink, Tanhshrink, Cos, Atan, Erf."""

from fractions import Fraction

import numpy as np
import pytest

from lmikit import InputError, Network, lipschitz
from lmikit.network import (
    CELU,
    SELU,
    Atan,
    Cos,
    Erf,
    Hardsigmoid,
    LogSigmoid,
    ReLU6,
    Softshrink,
    Softsign,
    Tanhshrink,
    resolve_activation,
)

ALL = (
    ReLU6(),
    SELU(),
    CELU(),
    CELU(0.3),
    Softsign(),
    Hardsigmoid(),
    LogSigmoid(),
    Softshrink(),
    Softshrink(0.0),
    Tanhshrink(),
    Cos(),
    Atan(),
    Erf(),
)


def test_rounded_bounds_are_above_the_numbers_that_they_stand_for():
    assert Fraction(Erf().bounds()[1]) > Fraction("1.12837916709551257389615890313")
    assert Fraction(Hardsigmoid().bounds()[1]) > Fraction(1, 6)
    product = Fraction(1.0507009873554804934193349852946) * Fraction(1.6732632423543772848170429916717)
    assert Fraction(SELU().bounds()[1]) >= product


def test_names_files_and_refusals(tmp_path):
    for activation in ALL:
        network = Network.from_arrays([np.eye(2), np.eye(2)], activation=activation)
        network.save(tmp_path / "net.npz")
        assert Network.from_file(tmp_path / "net.npz").digest == network.digest
        assert type(resolve_activation(activation.name)) is type(activation)
    with pytest.raises(InputError, match="jumps"):
        resolve_activation("hardshrink")
    with pytest.raises(InputError, match="positive"):
        CELU(-1.0)
    with pytest.raises(InputError, match="zero or more"):
        Softshrink(-1.0)
    net = Network.from_arrays([np.eye(2), np.eye(2)], activation="erf")
    assert lipschitz(net).bound == pytest.approx(2.0 / np.sqrt(np.pi), rel=1e-7)
