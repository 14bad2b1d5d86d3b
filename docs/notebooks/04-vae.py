# %% [markdown]
# # VAE
#
# Codes of digits: what an axis means, and a walk from one code to another.
# 数字的编码：一个维度是什么意思，从一个编码走到另一个。

# %%
from PIL import Image

import maquette

BUDGET = "3000steps"

# %%
run = maquette.train(
    "vae-mlp", data="digits", budget=BUDGET, out="runs/codes", overrides=["medium.size=16"], quiet=True
)
maquette.sample(run.path, n=5, between=8, seed=3, grid="between.png")
Image.open("between.png")

# %% [markdown]
# The bound on unseen digits, in nats or bits; reconstructions and axes are in the report's pictures.
# 未见数字上的界；重建与各维度在报告的图里。

# %%
print(maquette.evaluate(run.path, n=200, quiet=True).table)
print(sorted(path.name for path in (run.path / "pictures").glob("*.png")))
