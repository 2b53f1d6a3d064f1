"""Five works with three tools in one run, over numbers of features and of background rows: float32, one process.

``python -m benchmarks.speed [--repeats 3] [--features 100 500 1000 2000] [--backgrounds 100 950] [--rows 950]
[--seconds 2]``. Each repeat runs every tool once, in turn, and a product of two matrices, which says how fast the
machine is in that minute; the tables hold medians. What takes long is run in part, some rows and some outputs, so that
a run takes about ``--seconds``, five times that for shapae; the seconds for all rows and outputs are extrapolated in
proportion. shapae always computes all outputs.
"""

import argparse
import copy
import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from itertools import product
from typing import Any, NamedTuple

import shap
import torch
from captum.attr import DeepLiftShap, GradientShap
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor, nn

import shapae
from benchmarks import RESULTS, save
from benchmarks.parallel import SquaredError
from shapae import heads
from shapae.cli.demo import GeneAutoencoder
from shapae.explainer.estimate import Products

AT_ONCE = 800  # pairs of rows and background rows for captum
CHECKED = 2  # rows whose values are compared with those of shap with shapae's rules for heads
DRAWS = 200
FEW = 4  # outputs of shap and captum, and those that are compared
OWN = 5  # times the wanted seconds for shapae, whose preparation is to be a small part of them
LONG = 8  # times the wanted seconds that one block of a peer may take before outputs are cut
MOST = 1_000_000  # features x background rows: beyond, one row of all feature errors takes minutes
LATENTS = (1, 4, 16, 64, 256)
PRODUCT = (800, 1000, 1000)
STYLES: dict[str, Any] = {"shapae": "-", "shap": "--", "captum": ":"}
PEERS = ("shap", "captum")
RESULT = 2.5e8  # values of shapae: with their standard errors, these take a quarter of its 8 GB


class FeatureErrors(nn.Module):
    """The head's numbers with nothing of shapae; see ``SquaredError``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d)."""
        errors: Tensor = (self.model(rows) - rows).square()
        return errors


class Some(nn.Module):
    """The first outputs of a score, for tools that know no heads."""

    def __init__(self, score: nn.Module, outputs: int) -> None:
        super().__init__()
        self.score, self.outputs = score, outputs

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, outputs)."""
        scores: Tensor = self.score(rows)
        return scores[:, : self.outputs]


class Part(NamedTuple):
    """So many rows, and so many outputs of each."""

    rows: int
    outputs: int


class Work(NamedTuple):
    """What is explained: the head of some outputs or all, and the same score as a module (n, d) -> (n, outputs)."""

    head: Callable[[list[int] | None], nn.Module]
    score: Callable[[GeneAutoencoder], nn.Module]
    backend: str = "deep"


class Size(NamedTuple):
    """The numbers of rows, features, background rows and repeats, and about how many seconds a run may take."""

    n: int
    d: int
    b: int
    repeats: int
    allowed: float


WORKS = {
    "squared error": Work(lambda outputs: heads.ReconstructionError(), SquaredError),
    "all latents": Work(heads.Latent, lambda model: model.encoder),
    "all outputs": Work(heads.Reconstruction, lambda model: model),
    "feature errors": Work(heads.FeatureError, FeatureErrors),
    "squared error, gradient": Work(lambda outputs: heads.ReconstructionError(), SquaredError, "gradient"),
}
Tool = Callable[[Part], Any]


def tools(work: Work, model: GeneAutoencoder, rows: Tensor, background: Tensor) -> dict[str, Tool]:
    """Names to functions that explain a part; each has a model of its own, because two of them hang hooks on it."""
    for_shapae, for_shap, for_captum = (copy.deepcopy(model) for _ in range(3))
    gradient, step, k = work.backend == "gradient", at_once(work, len(background)), width(work, model, rows)

    def own(part: Part) -> Any:
        head = work.head(None if part.outputs == k else list(range(part.outputs)))
        return by_shapae(head, work.backend, for_shapae, background, rows[: part.rows])

    def by_shap(part: Part) -> Any:
        score = Some(work.score(for_shap), part.outputs)
        if gradient:
            return shap.GradientExplainer(score, background).shap_values(rows[: part.rows], nsamples=DRAWS)
        return shap.DeepExplainer(score, background).shap_values(rows[: part.rows], check_additivity=False)

    def by_captum(part: Part) -> Any:
        method = (GradientShap if gradient else DeepLiftShap)(Some(work.score(for_captum), part.outputs))
        settings = {"baselines": background} | ({"n_samples": DRAWS} if gradient else {})
        few = [(some, output) for output in range(part.outputs) for some in torch.split(rows[: part.rows], step)]
        return [method.attribute(some, target=output, **settings).detach() for some, output in few]

    return {"shapae": own, "shap": by_shap, "captum": by_captum}


def width(work: Work, model: GeneAutoencoder, rows: Tensor) -> int:
    """The number of all outputs."""
    return int(work.score(model)(rows[:1]).shape[1])


def at_once(work: Work, b: int) -> int:
    """Rows for captum, each against the whole background, or as many draws."""
    return max(1, AT_ONCE // (DRAWS if work.backend == "gradient" else b))


def by_shapae(head: nn.Module, backend: str, model: GeneAutoencoder, background: Tensor, rows: Tensor) -> Tensor:
    """(n, d, outputs)."""
    explainer = shapae.Explainer(model, background, head=head, backend=backend, n_jobs=1, memory="8GB", progress=False)
    return torch.as_tensor(explainer(rows).values).reshape(*rows.shape, -1)


def clocked(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came out."""
    start = time.perf_counter()
    out = run()
    return time.perf_counter() - start, out


