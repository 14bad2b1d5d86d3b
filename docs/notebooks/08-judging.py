# %% [markdown]
# # Judging results 评价结果
#
# Scores of three makers of digits whom we know: one makes new real digits, one copies, one adds noise.
# 三个我们了解的“作者”：一个写新的真实数字，一个照抄，一个加噪声。

# %%
import torch
from sklearn.datasets import load_digits

from maquette.evaluate.scores.frechet import Moments, frechet_distance
from maquette.evaluate.scores.kernel import kernel_distance
from maquette.evaluate.scores.prdc import prdc

torch.manual_seed(0)
digits = torch.as_tensor(load_digits().data).float() / 16
seen, unseen = digits[:850], digits[850:1700]

# %% [markdown]
# Features are the pixels themselves here: enough for 8x8. 这里的特征就是像素本身：对 8x8 足够了。

# %%
makers = {
    "new and real": unseen,
    "copies": seen[torch.randint(0, 850, (850,))],
    "noise added": (unseen + 0.3 * torch.randn_like(unseen)).clamp(0, 1),
    "zeros and ones alone": unseen[(load_digits().target[850:1700] < 2)].repeat(5, 1)[:850],
}
for name, made in makers.items():
    fid, kid, found = (
        frechet_distance(Moments.of(seen), Moments.of(made)),
        kernel_distance(seen, made),
        prdc(seen, made),
    )
    figures = (
        f"FID {fid:6.2f}  KID {kid.value:7.4f}  precision {found.precision.value:.2f}  recall {found.recall.value:.2f}"
    )
    print(f"{name:21} {figures}")

# %% [markdown]
# The copyist is best in all four. So reports count near copies. 照抄者四项全优，所以报告要数近似复制品。
