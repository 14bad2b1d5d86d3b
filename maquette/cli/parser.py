"""Verbs and options as data: what `--help` prints, what a misspelling is compared with, what a test keeps frozen.

Values stay text here. They are read where they are used, by the one strict reader of `core/config.py`, so that the
command line, a recipe and the Python API refuse the same things in the same words. Imports neither torch nor numpy.
"""

import argparse
import difflib
from typing import NamedTuple, NoReturn

from maquette import __version__
from maquette.core.errors import MaquetteError, Phrase


class Option(NamedTuple):
    """One option: `metavar` is what follows it; "" makes it a switch, [X] may be left out and is then 8."""

    flag: str
    metavar: str
    help: str
    default: str | None = None
    several: bool = False
    """Whether it may be given more than once."""


class Verb(NamedTuple):
    """One verb: its arguments (a name ending in `…` takes several, one in `?` may be left out, one in `…?` both), its
    options, and whether key=value may follow."""

    help: str
    takes: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    overrides: bool = False
    example: str = ""


DATA = Option("--data", "FOLDER|NAME", "samples to learn from, instead of the recipe's")
BUDGET = Option("--budget", "BUDGET", "how long to train: 2000steps, 90s, 10min, 1h or 5epochs")
DEVICE = Option("--device", "DEVICE", "auto, cpu, cuda, cuda:1 or mps", "auto")
QUIET = Option("--quiet", "", "no progress on stderr")
OVERWRITE = Option("--overwrite", "", "replace files of these names that hold something else, instead of refusing")
PRECISION = Option("--precision", "P", "of the weights: fp32, bf16 or int8", "fp32")
COMPILED = Option("--compiled", "", "text, few samples, on a CPU: compile the steps (seconds once), then draw faster")
SEED = Option("--seed", "S", "sample i is drawn from seed S + i alone", "0")
GUIDANCE = Option("--guidance", "G", "strength of the label or the words (1: as learnt; else as the recipe says)")
SOLVER = Option("--solver", "NAME", "how a model that removes noise is drawn: euler, heun, ddim, ddpm or dpm")
STEPS = Option("--steps", "K", "of the solver")
TEMPERATURE = Option("--temperature", "T", "spread of the draw: below 1 is safer, above 1 bolder", "1")
TOKENS = (
    Option("--top-k", "K", "of tokens: only the K likeliest (1: always the likeliest)"),
    Option("--top-p", "P", "of tokens: only the fewest that together have probability P"),
    Option("--min-p", "P", "of tokens: only those at least P times as likely as the likeliest"),
    Option("--repetition", "R", "above 1: tokens that were there before become less likely"),
)
ENDS = (
    Option("--max-tokens", "N", "of text: make at most N tokens"),
    Option("--stop", "TEXT", "of text: cut it before TEXT; may be given several times", several=True),
)

DATA_FOLDER = Option("--data-folder", "DIR", "where the server keeps its database, uploads and films", "server-data")
DATABASE = Option(
    "--database", "URL", "postgresql://… instead of SQLite in the data folder; MAQUETTE_DATABASE says the same unseen"
)

SERVER = (
    Option("--server", "URL", "a model at a server of OpenAI's shape, instead of a run (default: MAQUETTE_SERVER)"),
    Option("--model", "NAME", "its name there (default: MAQUETTE_MODEL, else the only one); MAQUETTE_KEY is the key"),
)

