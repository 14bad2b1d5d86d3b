"""What the marks of a space say about its samples."""

import numpy as np
import torch

from maquette.core.sequences import apart, counted, exchanges, filled, predicted, reach, seen, trimmed
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


def test_what_comes_after_the_last_prediction_that_counts_is_trimmed() -> None:
    x = torch.tensor([[0, 5, 0, 0, 0, 0], [0, 5, 6, 0, 0, 0]])
    assert trimmed(x, SPACE).tolist() == [[0, 5, 0, 0], [0, 5, 6, 0]]
    prompts = torch.tensor([[0, 1, 5, 2, 6, 0, 1, 7]])
    assert trimmed(prompts, SPACE).tolist() == [[0, 1, 5, 2, 6, 0]]
    assert trimmed(prompts[:, -2:], SPACE).tolist() == [[1, 7]]  # nothing counts, and nothing is taken away
    assert trimmed(torch.tensor([[3, 0, 0]]), PLAIN).tolist() == [[3, 0, 0]]


def test_questions_and_answers_of_a_window() -> None:
    def found(*window: int) -> list[tuple[list[int], list[int]]]:
        return [(q.tolist(), a.tolist()) for q, a in exchanges(np.array(window, np.uint16), SPACE.marks)]

    one, other = [0, 1, 5, 6, 2, 7], [0, 1, 8, 2, 9, 9]
    assert found(*one, *other, 0, 0) == [([5, 6], [7]), ([8], [9, 9])]
    assert found(*one, *other) == [([5, 6], [7])], "the last may be cut off"
    assert found(6, 2, 7, *other, 0) == [([8], [9, 9])], "the first began in the window before"
    assert found(0, 1, 5, 2, 6, 1, 7, 2, 8, 0) == [([5], [6])], "of a conversation the first"
    assert found(0, 5, 6, 0, 1, 2, 5, 0, 1, 5, 2, 0, 2, 5, 0, 1, 5, 1, 6, 2, 7, 0) == [], "no question, or no answer"
