"""Chains of several shapes: the chosen order against the walk over the tape, and what the cost model says of both.

``python -m benchmarks.feedforward [--features 600] [--background 100] [--rows 4] [--repeats 3]``. float32, one
process. Each repeat runs both once, in turn; the table holds medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

import shapae
from benchmarks import save
from shapae.deepshap import DeepShap
from shapae.deepshap.backward import attribute_pairs
from shapae.deepshap.feedforward.contraction import backward_order
from shapae.deepshap.tracing.tape import replay
from shapae.utils.moments import Moments

Layers = Callable[[int], list[nn.Module]]


def layers(*widths: int, activation: Callable[[], nn.Module] = nn.ReLU, norm: bool = False) -> list[nn.Module]:
    """Linear, BatchNorm if wanted, activation; the last layer is only linear."""
    found: list[nn.Module] = []
    for into, out in zip(widths, widths[1:], strict=False):
        found += [nn.Linear(into, out), *([nn.BatchNorm1d(out)] if norm else []), activation()]
    return found[: -2 if norm else -1]


# Each from d features; the number of outputs is the last width.
CHAINS: dict[str, Layers] = {
    "one hidden layer, to latents": lambda d: layers(d, 3 * d // 4, d // 2),
    "two hidden layers, to outputs": lambda d: layers(d, 3 * d // 4, 3 * d // 4, d),
    "three hidden layers": lambda d: layers(d, 3 * d // 4, d // 2, 3 * d // 4, d),
    "three hidden layers, GELU": lambda d: layers(d, 3 * d // 4, d // 2, 3 * d // 4, d, activation=nn.GELU),
    "three hidden layers, BatchNorm": lambda d: layers(d, 3 * d // 4, d // 2, 3 * d // 4, d, norm=True),
    "bottleneck 16, linear": lambda d: [*layers(d, 3 * d // 4, 16), *layers(16, 3 * d // 4, d)],
    "bottleneck 16, three hidden layers": lambda d: layers(d, 3 * d // 4, 16, 3 * d // 4, d),
    "three hidden layers, to 100 outputs": lambda d: layers(d, 3 * d // 4, d // 2, 3 * d // 4, 100),
    "three hidden layers, to 1 output": lambda d: layers(d, 3 * d // 4, d // 2, 3 * d // 4, 1),
    "linear bottleneck, squared error": lambda d: layers(d, 3 * d // 4, d // 2)[:3] + layers(d // 2, 3 * d // 4, d),
}


class SquaredError(nn.Module):
    """Of a network, from rows (n, d) to (n, 1)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, 1)."""
        errors: Tensor = (self.network(rows) - rows) ** 2
        return errors.mean(dim=1, keepdim=True)


def walked(against: DeepShap, rows: Tensor) -> Moments:
    """The values by the walk over the tape, as if there were no chain."""
    return reduce(add, (attribute_pairs(against._tape, replay(against._tape, rows), part) for part in against._parts))


def measure(name: str, d: int, b: int, n: int, repeats: int) -> dict[str, Any]:
    """Seconds of both, and what they should be, as a ratio."""
    torch.manual_seed(0)
    network: nn.Module = nn.Sequential(*CHAINS[name](d)).eval()
    network = SquaredError(network) if name.endswith("squared error") else network
    table = torch.tensor(shapae.datasets.gene_modules(b + n, d).X.to_numpy())
    against, rows = DeepShap(network, table[:b]), table[b:]
    runs: dict[str, Callable[[Tensor], Any]] = {"chosen": against.attribute, "walk": lambda some: walked(against, some)}
    seconds: dict[str, list[float]] = {way: [] for way in runs}
    with torch.no_grad():
        for _ in range(repeats + 1):  # the first prepares
            for way, run in runs.items():
                start = time.perf_counter()
                run(rows)
                seconds[way].append(time.perf_counter() - start)
    chain, order = against._chain, against._order
    assert chain is not None
    plain = backward_order(chain, b).cost
    predicted = plain / order.cost if order else chain.weights / chain.multiplications
    medians = {way: statistics.median(each[1:]) for way, each in seconds.items()}
    return {"chain": name, "order": str(order), "predicted": predicted, "measured": medians["walk"] / medians["chosen"]}


def main() -> None:
    """Print the table and write ``results/feedforward.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", type=int, default=600)
    parser.add_argument("--background", type=int, default=100)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    found = []
    print("| chain | times as fast as the walk | predicted | order |\n|---|---|---|---|")
    for name in CHAINS:
        found.append(measure(name, options.features, options.background, options.rows, options.repeats))
        each = found[-1]
        print(f"| {name} | {each['measured']:.1f} | {each['predicted']:.1f} | {each['order']} |", flush=True)
    save("feedforward", {"measured": found} | vars(options))


if __name__ == "__main__":
    main()