def product_rate() -> float:
    """GFLOP/s of a product of two matrices, over some 0.2 s."""
    n, inner, m = PRODUCT
    a, b, out = torch.ones(n, inner), torch.ones(inner, m), torch.empty(n, m)
    torch.mm(a, b, out=out)
    start, times = time.perf_counter(), 0
    while time.perf_counter() < start + 0.2:
        torch.mm(a, b, out=out)
        times += 1
    return 2e-9 * n * inner * m * times / (time.perf_counter() - start)


def fitting(run: Tool, once: Part, whole: Part, seconds: float) -> Part:
    """The part of ``whole`` that takes about so many seconds, at least ``once``; found in three steps."""
    if clocked(partial(run, once))[0] > LONG * seconds:
        return once
    part = once
    for share in (0.1, 0.3, 1):
        pairs = part.rows * part.outputs * share * seconds / clocked(partial(run, part))[0]
        outputs = min(whole.outputs, max(once.outputs, int(LONG * pairs / once.rows)))
        part = Part(min(whole.rows, once.rows * max(1, int(pairs / outputs / once.rows))), outputs)
    return part


def parts(compared: dict[str, Tool], work: Work, size: Size, k: int) -> dict[str, Part]:
    """What each tool is run on."""
    n, few, seconds = min(size.n, max(1, int(RESULT / (size.d * k)))), min(FEW, k), size.allowed
    step = min(at_once(work, size.b), size.n)
    return {
        "shapae": fitting(compared["shapae"], Part(1, k), Part(n, k), OWN * seconds),
        "shap": fitting(compared["shap"], Part(1, 1), Part(size.n, few), seconds),
        "captum": fitting(compared["captum"], Part(step, 1), Part(size.n, few), seconds),
    }


