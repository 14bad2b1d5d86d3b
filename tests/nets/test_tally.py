"""What is noted within a step: a mean over all rows, of all parts and of all ranks."""

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from maquette.nets.tally import Tally


def test_rows_of_all_parts_count_alike() -> None:
    tally = Tally(2)
    tally.note(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    tally.note(torch.tensor([[5.0, 6.0]]))
    mean, count = tally.take()
    assert mean.tolist() == [3.0, 2.0] and count == 3
    mean, count = tally.take()
    assert mean.tolist() == [0.0, 0.0] and count == 0, "it does not begin anew"


def test_only_training_counts_and_no_checkpoint_holds_it() -> None:
    tally = Tally().eval()
    tally.note(torch.ones(4))
    assert tally.take()[1] == 0 and not tally.state_dict()


def rank_run(rank: int, meeting: str, results) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=2)
    tally = Tally()
    tally.note(torch.full((2,), 1.0 + 2 * rank))
    results[rank] = [value.item() for value in tally.take()]
    dist.destroy_process_group()


def test_ranks_know_of_each_others_rows(tmp_path: Path) -> None:
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(rank_run, (str(tmp_path / "meeting"), results), nprocs=2)
        assert results[0] == results[1] == [2.0, 4.0]