VERBS: dict[str, Verb] = {
    "advise": Verb(
        "which recipe suits what you have: all of a medium, ranked by what was measured, with reasons and commands",
        (),
        (
            Option(
                "--medium", "MEDIUM", "image, text, audio, video, music, series or points (default: what --data holds)"
            ),
            Option("--examples", "N", "how many files or rows you have (default: those of --data are counted)"),
            DATA._replace(help="look what is there"),
            Option(
                "--given",
                "WHAT",
                "what samples are made from: nothing, text, label, pair, other, weights, or what is taken from them: "
                "shrink, mask, grey, edges, blur, noise, gap",
                "nothing",
            ),
            Option("--time", "TIME", "of training: 90s, 10min or 1h", "30min"),
            DEVICE,
        ),
        example="maquette advise --medium image --examples 500 --device cpu --time 30min",
    ),
    "plan": Verb(
        "how long a recipe will train here, and what memory and disk it takes, from some seconds of it",
        ("RECIPE",),
        (DATA, BUDGET, DEVICE._replace(default=None)),
        overrides=True,
        example="maquette plan dcgan --data photos/ --budget 10min medium.size=64",
    ),
    "train": Verb(
        "learn a recipe from your files",
        ("RECIPE",),
        (
            DATA,
            Option("--from", "RUN|BUNDLE|MODEL", "weights to begin from; their medium and model replace the recipe's"),
            BUDGET,
            Option("--out", "RUN", "folder of the run (default: runs/RECIPE, numbered when taken)"),
            Option("--seed", "S", "of weights, batches and noise"),
            DEVICE._replace(default=None),
            QUIET,
        ),
        overrides=True,
        example="maquette train dcgan --data photos/ --budget 10min medium.size=64",
    ),
    "resume": Verb(
        "go on with a run from its last checkpoint, bit for bit",
        ("RUN",),
        (BUDGET._replace(help="another budget than the run was begun with"), QUIET),
        example="maquette resume runs/dcgan",
    ),
    "sample": Verb(
        "make new items from a run or a bundle",
        ("RUN|BUNDLE?",),
        (
            Option("-n", "N", "how many (default: 16, of text 1, between texts 2)"),
            Option("--prompt", "TEXT", "words to go on from or to answer"),
            SEED,
            Option("--label", "LABEL", "class name or number, several with commas, or `each` for all in turn"),
            GUIDANCE,
            Option("--guidance-interval", "LOW,HIGH", "guide at levels of noise above LOW up to HIGH alone"),
            SOLVER,
            STEPS,
            TEMPERATURE,
            Option("--eta", "E", "share of fresh noise a step, 0 to 1", "0"),
            *TOKENS,
            Option("--beams", "K", "of text: search for the likeliest with K hypotheses, instead of drawing"),
            *ENDS,
            Option("--template", "TEXT", "of text: fill each □ in TEXT with a letter"),
            Option("--form", "NAME", "of text: regular verse, wujue (五绝), qijue (七绝), wulu (五律) or qilu (七律)"),
            Option(
                "--logprobs", "[K]", "of text: JSON lines with how likely each token was, and the K likeliest (K: 8)"
            ),
            Option("--interpolate", "[K]", "go from each of the N starts to the next in K steps (K: 8)"),
            Option(
                "--mix", "SHARE", "N x N of them: the traits from SHARE on, such as 0.5, are those of another start"
            ),
            Option(
                "--image",
                "FILE",
                "a picture, sound or film to begin from, with one of the six below, or the past of a series; for a "
                "model that learnt to start from such what it starts from, file or folder; may be given several times",
                several=True,
            ),
            Option(
                "--manner",
                "FILE",
                "of a model of styles: the picture, or a folder of them, in whose manner it makes --image over",
                several=True,
            ),
            Option("--mask", "FILE", "white where the picture, or a film in all its frames, is to be made anew"),
            Option("--gap", "START:END", "of sound and films: the seconds of --image that are to be made anew"),
            Option("--factor", "K", "enlarge --image K times on each side"),
            Option("--blur", "SIGMA", "sharpen --image, which a Gaussian of so many pixels has blurred"),
            Option("--colour", "", "give --image colours"),
            Option("--strength", "S", "draw --image anew after mixing it with noise (0.5: as much of each)"),
            Option("--derive", "", "--image is a whole picture: first take from it what was taken in training"),
            Option("--back", "", "of a model that goes both ways: from its kind of pictures to the one it starts from"),
            Option("--opening", "FILE", "of music and sound: a file to go on from, of sound shorter than an item"),
            Option("--quarters", "N", "of --opening: only its first N quarter notes"),
            Option("--voice", "NAME=FILE", "of music: a voice that is given, such as soprano=tune.mid", several=True),
            Option("--transpose", "N", "of music: N semitones higher than it was made, or lower where N is negative"),
            Option("--clip", "FILE", "of sound, films and music: the first few of them in one file that plays"),
            Option("--grid", "FILE", "all of them on one sheet, a PNG file"),
            Option(
                "--out",
                "DIR",
                "one file each, into this folder (default: samples, numbered when others lie there; none where --grid "
                "or --clip is given)",
            ),
            Option(
                "--like", "FILE", "make this file again, by what its mark tells; what is said beside it counts more"
            ),
            Option("--keep-prompt", "", "the marks hold the words too, so that --like needs no more than the file"),
            OVERWRITE,
            Option("--visible", "TEXT", "a visible note on every item"),
            *SERVER,
            PRECISION,
            COMPILED,
            DEVICE,
            QUIET,
        ),
        example="maquette sample runs/dcgan -n 64 --seed 1 --grid sheet.png",
    ),
    "chat": Verb(
        "talk with a model that learnt from questions and answers, a line each; /new begins anew, /quit ends",
        ("RUN|BUNDLE?",),
        (
            SEED._replace(help="answer i is drawn from seed S + i"),
            TEMPERATURE,
            *TOKENS,
            *ENDS,
            *SERVER,
            PRECISION,
            COMPILED,
            DEVICE,
        ),
        example="maquette chat runs/dialogue --temperature 0.7 --top-p 0.9",
    ),
    "attention": Verb(
        "draw where a model of text looks: how much each token takes from each before it",
        ("RUN|BUNDLE",),
        (
            Option("--prompt", "TEXT", "the text"),
            Option("--out", "FILE.png", "the picture, one map for each head of each layer", "attention.png"),
            DEVICE,
        ),
        example='maquette attention runs/notes --prompt "Once upon a time"',
    ),
    "caption": Verb(
        "say what is in pictures, with a model that has learnt to write captions",
        ("RUN|BUNDLE", "PICTURE…"),
        (DEVICE,),
        example="maquette caption runs/words photo.png",
    ),
    "style": Verb(
        "a picture in the manner of another, by optimisation (Gatys et al. 2016)",
        ("CONTENT", "STYLE"),
        (
            Option("--features", "RUN|FILE", "whose features tell what is alike: a run's data, or vgg19-dcbb9e9d.pth"),
            Option("--strength", "S", "of the manner against the content", "1000"),
            Option("--steps", "K", "of the optimisation", "200"),
            Option("--size", "N", "of the picture's side in pixels, with VGG-19", "128"),
            Option("--out", "FILE.png", "the picture", "styled.png"),
            OVERWRITE,
            Option("--visible", "TEXT", "a visible note on it"),
            DEVICE,
            QUIET,
        ),
        example="maquette style photo.png painting.png --features runs/paintings --out painted.png",
    ),
    "evaluate": Verb(
        "score a run against real samples, with real against real beside it",
        ("RUN",),
        (
            Option("-n", "N", "how many samples are made and compared"),
            Option("--data", "FOLDER|NAME", "compare with these samples, instead of the run's own"),
            Option("--out", "DIR", "where the report goes (default: the run)"),
            SEED._replace(help="of the samples made"),
            GUIDANCE,
            SOLVER,
            STEPS,
            TEMPERATURE._replace(default=None),
            Option("--inception", "FILE", "weights of the standard FID network, to be converted and used from now on"),
            Option("--vggish", "FILE", "those of VGGish, the standard network for sound, likewise"),
            Option(
                "--judge", "RUN", "of a model that is asked by captions: who says whether pictures are what was asked"
            ),
            Option("--exact", "", "of a model that removes noise: what data cost its flow as well (takes minutes)"),
            Option("--taught", "", "of a model of labels: what classifiers learn from its pictures (takes minutes)"),
            PRECISION,
            DEVICE,
            QUIET,
        ),
        example="maquette evaluate runs/dcgan",
    ),
    "compare": Verb(
        "train several recipes alike, or take finished runs, and rank them in one report",
        ("RECIPE|RUN…",),
        (
            DATA,
            BUDGET._replace(help="for each of them: 2000steps, 90s, 10min, 1h or 5epochs"),
            Option("--seeds", "S,S,…", "each recipe is trained once with each", "0"),
            Option("-n", "N", "how many samples are made and compared"),
            Option("--out", "DIR", "folder of the report and the runs; run it again to continue", "comparison"),
            DEVICE._replace(default=None),
            QUIET,
        ),
        overrides=True,
        example="maquette compare dcgan my.yaml --data photos/ --budget 10min --seeds 0,1 --out report/",
    ),
    "tune": Verb(
        "search for better settings of a recipe: key=LOW..HIGH and key=A,B,C say what may vary",
        ("RECIPE",),
        (
            DATA,
            Option("--trials", "N", "how many there are in the end", "20"),
            Option("--time", "TIME", "for all of them, such as 30min: no trial begins that would not end in time"),
            BUDGET._replace(help="of each trial (default: its part of --time, else the recipe's)"),
            Option("--space", "FILE", "ranges and choices by field, as YAML (default: rates, batch, the model's own)"),
            SEED._replace(help="of what is tried"),
            Option("-n", "N", "how many samples of each are made and compared"),
            Option(
                "--out", "DIR", "folder of the best recipe, the report and the runs; run it again to continue", "tuning"
            ),
            DEVICE._replace(default=None),
            QUIET,
        ),
        overrides=True,
        example="maquette tune dcgan --data photos/ --trials 20 --time 1h model.latent=64..256 train.batch=32,64",
    ),
    "pipeline": Verb(
        "let several recipes work together in rounds: check, train, judge, tune the worst, choose",
        ("FILE",),
        (
            Option("--out", "DIR", "folder of everything that is made; run it again to continue", "pipeline"),
            DEVICE._replace(default=None),
            QUIET,
        ),
        example="maquette pipeline plan.yaml --out cooperation",
    ),
    "average": Verb(
        "one model of several that began from the same weights: their mean (federated averaging)",
        ("RUN|BUNDLE…",),
        (
            Option("--weights", "N,N,…", "how much each counts (default: how many training items it learnt from)"),
            Option("--out", "BUNDLE", "folder of the bundle (default: bundles/average, numbered when taken)"),
        ),
        example="maquette average runs/north runs/south --out bundles/round-1",
    ),
    "import": Verb(
        "make a bundle of a model of the Hugging Face libraries",
        ("FOLDER|hf:NAME",),
        (Option("--out", "BUNDLE", "folder of the bundle (default: bundles/NAME, numbered when taken)"),),
        overrides=True,
        example="maquette import models/small --out bundles/small medium.length=256",
    ),
    "export": Verb(
        "write a run or a bundle as the Hugging Face libraries read it",
        ("RUN|BUNDLE",),
        (Option("--out", "FOLDER", "where to (default: exported/NAME, numbered when taken)"),),
        example="maquette export runs/small --out models/mine",
    ),
    "serve": Verb(
        "answer over HTTP, in the shapes that OpenAI's clients speak, for this machine alone unless told otherwise",
        ("RUN|BUNDLE…?",),
        (
            Option("--host", "ADDRESS", "listen here; others reach it only where there are keys", "127.0.0.1"),
            Option("--port", "PORT", "0: any that is free", "8000"),
            Option("--name", "HOST", "what it is called from outside; may be given several times", several=True),
            DATA_FOLDER,
            DATABASE,
            Option("--key-file", "FILE", "need keys; where there is none yet, make a first one and write it here"),
            Option("--rate", "N", "requests a minute for each key; 0: any number", "600"),
            Option("--rules", "FILE", "phrases by category that may be neither asked nor said (YAML)"),
            Option("--producer", "NAME", "who answers for what is made; stands in every mark"),
            Option("--visible", "TEXT", "a visible note on every item"),
            Option(
                "--memory",
                "GIB",
                "that loaded models may take (default: half of the device's); the least used makes room",
            ),
            Option("--warm", "NAME", "load it before /readyz says ready; several times, or all", several=True),
            Option("--queue", "N", "requests that may wait; more are asked to come again", "64"),
            Option("--slots", "N", "texts that one model makes together", "16"),
            Option("--workers", "N", "jobs (training, evaluation …) that run at once; 0: none are taken", "1"),
            Option("--worker-memory", "GIB", "that each process of a job may take; one that needs more fails (Linux)"),
            Option("--storage", "GIB", "that the uploads of each key may take", "64"),
            Option("--keep", "DAYS", "after which finished work and its files are deleted (default: never)"),
            PRECISION,
            DEVICE,
            Option("--studio", "", "pages for a browser too: bring data, train, make, compare"),
            Option("--quiet", "", "no line for each request on stderr"),
        ),
        example="maquette serve runs/dcgan runs/dialogue --port 8080",
    ),
    "keys": Verb(
        "keys of a server: `maquette keys create NAME`, `keys list`, `keys revoke ID`, `keys audit [ID]`",
        ("create|list|revoke|audit", "NAME|ID?"),
        (
            Option("--scopes", "S,S,…", "what the key may do: infer, train, admin", "infer"),
            Option("--days", "N", "until it is void (default: never)"),
            Option("--last", "N", "lines of the audit log, the newest last", "100"),
            DATA_FOLDER,
            DATABASE,
        ),
        example="maquette keys create laptop --scopes infer,train --days 90",
    ),
    "recipes": Verb("list the recipes", (), (Option("--tutorials", "", "those of the tutorials, by listing"),)),
    "run": Verb(
        "do what a listing of the tutorials meant to do; tutorial/all does them all, and goes on where it was stopped",
        ("TUTORIAL",),
        (
            Option("--tiny", "", "cut short, to see that it runs"),
            Option("--data", "FOLDER|NAME", "samples to learn from, instead of its stand-in"),
            Option("--out", "DIR", "folder of what is made (default: tutorial/NAME; tutorial/tiny/NAME with --tiny)"),
        ),
        example="maquette run tutorial/13 --data faces/",
    ),
    "diagram": Verb(
        "draw how the families work, or how what one hears of is related",
        ("families|concepts",),
        (Option("--out", "FILE.svg", "the drawing", "diagram.svg"),),
        example="maquette diagram families --out families.svg",
    ),
    "new": Verb(
        "make a project's folder: data, recipe, script, models, outputs",
        ("FOLDER",),
        (Option("--recipe", "RECIPE", "the recipe to begin from", "dcgan"),),
        example="maquette new faces --recipe stylegan2",
    ),
    "show": Verb(
        "print a recipe with every setting and what it means",
        ("RECIPE",),
        overrides=True,
        example="maquette show dcgan model.latent=64",
    ),
    "data": Verb(
        "look over a folder of samples: `maquette data check FOLDER`",
        ("check", "FOLDER"),
        (
            Option("--move-bad", "DIR", "move the files that cannot be read there"),
            Option("--recipe", "RECIPE", "read the files as this recipe would (default: by what they are)", ""),
        ),
        overrides=True,
        example="maquette data check photos/ --move-bad bad/",
    ),
    "env": Verb(
        "versions, devices and settings, and the speed of one matrix product",
        (),
        (Option("--check", "", "whether all is there that is needed; the exit code says so too"),),
    ),
    "lr-find": Verb(
        "try rising learning rates and suggest one for each player",
        ("RECIPE",),
        (DATA, Option("--out", "FILE.svg", "draw each player's loss by learning rate"), DEVICE._replace(default=None)),
        overrides=True,
        example="maquette lr-find dcgan --data photos/",
    ),
    "demo": Verb(
        "four families of generative model compared, in minutes, with no download",
        (),
        (
            Option("--out", "DIR", "folder of the report and the runs", "demo"),
            Option("--budget", "BUDGET", "for each of the four", None),
            QUIET,
        ),
    ),
}

