"""What a client may send: OpenAI's bodies, with our own fields beside theirs. Unknown fields are refused, not ignored.

Fields of OpenAI's that ask for what no model here does are known and must be neutral, so that a mistake says so instead
of a sample that is not what was asked for. Numbers have their bounds here; these are the ones that OpenAPI tells.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[str, Field(min_length=1, max_length=128)]
"""Of a model: looked up in a table, and never a path."""
Words = Annotated[str, Field(max_length=200_000)]
Short = Annotated[str, Field(max_length=512)]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]
Seed = Annotated[int, Field(ge=0, lt=2**62)]
Count = Annotated[int, Field(ge=1, le=1000)]
Label = Annotated[str, Field(max_length=200)]
Neutral = Annotated[float, Field(ge=0, le=0)]
Empty = Annotated[list[Any], Field(max_length=0)]
Nothing = Annotated[dict[str, Any], Field(max_length=0)]
Picture = Annotated[str, Field(min_length=4, max_length=700_000)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Drawn(Body):
    """How a sample is drawn: the same words as the options of `maquette sample`; a model refuses what it cannot do."""

    n: Count | None = None
    """How many samples."""
    seed: Seed | None = None
    """Sample i depends on seed + i and on nothing else; without one it is chosen, and told in the answer."""
    label: Label | Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """A class by name or number, `each` for all in turn; none: every sample draws its own."""
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    """Of labels and words: 1 is what was learnt, more follows them more closely."""
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    """Spread of the draw: below 1 safer, above 1 bolder; 0 always takes the likeliest token."""
    keep_prompt: bool | None = None
    """Whether the mark holds the words too, so that the file can be made again from itself."""
    user: Short | None = None
    safety_identifier: Short | None = None


class Spoken(Drawn):
    """Of tokens."""

    model: Id
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Only the K likeliest tokens; 0: all."""
    min_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    repetition: Annotated[float, Field(ge=1, le=100)] | None = None
    """Above 1: tokens that were there before become less likely."""
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: "StreamOptions | None" = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    frequency_penalty: Neutral | None = None
    presence_penalty: Neutral | None = None
    logit_bias: Nothing | None = None
    metadata: Nothing | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None


class StreamOptions(Body):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Completion(Spoken):
    """`POST /v1/completions`: go on with texts."""

    prompt: Words | Annotated[list[Words], Field(min_length=1, max_length=64)] | None = None
    echo: bool | None = None
    """Whether the prompt stands before what was made."""
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    suffix: Annotated[str, Field(max_length=0)] | None = None
    beams: Annotated[int, Field(ge=0, le=32)] | None = None
    """Search for the likeliest text with so many hypotheses, instead of drawing."""
    template: Annotated[str, Field(max_length=10_000)] | None = None
    """A text with □ for each letter to be made."""
    form: Annotated[str, Field(max_length=16)] | None = None
    """Regular Chinese verse: wujue (五绝), qijue (七绝), wulu (五律) or qilu (七律)."""


class TextPart(Body):
    type: Literal["text"]
    text: Words


class Message(Body):
    """One turn; what an answer of OpenAI's holds besides may be sent back with it."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Words | Annotated[list[TextPart], Field(max_length=64)]
    name: Short | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: Empty | None = None
    annotations: Empty | None = None

    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class TextFormat(Body):
    type: Literal["text"]


class Chat(Spoken):
    """`POST /v1/chat/completions`: answer, given what was said before."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=512)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: TextFormat | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None
    tools: Empty | None = None
    functions: Empty | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None


class Denoised(Drawn):
    """Of models that are drawn in steps from noise."""

    model: Id | None = None
    """May be left out where one model alone makes what is asked for."""
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Of the solver."""
    solver: Annotated[str, Field(max_length=16)] | None = None
    """euler, heun, ddim, ddpm or dpm."""
    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of fresh noise a step."""
    guidance_low: Annotated[float, Field(ge=0, le=1e6)] | None = None
    guidance_high: Annotated[float, Field(ge=0, le=1e6)] | None = None
    """Guide at levels of noise above the first up to the second alone."""
    truncation: Annotated[float, Field(gt=0, le=1)] | None = None
    """The spread of the codes that samples begin from: another word for a temperature of at most 1."""


class Painted(Denoised):
    """Of pictures."""

    size: Annotated[str, Field(max_length=16)] | None = None
    """`auto`, or the size that the model makes."""
    response_format: Literal["b64_json"] | None = None
    output_format: Literal["png"] | None = None
    output_compression: Annotated[int, Field(ge=100, le=100)] | None = None
    quality: Literal["auto", "standard"] | None = None
    background: Literal["auto", "opaque"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = None
    """So many pictures on the way, from a model that removes noise or makes one value after another."""


class Generation(Painted):
    """`POST /v1/images/generations`."""

    prompt: Words
    """What is to be seen; of a model that learnt labels the name of one, of one that learnt neither empty."""
    moderation: Literal["auto"] | None = None
    style: Literal["natural"] | None = None


class Edit(Painted):
    """`POST /v1/images/edits`, a form with the file `image`, and `mask` for inpainting."""

    prompt: Words = ""
    input_fidelity: Literal["low", "high"] | None = None
    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    """Draw the picture anew after mixing it with noise; 0.5: as much of each."""
    factor: Annotated[int, Field(ge=2, le=64)] | None = None
    """Enlarge the picture so many times on each side."""
    blur: Annotated[float, Field(gt=0, le=64)] | None = None
    """Sharpen a picture that a Gaussian of so many pixels has blurred."""
    colour: bool | None = None
    """Give a grey picture colours."""


class Variation(Painted):
    """`POST /v1/images/variations`, a form with the file `image`."""

    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    """How far from the picture: 0.5 (as much noise as picture) unless told otherwise."""


class Speech(Denoised):
    """`POST /v1/audio/speech`: a sound, or music as MIDI."""

    input: Words
    """Words that the model is given; of one that learnt labels the name of one, of one that learnt neither empty."""
    voice: Short | None = None
    """A label of the model; `default`, or a name that is none of its labels, leaves it to the model."""
    response_format: Literal["wav", "mid"] | None = None
    speed: Annotated[float, Field(ge=1, le=1)] | None = None
    instructions: Annotated[str, Field(max_length=0)] | None = None
    stream_format: Literal["audio", "sse"] | None = None
    """The file in pieces, as it is or as events; while it is made, where a model makes one value after another."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None


class Film(Denoised):
    """`POST /v1/videos`."""

    prompt: Words
    seconds: Annotated[str, Field(max_length=8)] | None = None
    """As long as the model's films are."""
    size: Annotated[str, Field(max_length=16)] | None = None


class Embedding(Body):
    """`POST /v1/embeddings`, by a model that puts texts and pictures in one space."""

    model: Id
    input: Words | Annotated[list[Words], Field(max_length=256)] | None = None
    images: Annotated[list[Picture], Field(min_length=1, max_length=64)] | None = None
    """Picture files in base64, instead of `input`."""
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=65536)] | None = None
    """As many as the model has."""
    user: Short | None = None


