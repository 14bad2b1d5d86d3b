"""The fifteen worst mistakes of the tutorials: each as it is printed beside what is right, and what becomes of both.

    python docs/defects/show.py             all of them, some minutes of one core
    python docs/defects/show.py 1 5         two of them
    python docs/defects/show.py --tiny      all, in seconds: what takes training is cut short
    python docs/defects/show.py --write     all, and what they print and draw goes into docs/defects.md and its sheets

Each prints what was measured; pictures go to the folder of --out. The loops are written out as a tutorial writes them.
"""

import argparse
import ast
import builtins
import functools
import importlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from maquette.core.seeds import Seeds
from maquette.core.types import Beside, Given, Real, Sampling, Tokens
from maquette.evaluate.scores.modes import modes_found
from maquette.models import dalle, diffusion, gan, gpt, stylegan2, vae, wavenet
from maquette.models.codes import kl_to_standard_normal
from maquette.nets import dilated, transformer
from maquette.nets import mlp as perceptron
from maquette.nets.attention import attention_map

Lines = Iterator[str]
ANGLES = torch.arange(8) * math.pi / 4
CENTRES, SIGMA = 2 * torch.stack([ANGLES.cos(), ANGLES.sin()], 1), 0.05
SIDE, REACH = 220, 3.0
"""Pixels of a panel, and the coordinates that it shows."""


class Show:
    """Where pictures go, and how long training lasts.

    Args:
        share: of the steps of a full demonstration.
    """

    def __init__(self, out: Path, share: float = 1.0):
        self.out, self.share = out, share
        out.mkdir(parents=True, exist_ok=True)

    def steps(self, full: int) -> int:
        return max(2, round(full * self.share))

    def points(self, name: str, panels: Mapping[str, Tensor]) -> None:
        """Points of the plane in panels side by side, over the eight modes."""
        sheet = Image.new("RGB", (SIDE * len(panels), SIDE + 20), "white")
        draw = ImageDraw.Draw(sheet)
        for number, (title, points) in enumerate(panels.items()):
            left = number * SIDE
            draw.text((left + 6, 4), title, fill="black")
            for spots, radius, colour in ((CENTRES, 5, "#cccccc"), (points[:1500], 1, "#c2410c")):
                for x, y in ((spots.clamp(-REACH, REACH) / REACH + 1) / 2 * (SIDE - 12)).tolist():
                    at = left + 6 + x, SIDE + 14 - y
                    draw.ellipse((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), fill=colour)
        sheet.save(self.out / f"{name}.png")

    def bars(self, name: str, values: Mapping[str, float]) -> None:
        """A bar for each value, as long as the value is of the largest."""
        sheet = Image.new("RGB", (2 * SIDE, SIDE + 20), "white")
        draw, most = ImageDraw.Draw(sheet), max(map(abs, values.values())) or 1.0
        high = (SIDE + 20) / len(values)
        for number, (title, value) in enumerate(values.items()):
            top = number * high
            draw.text((6, top + 4), f"{title}: {value:.4g}", fill="black")
            length = (2 * SIDE - 12) * abs(value) / most
            draw.rectangle((6, top + 20, 6 + length, top + max(24, high - 6)), fill=colour(title))
        sheet.save(self.out / f"{name}.png")

    def curves(self, name: str, lines: Mapping[str, Sequence[tuple[float, float]]], log: bool = False) -> None:
        """Lines over a common x, with the range of y (its logarithm where that is asked for) written at the edge."""

        def scaled(y: float) -> float:
            return math.log10(max(abs(y), 1e-6)) if log else y

        sheet = Image.new("RGB", (2 * SIDE, SIDE + 20), "white")
        draw = ImageDraw.Draw(sheet)
        points = [(x, scaled(y)) for line in lines.values() for x, y in line]
        (left, low), (right, high) = (tuple(map(pick, zip(*points, strict=True))) for pick in (min, max))

        def at(x: float, y: float) -> tuple[float, float]:
            across, up = (x - left) / ((right - left) or 1), (scaled(y) - low) / ((high - low) or 1)
            return 8 + across * (2 * SIDE - 16), SIDE + 12 - up * (SIDE - 10 - 14 * len(lines))

        for number, (title, line) in enumerate(lines.items()):
            draw.text((6, 2 + 14 * number), f"{title}: {line[-1][1]:.3g} at {line[-1][0]:g}", fill=colour(title))
            draw.line([at(x, y) for x, y in line], fill=colour(title), width=2)
        sheet.save(self.out / f"{name}.png")