EVERYWHERE = (Option("--debug", "", "show the traceback of an error"),)

_ABOUT = "Train, sample, evaluate and compare generative models of your own files."
_CLOSING = "Any field of a recipe can follow as key=value. Paths made go to stdout, progress and tables to stderr."


_ARGPARSE = {
    "the following arguments are required: ": "缺少 ",
    "argument ": "",
    "expected one argument": "后面需要一个值",
    "expected at least one argument": "后面至少需要一个值",
}
"""What argparse says, in Chinese."""


class Parser(argparse.ArgumentParser):
    """argparse that raises `MaquetteError` and never guesses at an abbreviation."""

    def __init__(self, *args, **keywords):
        super().__init__(*args, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **keywords)

    def error(self, message: str) -> NoReturn:
        chinese = message
        for english, words in _ARGPARSE.items():
            chinese = chinese.replace(english, words)
        raise MaquetteError("MQ-2110", self.prog, reason=Phrase(message, chinese), prog=self.prog)


def build() -> Parser:
    """The parser of the whole command."""
    parser = Parser(prog="maquette", description=_ABOUT, epilog=_CLOSING)
    parser.add_argument("--version", action="version", version=f"maquette {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for name, verb in VERBS.items():
        one = verbs.add_parser(name, help=verb.help, description=verb.help, epilog=_epilog(verb))
        for positional in verb.takes:
            counts = {"…": "+", "?": "?", "…?": "*"}
            bare = positional.rstrip("…?")
            one.add_argument(bare, nargs=counts.get(positional.removeprefix(bare)))
        for option in verb.options + EVERYWHERE:
            if not option.metavar:
                one.add_argument(option.flag, action="store_true", help=option.help)
            elif option.metavar.startswith("["):
                one.add_argument(option.flag, metavar=option.metavar[1:-1], nargs="?", const="8", help=option.help)
            elif option.several:
                one.add_argument(option.flag, metavar=option.metavar, action="append", default=[], help=option.help)
            else:
                one.add_argument(option.flag, metavar=option.metavar, default=option.default, help=_help(option))
    return parser


def parse(argv: list[str]) -> argparse.Namespace:
    """`argv` read; `overrides` holds what had the form key=value. Raises `MaquetteError` for anything unknown."""
    parser = build()
    first = next((word for word in argv if not word.startswith("-")), None)
    if first is not None and first not in VERBS:
        raise MaquetteError("MQ-2111", verb=first, near=_near(first, VERBS))
    asked, rest = parser.parse_known_args(argv)
    if asked.verb is None:
        known = [option.flag for option in EVERYWHERE] + ["--help", "--version"]
        raise _unknown(rest[0], "maquette", known) if rest else MaquetteError("MQ-2112")
    verb = VERBS[asked.verb]
    for word in rest:
        if word.startswith("-"):
            flags = [option.flag for option in verb.options + EVERYWHERE] + ["--help"]
            raise _unknown(word.partition("=")[0], f"maquette {asked.verb}", flags)
        if "=" not in word or not verb.overrides:
            prog = f"maquette {asked.verb}"
            raise MaquetteError("MQ-2113", prog, word=word, prog=prog)
    asked.overrides = rest
    return asked


def _unknown(flag: str, prog: str, flags: list[str]) -> MaquetteError:
    return MaquetteError("MQ-2114", prog, flag=flag, near=_near(flag, flags))


def _near(name: str, names) -> Phrase:
    # lower than errors.nearest: `--grids` and `trian` are short, and one letter of five is much
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    if close:
        return Phrase(f"nearest: {close[0]}", f"最接近的是 {close[0]}")
    return Phrase("one of " + ", ".join(names), "可用的有：" + ", ".join(names))


def _help(option: Option) -> str:
    return option.help + (f" (default: {option.default})" if option.default else "")


def _epilog(verb: Verb) -> str:
    lines = ["key=value sets any field of the recipe, such as train.batch=32"] if verb.overrides else []
    return "\n".join(lines + ([f"example: {verb.example}"] if verb.example else []))
