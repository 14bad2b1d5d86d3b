"""ROUGE-L (Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3)."""

from collections.abc import Sequence

from maquette.evaluate.scores.words import words


def rouge_l(answer: str, references: Sequence[str]) -> float:
    """F-measure of the longest common subsequence of words, the best over `references`; 0 to 1.

    With m words in the reference and n in the answer, R = LCS / m, P = LCS / n, F = 2 R P / (R + P) (equations 2 to 4
    with beta = 1, as the package rouge-score has it). Words are runs of letters and digits in lower case, and Chinese
    characters singly.
    """
    return max(_f_measure(_units(answer), _units(reference)) for reference in references)


def _units(text: str) -> list[str]:
    return [word for word in words(text.lower()) if word[0].isalnum()]


def _f_measure(answer: list[str], reference: list[str]) -> float:
    common = longest_common(answer, reference)
    return 2 * common / (len(answer) + len(reference)) if common else 0.0


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest sequence that stands in both in this order, with gaps allowed.

    >>> longest_common("police killed the gunman".split(), "police kill the gunman".split())
    3
    """
    row = [0] * (len(b) + 1)
    for item in a:
        before = 0  # the row above, one place to the left
        for j, other in enumerate(b, 1):
            above = row[j]
            row[j] = before + 1 if item == other else max(above, row[j - 1])
            before = above
    return row[-1]
