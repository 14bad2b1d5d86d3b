"""One environment for every test: no network, one thread a process, and a cache folder that is thrown away."""

import gc
import os
import shutil
import tempfile
from collections.abc import Generator

import pytest

# Before anything imports torch or datasets: both read these when they are loaded.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", MPLBACKEND="agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MAQUETTE_LANG"] = "en"
os.environ["MAQUETTE_CACHE"] = CACHE = tempfile.mkdtemp(prefix="maquette-tests-")
os.environ["HF_HOME"] = os.path.join(CACHE, "huggingface")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end: no search for garbage looks at it, then or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    shutil.rmtree(CACHE, ignore_errors=True)
