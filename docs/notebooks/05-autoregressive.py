# %% [markdown]
# # Autoregressive 自回归
#
# The language reference of Python, character by character, at three temperatures.
# Python 语言参考，逐字符学习，三种温度。

# %%
import maquette

BUDGET = "90s"

# %%
run = maquette.train("lstm-char", budget=BUDGET, out="runs/text", quiet=True)
pipeline = maquette.load(run.path)
for temperature in 0.5, 0.8, 1.2:
    made = maquette.sample(
        pipeline, n=1, seed=1, prompt="The function ", max_tokens=120, sampling={"temperature": temperature}
    )
    print(f"--- {temperature}\n{made.said[0].text}")

# %% [markdown]
# What unseen text costs, beside a bigram and a 5-gram. 未见文字的代价，与二元和五元模型并列。

# %%
print(maquette.evaluate(run.path, n=60, quiet=True).table)