def colour(title: str) -> str:
    """What is right is green, what is printed is not."""
    return "#15803d" if title.startswith("right") else "#c2410c"


def ring(n: int) -> Tensor:
    """Points of eight Gaussians on a ring."""
    return CENTRES[torch.randint(8, (n,))] + SIGMA * torch.randn(n, 2)


def mlp(source: int, target: int, activation: type[nn.Module] = nn.SiLU, bounded: bool = False) -> nn.Sequential:
    sizes = [source, 128, 128, 128, target]
    layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]
    parts = [spectral_norm(layer) if bounded else layer for layer in layers[:-1]]
    return nn.Sequential(*[part for layer in parts for part in (layer, activation())], layers[-1])


def verdict(points: Tensor) -> str:
    found = modes_found(points, CENTRES, SIGMA)
    return f"{found.found} of 8 modes, {found.quality.value:.0%} of samples within 4 sigma"


# -- the game: 1, 2, 3 ------------------------------------------------------------------------------------------------

Turn = Callable[[nn.Module, nn.Module, torch.optim.Optimizer, torch.optim.Optimizer, Tensor, Tensor], None]


def moved(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def right(g: nn.Module, d: nn.Module, opt_g: torch.optim.Optimizer, opt_d: torch.optim.Optimizer, x: Tensor, z: Tensor):
    """Goodfellow et al. 2014: the critic on detached fakes, then the generator towards "real"."""
    moved(opt_d, F.softplus(-d(x)).mean() + F.softplus(d(g(z).detach())).mean())
    moved(opt_g, F.softplus(-d(g(torch.randn_like(z)))).mean())


def joint(g, d, opt_g, opt_d, x, z):
    """Listings 3, 13, 17: one backward pass of the critic's loss moves both, so the generator helps the critic."""
    opt_g.zero_grad()
    moved(opt_d, F.softplus(-d(x)).mean() + F.softplus(d(g(z))).mean())
    opt_g.step()


def detached(g, d, opt_g, opt_d, x, z):
    """Listing 57: the generator's loss is of detached fakes, and the critic lowers both scores."""
    made = g(z)
    moved(opt_d, d(x).mean() + d(made.detach()).mean())  # its g_loss.backward() leaves every g.grad at None


def believing(g, d, opt_g, opt_d, x, z):
    """F10: the critic raises log D(x) + log D(G(z))."""
    moved(opt_d, F.softplus(-d(x)).mean() + F.softplus(-d(g(z).detach())).mean())
    moved(opt_g, F.softplus(-d(g(z))).mean())


@functools.cache
def played(turn: Turn, steps: int, rate: float = 2e-4, bounded: bool = False) -> tuple[Tensor, float]:
    """4,000 samples after so many turns, and how far the generator's weights went."""
    torch.manual_seed(0)
    g, d = mlp(8, 2), mlp(2, 1, lambda: nn.LeakyReLU(0.2), bounded)  # type: ignore[arg-type]
    before = nn.utils.parameters_to_vector(g.parameters()).detach()
    opt_g, opt_d = (torch.optim.Adam(net.parameters(), rate, betas=(0.5, 0.999)) for net in (g, d))
    for _ in range(steps):
        turn(g, d, opt_g, opt_d, ring(256), torch.randn(256, 8))
    with torch.no_grad():
        gone = (nn.utils.parameters_to_vector(g.parameters()) - before).norm().item()
        return g(torch.randn(4000, 8)), gone


def generator_told_to_fail(show: Show) -> Lines:
    """The generator is trained with label 0, together with the critic (listings 3, 13, 17; F2, F9)."""
    printed, _ = played(joint, show.steps(4000))
    good, _ = played(right, show.steps(4000), 1e-3, bounded=True)
    show.points("1", {"as printed": printed, "right": good})
    yield f"as printed: {verdict(printed)}; spread of samples {printed.std(0).mean():.3f}"
    yield f"right, critic with spectral norm: {verdict(good)}"


def generator_without_gradient(show: Show) -> Lines:
    """The generator's loss is taken from detached samples (listing 57)."""
    printed, gone = played(detached, show.steps(4000))
    good, should = played(right, show.steps(4000), 1e-3, bounded=True)
    show.points("2", {"as printed": printed, "right": good})
    yield f"as printed: {verdict(printed)}; its weights went {gone:.3f}"
    yield f"right, critic with spectral norm: {verdict(good)}; in as many steps its weights went {should:.1f}"


def critic_that_believes(show: Show) -> Lines:
    """The critic raises log D(G(z)) where it should raise log(1 - D(G(z))) (F10)."""
    printed, _ = played(believing, show.steps(4000))
    good, _ = played(right, show.steps(4000), 1e-3, bounded=True)
    show.points("3", {"as printed": printed, "right": good})
    for title, points in (("as printed", printed), ("right, critic with spectral norm", good)):
        yield f"{title}: {verdict(points)}; their mean is at ({points[:, 0].mean():.1f}, {points[:, 1].mean():.1f})"


# -- shapes: 4, 8, 9 --------------------------------------------------------------------------------------------------


def sizes_that_do_not_meet(show: Show) -> Lines:
    """Pictures of 64 pixels, a generator of 32 and a critic that ends in 5 x 5 scores (listings 10 to 17, 49)."""

    def up(*channels: int) -> nn.Sequential:
        layers = [nn.ConvTranspose2d(channels[0], channels[1], 4, 1, 0, bias=False)]
        layers += [
            nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False) for a, b in zip(channels[1:], channels[2:], strict=False)
        ]
        return nn.Sequential(*layers)

    def down(*channels: int) -> nn.Sequential:
        layers = [nn.Conv2d(a, b, 4, 2, 1, bias=False) for a, b in zip(channels, channels[1:-1], strict=False)]
        return nn.Sequential(*layers, nn.Conv2d(*channels[-2:], 4, 1, 0, bias=False))

    z, x = torch.randn(8, 100, 1, 1), torch.randn(8, 3, 64, 64)
    small, many = up(100, 256, 128, 64, 3)(z), down(3, 64, 128, 256, 1)(x)
    yield f"as printed: G(z) {shape(small)}, D(x) {shape(many)}"
    made, one = up(100, 512, 256, 128, 64, 3)(z), down(3, 64, 128, 256, 512, 1)(x)
    yield f"right, one layer more each: G(z) {shape(made)}, D(x) {shape(one)}"
    sides = {"side of a real picture": x, "as printed, of G(z)": small, "right, of G(z)": made}
    sides |= {"as printed, of D(x)": many, "right, of D(x)": one}
    show.bars("4", {title: tensor.shape[-1] for title, tensor in sides.items()})


