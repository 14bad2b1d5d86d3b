# %% [markdown]
# # When training goes wrong 训练出问题时
#
# A VAE whose code says nothing: seen, and mended. 一个编码什么也没说的 VAE：先看到，再治好。

# %%
import json

import maquette

BUDGET = "2000steps"

# %%
for name, words in {"beta 8": ["model.beta=8"], "beta 1": []}.items():
    run = maquette.train("points-vae", budget=BUDGET, out=f"runs/{name}", overrides=words, quiet=True)
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    last = [row["validation"] for row in rows if "validation" in row][-1]
    (report,) = maquette.evaluate(run.path, n=2000, quiet=True).reports
    modes = report.score("modes")
    print(
        name, f"KL {last['model.kl']:.3f} nats, active axes {last['model.active']:.1f}, modes {modes and modes.value}"
    )
