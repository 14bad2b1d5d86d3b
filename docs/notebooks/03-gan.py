# %% [markdown]
# # GAN
#
# Eight heaps of points, with a critic that is bounded by spectral norm, and with one that learns fast and is not.
# 八堆点：一个判别器受谱归一化约束，另一个学得快而不受约束。

# %%
from PIL import Image

import maquette

BUDGET = "2000steps"
FAST = ["train.optimizers.critic.lr=5e-3", "train.optimizers.generator.lr=1e-4"]

# %%
for name, words in {"bounded": FAST, "free": [*FAST, "model.critic.spectral=false"]}.items():
    run = maquette.train("points-gan", budget=BUDGET, out=f"runs/gan-{name}", overrides=words, quiet=True)
    (report,) = maquette.evaluate(run.path, n=2000, quiet=True).reports
    modes, within = report.score("modes"), report.score("quality")
    print(name, {score.name: round(score.value, 3) for score in (modes, within) if score})
    maquette.sample(run.path, n=500, seed=1, grid=f"gan-{name}.png")

# %% [markdown]
# The points that each of them makes. 两者各自画出的点。

# %%
Image.open("gan-bounded.png")

# %%
Image.open("gan-free.png")
