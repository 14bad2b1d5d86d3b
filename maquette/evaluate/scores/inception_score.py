"""Inception-style score (Salimans et al. 2016, section 4): exp E_x KL(p(y|x) || p(y)).

Between 1 (every prediction alike) and the number of classes (sure of each, all classes equally often). The classifier
is the extractor's; the stamp says which.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from maquette.evaluate.scores.intervals import Estimate, group_slices, jackknife


def inception_score(logits: Float[Tensor, "n k"]) -> Estimate:
    """The score of all rows at once (no splits), with its jackknife interval."""
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    sums = [(p[rows].sum(0), (p[rows] * log_p[rows]).sum(), rows.stop - rows.start) for rows in group_slices(len(p))]
    classes = torch.stack([s for s, _, _ in sums])
    negative_entropies = torch.stack([e for _, e, _ in sums])
    sizes = torch.tensor([n for _, _, n in sums], dtype=torch.float64)

    def score(kept: Tensor) -> float:
        n = sizes[kept].sum()
        marginal = classes[kept].sum(0) / n
        # mean KL = mean of sum p log p, less sum of marginal log marginal (x log x is 0 at 0)
        return float((negative_entropies[kept].sum() / n - torch.special.xlogy(marginal, marginal).sum()).exp())

    groups = torch.arange(len(sums))
    return jackknife(score(groups >= 0), [score(groups != g) for g in range(len(sums))])