def shape(x: Tensor) -> str:
    return " x ".join(map(str, x.shape))


def shrinking_generator(show: Show) -> Lines:
    """A generator of convolutions that shrink, after view(-1, 256, 1, 1) (listings 25, 36)."""
    x = torch.randn(4, 100)
    flat = nn.Linear(100, 7 * 7 * 256)(x)
    yield f"as printed, view(-1, 256, 1, 1): {shape(flat.view(-1, 256, 1, 1))}; " + failure(
        lambda: nn.Conv2d(256, 128, 4, 1, 0)(flat.view(-1, 256, 1, 1))
    )
    shrunk = nn.Conv2d(256, 128, 4, 1, 0), nn.Conv2d(128, 64, 4, 2, 1), nn.Conv2d(64, 1, 4, 2, 1)
    grown = nn.ConvTranspose2d(256, 128, 4, 2, 1), nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.Conv2d(64, 1, 3, 1, 1)
    lines = {}
    for title, net in (("with view(-1, 256, 7, 7)", shrunk), ("right, transposed convolutions", grown)):
        seen = [flat.view(-1, 256, 7, 7)]
        for layer in net:
            seen.append(layer(seen[-1]))
        yield f"{title}: {shape(seen[-1])}"
        lines[f"{title}, side by layer"] = [(float(i), float(x.shape[-1])) for i, x in enumerate(seen)]
    show.curves("8", lines)


