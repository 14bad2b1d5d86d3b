"""How regular the verse is that a model made."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maquette.core.errors import MaquetteError
from maquette.data.source import open_data
from maquette.evaluate.scores.verse import Rhymes
from maquette.media import forms
from maquette.media.base import Wording
from maquette.train.run import Run


def verse(source: Path | str, poems: Sequence[str], form: str) -> str:
    """A sentence on poems that were made in one of `forms.FORMS`: how many keep the form, and how they rhyme.

    Args:
        source: the run that made it; of a bundle, or where the run's data are gone, rhymes are not told.
    """
    kept = sum(forms.fits(poem, forms.verse(form)) for poem in poems)
    said = f"{kept} of {len(poems)} in form"
    try:
        run = Run.open(Path(source))
        medium = run.recipe.medium.build()
        data = open_data(run.recipe.data, medium)
    except MaquetteError:
        return said
    if not isinstance(medium, Wording):
        return said
    learnt, unseen = (list(medium.documents(np.asarray(split.items))) for split in (data.train, data.test))
    rhymes = Rhymes(learnt)
    shares = {"made": rhymes.share(poems), "unseen poems": rhymes.share(unseen), "by chance": rhymes.by_chance(unseen)}
    told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share is not None)
    return f"{said}; even lines that rhyme, judged by the poems learnt from: {told}"
