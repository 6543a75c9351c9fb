"""Slope bounds that are not short decimals, proven on the whole line in ball arithmetic."""

import pytest

from lmikit.network import GELU, Mish, SiLU


def series(activation, flint):
    """phi as a power series, for activations whose bounds are not short decimals."""
    one = flint.arb(1)
    tanh = lambda u: 1 - 2 / ((2 * u).exp() + 1)  # noqa: E731
    if isinstance(activation, SiLU):
        return lambda x: x / (1 + (-x).exp())
    if isinstance(activation, Mish):
        return lambda x: x * tanh((1 + x.exp()).log())
    if activation.approximate == "none":
        return lambda x: x * (1 + (x * (one / flint.arb(2).sqrt())).erf()) * (one / 2)
    c, a = (flint.arb(2) / flint.arb.pi()).sqrt(), flint.arb(44715) / 10**6
    return lambda x: x * (1 + tanh((x + x * x * x * a) * c)) * (one / 2)


@pytest.mark.parametrize("activation", [GELU(), GELU("tanh"), SiLU(), Mish()], ids=str)
def test_irrational_bounds_hold_on_the_whole_line_and_are_tight(activation):
    """Ball arithmetic on [-40, 40]; the docstrings treat what lies beyond.

    An interval is settled if phi' is enclosed by the bounds, or if phi'' has one sign and the
    ends are, or if phi''' has one sign: then the tangent of phi' near its extreme is a bound.
    """
    flint = pytest.importorskip("flint")
    saved, flint.ctx.prec = flint.ctx.prec, 300
    try:
        phi = series(activation, flint)

        def derivatives(low, high):
            ball = flint.arb(low).union(flint.arb(high))
            taylor = phi(flint.arb_series([ball, 1], prec=4))
            return taylor[1], taylor[2] * 2, taylor[3] * 6

        def root(low, high):
            for _ in range(250):
                middle = ((low + high) / 2).mid()
                inside = (derivatives(low, low)[1] > 0) != (derivatives(middle, middle)[1] > 0)
                low, high = (low, middle) if inside else (middle, high)
            return low

        alpha, beta = (flint.arb(b) for b in activation.bounds())
        extremes, stack = [], [(flint.arb(-40), flint.arb(40))]
        while stack:
            low, high = stack.pop()
            middle = ((low + high) / 2).mid()
            try:
                first, second, third = derivatives(low, high)
            except ValueError:  # the ball is too wide: a denominator contains 0
                stack += [(low, middle), (middle, high)]
                continue
            ends = [derivatives(x, x)[0] for x in (low, high)]
            ends_inside = all(alpha <= e and e <= beta for e in ends)
            if (alpha <= first and first <= beta) or (ends_inside and not second.contains(0)):
                continue
            if ends_inside and not third.contains(0):
                if (derivatives(low, low)[1] > 0) == (derivatives(high, high)[1] > 0):
                    continue  # phi'' is monotone with equal signs at the ends
                c = root(low, high)
                at, slope, _ = derivatives(c, c)
                slack = abs(slope) * (high - low)
                assert alpha <= at - slack
                assert at + slack <= beta
                extremes.append(at)
                continue
            stack += [(low, middle), (middle, high)]
            assert len(stack) < 10_000
        assert len(extremes) == 2
        assert min(float(beta - e) for e in extremes) < 3e-16
        assert min(float(e - alpha) for e in extremes) < 3e-17
    finally:
        flint.ctx.prec = saved
