"""Sound, speech, music and series: models of every family held against each other and against simpler ways.

    python -m benchmarks.sounds                           30 minutes each, one after the other, all cores
    python -m benchmarks.sounds --only digits tones --minutes 20 --samples 1000
    python -m benchmarks.sounds --only chorales --minutes 15
    python -m benchmarks.sounds --table                   write docs/sounds.md and docs/sheets from the last results

How contestants are measured stands in `contest.py`.
"""

from benchmarks.contest import LABELLED, Claim, Contest, Contestant

MODELS = ("mel-gan", "mel-vae", "mel-gpt", "wavenet", "mel-diffusion")
"""A GAN, a VAE, two that are autoregressive (on codes, and on samples), and one that takes noise away."""
CODECS = {"mel-gpt": "mel-vqvae"}
GUIDED = {"guidance 2": "guidance=2"}
SAID = {"digits": "fsdd", "tones": "tones"}
"""Rows of equal budgets, and their data."""
SPOKEN = ("medium.samples=4096",)
"""Half a second, which is as long as most spoken digits are."""
QUARTERS = ("medium.per_quarter=1", "medium.onsets=false")
SIXTEENTHS = ("medium.per_quarter=4", "medium.onsets=false", "medium.steps=128")
FORECASTS = ("forecast-lstm", "forecast-gpt", "forecast-diffusion")
PIECES = ("chorales-lstm", "chorales-gpt", "harmonise")
CONTESTANTS = {
    **{f"{row} {name}": Contestant(row, name, data, (LABELLED,)) for row, data in SAID.items() for name in MODELS},
    "speech": Contestant(
        "speech",
        "speech",
        "fsdd",
        (
            "data.columns={label: speaker}",
            "data.combinations={labels: true, share: 0.2}",
            "data.augment={speed: 0.15}",
        ),
    ),
    "gaps digits": Contestant("repair", "sound-gaps", "fsdd", (*SPOKEN, "data.given.share=[0.0977, 0.0977]")),
    "gaps tones": Contestant("repair", "sound-gaps", "tones"),
    "bandwidth digits": Contestant("repair", "sound-bandwidth", "fsdd", SPOKEN),
    "bandwidth tones": Contestant("repair", "sound-bandwidth", "tones"),
    "denoise digits": Contestant("repair", "sound-denoise", "fsdd", (*SPOKEN, "data.given.level=0.01")),
    "denoise tones": Contestant("repair", "sound-denoise", "tones"),
    "one codebook": Contestant("codes", "mel-vqvae", "fsdd"),
    "four codebooks": Contestant("codes", "mel-vqvae", "fsdd", ("model.books=4",)),
    "vocoder digits": Contestant("vocoder", "vocoder", "fsdd"),
    **{
        f"{name}{grid}": Contestant("chorales", name, "jsb_chorales", words, splits=("train", "validation"))
        for grid, words in (("", QUARTERS), (" sixteenths", SIXTEENTHS))
        for name in PIECES
    },
    **{name: Contestant("forecasts", name, "seasons") for name in FORECASTS},
}
MADE = ("fid", "kid", "precision", "recall", "inception_score")
ROWS = {
    "digits": ("label_accuracy", *MADE),
    "tones": ("label_accuracy", "pitch_accuracy", *MADE),
    "speech": ("words_heard", "every_word", "label_accuracy", "fid"),
    "repair": ("answer_snr", "answer_convergence", "answer_levels"),
    "codes": ("codebook", "codebook_perplexity", "spectral_convergence", "log_spectral_distance"),
    "vocoder": ("snr", "spectral_convergence", "log_spectral_distance"),
    "chorales": (
        "step_nats", "note_accuracy", "harmony_accuracy", "parallels", "crossings", "out_of_range", "copied_steps",
    ),
    "forecasts": ("crps", "mase", "pinball", "interval_80", "interval_95"),
}  # fmt: skip
"""The scores that are shown of each row."""
TOLD = ("mel-gpt", "wavenet", "mel-diffusion")
"""Recipes that can be guided."""
WAYS = {name: GUIDED for name, one in CONTESTANTS.items() if one.recipe in TOLD}
WAYS["speech"] = {f"guidance {scale}": f"guidance={scale}" for scale in (2, 4)}

CLAIMS = [
    *(Claim(name, "label_accuracy", "", 0.85) for name, one in CONTESTANTS.items() if one.row == "digits"),
    *(Claim(f"{name}, {way}", "label_accuracy", "", 0.85) for name in WAYS if "digits" in name for way in GUIDED),
    *(
        Claim(f"speech{way}", score, "", 0.9)
        for score in ("words_heard", "every_word")
        for way in ("", *(f", {way}" for way in WAYS["speech"]))
    ),
    *(
        Claim(f"{task} {data}", "answer_snr", way, 0.0, less=True)
        for task, ways in {
            "gaps": ("linear interpolation", "autoregressive interpolation"),
            "bandwidth": ("linear interpolation", "sinc interpolation"),
            "denoise": ("left noisy", "Wiener filter"),
        }.items()
        for data in SAID
        for way in ways
    ),
    *(Claim(f"bandwidth {data}", "answer_levels", "sinc interpolation") for data in SAID),
    *(Claim("four codebooks", score, "one codebook") for score in ("spectral_convergence", "log_spectral_distance")),
    *(Claim("vocoder digits", score, "Griffin-Lim") for score in ("spectral_convergence", "log_spectral_distance")),
    *(Claim(name, "step_nats", "", 8.1) for name in ("chorales-lstm", "chorales-gpt")),
    *(Claim(name, "crps", way) for name in FORECASTS for way in ("seasonal naive", "AR")),
]

CONTEST = Contest(
    name="sounds",
    contestants=CONTESTANTS,
    rows=ROWS,
    claims=CLAIMS,
    codecs=CODECS,
    ways=WAYS,
    compared=tuple(SAID),
    shown={
        "digits": ("classes", 1 / 3),
        "tones mel-diffusion": ("classes", 1 / 3),
        "speech": ("spoken", 1.0),
        "chorales-lstm sixteenths": ("samples", 0.5),
        "chorales-gpt sixteenths": ("samples", 0.5),
        "forecasts": ("forecasts", 1.0),
    },
    drawn={"speech": "guidance 4"},
    illustrated=("digits", "tones", "speech", "chorales", "forecasts"),
)

if __name__ == "__main__":
    CONTEST.main(__doc__ or "")
