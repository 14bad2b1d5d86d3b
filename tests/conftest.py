"""One environment for every test: no network, one thread a process, and a cache folder that is thrown away."""

import os
import shutil
import tempfile

# Before anything imports torch or datasets: both read these when they are loaded.
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", MPLBACKEND="agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MAQUETTE_LANG"] = "en"
os.environ["MAQUETTE_CACHE"] = CACHE = tempfile.mkdtemp(prefix="maquette-tests-")
os.environ["HF_HOME"] = os.path.join(CACHE, "huggingface")


def pytest_unconfigure() -> None:
    shutil.rmtree(CACHE, ignore_errors=True)
