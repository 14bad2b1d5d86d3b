# %% [markdown]
# # Attention 注意力
#
# The formula in four lines, held against ours. 四行写出公式，与我们的对照。

# %%
import torch
from PIL import Image

import maquette
from maquette.nets.attention import attend

BUDGET = "60s"
torch.manual_seed(0)

# %%
q, k, v = (torch.randn(1, 2, 5, 8) for _ in range(3))
scores = q @ k.mT / 8**0.5
hidden = torch.ones(5, 5).triu(1).bool()
by_hand = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v
print("largest difference:", f"{(by_hand - attend(q, k, v, causal=True)).abs().max():.0e}")

# %% [markdown]
# Where a model of text looks. 一个文字模型看向哪里。

# %%
run = maquette.train("gpt-char", budget=BUDGET, out="runs/looking", quiet=True)
maquette.attention(run.path, "The function returns a value", out="attention.png")
Image.open("attention.png")
