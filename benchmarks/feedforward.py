"""Feed-forward chains: the chosen order of the products beside the backward pass over the tape, and the cost model.

``python -m benchmarks.feedforward [--features 600] [--background 100] [--rows 4] [--repeats 3]``. float32, one
process. Each repeat runs both once, in turn; the table holds the ratio of their medians.
"""

import argparse
from collections.abc import Callable
from functools import partial, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn

import shapae
from benchmarks import save
from benchmarks._peers import SquaredError
from benchmarks._timing import medians, time_in_turn
from shapae.deepshap import DeepShap
from shapae.deepshap.backward import attribute_pairs
from shapae.deepshap.feedforward.contraction import backward_order
from shapae.deepshap.tracing.tape import replay
from shapae.utils.moments import Moments

Layers = Callable[[int], list[nn.Module]]


def layers(*widths: int, activation: Callable[[], nn.Module] = nn.ReLU, norm: bool = False) -> list[nn.Module]:
    """Create linear layers, each but the last with an activation and, if ``norm``, a BatchNorm."""
    modules: list[nn.Module] = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        modules += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if norm else []), activation()]
    return modules[: -2 if norm else -1]


# Names to functions from the number of features to layers; the number of outputs is the last width.
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


def backward_pass(explained: DeepShap, rows: Tensor) -> Moments:
    """Compute the attributions by the backward pass over the tape, which any network can use."""
    tape = explained._tape
    return reduce(add, (attribute_pairs(tape, replay(tape, rows), part) for part in explained._parts))


def measure(name: str, d: int, b: int, n: int, repeats: int) -> dict[str, Any]:
    """Measure how many times as fast the chosen order is, and compute the ratio that the cost model predicts."""
    torch.manual_seed(0)
    network: nn.Module = nn.Sequential(*CHAINS[name](d)).eval()
    network = SquaredError(network) if name.endswith("squared error") else network
    table = torch.tensor(shapae.datasets.gene_modules(b + n, d).X.to_numpy())
    explained, rows = DeepShap(network, table[:b]), table[b:]
    runs = {"chosen": partial(explained.attribute, rows), "backward": partial(backward_pass, explained, rows)}
    with torch.no_grad():
        time_in_turn(runs, 1)  # the first call prepares
        median = medians(time_in_turn(runs, repeats))
    ratio = median["backward"] / median["chosen"]
    return {
        "chain": name,
        "order": str(explained._order),
        "predicted": predicted_ratio(explained, b),
        "measured": ratio,
    }


def predicted_ratio(explained: DeepShap, b: int) -> float:
    """Compute how many times as fast the chosen order is by the cost model."""
    chain, order = explained._chain, explained._order
    assert chain is not None
    return backward_order(chain, b).cost / order.cost if order else chain.weights / chain.multiplications


def main() -> None:
    """Print the table and write ``results/feedforward.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", type=int, default=600)
    parser.add_argument("--background", type=int, default=100)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    results = []
    print("| chain | times as fast as the backward pass | predicted | order |\n|---|---|---|---|")
    for name in CHAINS:
        each = measure(name, options.features, options.background, options.rows, options.repeats)
        results.append(each)
        print(f"| {name} | {each['measured']:.1f} | {each['predicted']:.1f} | {each['order']} |", flush=True)
    save("feedforward", {"measured": results} | vars(options))


if __name__ == "__main__":
    main()
