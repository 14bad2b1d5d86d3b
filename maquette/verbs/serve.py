"""Put models behind HTTP: `maquette serve runs/dcgan`."""

import logging
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from maquette.core import devices, files
from maquette.core.errors import MaquetteError, Sentence, told
from maquette.verbs import keys

GIB = 1 << 30
EVERYTHING = ("infer", "train", "admin")


def serve(
    sources: Sequence[Path | str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    names: tuple[str, ...] = (),
    data_folder: str = "server-data",
    database: str | None = None,
    key_file: str | None = None,
    rate: int = 600,
    rules: str | None = None,
    producer: str = "",
    visible: str = "",
    memory: float | None = None,
    warm: Sequence[str] = (),
    queue: int = 64,
    slots: int = 16,
    precision: Any = "fp32",
    device: str = "auto",
    workers: int = 1,
    worker_memory: float | None = None,
    storage: float = 64.0,
    keep: float = 0.0,
    studio: bool = False,
    quiet: bool = False,
    say: Callable[[str], object] = print,
) -> None:
    """Answer requests until SIGTERM or Ctrl-C; what runs then may finish. Returns only then.

    Args:
        sources: runs and bundles.
        host: where to listen. Beyond loopback only where keys are needed: where there is one, or ever was.
        names: what the server is called from outside, as the Host header says it; keys are needed then, too.
        database: see `Store`; None is the variable MAQUETTE_DATABASE, or SQLite in the data folder.
        key_file: keys are needed; where none is valid one is made, shown and written here.
        rules: a file of phrases that may be neither asked nor said.
        workers: jobs (training, evaluation, …) that run at once; 0 takes none.
        worker_memory: GiB that each process of a job may take; None: as much as there is.
        keep: days after which finished work and its files are deleted; 0: never.
        memory: GiB that loaded models may take; None: half of what the device has.
        warm: models of `sources` by name, or "all", that are loaded before `/readyz` says ready.
        storage: GiB that the uploads of one key may take.
        say: is told the address and what else its operator should know, a line each.
        studio: pages for a browser too, at `/studio`.

    Raises:
        MaquetteError: MQ-3010 without the extra `serve`, MQ-8010 beyond loopback without keys, MQ-4190 an address that
            is taken, and what opening models and the database raises.
    """
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401

        from maquette.server import guard
        from maquette.server.app import create_app
        from maquette.server.engine import Engine
        from maquette.server.jobs import Jobs
        from maquette.server.keeping import usage
        from maquette.server.supervisor import Supervisor
    except ModuleNotFoundError as missing:
        raise MaquetteError("MQ-3010", package=missing.name, extra="serve") from None
    from maquette.server.filtering import read_rules
    from maquette.server.hosts import may_listen
    from maquette.server.settings import Settings

    read = read_rules(rules) if rules else None
    new = not Path(data_folder).exists()
    folder = files.make_folder(data_folder).resolve()
    if new:
        folder.chmod(0o700)  # what others asked for lies here
    store = keys.opened(str(folder), database)
    valid = any(keys.alive(row, time.time()) for row in store.list_keys())
    needed = store.has_keys() or key_file is not None  # keys that are void let nobody in, and open the door to nobody
    may_listen(host, names, needed)
    if key_file is not None and not valid:
        secret, row = store.add_key("first", EVERYTHING)
        files.write_file(key_file, f"{secret}\n".encode(), private=True)
        said = f"key {row.id}, shown this once and kept in {key_file}:\n{secret}"
        say(told(Sentence(said, f"密钥 {row.id}，仅显示这一次，并保存在 {key_file}：\n{secret}")))
    place = devices.pick_device(device)
    engine = Engine(
        sources,
        device=device,
        memory=devices.memory(place) // 2 if memory is None else round(memory * GIB),
        queue=queue,
        slots=slots,
        precision=precision,
    )
    own = [one.id for one in engine.served()]
    settings = Settings(
        host=host,
        port=port,
        names=names,
        data_folder=str(folder),
        keys=needed,
        rate=rate,
        producer=producer,
        visible=visible,
        workers=workers,
        keep=keep,
        storage=round(storage * GIB),
        warm=tuple(own if "all" in warm else dict.fromkeys(engine.find(name).id for name in warm)),
    )
    most = None if worker_memory is None else round(worker_memory * GIB)
    supervisor = Supervisor(Jobs(store), workers=workers, device=device, memory=most) if workers else None
    pages = None
    if studio:
        from maquette.studio.pages import router as pages
    server = guard.server(create_app(settings, engine, store, supervisor, rules=read, pages=pages), settings)
    _log(quiet)
    with _listening(host, port) as listener:
        address, number = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        here = f"http://{shown}:{number}"
        asked = Sentence("no key is needed: this machine alone reaches it", "不需要密钥：只有本机能访问")
        asked = Sentence("keys are needed", "需要密钥") if needed else asked
        served = ", ".join(own)
        models = Sentence(served, served) if served else Sentence("no model yet", "尚无模型")
        say(told(Sentence(f"{here}/v1 serves {models}; {asked}", f"{here}/v1 提供 {models.zh}；{asked.zh}")))
        if needed and not valid and key_file is None:
            said = "no key is valid any more, so nobody is let in: `maquette keys create NAME` makes one, now too"
            say(told(Sentence(said, "已没有有效的密钥，谁也不能进入：现在也可用 `maquette keys create 名称` 新建")))
        if studio:
            say(told(Sentence(f"the studio is at {here}/studio", f"工作室在 {here}/studio")))
        age = Sentence("nothing is deleted: --keep DAYS says so", "不删除任何内容：可用 --keep 天数 设定")
        if keep:
            age = Sentence(f"finished work older than {keep:g} days is deleted", f"已完成的工作超过 {keep:g} 天即删除")
        held = f"{sum(usage(folder).values()) / GIB:.2f} GiB"
        say(told(Sentence(f"{folder} holds {held}; {age}", f"{folder} 占用 {held}；{age.zh}")))
        if not producer:
            said = "nobody is named as the one who answers for what is made: --producer NAME says who"
            say(told(Sentence(said, "没有写明由谁对生成内容负责：可用 --producer 名称 写明")))
        server.run(sockets=[listener])
    store.close()


def _listening(host: str, port: int) -> socket.socket:
    """A bound socket; raises MQ-4190."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, number)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
        return listener
    except (OSError, OverflowError) as bad:
        reason = getattr(bad, "strerror", None) or str(bad)
        raise MaquetteError("MQ-4190", address=f"{host}:{port}", reason=reason) from None


def _log(quiet: bool) -> None:
    """What the server says of its work goes to stderr, a line each; it holds no prompt and no key."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("maquette.server", logging.WARNING if quiet else logging.INFO), ("uvicorn", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers, logger.propagate = [handler], False
