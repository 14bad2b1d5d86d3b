"""Every limit of a server in one place: what a client may send, how long it may take, how many may wait."""

from dataclasses import dataclass

from maquette.core.config import Config


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    """Read from the flags of `maquette serve`; the rest stays as it is here unless Python says otherwise."""

    # -- where -------------------------------------------------------------------------------------------------------
    host: str = "127.0.0.1"
    """The address that is listened at."""
    port: int = 8000
    """0 lets the system choose."""
    names: tuple[str, ...] = ()
    """What the server is called from outside (`api.example.org`, with a port where it is not the usual one): the Host
    header must say one of them, or a loopback name, or the address itself."""
    data_folder: str = "server-data"
    """Where the database, uploads and finished films lie."""
    database: str = ""
    """A URL of SQLAlchemy's; "" is SQLite in the data folder."""
    keep: float = 0.0
    """Days after which finished work is deleted; 0: never."""

    warm: tuple[str, ...] = ()
    """Models that are loaded, and have made something, before `/readyz` says that the server is ready."""
    workers: int = 1
    """Jobs (training, evaluation, …) that run at once, each a process of its own."""

    # -- who ---------------------------------------------------------------------------------------------------------
    keys: bool = False
    """Whether a request needs a key even where there has never been one; where there has, it always does."""
    rate: int = 600
    """Requests a minute that a key may make; as many may come at once. 0: any number."""
    strikes: int = 20
    """Wrong keys a minute from one address, after which it must wait."""

    # -- what a client may send --------------------------------------------------------------------------------------
    url: int = 2048
    """Bytes of a path with its query."""
    head: int = 16 << 10
    """Bytes of all headers together."""
    json: int = 1 << 20
    """Bytes of a body of JSON."""
    upload: int = 32 << 20
    """Bytes of a body with files."""
    dataset: int = 4 << 30
    """Bytes of a data set that is uploaded."""
    commas: int = 100_000
    """In a body of JSON: it has about as many values."""
    fields: int = 48
    """Fields of a form."""
    field: int = 64 << 10
    """Bytes of one field of a form that is no file."""
    files: int = 4
    """Files of a form."""
    pixels: int = 16_000_000
    """Of an uploaded picture."""
    decoders: int = 2
    """Processes that open uploaded pictures; each is started when it is first needed, and stays."""
    decode_bytes: int = 1 << 30
    """Memory that such a process may take for a picture."""
    decode_seconds: float = 20.0
    """And the time, after which it is ended."""
    n: int = 64
    """Samples of one request."""
    inputs: int = 256
    """Texts of one request for embeddings or moderation."""
    requests: int = 1024
    """Requests that may be in hand together, those that wait included."""
    storage: int = 64 << 30
    """Bytes that the uploaded files of one key may take together."""
    films: int = 64
    """Films of one key that are kept; the oldest finished one makes room."""

    # -- how long (seconds) ------------------------------------------------------------------------------------------
    head_seconds: float = 10.0
    """Until the headers are complete."""
    body_seconds: float = 20.0
    """Until the body is complete, and one more for every `pace` bytes."""
    pace: int = 64 << 10
    read_seconds: float = 30.0
    """How long a client may leave all that was sent to it unread."""
    idle_seconds: int = 15
    """A connection without a request."""
    request_seconds: float = 600.0
    """One request."""
    drain_seconds: float = 20.0
    """After SIGTERM, until what still runs is told to end."""

    # -- what leaves -------------------------------------------------------------------------------------------------
    producer: str = ""
    """Who answers for what is made; it stands in every mark."""
    visible: str = ""
    """A visible note on every item."""

    def __post_init__(self) -> None:
        self.check(0 <= self.port < 65536, "port", "a port from 0 to 65535")
        self.check(0 <= self.workers <= 64, "workers", "a whole number from 0 to 64")
        self.check(0 <= self.keep <= 36_500, "keep", "a number of days")
        self.check(self.rate >= 0, "rate", "a whole number of requests a minute")
        self.check(1 <= self.decoders <= 64, "decoders", "a whole number from 1 to 64")
        self.check(1 <= self.n <= 1000, "n", "a whole number from 1 to 1000")
        self.check(self.pace >= 1024, "pace", "at least 1024 bytes a second")
        self.check(all(0 < len(name) <= 253 for name in self.names), "names", "names of hosts")
