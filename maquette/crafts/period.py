"""Sound as what repeats: its last period, found by how like itself it is, run on.

Voices and strings repeat themselves a hundred times a second, over spans that an autoregressive process of few
coefficients cannot look back on (the long-term predictor of Atal and Schroeder 1970).
"""

import numpy as np
from jaxtyping import Float

SHORTEST, LONGEST = 0.0025, 0.03
"""Seconds of a period: 33 to 400 Hz."""
WINDOW = 0.03
"""Seconds at the end that have to be like those a period before."""


def repeated(x: Float[np.ndarray, " n"], more: int, rate: int) -> Float[np.ndarray, " m"]:
    """`more` samples that come after `x`: its last period over and over, the fainter the less it is like the one
    before. Of sound too short to compare, zeros."""
    shortest, longest, window = (round(seconds * rate) for seconds in (SHORTEST, LONGEST, WINDOW))
    end, past = x[-window:], x[-window - longest : -shortest]
    if len(past) < window:
        return np.zeros(more)
    windows = np.lib.stride_tricks.sliding_window_view(past, window)[::-1]
    alike = windows @ end / np.sqrt((windows**2).sum(1) * (end @ end) + np.finfo(float).tiny)
    best = int(alike.argmax())
    return max(alike[best], 0.0) * np.resize(x[-shortest - best :], more)
