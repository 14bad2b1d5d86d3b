# %% [markdown]
# # The idea 核心思想
#
# Learning is turns. Here the turns of a GAN are taken by hand, without our loop, to show that nothing is hidden in it.
# 学习就是轮流行动。这里不用我们的循环，亲手执行 GAN 的各个回合，可见其中没有藏着什么。

# %%
import torch

from maquette.core.seeds import Seeds
from maquette.core.types import Batch, Given, Real, Sampling
from maquette.models import gan
from maquette.nets import mlp

STEPS = 1500
torch.manual_seed(0)

# %% [markdown]
# The data: eight heaps on a circle. 数据：圆上的八堆点。


# %%
def ring(n: int) -> torch.Tensor:
    angle = torch.randint(8, (n,)) * torch.pi / 4
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.025 * torch.randn(n, 2)


# %% [markdown]
# A model is built for a space, not for files. 模型是为空间而建的，不是为文件。

# %%
config = gan.Config(
    latent=8,
    generator=mlp.Config(width=64, depth=2, activation="silu"),
    critic=mlp.Config(width=64, depth=2, activation="leaky", spectral=True),
)
model = config.build(Real((2,)))
print([(turn.player, turn.every) for turn in model.turns()])

# %% [markdown]
# This is the whole of training. 训练的全部如下。

# %%
optimizers = {
    name: torch.optim.Adam(player.parameters(), 1e-3, betas=(0.5, 0.999)) for name, player in model.players().items()
}
for step in range(STEPS):
    batch = Batch(ring(128), Given(), Seeds.for_batch(0, step, 128))
    for turn in model.turns():
        if step % turn.every == 0:
            model.zero_grad()
            loss, _ = turn.loss(batch, step / STEPS)
            loss.backward()
            optimizers[turn.player].step()

# %% [markdown]
# Drawing: condition, predictor, start, draw. 采样：条件、预测器、起点、抽取。

# %%
how, rng = Sampling(), Seeds.for_samples(0, 1000)
with torch.no_grad():
    predict = model.predictor(model.condition(Given(), 1000))
    points = model.draw(predict, model.start(1000, how, rng), how, rng)
heaps = (torch.atan2(points[:, 1], points[:, 0]) / (torch.pi / 4)).round().long() % 8
print("points near each heap:", torch.bincount(heaps, minlength=8).tolist())
