"""Tails of a Gaussian at k + 1/2 for k = 0, 1, 2, ..., as whole numbers: what the noise's table of a wide Gaussian is made of.

The table of sigma 2,048 has 34,817 tails. One by one, with 80 digits, they take seconds; here each is made from the one before it, by
the Taylor series of the integral between them, in whole numbers of 2^-352:

    F(x + h) = F(x) - g(x) h sum_n u_n / (n + 1),    F = erfc / 2,    g(x) = exp(-x^2) / sqrt(pi),
    u_0 = 1,    u_1 = -2 h x,    u_(n+1) = -(2 h x u_n + 2 h^2 u_(n-1)) / (n + 1)

(u_n = H_n(x) (-h)^n / n! with the Hermite polynomials H_n), and g follows from exp(-2 h x - h^2) by two products a step. Every product
rounds by at most one unit; the factors' errors grow by less than the number of steps each, so that of g by less than its square. For
up to 2^16 steps of some 30 products F is off by less than 2^48 units, that is 2^-304: 2^111 times less than half a unit of the table.

>>> [round(tail / 2**40, 9) for tail in gaussian_tails(40.0, 3, bits=40)]
[0.495013351, 0.48504317, 0.475082331]
"""

from __future__ import annotations

import mpmath

GUARD = 160
# Below it the steps are wide, the series long and the tables so short that they need no help.
FROM_SIGMA = 32.0


def gaussian_tails(sigma: float, count: int, *, bits: int) -> list[int]:
    """Pr[Z > k + 1/2] for Z ~ N(0, sigma^2) and k = 0 .. count - 1, in units of 2^-bits, to the nearest. `sigma` at least 32."""
    precision = bits + GUARD
    one = 1 << precision
    with mpmath.workprec(precision + 64):
        step = 1 / (mpmath.mpf(sigma) * mpmath.sqrt(2))
        x = step / 2
        h, at = int(mpmath.nint(step * one)), int(mpmath.nint(x * one))
        tail = int(mpmath.nint(mpmath.erfc(x) / 2 * one))
        density = int(mpmath.nint(mpmath.exp(-x * x) / mpmath.sqrt(mpmath.pi) * one))
        ratio = int(mpmath.nint(mpmath.exp(-2 * x * step - step * step) * one))
        ratio_of_ratios = int(mpmath.nint(mpmath.exp(-2 * step * step) * one))
    half_unit, twice_square = 1 << (GUARD - 1), (h * h) >> (precision - 1)
    tails = []
    for _ in range(count):
        tails.append((tail + half_unit) >> GUARD)
        tail -= (
            ((density * h) >> precision) * _mean_over_step(one, (h * at) >> (precision - 1), twice_square, precision)
        ) >> precision
        density = (density * ratio) >> precision
        ratio = (ratio * ratio_of_ratios) >> precision
        at += h
    return tails


def _mean_over_step(one: int, slope: int, twice_square: int, precision: int) -> int:
    """The mean of exp(-2 x t - t^2) for t from 0 to h, from 2 h x and 2 h^2: the sum of u_n / (n + 1)."""
    before, term = one, -slope
    total, order = before + (term >> 1), 1
    while abs(before) > 1 or abs(term) > 1:
        order += 1
        before, term = term, -((slope * term + twice_square * before) >> precision) // order
        total += term // (order + 1)
    return total