def timed(
    compared: dict[str, Tool], run_on: dict[str, Part], repeats: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds of each tool in each repeat, and GFLOP/s of the machine in each."""
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    rates = []
    for _ in range(repeats):
        rates.append(product_rate())
        for name, run in compared.items():
            seconds[name].append(clocked(partial(run, run_on[name]))[0])
    return seconds, rates


def measure(work: Work, size: Size, outputs: int | None = None) -> dict[str, Any]:
    """Seconds of each tool for its part and for the whole, of the first ``outputs`` or all; flops and values."""
    torch.manual_seed(0)
    model = GeneAutoencoder(size.d).eval()
    table = torch.tensor(shapae.datasets.gene_modules(max(size.n, size.b), size.d).X.to_numpy())
    rows, background = table[: size.n], table[: size.b]
    k = outputs or width(work, model, rows)
    compared = tools(work, model, rows, background)
    run_on = parts(compared, work, size, k)
    seconds, rates = timed(compared, run_on, size.repeats)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    with Products() as products:
        values = compared["shapae"](run_on["shapae"])
    return size._asdict() | {
        "outputs": k,
        "run on": {name: part._asdict() for name, part in run_on.items()},
        "seconds of the parts": seconds,
        "seconds": {name: medians[name] * size.n * k / (part.rows * part.outputs) for name, part in run_on.items()},
        "GFLOP": 1e-9 * products.flops,
        "GFLOP/s": 1e-9 * products.flops / medians["shapae"],
        "GFLOP/s of the machine": rates,
        "differs by": difference(work, model, background, rows, values),
    }


def difference(work: Work, model: GeneAutoencoder, background: Tensor, rows: Tensor, values: Tensor) -> float:
    """Largest difference of some values from shap's, with shapae's rules for heads, as a part of the largest value."""
    some = values[:CHECKED, :, :FEW]
    head = work.head(list(range(some.shape[2])))
    checked = by_shapae(head, f"shap_{work.backend}", model, background, rows[: len(some)])
    return float((some - checked).abs().max() / checked.abs().max())


def show(found: dict[str, dict[str, Any]]) -> None:
    """One table, of all works."""
    first = next(iter(found.values()))
    print(f"\n| {first['n']} x {first['d']}, b = {first['b']} | shapae | shap | captum | GFLOP/s of shapae ", end="")
    print("| part of the machine's | differs by | extrapolated from |\n|---|---|---|---|---|---|---|---|")
    for name, each in found.items():
        own = each["seconds"]["shapae"]
        others = [f"{each['seconds'][tool]:.3g} s, {each['seconds'][tool] / own:.1f} times" for tool in PEERS]
        part = each["GFLOP/s"] / statistics.median(each["GFLOP/s of the machine"])
        numbers = [f"{own:.3g} s", *others, f"{each['GFLOP/s']:.0f}", f"{part:.0%}", f"{each['differs by']:.1e}"]
        print(f"| {name} | {' | '.join(numbers)} | {_extrapolated(each)} |", flush=True)


def _extrapolated(found: dict[str, Any]) -> str:
    whole = {"rows": found["n"], "outputs": found["outputs"]}
    cut = {tool: part for tool, part in found["run on"].items() if part != whole}
    return "; ".join(f"{tool}: {part['rows']} rows x {part['outputs']} outputs" for tool, part in cut.items())


def draw(works: dict[str, list[dict[str, Any]]], latents: list[dict[str, Any]]) -> Figure:
    """Seconds against features, for each work, and against outputs, for latents."""
    figure = Figure(figsize=(13, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    colors = {name: f"C{place}" for place, name in enumerate(works)}
    for name, found in works.items():
        _lines(left, found, "d", colors[name])
    _lines(right, latents, "outputs", colors["all latents"])
    first = latents[0]
    left.set(title=f"{first['n']} rows, b = {first['b']}", xlabel="features d", ylabel="time (s)")
    right.set(title=f"latents, {first['n']} x {first['d']}, b = {first['b']}", xlabel="outputs k", ylabel="time (s)")
    handles = [Line2D([], [], color=color, label=name) for name, color in colors.items()]
    handles += [Line2D([], [], color="black", linestyle=style, label=tool) for tool, style in STYLES.items()]
    figure.legend(handles=handles, loc="outside right center", fontsize=11)
    return figure


def _lines(ax: Axes, found: list[dict[str, Any]], against: str, color: str) -> None:
    at = [each[against] for each in found]
    for tool, style in STYLES.items():
        ax.plot(at, [each["seconds"][tool] for each in found], style, marker="o", markersize=4, color=color)
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(at, [str(each) for each in at])
    ax.xaxis.minorticks_off()
    ax.grid(alpha=0.3)
    for text in (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()):
        text.set_fontsize(12)


def asked() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--features", type=int, nargs="+", default=[100, 500, 1000, 2000])
    parser.add_argument("--backgrounds", type=int, nargs="+", default=[100, 950])
    parser.add_argument("--rows", type=int, default=950)
    parser.add_argument("--seconds", type=float, default=2)
    return parser.parse_args()


def all_works(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Each work for each size, with a table for each size."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in WORKS}
    for b, d in product(options.backgrounds, options.features):
        if d * b > MOST:
            print(f"\n{d} features with b = {b} are left out: one row of all feature errors would take minutes.")
            continue
        size = Size(options.rows, d, b, options.repeats, options.seconds)
        for name, work in WORKS.items():
            found[name].append(measure(work, size))
        show({name: each[-1] for name, each in found.items()})
    print("\nThe values of both gradient backends are drawn: they differ by chance.")
    return found


def more_latents(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Some latents, and more of them, of a middle size."""
    d = max([d for d in options.features if d <= 1000] or options.features[:1])
    size = Size(options.rows, d, options.backgrounds[0], options.repeats, options.seconds)
    return [measure(WORKS["all latents"], size, k) for k in [*(k for k in LATENTS if k < d // 2), d // 2]]


def main() -> None:
    """Print the tables, write ``results/speed.json`` and draw ``results/speed.png``."""
    options = asked()
    cores, threads = os.cpu_count(), torch.get_num_threads()
    print(f"float32, {threads} threads on {cores} cores")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        works, latents = all_works(options), more_latents(options)
    versions = {name: version(name) for name in ("torch", "shap", "captum", "shapae")}
    save("speed", {"cores": cores, "threads": threads, "versions": versions, "works": works, "latents": latents})
    first = {name: [each for each in found if each["b"] == options.backgrounds[0]] for name, found in works.items()}
    draw(first, latents).savefig(RESULTS / "speed.png", dpi=120)


if __name__ == "__main__":
    main()
