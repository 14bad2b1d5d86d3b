# %% [markdown]
# # Start here 从这里开始
#
# Handwritten digits by a small GAN: train, draw, judge. 用一个小 GAN 学手写数字：训练、采样、评价。

# %%
from PIL import Image

import maquette

BUDGET = "60s"

# %% [markdown]
# A recipe, data, a budget. 一个配方，一份数据，一个预算。

# %%
run = maquette.train("dcgan", data="digits", budget=BUDGET, out="runs/start", overrides=["medium.size=16"], quiet=True)

# %% [markdown]
# Sample *i* depends on seed + *i* alone. 第 *i* 个样本只取决于种子 + *i*。

# %%
maquette.sample(run.path, n=64, seed=1, grid="start.png")
Image.open("start.png")

# %% [markdown]
# Every score stands beside that of real digits. 每项分数旁边都有真实数字的分数。

# %%
print(maquette.evaluate(run.path, n=200, quiet=True).table)
