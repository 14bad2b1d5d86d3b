"""The fifteen worst mistakes of the tutorials: each as it is printed beside what is right, and what becomes of both.

    python docs/defects/show.py             all of them, some minutes of one core
    python docs/defects/show.py 1 5         two of them
    python docs/defects/show.py --tiny      all, in seconds: what takes training is cut short

Each prints what was measured; pictures go to the folder of --out. The loops are written out as a tutorial writes them.
"""

import argparse
import ast
import builtins
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from maquette.evaluate.scores.modes import modes_found
from maquette.models.codes import kl_to_standard_normal
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
    printed, gone = played(detached, show.steps(1000))
    _, should = played(right, show.steps(1000))
    show.points("2", {"as printed": printed})
    yield f"as printed: {verdict(printed)}; its weights went {gone:.3f}"
    yield f"right: in as many steps its weights went {should:.1f}"


def critic_that_believes(show: Show) -> Lines:
    """The critic raises log D(G(z)) where it should raise log(1 - D(G(z))) (F10)."""
    printed, _ = played(believing, show.steps(4000))
    show.points("3", {"as printed": printed})
    yield f"as printed: {verdict(printed)}; their mean is at ({printed[:, 0].mean():.1f}, {printed[:, 1].mean():.1f})"
    yield "right: see 1"


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
    yield f"as printed: G(z) {shape(up(100, 256, 128, 64, 3)(z))}, D(x) {shape(down(3, 64, 128, 256, 1)(x))}"
    z, x = up(100, 512, 256, 128, 64, 3)(z), down(3, 64, 128, 256, 512, 1)(x)
    yield f"right, one layer more each: G(z) {shape(z)}, D(x) {shape(x)}"


def shape(x: Tensor) -> str:
    return " x ".join(map(str, x.shape))


def shrinking_generator(show: Show) -> Lines:
    """A generator of convolutions that shrink, after view(-1, 256, 1, 1) (listings 25, 36)."""
    x = torch.randn(4, 100)
    flat = nn.Linear(100, 7 * 7 * 256)(x)
    yield f"as printed, view(-1, 256, 1, 1): {shape(flat.view(-1, 256, 1, 1))}; " + failure(
        lambda: nn.Conv2d(256, 128, 4, 1, 0)(flat.view(-1, 256, 1, 1))
    )
    shrunk = nn.Sequential(nn.Conv2d(256, 128, 4, 1, 0), nn.Conv2d(128, 64, 4, 2, 1), nn.Conv2d(64, 1, 4, 2, 1))
    yield f"with view(-1, 256, 7, 7): {shape(shrunk(flat.view(-1, 256, 7, 7)))}"
    up = nn.ConvTranspose2d(256, 128, 4, 2, 1), nn.ConvTranspose2d(128, 64, 4, 2, 1)
    grown = nn.Sequential(*up, nn.Conv2d(64, 1, 3, 1, 1))
    yield f"right, transposed convolutions: {shape(grown(flat.view(-1, 256, 7, 7)))}"


def failure(work: Callable[[], object]) -> str:
    """The first line of what `work` raises; says so when it raises nothing."""
    try:
        work()
    except Exception as raised:
        return f"{type(raised).__name__}: {str(raised).splitlines()[0][:90]}"
    return "nothing was raised"


def module_for_a_tensor(show: Show) -> Lines:
    """x = nn.LeakyReLU(0.2) makes x the layer (listings 25, 36)."""
    layer = nn.Conv2d(1, 1, 3)
    yield "as printed: " + failure(lambda: layer(nn.LeakyReLU(0.2)))
    x = torch.randn(1, 1, 5, 5)
    yield f"right, nn.LeakyReLU(0.2)(x): {shape(layer(nn.LeakyReLU(0.2)(x)))}"


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
    net, x = nn.Linear(2, 1), torch.randn(4, 2)

    def printed() -> None:
        loss = 0
        loss += net(x).square().mean().item()
        loss.backward()  # type: ignore[attr-defined]

    yield "as printed: " + failure(printed)
    loss = net(x).square().mean()
    loss.backward()
    yield f"right, .item() for the log alone: gradient of norm {net.weight.grad.norm():.2f}"  # type: ignore[union-attr]


