# %% [markdown]
# # Diffusion and flow 扩散与流
#
# One model, drawn in 2, 5 and 20 steps by two solvers. 同一个模型，用两种求解器各走 2、5、20 步。

# %%
import torch

import maquette
from maquette.core.types import Sampling

BUDGET = "1500steps"

# %%
run = maquette.train("points-diffusion", budget=BUDGET, out="runs/flow", quiet=True)
pipeline = maquette.load(run.path)

# %% [markdown]
# How far samples lie from the nearest heap (sigma of a heap is 0.05). 样本离最近的堆有多远（堆的散布是 0.05）。

# %%
angles = torch.arange(8) * torch.pi / 4
heaps = 2 * torch.stack([angles.cos(), angles.sin()], 1)
for solver in "euler", "heun":
    for steps in 2, 5, 20:
        items = pipeline.generate(maquette.Request(n=500, seed=0, sampling=Sampling(solver=solver, steps=steps)))
        near = torch.cdist(torch.as_tensor(items).float(), heaps).min(1).values
        print(f"{solver:5} {steps:2} steps: median {near.median():.3f}, worst tenth {near.quantile(0.9):.3f}")
