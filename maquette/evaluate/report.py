"""What is known of one trained model, as plain data: `report.json` and its pictures.

Every figure carries a stamp that says what it was computed from and with; figures with unlike stamps are shown side by
side but never ranked. Rankings and pages read reports and nothing else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, NamedTuple

from maquette.core import files
from maquette.core.config import Config
from maquette.core.errors import MaquetteError, Phrase, Sentence
from maquette.evaluate.scores.intervals import Estimate

REPORT = "report.json"
PICTURES = "pictures"
FORMAT = 1
MAX_PICTURE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Stamp(Config):
    """What a score was computed from and with. Two scores are alike when their stamps differ at most in the seed."""

    extractor: str
    """Who saw the samples: domain, words, inception, vggish, fourier, pixels, codec where the score is of codes, or
    none."""
    weights: str
    """SHA-256 of the extractor's weights; "" when it has none."""
    resize: str
    """What was done to the samples' size before the extractor saw them."""
    data: str
    """Fingerprint of the data set."""
    split: str
    """Which real samples were compared with."""
    real: int
    """How many real samples."""
    made: int
    """How many made ones."""
    seed: int
    """Of what was drawn."""
    software: dict[str, str]
    """Versions of what computed it."""

    def unlike(self, other: "Stamp") -> list[str]:
        """Names of the fields, the seed apart, in which `other` differs."""
        return [f.name for f in fields(self) if f.name != "seed" and getattr(self, f.name) != getattr(other, f.name)]


Better = Literal["lower", "higher", "floor"]
"""Which way a score is better; "floor": the nearer to its floor."""


@dataclass(frozen=True)
class Kind:
    """What a score is: its title, unit, which way is better, and one sentence for a reader."""

    title: str
    unit: str
    better: Better
    about: str


