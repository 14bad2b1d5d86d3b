"""Pictures: models of every family, few examples, crafts, codes, words and drawn worlds, held against each other and
simpler ways.

    python -m benchmarks.pictures                         30 minutes each, one after the other, all cores
    python -m benchmarks.pictures --cores 1               side by side, one core and one thread each
    python -m benchmarks.pictures --only crafts dcgan --minutes 2
    python -m benchmarks.pictures --table                 write docs/pictures.md and docs/sheets from the last results

How contestants are measured stands in `contest.py`.
"""

from benchmarks.contest import DATA, Claim, Contest, Contestant

FEW = 500
FAMILIES = {
    "dcgan": ("r3gan", "stylegan2", "sagan"),
    "vae": ("ladder", "vaegan", "vq-gpt"),
    "pixelcnn": ("pixel-gpt", "vq-gpt", "maskgit"),
    "diffusion": ("dit", "rectified-flow", "latent-diffusion", "meanflow"),
}
"""The foundation's model of each family, and those that are held against it."""
CODECS = {"vq-gpt": "vqvae", "maskgit": "vqvae", "latent-diffusion": "vae-grid", "dalle": "vqvae"}
JUDGES = {"dalle": "clip", "text-flow": "clip"}
STEPS = {f"{n} step{'s' * (n > 1)}": f"sampling.steps={n}" for n in (1, 2, 4, 50)}
GUIDED = {"guidance 3": "guidance=3"}
WAYS = {"meanflow": STEPS, "dalle": GUIDED, "text-flow": GUIDED}
"""How else a model is drawn from than as its recipe says: fields of `maquette.evaluate.evaluate.Options`."""
COLOUR = ("medium.channels=3",)
PICTURES = {
    "fashion": ("fashion_mnist", ()),
    "emoji": ("emoji_noto", COLOUR),
    "faces": ("faces_64", ("medium.size=64", *COLOUR)),
}
CHANGES = {
    "plain": ("model.augment=[]", "model.adapt=0"),
    "DiffAugment": ("model.augment=[colour, translation, cutout]", "model.adapt=0"),
    "ADA": (),
}
GROUPS = "data.columns={label: group}"
TONES = ", ".join(f"{tone} skin tone" for tone in ("light", "medium-light", "medium", "medium-dark", "dark"))
UNSEEN = (GROUPS, f"data.combinations={{styles: [{TONES}], share: 0.2}}", *COLOUR)
"""Captions of emoji whose subject and skin tone were never seen together."""
LAYOUT = "data.pair={source: streets-layout}"
DRAWN = {
    **{name: COLOUR for name in ("superres", "superres-gan", "inpaint", "denoise", "deblur", "colourise")},
    **{name: COLOUR for name in ("edges-to-fashion", "vqvae", "fsq")},
    "pix2pix": (LAYOUT,),
    "cyclegan": ("data.pair={source: streets-layout, apart: true}",),
}
"""Recipes that learn `streets`, which anyone can draw and nobody owns, so that their sheets may show what is given and
what is real."""
WORLDS = ("streets", "cells", "sprites")
CONTESTANTS = {
    **{name: Contestant("compare", name, "fashion_mnist") for plain in FAMILIES for name in (plain, *FAMILIES[plain])},
    "pixel-gpt": Contestant("compare", "pixel-gpt", "fashion_mnist", ("medium.size=32",)),
    **{
        f"{FEW} {name}, {how}": Contestant("small", "small-data", PICTURES[name][0], PICTURES[name][1] + changes, FEW)
        for name in ("fashion", "faces")
        for how, changes in CHANGES.items()
    },
    **{name: Contestant("crafts", name, "fashion_mnist") for name in ("superres", "superres-gan", "inpaint")},
    **{name: Contestant("crafts", name, "fashion_mnist") for name in ("denoise", "deblur")},
    "colourise": Contestant("crafts", "colourise", "emoji_noto"),
    **{
        name: Contestant("crafts", name, "emoji_twemoji", (f"data.pair.source={DATA}/emoji_noto",))
        for name in ("pix2pix", "cyclegan")
    },
    **{f"{name} {of}": Contestant("codes", name, *PICTURES[of]) for name in ("vqvae", "fsq") for of in PICTURES},
    "clip": Contestant("words", "clip", "emoji_noto", (GROUPS,)),
    "dalle": Contestant("words", "dalle", "emoji_noto", UNSEEN),
    "text-flow": Contestant("words", "text-flow", "emoji_noto", (*UNSEEN, "data.captions.length=24")),
    **{name: Contestant("drawn", name, name) for name in WORLDS},
    **{f"{name} streets": Contestant("drawn", name, "streets", words) for name, words in DRAWN.items()},
    "adain cells": Contestant("drawn", "adain", "cells", ("data.other=streets",)),
}
ROWS = {
    "compare": ("fid", "kid", "precision", "recall"),
    "small": ("fid", "kid", "recall", "near_copies"),
    "crafts": ("answer_psnr", "answer_ssim", "answer_distance", "fid", "cycle_psnr"),
    "codes": ("codebook", "codebook_perplexity", "psnr", "ssim"),
    "words": (
        "text_recall_5", "picture_recall_5", "zero_shot", "agreement_1", "agreement_5", "told_apart", "chrf",
    ),
    "drawn": ("answer_psnr", "answer_ssim", "answer_distance", "psnr", "ssim", "fid", "attribute_accuracy"),
}  # fmt: skip
"""The scores that are shown of each row."""