def failure(work: Callable[[], object]) -> str:
    """The first line of what `work` raises; says so when it raises nothing."""
    try:
        work()
    except Exception as raised:
        return f"{type(raised).__name__}: {str(raised).strip().splitlines()[0][:120]}"
    return "nothing was raised"


def module_for_a_tensor(show: Show) -> Lines:
    """x = nn.LeakyReLU(0.2) makes x the layer (listings 25, 36)."""
    layer = nn.Conv2d(1, 1, 3)
    yield "as printed: " + failure(lambda: layer(nn.LeakyReLU(0.2)))
    x = torch.randn(1, 1, 5, 5)
    yield f"right, nn.LeakyReLU(0.2)(x): {shape(layer(nn.LeakyReLU(0.2)(x)))}"
    xs, line = torch.linspace(-3, 3, 61), nn.LeakyReLU(0.2)
    show.curves("9", {"right, nn.LeakyReLU(0.2)(x)": list(zip(xs.tolist(), line(xs).tolist(), strict=True))})


# -- the autoencoder: 5 -----------------------------------------------------------------------------------------------


def wrong_divergence(show: Show) -> Lines:
    """The divergence of a VAE is missing, constantly 0, or has log sigma with the wrong sign (listings 5, 43; F5)."""

    def printed(mu: Tensor, log_var: Tensor) -> Tensor:
        return ((log_var / 2 + log_var.exp() + mu.square() - 1) / 2).sum(1)

    z = torch.randn(1, 2, requires_grad=True)
    loss = nn.KLDivLoss(reduction="batchmean")(z, torch.zeros(1, 2))
    loss.backward()
    yield f"listing 43, KLDivLoss(z, 0): {loss.item():.1f}, gradient {z.grad.tolist()[0]}"  # type: ignore[union-attr]
    panels = {}
    for title, divergence in (("right", kl_to_standard_normal), ("none", None), ("F5 as printed", printed)):
        points, sigma, nats = autoencoded(divergence, show.steps(3000))
        panels[title] = points
        yield f"{title}: {verdict(points)}; sigma {sigma:.1e}, divergence {nats:.3g} nats by the right formula"
    show.points("5", panels)


def autoencoded(divergence: Callable[[Tensor, Tensor], Tensor] | None, steps: int) -> tuple[Tensor, float, float]:
    """4,000 points made of N(0, I), the codes' spread, and how far they are from N(0, I)."""
    torch.manual_seed(0)
    encoder, decoder = mlp(2, 4), mlp(2, 2)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)
    for _ in range(steps):
        x = ring(256)
        mu, log_var = encoder(x).chunk(2, 1)
        log_var = log_var.clamp(-60, 10)  # else what is printed ends in no number
        z = mu + (log_var / 2).exp() * torch.randn_like(mu)
        loss = ((x - decoder(z)).square() / (2 * 0.1**2)).sum(1)
        moved(optimizer, (loss if divergence is None else loss + divergence(mu, log_var)).mean())
    with torch.no_grad():
        mu, log_var = encoder(ring(4000)).chunk(2, 1)
        nats = kl_to_standard_normal(mu, log_var).mean().item()
        return decoder(torch.randn(4000, 2)), (log_var / 2).exp().mean().item(), nats


# -- diffusion: 6 -----------------------------------------------------------------------------------------------------

T = 200


class Timed(nn.Module):
    """A net that is told the step as eight waves."""

    def __init__(self):
        super().__init__()
        self.net = mlp(10, 2)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        turns = t[:, None] / T * math.pi * 2.0 ** torch.arange(4)
        return self.net(torch.cat([x, turns.sin(), turns.cos()], 1))