class Moderation(Body):
    """`POST /v1/moderations`: what the operator's rules say of texts."""

    input: Words | Annotated[list[Words | TextPart], Field(min_length=1, max_length=256)]
    model: Id | None = None


class Hyperparameters(Body):
    """OpenAI's three; a recipe has many more, which `overrides` name."""

    n_epochs: Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"] | None = None
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] | None = None
    learning_rate_multiplier: Annotated[float, Field(gt=0, le=1000)] | Literal["auto"] | None = None


class Supervised(Body):
    hyperparameters: Hyperparameters | None = None


class Method(Body):
    type: Literal["supervised"]
    supervised: Supervised | None = None


Settings = Annotated[dict[str, Any], Field(max_length=64)]
"""Fields of a recipe, `{"model.net.width": 64}`: those that a request may set."""
Budget = Annotated[str, Field(min_length=2, max_length=20)]
"""2000steps, 90s, 10min, 1h or 5epochs."""
JobSeed = Annotated[int, Field(ge=0, lt=2**53)]


class Tuning(Body):
    """`POST /v1/fine_tuning/jobs`: train a recipe, or go on from a served model."""

    model: Id
    """A recipe, such as `dcgan` or `image/dcgan`, or a served model whose weights training begins from."""
    training_file: Short | None = None
    """The id of an upload, or the name of a set that needs none, such as `digits`; none: the recipe's own set."""
    recipe: Id | None = None
    """With a served model that is a bundle alone: the recipe that says how it is trained."""
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    budget: Budget | None = None
    overrides: Settings | None = None
    codec: Id | None = None
    """A served autoencoder whose codes are learnt."""
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Goes into the model's name."""
    shared: bool | None = None
    """Whether all keys may use the model, and not this one alone."""
    seed: JobSeed | None = None
    metadata: Annotated[dict[Annotated[str, Field(max_length=64)], Short], Field(max_length=16)] | None = None
    validation_file: None = None
    integrations: Empty | None = None


class Work(Body):
    """`POST /v1/jobs`: `train`, `evaluate`, `check` and `export` one, `compare` several, or `sample` many."""

    kind: Literal["train", "evaluate", "compare", "sample", "check", "export"]
    model: Id | None = None
    """A served model; of `train` and `check` a recipe."""
    recipe: Id | None = None
    recipes: Annotated[list[Id], Field(min_length=1, max_length=12)] | None = None
    """Of `compare`: to be trained alike."""
    models: Annotated[list[Id], Field(min_length=2, max_length=12)] | None = None
    """Of `compare`, in place of recipes: served models, as they are."""
    file: Id | None = None
    """An upload's id."""
    dataset: Annotated[str, Field(max_length=64)] | None = None
    """The name of a set that needs no upload."""
    budget: Budget | None = None
    overrides: Settings | None = None
    codec: Id | None = None
    judge: Id | None = None
    """Of `evaluate`: a served model that says whether pictures are what was asked."""
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    shared: bool | None = None
    """Of `train`: whether all keys may use the model, and not this one alone."""
    n: Annotated[int, Field(ge=1, le=100_000)] | None = None
    seed: JobSeed | None = None
    seeds: Annotated[list[JobSeed], Field(min_length=1, max_length=8)] | None = None
    """Of `compare`: each recipe is trained once with each."""
    label: Annotated[str, Field(max_length=200)] | None = None
    prompt: Annotated[str, Field(max_length=20_000)] | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    solver: Literal["euler", "heun", "ddim", "ddpm", "dpm"] | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    priority: Annotated[int, Field(ge=-10, le=10)] | None = None
    """Higher ones first; above 0 for keys with the scope admin."""
    metadata: Annotated[dict[Annotated[str, Field(max_length=64)], Short], Field(max_length=16)] | None = None


class Sharing(Body):
    """`POST /v1/models/{model}`."""

    shared: bool
    """Whether all keys may use the model, and not its owner alone."""


class Upload(Body):
    """`POST /v1/files`, beside the part `file`."""

    purpose: Literal["fine-tune", "evals", "user_data"]


class Error(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Failure(BaseModel):
    error: Error


class Answer(BaseModel):
    """An object; the documentation of OpenAI's shapes says the rest."""

    model_config = ConfigDict(extra="allow")