CLAIMS = [
    *(Claim(name, "fid", plain) for plain, family in FAMILIES.items() for name in family),
    *(Claim(f"meanflow, {way}", "fid", "meanflow, 50 steps", 1.3) for way in list(STEPS)[:3]),
    *(
        Claim(f"{FEW} {name}, {how}", "fid", f"{FEW} {name}, plain", 0.7)
        for name in ("fashion", "faces")
        for how in list(CHANGES)[1:]
    ),
    *(Claim(name, "answer_psnr", "bicubic", 1.5, less=True) for name in ("superres", "superres-gan")),
    *(Claim("inpaint", "answer_psnr", way, 0.0, less=True) for way in ("mean fill", "biharmonic fill")),
    Claim("denoise", "answer_psnr", "total variation", 0.0, less=True),
    Claim("deblur", "answer_psnr", "Wiener filter", 0.0, less=True),
    Claim("colourise", "answer_distance", "left grey"),
    Claim("cyclegan", "fid", "untranslated", 0.6),
    *(Claim("pix2pix", score, "cyclegan") for score in ("answer_psnr", "answer_ssim", "answer_distance")),
    *(Claim(name, "codebook", "", 0.8) for name, one in CONTESTANTS.items() if one.row == "codes"),
    *(Claim("clip", score, "chance", 10.0) for score in ("text_recall_5", "picture_recall_5")),
    *(Claim(name + way, "agreement_1", "chance", 5.0) for name in JUDGES for way in ("", ", guidance 3")),
    *(Claim(name + ", guidance 3", "told_apart", "picture of the nearest caption") for name in JUDGES),
]

CONTEST = Contest(
    name="pictures",
    contestants=CONTESTANTS,
    rows=ROWS,
    claims=CLAIMS,
    codecs=CODECS,
    judges=JUDGES,
    ways=WAYS,
    shown={
        **{row: ("samples", 0.5) for row in ("compare", "words")},
        **{f"{FEW} fashion, {how}": ("samples", 0.5) for how in CHANGES},
        "drawn": ("answers", 1.0),
        "sprites": ("classes", 1.0),
        **{f"{name} streets": ("reconstructions", 1.0) for name in ("vqvae", "fsq")},
    },
    illustrated=("small", "drawn"),
)

if __name__ == "__main__":
    CONTEST.main(__doc__ or "")
