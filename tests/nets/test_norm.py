"""Batch normalisation: torch's own on one process, and the global batch's on two."""

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from maquette.nets.norm import BatchNorm, mixes_rows


def test_equals_torch_in_training_and_evaluation() -> None:
    ours, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    x = torch.randn(6, 3, 4, 5) * 2 + 1
    for training in (True, True, False):
        ours.train(training), theirs.train(training)
        assert torch.equal(ours(x), theirs(x))
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_takes_any_number_of_axes() -> None:
    assert BatchNorm(3)(torch.randn(4, 3)).shape == (4, 3)
    assert BatchNorm(3)(torch.randn(4, 3, 2, 2, 2)).shape == (4, 3, 2, 2, 2)


def test_knows_which_nets_mix_rows() -> None:
    assert mixes_rows(nn.Sequential(nn.Linear(2, 2), BatchNorm(2)))
    assert not mixes_rows(nn.Sequential(nn.Linear(2, 2), nn.GroupNorm(1, 2)))


def penalised(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A loss that looks at the layer's output and at its slope, as a gradient penalty does."""
    x.requires_grad_()
    out = norm(x).square() * torch.linspace(0, 1, x.shape[-1])
    (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    return out.mean() + slope.square().mean()


def rank_run(rank: int, meeting: str, results) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=2)
    torch.manual_seed(0)
    x = (torch.randn(8, 3, 2, 4) * 3 + 5)[rank * 4 : rank * 4 + 4].clone()
    norm = BatchNorm(3)
    loss = penalised(norm, x)
    loss.backward()
    for p in norm.parameters():
        dist.all_reduce(p.grad)
        p.grad /= 2
    grads = [norm.weight.grad, norm.bias.grad, x.grad, *norm.buffers(), loss.detach()]
    results[rank] = [g.tolist() for g in grads]
    dist.destroy_process_group()


def test_two_ranks_are_one_process_with_the_whole_batch(tmp_path: Path) -> None:
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(rank_run, (str(tmp_path / "meeting"), results), nprocs=2)
        ranks = [[torch.tensor(v) for v in results[r]] for r in (0, 1)]

    torch.manual_seed(0)
    x = torch.randn(8, 3, 2, 4) * 3 + 5
    norm = nn.BatchNorm2d(3)
    loss = penalised(norm, x)
    loss.backward()
    one = [norm.weight.grad, norm.bias.grad, None, *norm.buffers(), loss.detach()]
    for i, value in enumerate(one):
        if value is not None and i < len(one) - 1:
            assert torch.allclose(ranks[0][i].float(), value.float(), atol=1e-5), i
            assert torch.equal(ranks[0][i], ranks[1][i]), "the ranks have drifted apart"
    assert torch.allclose((ranks[0][-1] + ranks[1][-1]) / 2, one[-1], atol=1e-6)
    # a rank's own rows carry the gradient of the sum of the losses: twice that of their mean
    assert torch.allclose(torch.cat([ranks[0][2], ranks[1][2]]) / 2, x.grad, atol=1e-5)