KINDS: dict[str, Kind] = {
    "fid": Kind(
        "Fréchet distance", "", "lower", "How far the made samples' features are from real ones' as Gaussians (FID)."
    ),
    "kid": Kind("Kernel distance", "", "lower", "How far apart the two sets of features are, without bias (KID)."),
    "inception_score": Kind(
        "Inception-style score",
        "",
        "higher",
        "Sure of each sample's class, and all classes present: 1 to their number.",
    ),
    "precision": Kind("Precision", "share", "higher", "Share of made samples that look like real ones."),
    "recall": Kind("Recall", "share", "higher", "Share of real samples that the model could have made."),
    "density": Kind("Density", "", "higher", "How deep among real samples the made ones lie; about 1 for real ones."),
    "coverage": Kind("Coverage", "share", "higher", "Share of real samples with a made one close by."),
    "label_accuracy": Kind(
        "Label accuracy", "share", "higher", "Share of samples that the extractor takes for what was asked."
    ),
    "words_heard": Kind(
        "Words recognised",
        "share",
        "higher",
        "Share of sounds that a classifier of real ones takes for the words that they were asked to say.",
    ),
    "every_word": Kind(
        "All words recognised", "share", "higher", "The same of every word in every voice, learnt together or not."
    ),
    "taught_accuracy": Kind(
        "Accuracy taught",
        "share",
        "higher",
        "Share of unseen real pictures whose label a classifier knows that learnt from made ones alone.",
    ),
    "attribute_accuracy": Kind(
        "Attribute accuracy",
        "share",
        "higher",
        "Share of the words of a label that a linear classifier of real samples finds in a sample asked by it.",
    ),
    "pitch_accuracy": Kind(
        "Pitch accuracy", "share", "higher", "Share of sounds at most half a semitone from the note that was asked for."
    ),
    "fad": Kind(
        "Fréchet audio distance",
        "",
        "lower",
        "How far pieces of 0.96 s are from real ones in features of VGGish, the standard network for sound.",
    ),
    "frame_fid": Kind(
        "Fréchet distance of frames",
        "",
        "lower",
        "How far single frames are from real ones in features of the standard Inception, which sees no motion.",
    ),
    "flicker": Kind(
        "Flicker",
        "",
        "lower",
        "How far the mean change from frame to frame is from that of real films, as a share; 1 for still films.",
    ),
    "modes": Kind("Modes found", "modes", "higher", "Modes that hold their share of high-quality samples."),
    "quality": Kind("High-quality share", "share", "higher", "Share of samples within 4 sigma of a mode."),
    "kl": Kind(
        "KL divergence", "nats", "lower", "From the real points to the made ones, over the boxes of a common histogram."
    ),
    "likelihood": Kind(
        "Negative log-likelihood",
        "",
        "lower",
        "What unseen data cost in bits (at most, where a model gives only a bound).",
    ),
    "importance_bound": Kind(
        "Importance-weighted bound",
        "",
        "lower",
        "What unseen data cost in bits at most, by 16 codes a sample: nearer to the truth than by one.",
    ),
    "flow_likelihood": Kind(
        "Negative log-likelihood of the flow",
        "",
        "lower",
        "What unseen data cost by the probability-flow equation (at most, where they are counted in bits).",
    ),
    "perplexity": Kind(
        "Perplexity",
        "per token",
        "lower",
        "Among how many equally likely tokens it would hesitate as much; depends on what the tokens are.",
    ),
    "psnr": Kind("Reconstruction PSNR", "dB", "higher", "How near reconstructions are to unseen originals."),
    "ssim": Kind("Reconstruction SSIM", "", "higher", "How alike in structure they are; 1 is equal."),
    "snr": Kind("Reconstruction SNR", "dB", "higher", "The power of unseen sounds over that of what comes back wrong."),
    "spectral_convergence": Kind(
        "Spectral convergence",
        "",
        "lower",
        "How far magnitudes of reconstructions are from those of unseen originals, as a share of these; 0 is equal.",
    ),
    "log_spectral_distance": Kind(
        "Log-spectral distance", "dB", "lower", "How far their levels are, root mean square over frequencies."
    ),
    "motion": Kind(
        "Reconstruction motion error",
        "",
        "lower",
        "How far changes from frame to frame are from those of unseen films; black to white is 2.",
    ),
    "reconstruction": Kind(
        "Reconstructed tokens",
        "share",
        "higher",
        "Share of an unseen text's tokens that are at their place again after encoding and decoding.",
    ),
    "codebook": Kind(
        "Codebook use", "share", "higher", "Share of the codebook's entries that occur in codes of unseen items."
    ),
    "codebook_perplexity": Kind(
        "Codebook perplexity", "entries", "higher", "So many entries, used equally often, would carry as much."
    ),
    "answer_psnr": Kind(
        "Answer PSNR",
        "dB",
        "higher",
        "How near answers are to the true pictures, pixel by pixel; of films where they had to be made.",
    ),
    "answer_ssim": Kind("Answer SSIM", "", "higher", "How alike in structure they are; 1 is equal."),
    "answer_motion": Kind(
        "Answer motion error",
        "",
        "lower",
        "How far changes from frame to frame are from those of the true films; black to white is 2.",
    ),
    "answer_snr": Kind(
        "Answer SNR", "dB", "higher", "The power of the true sounds over that of errors, where sound had to be made."
    ),
    "answer_convergence": Kind(
        "Answer spectral convergence",
        "",
        "lower",
        "How far magnitudes of answers are from those of the true sounds, as a share of these; 0 is equal.",
    ),
    "answer_levels": Kind(
        "Answer log-spectral distance", "dB", "lower", "How far their levels are, root mean square over frequencies."
    ),
    "answer_distance": Kind(
        "Perceptual distance",
        "",
        "lower",
        "How far the extractor's features of answers are from those of the true ones, each of unit variance.",
    ),
    "cycle_psnr": Kind("Round trip PSNR", "dB", "higher", "How near what was given is to what comes back of answers."),
    "cycle_ssim": Kind("Round trip SSIM", "", "higher", "How alike in structure they are; 1 is equal."),
    "near_copies": Kind(
        "Near copies",
        "share",
        "lower",
        "Share of made samples nearer to a training item than 99 % of unseen real items are; 0.01 is expected.",
    ),
    "divergence": Kind(
        "3-gram divergence",
        "bits",
        "lower",
        "How far frequencies of 3 bytes in a row are from real text's (Jensen-Shannon); 0 is equal.",
    ),
    "distinct_1": Kind("Distinct words", "share", "higher", "Different words as a share of all (distinct-1)."),
    "distinct_2": Kind("Distinct pairs", "share", "higher", "Different pairs of words as a share of all (distinct-2)."),
    "self_bleu": Kind(
        "Self-BLEU", "", "lower", "How much of a sample can be put together from the others (BLEU-4); 1 is all of it."
    ),
    "repetition": Kind(
        "Repetition", "share", "lower", "Share of four words in a row that stood in the same text before."
    ),
    "verbatim": Kind(
        "Longest verbatim passage",
        "characters",
        "lower",
        "The longest passage of any sample that stands in the training text; beside it, of unseen real text.",
    ),
    "chrf": Kind("chrF", "", "higher", "Runs of up to six characters that answers share with true ones; 100 is equal."),
    "bleu": Kind("BLEU", "", "higher", "Runs of up to four words that answers share with true ones; 100 is equal."),
    "rouge_l": Kind("ROUGE-L", "share", "higher", "Words in the order of the true answer (F-measure); 1 is equal."),
    "accuracy": Kind(
        "Accuracy by likelihood", "share", "higher", "Share of unseen texts that are likeliest under their own label."
    ),
    "linear_accuracy": Kind(
        "Accuracy of a linear head",
        "share",
        "higher",
        "Share of unseen texts whose label logistic regression reads off the model's hidden states.",
    ),
    "few_shot_1": Kind(
        "Labels after one example",
        "share",
        "higher",
        "Share of unseen items nearest to the one item that was shown of their label, among 5 labels (prototypes).",
    ),
    "few_shot_5": Kind(
        "Labels after five examples",
        "share",
        "higher",
        "Share of unseen items nearest to the mean of five that were shown of their label, among 5 (prototypes).",
    ),
    "text_recall_1": Kind(
        "Caption found", "share", "higher", "Share of unseen pictures whose nearest caption is theirs."
    ),
    "text_recall_5": Kind(
        "Caption among 5", "share", "higher", "Share of unseen pictures with their caption among the 5 nearest."
    ),
    "picture_recall_1": Kind(
        "Picture found", "share", "higher", "Share of unseen captions whose nearest picture is theirs."
    ),
    "picture_recall_5": Kind(
        "Picture among 5", "share", "higher", "Share of unseen captions with their picture among the 5 nearest."
    ),
    "zero_shot": Kind(
        "Labels by name", "share", "higher", "Share of unseen pictures that are nearest to the name of their label."
    ),
    "agreement_1": Kind(
        "Agreement", "share", "higher", "Share of made pictures nearer to the caption asked for than to any other."
    ),
    "agreement_5": Kind(
        "Agreement among 5", "share", "higher", "Share of made pictures with the caption asked for among the 5 nearest."
    ),
    "told_apart": Kind(
        "Right of its kind",
        "share",
        "higher",
        "Share of made pictures nearer to the caption asked for than to those that differ from it in one word.",
    ),
    "step_nats": Kind(
        "Nats per step",
        "nats",
        "lower",
        "What a step of unseen music costs, all its voices together and the end of the piece with the last.",
    ),
    "note_accuracy": Kind(
        "Notes foreseen", "share", "higher", "Share of unseen notes that are the likeliest after all before them."
    ),
    "harmony_accuracy": Kind(
        "Notes of a harmony",
        "share",
        "higher",
        "Share of the lower voices' steps that sound as in the unseen piece whose highest voice was given.",
    ),
    "interval_divergence": Kind(
        "Interval divergence",
        "bits",
        "lower",
        "How far frequencies of pitch classes, steps, intervals and lengths are from real music's (Jensen-Shannon).",
    ),
    "parallels": Kind(
        "Parallel fifths and octaves", "per 100 chords", "lower", "Two voices that move from one to another of them."
    ),
    "crossings": Kind("Crossed voices", "per 100 chords", "lower", "A voice that sounds below the next lower one."),
    "out_of_range": Kind(
        "Notes out of range",
        "per 100 chords",
        "lower",
        "Notes that their voice never sings in the training pieces, in the key that suits the piece best.",
    ),
    "copied_steps": Kind(
        "Longest copied passage",
        "steps",
        "lower",
        "The longest passage of any sample that stands in a training piece, in any key; beside it, of real ones.",
    ),
    "crps": Kind(
        "CRPS",
        "scaled",
        "lower",
        "How far all futures of a forecast are from what came, less how far they are from each other.",
    ),
    "mase": Kind(
        "MASE",
        "",
        "lower",
        "Error of the median forecast; 1 is that of repeating the last season, or value, within the known past.",
    ),
    "pinball": Kind("Pinball loss", "scaled", "lower", "Error of the deciles, each weighed by its share."),
    "interval_80": Kind("In 80 % intervals", "share", "floor", "How often what came lay in them; 0.8 is honest."),
    "interval_95": Kind("In 95 % intervals", "share", "floor", "How often what came lay in them; 0.95 is honest."),
    "samples_per_second": Kind("Speed", "samples/s", "higher", "Samples made per second on the device named."),
}


