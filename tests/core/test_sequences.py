"""What the marks of a space say about its samples."""

import torch

from maquette.core.sequences import apart, counted, filled, predicted, reach, seen
from maquette.core.types import Marks, Tokens

SPACE = Tokens((8,), 10, Marks(end=0, prompt=1, answer=2))
PLAIN = Tokens((4,), 5)


def test_without_marks_every_token_is_predicted() -> None:
    x = torch.tensor([[3, 1, 0, 4]])
    assert seen(x, PLAIN).tolist() == [[5, 3, 1, 0]] and predicted(x, PLAIN).tolist() == x.tolist()
    assert counted(x, PLAIN).all() and apart(x, PLAIN) is None


def test_a_prompt_and_padding_cost_nothing() -> None:
    #                 end q  a  a  ans b  b  end end end
    x = torch.tensor([[0, 1, 5, 6, 2, 7, 8, 0, 0, 0]])
    # predicted:          1  5  6  2  7  8  0  0  0
    assert counted(x, SPACE).int().tolist() == [[0, 0, 0, 0, 1, 1, 1, 0, 0]]
    assert counted(x, SPACE, padding=True).int().tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 1]]


def test_within_a_conversation_an_answer_ends_where_a_question_follows() -> None:
    #                 end q  a  ans b  q  c  q  d  ans e  end
    x = torch.tensor([[0, 1, 5, 2, 6, 1, 7, 1, 8, 2, 9, 0]])
    # predicted:          1  5  2  6  1  7  1  8  2  9  0
    assert counted(x, SPACE).int().tolist() == [[0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1]]


def test_padding_is_an_end_after_an_end() -> None:
    x = torch.tensor([[0, 5, 6, 0, 7, 0, 0, 0], [5, 6, 7, 8, 9, 9, 9, 0]])
    assert filled(x, SPACE).int().tolist() == [[1, 1, 1, 1, 1, 1, 0, 0], [1] * 8]
    assert filled(torch.zeros(1, 4, dtype=torch.int64), PLAIN).all()


def test_plain_documents_count_whole_with_their_ends() -> None:
    x = torch.tensor([[7, 8, 0, 9, 0, 1, 5, 2, 6]])
    # predicted:          8  0  9  0  1  5  2  6
    assert counted(x, SPACE).int().tolist() == [[1, 1, 1, 1, 0, 0, 0, 1]]


def test_documents_do_not_see_each_other() -> None:
    assert apart(torch.tensor([[0, 5, 6, 7]]), SPACE) is None
    mask = apart(torch.tensor([[5, 6, 0, 7], [0, 5, 6, 7]]), SPACE)
    assert mask is not None and mask.shape == (2, 1, 4, 4)
    assert mask[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    assert mask[1, 0].equal(torch.ones(4, 4).tril().bool())


def test_a_prediction_reaches_back_to_the_beginning_of_its_document() -> None:
    x = torch.tensor([[5, 6, 0, 7, 8, 0, 0, 9]])
    # predicted:          6  0  7  8  0  0  9
    assert reach(x, SPACE).tolist() == [[1, 2, 1, 2, 3, 1, 1]]
    assert reach(torch.tensor([[3, 1, 0, 4]]), PLAIN).tolist() == [[0, 1, 2, 3]]
    mask = apart(x[:, :-1], SPACE)
    assert mask is not None and mask.sum(-1)[:, 0].equal(reach(x, SPACE))
