"""Films: models of every family held against each other, and what is made of a part of a film against simpler ways.

    python -m benchmarks.films                            30 minutes each, one after the other, all cores
    python -m benchmarks.films --only compare --minutes 20 --samples 1000
    python -m benchmarks.films --table                    write docs/films.md and docs/sheets from the last results

How contestants are measured stands in `contest.py`.
"""

from benchmarks.contest import LABELLED, Claim, Contest, Contestant

MODELS = ("video-gan", "video-vae", "video-gpt", "video-diffusion")
SET = "moving-digits"
SIMPLER = {
    "video-next": ("last frame repeated",),
    "video-between": ("frame averaging", "last frame repeated"),
    "video-still": ("last frame repeated",),
    "video-mask": ("mean fill", "biharmonic fill", "linear in time"),
    "video-colour": ("left grey",),
}
"""What is made of a part of a film, and the ways without a model that do the same."""
CONTESTANTS = {
    **{name: Contestant("compare", name, SET, (LABELLED,)) for name in MODELS},
    **{name: Contestant("given", name, SET) for name in SIMPLER},
}
ROWS = {
    "compare": ("fid", "kid", "precision", "recall", "label_accuracy", "inception_score", "flicker"),
    "given": ("answer_psnr", "answer_ssim", "answer_motion"),
}
"""The scores that are shown of each row."""
CLAIMS = [Claim(name, "answer_psnr", way, 0.0, less=True) for name, ways in SIMPLER.items() for way in ways]

CONTEST = Contest(
    name="films",
    contestants=CONTESTANTS,
    rows=ROWS,
    claims=CLAIMS,
    codecs={"video-gpt": "video-vqvae"},
    shown={"compare": ("classes", 1.0), "given": ("answers", 0.5)},
    illustrated=("compare", "given"),
)

if __name__ == "__main__":
    CONTEST.main(__doc__ or "")