@dataclass(frozen=True, kw_only=True)
class Baseline(Config):
    """The same figure of something simpler that did the same."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Score(Config):
    """One figure. `low` and `high` bound it as `method` says; `floor` is the same figure of real against real, and
    `baselines` are those of simpler ways, by name."""

    name: str
    """A key of `KINDS`."""
    title: str
    unit: str
    better: Better
    value: float
    low: float | None = None
    high: float | None = None
    method: str = ""
    floor: float | None = None
    baselines: dict[str, Baseline] = field(default_factory=dict)
    bound: bool = False
    """Whether the value is only known to be at most this."""
    stamp: Stamp

    def order(self, value: float) -> float:
        """A number that is the less the better `value` would be as this score."""
        if self.better == "floor" and self.floor is not None:
            return abs(value - self.floor)
        return value if self.better == "lower" else -value

    @classmethod
    def of(
        cls,
        name: str,
        estimate: Estimate | float,
        stamp: Stamp,
        floor: float | None = None,
        unit: str | None = None,
        baselines: Mapping[str, Estimate] = {},
        bound: bool = False,
    ) -> "Score":
        """The score called `name` from what a function of `scores` gave."""
        kind = KINDS[name]
        e = estimate if isinstance(estimate, Estimate) else Estimate(float(estimate))
        return cls(
            name=name,
            title=kind.title,
            unit=kind.unit if unit is None else unit,
            better=kind.better,
            value=e.value,
            low=e.low,
            high=e.high,
            method=e.method,
            floor=floor,
            baselines={n: Baseline(value=b.value, low=b.low, high=b.high) for n, b in baselines.items()},
            bound=bound,
            stamp=stamp,
        )


PLAYED = {".wav": "audio/wav", ".mp4": "video/mp4", ".webm": "video/webm"}
"""What a clip may be: suffix -> media type."""


class Shot(NamedTuple):
    """A picture of a report before it is written, and what plays the same items, if they are such: suffix and bytes."""

    name: str
    title: str
    caption: str
    png: bytes
    clip: tuple[str, bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class Clip(Config):
    """A file that plays what a picture shows, beside it in the folder; its bytes are in `Report.clips`."""

    suffix: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Picture(Config):
    """A PNG of the report, `pictures/NAME.png` in its folder; its bytes are in `Report.images`."""

    name: str
    title: str
    caption: str
    sha256: str
    clip: Clip | None = None


@dataclass(frozen=True, kw_only=True)
class Cost(Config):
    """What the model cost to train and costs to use. A figure that is not known is null."""

    parameters: int
    """Numbers in the weights."""
    samples_per_second: float
    sampling_seconds: float
    peak_bytes: int
    """The most memory that the process had held by the end of sampling."""
    device: str
    """Where it sampled, and with how many threads."""
    train_seconds: float | None = None
    train_steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class Report(Config):
    """Everything that is known of one trained model.

    Attributes:
        images: PNG bytes by the name of their `Picture`; not part of the tree.
        clips: the bytes of clips, likewise.
    """

    format: int = FORMAT
    name: str
    """Of the recipe or run; reports of one name with different seeds are runs of one contestant."""
    model_kind: str
    """Of the model, as its recipe names it."""
    model: str
    """SHA-256 of the weights."""
    seed: int
    """Of training, where it is known; otherwise of what was drawn."""
    licence: str
    """Of the data."""
    cost: Cost
    scores: tuple[Score, ...] = ()
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader should know to judge the figures, a sentence each."""
    warnings: tuple[str, ...] = ()
    """What looks wrong, a sentence each."""
    chinese: dict[str, str] = field(default_factory=dict)
    """Notes, warnings and captions of pictures in Chinese, by what they are in English; kept by themselves."""
    images: dict[str, bytes] = field(default_factory=dict, init=False, compare=False, repr=False)
    clips: dict[str, bytes] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.check(self.format == FORMAT, "format", f"{FORMAT}, the format of this version")
        said = (*self.notes, *self.warnings, *(picture.caption for picture in self.pictures))
        known = self.chinese | {sentence: sentence.zh for sentence in said if isinstance(sentence, Phrase)}
        object.__setattr__(self, "chinese", {str(sentence): known[sentence] for sentence in said if sentence in known})

    def both(self, sentence: str) -> Sentence:
        """A note, a warning or a caption in both languages; in English where it was not said in Chinese."""
        return Sentence(sentence, self.chinese.get(sentence, sentence))

    def score(self, name: str) -> Score | None:
        """The score called `name`, if the report has it."""
        return next((score for score in self.scores if score.name == name), None)

    def write(self, folder: Path | str) -> Path:
        """Write `pictures/*` and then `report.json`, which is returned, each whole or not at all."""
        folder = Path(folder)
        for picture in self.pictures:
            files.write_file(folder / PICTURES / f"{picture.name}.png", self.images[picture.name])
            if picture.clip is not None:
                files.write_file(folder / PICTURES / f"{picture.name}{picture.clip.suffix}", self.clips[picture.name])
        files.write_json(folder / REPORT, self.to_tree())
        return folder / REPORT

    @classmethod
    def read(cls, folder: Path | str) -> "Report":
        """What `write` wrote.

        Raises:
            MaquetteError: MQ-5004 when there is no report, MQ-2xxx when it is not one, MQ-5003 when a picture or clip
                is not the one that the report was written with.
        """
        folder = Path(folder)
        report = cls.from_tree(files.read_json(folder / REPORT), "report")
        for picture in report.pictures:
            # the name comes from a file: only a plain one can be a part of this folder
            if not picture.name.replace("_", "").isalnum():
                raise MaquetteError("MQ-8001", str(folder / REPORT), reason=f"no picture is called {picture.name!r}")
            report.images[picture.name] = _read_file(folder, f"{picture.name}.png", picture.sha256)
            if (clip := picture.clip) is not None:
                if clip.suffix not in PLAYED:
                    raise MaquetteError("MQ-8001", str(folder / REPORT), reason=f"no clip ends in {clip.suffix!r}")
                report.clips[picture.name] = _read_file(folder, f"{picture.name}{clip.suffix}", clip.sha256)
        return report


def _read_file(folder: Path, name: str, sha256: str) -> bytes:
    """One of `pictures/`, if it is the one that was saved."""
    data = files.read_file(folder / PICTURES / name, MAX_PICTURE_BYTES)
    if files.digest(data) != sha256:
        raise MaquetteError("MQ-5003", str(folder), reason=f"{name} is not the one that was saved")
    return data


def illustrated(report: Report, pictures: Iterable[Shot | tuple[str, str, str, bytes]]) -> Report:
    """`report` with pictures (name, title, caption, PNG), and clips where there are some."""
    made = [each if isinstance(each, Shot) else Shot(*each) for each in pictures]
    whole = replace(report, pictures=tuple(_listed(shot) for shot in made))
    whole.images.update({shot.name: shot.png for shot in made})
    whole.clips.update({shot.name: shot.clip[1] for shot in made if shot.clip is not None})
    return whole


def _listed(shot: Shot) -> Picture:
    clip = None if shot.clip is None else Clip(suffix=shot.clip[0], sha256=files.digest(shot.clip[1]))
    return Picture(name=shot.name, title=shot.title, caption=shot.caption, sha256=files.digest(shot.png), clip=clip)