def graph_used_twice(show: Show) -> Lines:
    """Made samples are not detached in the critic's turn and used again in the generator's (listing 49; also 57)."""
    g, d = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    made = g(torch.randn(4, 2))

    def printed() -> None:
        d(made).mean().backward()
        d(made).mean().backward()

    yield "as printed: " + failure(printed)
    g.zero_grad()
    d(g(torch.randn(4, 2)).detach()).mean().backward()
    yield f"right, detached in the critic's turn: the generator's gradient is then {g.weight.grad}"
    d(g(torch.randn(4, 2))).mean().backward()
    yield f"and in its own turn, of new samples, of norm {g.weight.grad.norm():.2f}"  # type: ignore[union-attr]


# -- attention: 11 ----------------------------------------------------------------------------------------------------


def attention_unscaled(show: Show) -> Lines:
    """No division by sqrt(d), and a mask of 0 and 1 that is added as it is (listing 19)."""

    def entropy(weights: Tensor) -> float:
        return -torch.special.xlogy(weights, weights).sum(-1).mean().item()

    torch.manual_seed(0)
    for d in (4, 16, 64, 256):
        q, k = torch.randn(2000, 1, 1, d), torch.randn(2000, 1, 16, d)
        printed, good = (q @ k.mT).softmax(-1), attention_map(q, k)
        yield f"d = {d}: as printed {entropy(printed):.2f} nats, right {entropy(good):.2f}, at most {math.log(16):.2f}"
    mask = torch.tensor([0.0, 0.0, 1.0, 1.0])
    yield f"hidden keys get, as printed, {mask.softmax(0)[2]:.3f} each; right, with -inf, 0"


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
    for _ in range(1000):
        moved(optimizer, (theta - 3).square())
    yield f"right, after 1,000 steps: {theta.item():.3f}"


# -- Keras' game: 13 --------------------------------------------------------------------------------------------------


def critic_made_anew(show: Show) -> Lines:
    """Each call of discriminator(x) makes another network, and the stacked model moves it too (listings 20, 22, 23)."""

    def discriminator() -> nn.Module:
        return nn.Linear(2, 1)

    torch.manual_seed(0)
    x = torch.randn(1, 2)
    yield f"as printed, two calls of one input: {discriminator()(x).item():.3f}, {discriminator()(x).item():.3f}"
    g, d = nn.Linear(2, 2), discriminator()
    before = d(x).item()
    both = torch.optim.SGD([*g.parameters(), *d.parameters()], 0.5)
    moved(both, F.softplus(-d(g(x))).mean())
    yield f"the stacked model moves the critic as well: D(x) {before:.3f} -> {d(x).item():.3f}"
    before = d(x).item()
    moved(torch.optim.SGD(g.parameters(), 0.5), F.softplus(-d(g(x))).mean())
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


def names_from_nowhere(show: Show) -> Lines:
    """torch, np, device, netG, batch_size, z … are used and never made (most listings)."""
    tree = ast.parse(PRINTED)
    made = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    made |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)} | set(dir(builtins))
    used = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    yield "used and never made: " + ", ".join(dict.fromkeys(name for name in used if name not in made))
    scope: dict[str, object] = {"device": "cpu", "netD": nn.Identity(), "torch": torch, "batch_size": 1}
    exec(compile(tree, "as printed", "exec"), scope)
    yield "with all of them made: " + failure(lambda: scope["gan_train"]([torch.ones(1)]))  # type: ignore[operator]


# -- facts: 15 --------------------------------------------------------------------------------------------------------


def wrong_facts(show: Show) -> Lines:
    """Statements that would send a design astray."""
    yield "DALL-E is a GAN: no, a discrete VAE and an autoregressive Transformer (Ramesh et al. 2021): recipe dalle"
    yield "WaveNet is a GAN library: no, autoregressive (van den Oord et al. 2016): recipe wavenet"
    yield "diffusion is adversarial: no, there is no critic in it (Ho et al. 2020): recipe diffusion"
    yield "DCGAN is the VAE's paper: no, Radford et al. 2015; the VAE's is Kingma and Welling 2013"


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


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", type=int, metavar="N", help="1 to 15; all of them where none is given")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("defects"))
    asked = parser.parse_args(words)
    if unknown := set(asked.numbers) - DEMONSTRATIONS.keys():
        parser.error(f"there is no demonstration {min(unknown)}: they are numbered 1 to {len(DEMONSTRATIONS)}")
    show = Show(asked.out, 0.01 if asked.tiny else 1.0)
    for number in asked.numbers or DEMONSTRATIONS:
        demonstration = DEMONSTRATIONS[number]
        print(f"{number}. {demonstration.__doc__}")
        for line in demonstration(show):
            print(f"   {line}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