class Linear(nn.Module):
    """Listing 27: five linear layers with nothing between them, and no time."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(*[nn.Linear(2, 2) for _ in range(5)])

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(x)


def denoised(net: nn.Module, steps: int) -> tuple[Tensor, float]:
    """2,000 points by DDPM (Ho et al. 2020, Algorithms 1 and 2), and the last loss."""
    beta = torch.linspace(1e-4, 0.02, T) * 1000 / T
    bar = (1 - beta).cumprod(0)
    scale = 2**0.5  # of the ring's coordinates
    optimizer, loss = torch.optim.Adam(net.parameters(), 2e-3), torch.zeros(())
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
        x, t, noise = ring(256) / scale, torch.randint(T, (256,)), torch.randn(256, 2)
        seen = bar[t, None].sqrt() * x + (1 - bar[t, None]).sqrt() * noise
        loss = (net(seen, t) - noise).square().mean()
        moved(optimizer, loss)
    with torch.no_grad():
        x = torch.randn(2000, 2)
        for t in reversed(range(T)):
            noise = net(x, torch.full((2000,), t))
            x = (x - beta[t] / (1 - bar[t]).sqrt() * noise) / (1 - beta[t]).sqrt()
            if t:
                x = x + (beta[t] * (1 - bar[t - 1]) / (1 - bar[t])).sqrt() * torch.randn_like(x)
    return x * scale, loss.item()


def diffusion_without_noise(show: Show) -> Lines:
    """Five linear layers are one affine map; no noise, no time, no sampler (listings 27, 30; F17)."""
    torch.manual_seed(0)
    five, x = nn.Sequential(*[nn.Linear(784, 784) for _ in range(5)]), torch.randn(4, 784)
    weight = torch.eye(784)
    for layer in five:
        weight = layer.weight @ weight  # type: ignore[operator]
    one = x @ weight.T + five(torch.zeros(1, 784))
    count = sum(p.numel() for p in five.parameters())
    yield f"five linear layers: {count:,} parameters, one affine map but for {(one - five(x)).abs().max():.0e}"
    poor, loss = denoised(Linear(), show.steps(3000))
    good, better = denoised(Timed(), show.steps(5000))
    show.points("6", {"five linear layers": poor, "told the time": good})
    yield f"that net on noisy points: loss {loss:.3f}, {verdict(poor)}"
    yield f"right, a net that is told the time: loss {better:.3f}, {verdict(good)}"


# -- graphs: 7, 10 ----------------------------------------------------------------------------------------------------


def loss_that_is_a_float(show: Show) -> Lines:
    """loss += criterion(...).item(), then loss.backward() (listings 26, 27, 29, 30)."""
    torch.manual_seed(0)
    net, x = nn.Linear(2, 1), torch.randn(4, 2)
    start = net(x).square().mean().item()

    def printed() -> None:
        loss = 0
        loss += net(x).square().mean().item()
        loss.backward()  # type: ignore[attr-defined]

    yield "as printed: " + failure(printed)
    loss = net(x).square().mean()
    loss.backward()
    yield f"right, .item() for the log alone: gradient of norm {net.weight.grad.norm():.2f}"  # type: ignore[union-attr]
    optimizer, losses = torch.optim.SGD(net.parameters(), 0.1), list[float]()
    for _ in range(30):
        loss = net(x).square().mean()
        losses.append(loss.item())
        moved(optimizer, loss)
    yield f"and 30 steps of it take the loss from {start:.3f} to {losses[-1]:.3f}"
    show.curves("7", {"as printed, no step is taken: loss": [(0.0, start), (29.0, start)],
                      "right, loss": list(enumerate(losses))})  # fmt: skip


def graph_used_twice(show: Show) -> Lines:
    """Made samples are not detached in the critic's turn and used again in the generator's (listing 49; also 57)."""
    g, d = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    made = g(torch.randn(4, 2))

    def printed() -> None:
        d(made).mean().backward()
        d(made).mean().backward()

    yield "as printed: " + failure(printed)
    norms = {"as printed, the critic's turn reaches G": g.weight.grad.norm().item()}  # type: ignore[union-attr]
    g.zero_grad()
    d(g(torch.randn(4, 2)).detach()).mean().backward()
    yield f"right, detached in the critic's turn: the generator's gradient is then {g.weight.grad}"
    norms["right, the critic's turn"] = 0.0 if g.weight.grad is None else g.weight.grad.norm().item()
    d(g(torch.randn(4, 2))).mean().backward()
    yield f"and in its own turn, of new samples, of norm {g.weight.grad.norm():.2f}"  # type: ignore[union-attr]
    norms["right, the generator's own turn"] = g.weight.grad.norm().item()  # type: ignore[union-attr]
    show.bars("10", norms)


# -- attention: 11 ----------------------------------------------------------------------------------------------------


def attention_unscaled(show: Show) -> Lines:
    """No division by sqrt(d), and a mask of 0 and 1 that is added as it is (listing 19)."""

    def entropy(weights: Tensor) -> float:
        return -torch.special.xlogy(weights, weights).sum(-1).mean().item()

    torch.manual_seed(0)
    lines = {"as printed, nats by d": [], "right, nats by d": []}
    for d in (4, 16, 64, 256):
        q, k = torch.randn(2000, 1, 1, d), torch.randn(2000, 1, 16, d)
        printed, good = (q @ k.mT).softmax(-1), attention_map(q, k)
        for line, weights in zip(lines.values(), (printed, good), strict=True):
            line.append((d, entropy(weights)))
        yield f"d = {d}: as printed {entropy(printed):.2f} nats, right {entropy(good):.2f}, at most {math.log(16):.2f}"
    show.curves("11", lines)
    mask = torch.tensor([0.0, 0.0, 1.0, 1.0])
    allowed = attention_map(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 4, 2), mask.logical_not()[None, None, None])
    yield f"hidden keys get, as printed, {mask.softmax(0)[2]:.3f} each; right, with -inf, {allowed[0, 0, 0, 2]:g}"


# -- Adam: 12 ---------------------------------------------------------------------------------------------------------


def adam_that_subtracts(show: Show) -> Lines:
    """The second moment is subtracted where its root should divide (F28)."""
    theta, m, v, path = 0.0, 0.0, 0.0, []
    for t in range(1, 7):
        g = 2 * (theta - 3)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        theta -= 0.01 * m / (1 - 0.9**t) + 0.999 * v / (1 - 0.999**t)
        path.append(theta)
    yield "as printed, six steps on (theta - 3)^2: " + ", ".join(f"{x:.3g}" for x in path)
    theta = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.Adam([theta], 0.01)
    nearer = []
    for _ in range(1000):
        moved(optimizer, (theta - 3).square())
        nearer.append(theta.item())
    yield f"right, after 1,000 steps: {theta.item():.3f}"
    show.curves("12", {"as printed, distance from 3 (its logarithm is drawn)": [(i, x - 3) for i, x in enumerate(path)],
                       "right": [(i, x - 3) for i, x in enumerate(nearer[:6])]}, log=True)  # fmt: skip


# -- Keras' game: 13 --------------------------------------------------------------------------------------------------


def critic_made_anew(show: Show) -> Lines:
    """Each call of discriminator(x) makes another network, and the stacked model moves it too (listings 20, 22, 23)."""

    def discriminator() -> nn.Module:
        return nn.Linear(2, 1)

    torch.manual_seed(0)
    x = torch.randn(1, 2)
    first, second = (discriminator()(x).item() for _ in range(2))
    yield f"as printed, two calls of one input: {first:.3f}, {second:.3f}"
    g, d = nn.Linear(2, 2), discriminator()
    before = d(x).item()
    both = torch.optim.SGD([*g.parameters(), *d.parameters()], 0.5)
    moved(both, F.softplus(-d(g(x))).mean())
    yield f"the stacked model moves the critic as well: D(x) {before:.3f} -> {d(x).item():.3f}"
    moves = {"as printed, D(x) from call to call, apart": second - first}
    moves["as printed, D(x) after the generator's turn, apart"] = d(x).item() - before
    before = d(x).item()
    moved(torch.optim.SGD(g.parameters(), 0.5), F.softplus(-d(g(x))).mean())
    moves["right, D(x) after the generator's turn, apart"] = d(x).item() - before
    show.bars("13", moves)
    yield f"right, one critic, and the generator's turn moves the generator alone: {before:.3f} -> {d(x).item():.3f}"


# -- names: 14 --------------------------------------------------------------------------------------------------------

PRINTED = """
def gan_train(dataloader):
    for data in dataloader:
        x_real = data.to(device)
        D_loss = D_loss(netD(x_real), torch.ones(batch_size))
        G_loss = G_loss(netD(netG(z)), torch.ones(batch_size))
