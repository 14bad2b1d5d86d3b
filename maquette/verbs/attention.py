"""Where a model of text looks: its attention maps as one picture."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float

from maquette.core import files
from maquette.core.errors import MaquetteError
from maquette.media.lettering import typeface_for
from maquette.pipeline import Pipeline, load

NAMED = 48
"""Of so many tokens each is written beside its row and under its column."""
SIGNS = {"": "\u2022", " ": "\u2423", "\n": "\u23ce", "\t": "\u21e5"}
"""What stands for tokens that cannot be seen: marks, and white space."""


def attention(
    source: Pipeline | Path | str, text: str, out: Path | str = "attention.png", device: str = "auto"
) -> Path:
    """Draw how much each token of `text` (a row) takes from each (a column): one map for each head of each layer.

    Args:
        out: a PNG file; the brighter, the more, and each map's brightest is its largest share.

    Raises:
        MaquetteError: MQ-2002 a name that does not end in .png, and as `Pipeline.attention`; nothing is written then.
    """
    out = Path(out)
    if out.suffix.lower() != ".png":
        raise MaquetteError("MQ-2002", path="out", wanted="a file name that ends in .png", value=repr(str(out)))
    pipeline = source if isinstance(source, Pipeline) else load(source, device)
    tokens, maps = pipeline.attention(text)
    files.write_file(out, draw([SIGNS.get(token, token) for token in tokens], maps.numpy()))
    return out


def draw(tokens: list[str], maps: Float[np.ndarray, "layers heads l l"]) -> bytes:
    """A PNG of `maps` [layers, heads, l, l] with the tokens written along them if they are few."""
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

    layers, heads, length = maps.shape[:3]
    named, side = length <= NAMED, max(2.2, 0.16 * min(length, NAMED))
    typeface = FontProperties(fname=typeface_for("".join(tokens)), size=6) if named else None
    figure = Figure(figsize=(side * heads + 0.6, side * layers + 0.6), dpi=110, layout="constrained")
    axes = figure.subplots(layers, heads, squeeze=False)
    for layer in range(layers):
        for head in range(heads):
            ax = axes[layer, head]
            ax.imshow(maps[layer, head], cmap="magma", vmin=0)
            ax.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=7)
            ax.set_xticks(range(length) if named else [])
            ax.set_yticks(range(length) if named else [])
            if named:
                ax.set_xticklabels(tokens, fontproperties=typeface, rotation=90)
                ax.set_yticklabels(tokens, fontproperties=typeface)
                ax.tick_params(length=0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
