"""Every kind of model, in every variant, on every space that it accepts, keeps every clause of `checks.py`."""

from collections.abc import Callable

import pytest

from maquette.core.errors import MaquetteError
from maquette.core.types import Space
from maquette.models.base import ModelConfig
from tests.conformance.cases import SPACES, Make, config_class, maker, makers, model_cases, tiny
from tests.conformance.checks import CHECKS, a_draw_lands_in_the_space, every_player_moves_under_its_turns_alone

CASES = list(model_cases())


@pytest.mark.parametrize("clause", CHECKS, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize(("config", "space"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_model_keeps(clause: Callable[[Make], None], config: ModelConfig, space: Space) -> None:
    clause(maker(config, space))


@pytest.mark.parametrize("kind", makers())
def test_a_kind_models_what_it_accepts_and_refuses_the_rest(kind: str) -> None:
    config = tiny(config_class("models", kind))
    assert isinstance(config, ModelConfig)
    accepted = [space for _, found, space in CASES if found.kind() == kind]
    if not accepted:
        with pytest.raises(MaquetteError) as refused:
            config.build(SPACES[-1], 0)
        assert refused.value.code == "MQ-3010", f"{kind} could be built for none of {SPACES}"
        pytest.skip(str(refused.value))
    model = maker(next(c for _, c, s in CASES if c.kind() == kind), accepted[0])()
    for space in SPACES:
        if not isinstance(space, model.accepts):
            with pytest.raises(MaquetteError) as refused:
                config.build(space, 0)
            assert refused.value.code == "MQ-2008"


@pytest.mark.parametrize(("config", "space"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_model_without_labels_is_unconditional(config: ModelConfig, space: Space) -> None:
    model = maker(config, space, classes=0)()
    assert model.classes == 0
    for clause in every_player_moves_under_its_turns_alone, a_draw_lands_in_the_space:
        clause(maker(config, space, classes=0))
