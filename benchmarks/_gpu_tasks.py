"""Tasks of the GPU benchmark: seconds and peak memory of calls of shapae, with their targets; and other libraries."""

import copy
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import shapae
from benchmarks._peers import SquaredError, captum_deep, if_installed, shap_deep, tangermeme_deep
from shapae.analysis.comparison.evaluation import describe_failure
from shapae.analysis.comparison.resources import measure_usage
from shapae.backends import Coalitions
from shapae.cli.demo import GeneAutoencoder
from shapae.datasets.synthetic import EncoderDecoder

LONG = 10.0  # seconds of a call that is measured once
PEER_BATCH = 50  # rows per call of captum and tangermeme


@dataclass(frozen=True)
class Sizes:
    """Sizes of all tasks.

    Attributes:
        n: Number of rows.
        d: Number of features of the first autoencoder, whose layers are those of ``GeneAutoencoder``.
        b: Number of background rows.
        wide: Numbers of features, hidden units and latents of the second autoencoder.
        repeats: Number of measured calls, after an unmeasured one.
        peer_rows: Number of rows that other libraries explain.
    """

    n: int = 950
    d: int = 1000
    b: int = 100
    wide: tuple[int, int, int] = (20_000, 1024, 128)
    repeats: int = 5
    peer_rows: int = 50


QUICK = Sizes(n=40, d=80, b=20, wide=(200, 64, 16), repeats=2, peer_rows=5)


@dataclass(frozen=True)
class Task:
    """A call of shapae.

    Attributes:
        name: Name in the table.
        target: Seconds that it may take on an H100 at full size; None without a target.
        wide: Whether the second autoencoder is explained.
        summarize: Whether the values are averaged over the rows.
        rows: Number of rows; None for all.
        settings: Settings of the Explainer.
    """

    name: str
    target: float | None
    settings: Callable[[], dict[str, Any]]
    wide: bool = False
    summarize: bool = False
    rows: int | None = None
    memory: str = "1GB"


def _fixed_target() -> dict[str, Any]:
    return {"head": shapae.heads.ReconstructionError(target="fixed")}


TASKS = (
    Task("squared error", 0.08, dict),
    Task("one latent", None, lambda: {"head": "latent:3"}),
    Task("all latents, summarized", 0.1, lambda: {"head": "latent"}, summarize=True, memory="8GB"),
    Task("all latents", None, lambda: {"head": "latent"}, memory="8GB"),
    Task("gradient, squared error", 0.15, lambda: {"backend": "gradient"}, memory="8GB"),
    Task("coalitions (4 pairs), squared error", 0.25, lambda: {"backend": Coalitions(4)}, memory="8GB"),
    Task("squared error, fixed target", None, _fixed_target),
    Task("squared error of one row", None, dict, rows=1),
    Task("squared error, many features", 0.6, dict, wide=True),
    Task("all outputs, summarized", 3.0, lambda: {"head": "reconstruction"}, summarize=True, memory="8GB"),
)


class Models:
    """The two autoencoders on a device, and their rows on the CPU; the second one is made when it is needed."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        self.sizes, self.device = sizes, device
        torch.manual_seed(0)
        self.model = GeneAutoencoder(sizes.d).eval().to(device)
        self.rows = self._table(sizes.d)
        self._second: tuple[nn.Module, Tensor] | None = None

    def _table(self, d: int) -> Tensor:
        return torch.tensor(shapae.datasets.gene_modules(max(self.sizes.n, self.sizes.b), d).X.to_numpy())

    def of(self, task: Task) -> tuple[nn.Module, Tensor]:
        """Return the autoencoder of a task and its rows."""
        if not task.wide:
            return self.model, self.rows
        if self._second is None:
            d, hidden, latent = self.sizes.wide
            torch.manual_seed(0)
            encoder = nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, latent))
            decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, d))
            self._second = EncoderDecoder(encoder, decoder).eval().to(self.device), self._table(d)
        return self._second


def explainer(models: Models, task: Task) -> tuple[shapae.Explainer, Tensor]:
    """Create the explainer of a task; return it with the rows to explain."""
    model, rows = models.of(task)
    settings: dict[str, Any] = {"n_jobs": 1, "progress": False, "memory": task.memory} | task.settings()
    return shapae.Explainer(model, rows[: models.sizes.b], **settings), rows[: task.rows or models.sizes.n]


def measure(models: Models, task: Task) -> dict[str, Any]:
    """Measure the median seconds and the peak memory of a call, after an unmeasured call."""
    explain, rows = explainer(models, task)
    call: Callable[[Tensor], Any] = explain.summarize if task.summarize else explain
    run = _synchronized(lambda: call(rows), models.device)
    seconds, peaks = _repeat(run, models.device, models.sizes.repeats)
    found = {"task": task.name, "target": task.target, "rows": len(rows), "features": rows.shape[1]}
    return found | {"seconds": seconds, "median": statistics.median(seconds), "peak": max(peaks), "memory": task.memory}


def _synchronized(run: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    def synchronized() -> Any:
        found = run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return found

    return synchronized


def _repeat(run: Callable[[], Any], device: torch.device, repeats: int) -> tuple[list[float], list[float]]:
    """Return the seconds and the bytes of each call, of at most ``repeats``; a long call is made once."""
    run()
    seconds, peaks = list[float](), list[float]()
    while len(seconds) < repeats and (not seconds or seconds[-1] < LONG):
        with measure_usage(device) as usage:
            run()
        seconds.append(usage.seconds)
        peaks.append(usage.bytes)
    return seconds, peaks


def measure_peers(models: Models) -> Iterator[dict[str, Any]]:
    """Measure other libraries on a few rows of the squared error: seconds, and seconds for all rows in proportion."""
    sizes, device = models.sizes, models.device
    rows, background = models.rows[: sizes.peer_rows].to(device), models.rows[: sizes.b].to(device)
    tools: dict[str, Callable[[nn.Module], Any]] = {
        "shap.DeepExplainer": lambda score: shap_deep(score, rows, background),
        "captum.DeepLiftShap": lambda score: captum_deep(score, rows, background, batch=PEER_BATCH),
    }
    tools |= if_installed(
        "tangermeme",
        {"tangermeme.deep_lift_shap": lambda score: tangermeme_deep(score, rows, background, batch=PEER_BATCH)},
    )
    for name, tool in tools.items():
        score = SquaredError(copy.deepcopy(models.model))
        try:
            seconds, _ = _repeat(_synchronized(lambda tool=tool, score=score: tool(score), device), device, 2)  # type: ignore[misc]
        except Exception as error:  # of any kind: a failure is a result
            yield {"tool": name, "failed": describe_failure(error)}
        else:
            median = statistics.median(seconds)
            yield {"tool": name, "rows": len(rows), "seconds": median, "for all rows": median * sizes.n / len(rows)}
