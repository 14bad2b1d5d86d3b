"""Sound as an autoregressive process, x[t] = a[1] x[t-1] + … + a[p] x[t-p] + e[t]: run across a gap, and run on.

What classical restoration does where a model has learnt nothing: coefficients are taken from what is known around the
gap, and samples are found for which the errors e are smallest.
"""

import numpy as np
from jaxtyping import Bool, Float

ORDER = 0.004
"""Seconds that coefficients look back: 32 samples at 8 kHz."""
CONTEXT = 0.128
"""Seconds on either side of what is gone that coefficients are taken from: sound changes."""
ROUNDS = 3
"""How often samples are found by coefficients and coefficients by samples."""
FAINT = 1e-9
"""A share of the sound's power that counts as noise, so that what is silent or a pure tone has coefficients."""


def across(x: Float[np.ndarray, " n"], gone: Bool[np.ndarray, " n"], rate: int) -> Float[np.ndarray, " n"]:
    """`x` with its samples that are `gone` replaced by those of least squared error, by turns with the coefficients
    (Janssen et al. 1986, section III); 0 where everything is gone.

    The first coefficients come from what is known alone, so that a process without noise is found at once.
    """
    x, places = np.where(gone, 0.0, x), np.flatnonzero(gone)
    if not places.size:
        return x
    context = round(CONTEXT * rate)
    around = slice(max(0, places[0] - context), places[-1] + 1 + context)
    part, here = x[around], gone[around]  # a view: what is found there is found in x
    sure, order = ~here, min(round(ORDER * rate), int((~here).sum()) // 3)
    for _ in range(ROUNDS if order else 0):
        part[here] = _samples(part, here, _coefficients(part, sure, order))
        sure = np.ones_like(here)
    return x


def _coefficients(x: Float[np.ndarray, " n"], sure: Bool[np.ndarray, " n"], order: int) -> Float[np.ndarray, " p"]:
    """Those of least squared error where it and the samples before it are `sure` (the covariance method)."""
    rows = np.lib.stride_tricks.sliding_window_view(x, order + 1)
    rows = rows[np.lib.stride_tricks.sliding_window_view(sure, order + 1).all(1)]
    past, now = rows[:, -2::-1], rows[:, -1]
    table = past.T @ past
    table[np.diag_indices(order)] += FAINT * (np.trace(table) / order) + np.finfo(float).tiny
    return np.linalg.solve(table, past.T @ now)


def _samples(
    x: Float[np.ndarray, " n"], gone: Bool[np.ndarray, " n"], a: Float[np.ndarray, " p"]
) -> Float[np.ndarray, " m"]:
    """The samples that are `gone`, for which the sum of squared errors is least (equation 12).

    Row and column j of its matrix hold the sum of h[i] h[i - lag] over those errors, i after sample j, that there are:
    of samples near an end some are missing.
    """
    from scipy.linalg import solveh_banded

    order, places, h = len(a), np.flatnonzero(gone), np.append(1.0, -a)
    errors = np.convolve(np.where(gone, 0.0, x), h)[: len(x)]
    errors[:order] = 0  # of which the past is not known as a whole
    wanted = -np.correlate(np.append(errors, np.zeros(order)), h, "valid")[places]
    lags = [h * np.append(np.zeros(lag), h)[: order + 1] for lag in range(order + 1)]
    sums = np.pad(np.cumsum([*lags, np.zeros(order + 1)], axis=1), ((0, 0), (1, 0)))
    first, past = ((end - places).clip(0, order + 1) for end in (order, len(x)))
    bands = np.zeros((min(order, len(places) - 1) + 1, len(places)))
    for number, band in enumerate(bands):
        here = slice(len(places) - number)
        lag = (places[number:] - places[here]).clip(max=order + 1)
        band[here] = sums[lag, past[here]] - sums[lag, first[here]]
    bands[0] += FAINT * max(1.0, bands[0].max())
    return solveh_banded(bands, wanted, lower=True)


def onward(x: Float[np.ndarray, " n"], more: int, rate: int) -> Float[np.ndarray, " m"]:
    """`more` samples that come after `x`, each the one that is expected after those before it."""
    from scipy.signal import lfilter, lfiltic

    a = burg(x, min(round(ORDER * rate), len(x) // 3))
    if not a.size:
        return np.zeros(more)
    whole = np.concatenate([[1.0], -a])
    return lfilter([1.0], whole, np.zeros(more), zi=lfiltic([1.0], whole, x[::-1][: len(a)]))[0]


def burg(x: Float[np.ndarray, " n"], order: int) -> Float[np.ndarray, " p"]:
    """Coefficients by Burg's method (1975), of a process that never grows."""
    a, ahead, behind = np.zeros(0), x[1:].astype(float), x[:-1].astype(float)
    for _ in range(order):
        power = ahead @ ahead + behind @ behind
        k = 2 * (ahead @ behind) / (power * (1 + FAINT) + np.finfo(float).tiny)
        a = np.append(a - k * a[::-1], k)
        ahead, behind = (ahead - k * behind)[1:], (behind - k * ahead)[:-1]
    return a