"""
"""The names of listings 25, 28, 36 and 37, in their order; the words are ours."""
RIGHT = """
import torch
from torch.nn.functional import softplus
def gan_train(dataloader, netG, netD, device):
    for data in dataloader:
        x_real = data.to(device)
        z = torch.randn(len(x_real), 1, device=device)
        D_loss = softplus(-netD(x_real)).mean() + softplus(netD(netG(z).detach())).mean()
        G_loss = softplus(-netD(netG(z))).mean()
    return D_loss.item(), G_loss.item()
"""


def unmade(tree: ast.AST) -> list[str]:
    """The names that are used and never made."""
    nodes = list(ast.walk(tree))
    made = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    made |= {node.arg for node in nodes if isinstance(node, ast.arg)} | set(dir(builtins))
    made |= {alias.name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names}
    used = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    return list(dict.fromkeys(name for name in used if name not in made))


def names_from_nowhere(show: Show) -> Lines:
    """torch, np, device, netG, batch_size, z … are used and never made (most listings)."""
    tree, whole = ast.parse(PRINTED), ast.parse(RIGHT)
    yield "used and never made: " + ", ".join(unmade(tree))
    scope: dict[str, object] = {"device": "cpu", "netD": nn.Identity(), "torch": torch, "batch_size": 1}
    exec(compile(tree, "as printed", "exec"), scope)
    yield "with all of them made: " + failure(lambda: scope["gan_train"]([torch.ones(1)]))  # type: ignore[operator]
    scope = {}
    exec(compile(whole, "right", "exec"), scope)
    zero = nn.Linear(1, 1)
    nn.init.zeros_(zero.weight)
    nn.init.zeros_(zero.bias)  # a critic that cannot tell
    lost = scope["gan_train"]([torch.ones(4, 1)], nn.Identity(), zero, "cpu")  # type: ignore[operator]
    yield f"right: {len(unmade(whole))} names are missing; D {lost[0]:.4f} = 2 ln 2, G {lost[1]:.4f} = ln 2 at first"
    show.bars("14", {"as printed, names that are missing": len(unmade(tree)), "right": len(unmade(whole))})


# -- facts: 15 --------------------------------------------------------------------------------------------------------


def called(name: str, *attributes: str) -> object:
    """A module, and what is in it, as listings 40 to 42 ask for them."""
    thing: object = importlib.import_module(name)
    for attribute in attributes:
        thing = getattr(thing, attribute)
    return thing


def wrong_facts(show: Show) -> Lines:
    """Calls of what is not there (listings 40 to 42), and statements that would send a design astray."""
    yield "as printed, openai.Completion.create(…): " + failure(lambda: called("openai", "Completion", "create")())  # type: ignore[operator]
    yield "as printed, from stylegan2 import Generator: " + failure(lambda: called("stylegan2", "Generator"))
    yield "as printed, from gan import Generator: " + failure(lambda: called("gan", "Generator"))
    generator = nn.ConvTranspose2d(100, 256, 4)
    yield "given a picture: " + failure(lambda: generator(torch.randn(1, 3, 256, 256)))
    yield "and .numpy() of what comes out: " + failure(lambda: generator(torch.randn(1, 100, 1, 1)).numpy())
    torch.manual_seed(0)
    style = stylegan2.Config.tiny().build(Real((3, 16, 16), levels=256))
    rng, how = Seeds.for_samples(0, 2), Sampling()
    with torch.no_grad():
        made = style.draw(style.predictor(style.condition(Given(), 2)), style.start(2, how, rng), how, rng).numpy()
    yield f"right, StyleGAN2 of here, untrained: {' x '.join(map(str, made.shape))}, spread {made.std():.1e}"
    net, points, codes = perceptron.Config.tiny(), Real((2,)), Tokens((8,), 4)
    words = Beside(text=Tokens((8,), 4))
    models = {
        "DCGAN": gan.Config(generator=net, critic=net).build(points),
        "VAE": vae.Config(encoder=net, decoder=net).build(points),
        "diffusion": diffusion.Config(net=net).build(points),
        "WaveNet": wavenet.Config(net=dilated.Config(width=8, skip=8, layers=3)).build(Tokens((64,), 256)),
        "GPT": gpt.Config(net=transformer.Config.tiny()).build(codes),
        "DALL-E": dalle.Config(net=transformer.Config.tiny()).build(codes, 0, words),
    }
    players = {name: sorted({turn.player for turn in model.turns()}) for name, model in models.items()}
    for name, wrong in (("DALL-E", "a GAN"), ("WaveNet", "a GAN"), ("diffusion", "adversarial")):
        yield f"{name} is said to be {wrong}: it has one player, {players[name][0]}, and DCGAN {len(players['DCGAN'])}"
    encoded = [name for name, model in models.items() if hasattr(model, "encoder")]
    yield f"DCGAN is said to be the VAE's paper: of these {', '.join(encoded)} alone encodes"
    show.bars("15", {f"right, players of {name}": len(found) for name, found in players.items()})


DEMONSTRATIONS: dict[int, Callable[[Show], Lines]] = dict(
    enumerate(
        (
            generator_told_to_fail, generator_without_gradient, critic_that_believes, sizes_that_do_not_meet,
            wrong_divergence, diffusion_without_noise, loss_that_is_a_float, shrinking_generator, module_for_a_tensor,
            graph_used_twice, attention_unscaled, adam_that_subtracts, critic_made_anew, names_from_nowhere,
            wrong_facts,
        ),
        1,
    )
)  # fmt: skip


PAGES = Path(__file__).parents[1] / "defects.md", Path(__file__).parents[1] / "defects.zh.md"
SHEETS = Path(__file__).parents[1] / "sheets"


def written(page: str, number: int, lines: Sequence[str]) -> str:
    """`page` with what a demonstration printed in the last cell of its row."""
    rows = [row if not row.startswith(f"| {number} |") else f"{row.rsplit(' | ', 1)[0]} | {'<br>'.join(lines)} |"
            for row in page.splitlines()]  # fmt: skip
    return "\n".join(rows) + "\n"


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", type=int, metavar="N", help="1 to 15; all of them where none is given")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--write", action="store_true", help="what is printed and drawn, into docs/defects.md")
    parser.add_argument("--out", type=Path, default=Path("defects"))
    asked = parser.parse_args(words)
    if unknown := set(asked.numbers) - DEMONSTRATIONS.keys():
        parser.error(f"there is no demonstration {min(unknown)}: they are numbered 1 to {len(DEMONSTRATIONS)}")
    show = Show(asked.out, 0.01 if asked.tiny else 1.0)
    for number in asked.numbers or DEMONSTRATIONS:
        demonstration, lines = DEMONSTRATIONS[number], list[str]()
        print(f"{number}. {demonstration.__doc__}")
        for line in demonstration(show):
            lines.append(line.replace("|", "\\|"))
            print(f"   {line}", flush=True)
        for page in PAGES if asked.write else ():
            page.write_text(written(page.read_text(encoding="utf-8"), number, lines), encoding="utf-8")
        if asked.write:
            (SHEETS / f"defect-{number}.png").write_bytes((asked.out / f"{number}.png").read_bytes())


if __name__ == "__main__":
    main(sys.argv[1:])
