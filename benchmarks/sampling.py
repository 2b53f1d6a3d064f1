"""How far from the Shapley values at equal time? ``sampling`` beside shap.PermutationExplainer, 100 features, float64.

``python -m benchmarks.sampling``. Both draw orders of the features, forwards and backwards. shap takes a few orders,
each against all of the background; then ``sampling`` takes as many draws as fit into the same seconds. The squared
error of a linear autoencoder has a closed form, of which both are exact if every background row is drawn equally often:
what is left there is rounding. The truth of the others is a long run of ``sampling`` with other seeds. Seconds are
those of the processor, with one thread, so that what else it does makes little difference.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import shap
import torch
from torch import Tensor, nn

from benchmarks import save
from shapae import Explainer
from shapae.backends import Game
from shapae.backends.sampling import Sampling

D, B, ROWS, REPEATS, LONG = 100, 100, 3, 5, 10_000
ORDERS = (2, 5)
Values = np.ndarray[Any, np.dtype[Any]]


def autoencoder(*activation: nn.Module) -> nn.Module:
    """Of the shape of the question, with the activation or without."""
    torch.manual_seed(0)
    wide, narrow = 3 * D // 4, D // 2
    layers = [(nn.Linear(D, wide), *activation, nn.Linear(wide, narrow))]
    layers += [(nn.Linear(narrow, wide), *activation, nn.Linear(wide, D))]
    return nn.Sequential(*(module for half in layers for module in half)).double().eval()


def table(n: int, seed: int) -> Tensor:
    """(n, 100), float64: correlated, as genes are."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(10, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = torch.randn(n, 10, generator=generator, dtype=torch.float64)
    return drawn @ mixing / 3 + torch.randn(n, D, generator=generator, dtype=torch.float64) / 2


def closed_form(model: nn.Module, rows: Tensor, background: Tensor) -> Values:
    """(n, d): mean_b (x - b) [Q (x + b) + q] with f(x) = W x + c, A = W - 1, Q = A'A/d, q = 2 A'c/d."""
    with torch.no_grad():
        c = model(torch.zeros(1, D, dtype=torch.float64))[0]
        a = (model(torch.eye(D, dtype=torch.float64)) - c).T - torch.eye(D, dtype=torch.float64)
    delta, total = rows[:, None] - background, rows[:, None] + background
    return np.asarray((delta * (total @ (a.T @ a / D) + 2 * a.T @ c / D)).mean(dim=1))


def drawn(game: Game, rows: Tensor, draws: int, seed: int) -> Values:
    """(n, d), by about so many draws for each row."""
    backend, seeds = Sampling(), [1000 * seed + row for row in range(len(rows))]
    backend.n_samples = draws
    return np.asarray(backend.bind(game)(rows, seeds=seeds).mean[..., 0])


def by_shap(game: Game, rows: Tensor, orders: int, seed: int) -> Values:
    """(n, d), by so many orders for each row."""

    def function(mixed: Values) -> Values:
        with torch.no_grad():
            return np.asarray(game.score(torch.from_numpy(mixed))[:, 0])

    explainer = shap.PermutationExplainer(function, shap.maskers.Independent(game.background.numpy()), seed=seed)
    return np.asarray(explainer(rows.numpy(), max_evals=orders * (2 * D + 1), silent=True).values)


def measured(run: Callable[[int], Values], truth: Values) -> tuple[float, float]:
    """Median of the seconds and mean of the squared errors of five runs, relative to the mean square of the truth."""
    seconds, errors = [], []
    for seed in range(REPEATS):
        start = time.process_time()
        found = run(seed)
        seconds.append(time.process_time() - start)
        errors.append(float(((found - truth) ** 2).mean() / (truth**2).mean()))
    return float(np.median(seconds)), float(np.mean(errors))


def compared(game: Game, rows: Tensor, truth: Values, orders: int) -> dict[str, float]:
    """Seconds, draws and errors of shap with so many orders, and of ``sampling`` in no more time."""
    theirs, their_error = measured(lambda seed: by_shap(game, rows, orders, seed), truth)
    once, _ = measured(lambda seed: drawn(game, rows, 2 * B, seed), truth)
    draws = 2 * B * max(1, int(theirs / once))
    ours, our_error = measured(lambda seed: drawn(game, rows, draws, seed), truth)
    return {
        "orders of shap": orders,
        "seconds of shap": theirs,
        "error of shap": their_error,
        "draws": draws,
        "seconds": ours,
        "error": our_error,
        "error / error of shap": our_error / their_error,
    }


def main() -> None:
    """Print the table and write ``results/sampling.json``."""
    torch.set_num_threads(1)
    rows, background = table(ROWS, 1), table(B, 2)
    models = {"linear": autoencoder(), "ReLU": autoencoder(nn.ReLU()), "tanh": autoencoder(nn.Tanh())}
    found: dict[str, list[dict[str, float]]] = {}
    print("| autoencoder | orders of shap | seconds | error | draws of sampling | seconds | error | ratio of errors |")
    print("|---|---|---|---|---|---|---|---|")
    for name, model in models.items():
        game = Game(Explainer(model, background).score, background)
        by_shap(game, rows[:1], 1, 0)  # numba compiles
        truth = closed_form(model, rows, background) if name == "linear" else drawn(game, rows, LONG, 99)
        found[name] = [compared(game, rows, truth, orders) for orders in ORDERS]
        for each in found[name]:
            print(f"| {name} | {' | '.join(f'{number:.3g}' for number in each.values())} |", flush=True)
    save("sampling", found)


if __name__ == "__main__":
    main()
