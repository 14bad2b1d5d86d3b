"""Every kind of model, in every variant, on every space that it accepts, keeps every clause of `checks.py`."""

from collections.abc import Callable

import pytest
import torch

from maquette.core.config import kinds
from maquette.core.errors import MaquetteError
from maquette.core.seeds import Seeds
from maquette.core.types import Beside, Given, Sampling, Space
from maquette.models.base import ModelConfig
from tests.conformance.cases import (
    CAPTIONS,
    GIVEN,
    SPACES,
    Make,
    captions,
    config_class,
    given_with,
    maker,
    makers,
    model_cases,
    shown_cases,
    tiny,
    told_cases,
)
from tests.conformance.checks import CHECKS, a_draw_lands_in_the_space, draw, every_player_moves_under_its_turns_alone
from tests.conformance.checks import train as take_turns

CASES = list(model_cases())
SHOWN = list(shown_cases(2))
SHOWN_TOO = [*SHOWN, *shown_cases(1, 3)]


@pytest.mark.parametrize("clause", CHECKS, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("make", [maker(*case[1:]) for case in CASES], ids=[case[0] for case in CASES])
def test_a_model_keeps(clause: Callable[[Make], None], make: Make) -> None:
    clause(make)


@pytest.mark.parametrize("clause", CHECKS, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("make", [maker(*case[1:], beside=GIVEN) for case in SHOWN], ids=[case[0] for case in SHOWN])
def test_a_model_that_is_given_a_picture_keeps(clause: Callable[[Make], None], make: Make) -> None:
    clause(make)


@pytest.mark.parametrize(("config", "space"), [case[1:] for case in SHOWN_TOO], ids=[case[0] for case in SHOWN_TOO])
def test_the_picture_matters(config: ModelConfig, space: Space) -> None:
    model = maker(config, space, beside=given_with(space))()
    take_turns(model, model.turns(), steps=6)
    one, plain = draw(model, 4), model.condition(Given(), 4)
    assert plain.grid is not None and not plain.grid.any(), "without a picture there is none"
    how, rng = Sampling(steps=3), Seeds.for_samples(0, 4)
    with torch.no_grad():
        none = model.draw(model.predictor(plain), model.start(4, how, rng), how, rng)
    assert not torch.equal(one, none)


TOLD = list(told_cases())


@pytest.mark.parametrize("clause", CHECKS, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("make", [maker(*case[1:], beside=CAPTIONS) for case in TOLD], ids=[case[0] for case in TOLD])
def test_a_model_that_is_told_captions_keeps(clause: Callable[[Make], None], make: Make) -> None:
    clause(make)


@pytest.mark.parametrize(("config", "space"), [case[1:] for case in TOLD], ids=[case[0] for case in TOLD])
def test_the_caption_matters(config: ModelConfig, space: Space) -> None:
    assert CAPTIONS.text is not None
    model = maker(config, space, classes=0, beside=CAPTIONS)()
    take_turns(model, model.turns(), steps=6)
    made = []
    for label in (0, 1, None):
        text = None if label is None else captions(torch.full((4,), label), CAPTIONS.text)
        how, rng = Sampling(steps=3), Seeds.for_samples(0, 4)
        with torch.no_grad():
            predict = model.predictor(model.condition(Given(text=text), 4))
            made.append(model.draw(predict, model.start(4, how, rng), how, rng))
    assert not torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_what_a_kind_cannot_be_given_is_refused() -> None:
    for kind in kinds("models"):
        config = tiny(config_class("models", kind))
        assert isinstance(config, ModelConfig)
        for name, classes, beside in (("label", 2, Beside()), ("image", 0, GIVEN)):
            if name not in config.takes:
                with pytest.raises(MaquetteError, match=f"a {name}") as refused:
                    config.fitted(SPACES[0], classes, beside)
                assert refused.value.code == "MQ-2136"


@pytest.mark.parametrize("kind", makers())
def test_a_kind_models_what_it_accepts_and_refuses_the_rest(kind: str) -> None:
    config = tiny(config_class("models", kind))
    assert isinstance(config, ModelConfig)
    cases = [(found, space) for _, found, space in CASES if found.kind() == kind]
    if not cases:
        with pytest.raises(MaquetteError) as refused:
            config.build(SPACES[-1], 0)
        assert refused.value.code == "MQ-3010", f"{kind} could be built for none of {SPACES}"
        pytest.skip(str(refused.value))
    # of one kind there may be a model of reals and one of tokens
    accepts = tuple({accepted for found, space in cases for accepted in maker(found, space)().accepts})
    for space in SPACES:
        if not isinstance(space, accepts):
            with pytest.raises(MaquetteError) as refused:
                config.build(space, 0)
            assert refused.value.code == "MQ-2008"


@pytest.mark.parametrize(("config", "space"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_model_without_labels_is_unconditional(config: ModelConfig, space: Space) -> None:
    make = maker(config, space, classes=0)
    assert make().classes == 0
    for clause in every_player_moves_under_its_turns_alone, a_draw_lands_in_the_space:
        clause(make)
