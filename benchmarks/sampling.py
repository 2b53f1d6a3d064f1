"""Errors of ``sampling`` beside shap.PermutationExplainer in equal time, and beside shapiq: 100 features, float64.

``python -m benchmarks.sampling``. Both sample permutations of the features, forwards and backwards. shap takes a few
permutations, each against the whole background; then ``sampling`` takes as many samples as fit into the same seconds.
shapiq's approximators, if it is installed, evaluate as many coalitions as shap.
The squared error of a linear autoencoder has a closed form. Both are exact for it if every background row is sampled
equally often: its errors are rounding errors. For the other autoencoders, a long run of ``sampling`` with other random
seeds is the truth. Seconds are CPU seconds of one thread, so that other work on the machine makes little difference.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import shap
import torch
from torch import Tensor, nn

from benchmarks import save
from benchmarks._peers import if_installed, shapiq_values
from shapae import Explainer
from shapae.backends import Game
from shapae.backends.sampling import Sampling
from shapae.datasets.synthetic import EncoderDecoder, LinearAutoencoder

D, B, ROWS, REPEATS = 100, 100, 3, 5
REFERENCE_SAMPLES = 10_000  # per row, for the truth of nonlinear autoencoders
PERMUTATIONS = (2, 5)  # of shap, per row
SHAPIQ: dict[str, dict[str, Any]] = {"PermutationSamplingSV": {}, "KernelSHAP": {"pairing_trick": True}}
Values = np.ndarray[Any, np.dtype[Any]]


def autoencoder(*activation: nn.Module) -> EncoderDecoder:
    """Create an autoencoder of layers D, 0.75 D and 0.5 D, with the activation or without."""
    torch.manual_seed(0)
    wide, narrow = 3 * D // 4, D // 2
    encoder = nn.Sequential(nn.Linear(D, wide), *activation, nn.Linear(wide, narrow))
    decoder = nn.Sequential(nn.Linear(narrow, wide), *activation, nn.Linear(wide, D))
    return EncoderDecoder(encoder, decoder).double().eval()


def table(n: int, seed: int) -> Tensor:
    """Draw a table (n, D), float64, of correlated features."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(10, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    factors = torch.randn(n, 10, generator=generator, dtype=torch.float64)
    return factors @ mixing / 3 + torch.randn(n, D, generator=generator, dtype=torch.float64) / 2


def exact_values(model: EncoderDecoder, rows: Tensor, background: Tensor) -> Values:
    """Compute the Shapley values (n, d) of the squared error of a linear autoencoder in closed form."""
    X = pd.DataFrame(rows.numpy())
    return LinearAutoencoder(model, X, pd.Series(True, X.columns)).error_values(rows.numpy(), background.numpy())


def sampled_values(game: Game, rows: Tensor, samples: int, seed: int) -> Values:
    """Compute the values (n, d) of ``sampling`` from about this number of samples per row."""
    backend, seeds = Sampling(), [1000 * seed + row for row in range(len(rows))]
    backend.n_samples = samples
    return np.asarray(backend.bind(game)(rows, seeds=seeds).mean[..., 0])


def shap_values(game: Game, rows: Tensor, permutations: int, seed: int) -> Values:
    """Compute values (n, d) with this number of permutations for each row."""

    def function(mixed: Values) -> Values:
        with torch.no_grad():
            return np.asarray(game.score(torch.from_numpy(mixed))[:, 0])

    explainer = shap.PermutationExplainer(function, shap.maskers.Independent(game.background.numpy()), seed=seed)
    return np.asarray(explainer(rows.numpy(), max_evals=permutations * (2 * D + 1), silent=True).values)


def shapiq_errors(game: Game, rows: Tensor, truth: Values, permutations: int) -> dict[str, float]:
    """Measure shapiq's approximators, at the budget of this number of permutations for each row."""
    found = {}
    for kind, options in if_installed("shapiq", SHAPIQ).items():
        settings = {"kind": kind, "budget": permutations * (2 * D + 1)} | options

        def explain(seed: int, settings: dict[str, Any] = settings) -> Values:
            each = (shapiq_values(game.score, row, game.background, seed=seed, **settings) for row in rows)
            return np.stack([*each])

        found[f"seconds of shapiq {kind}"], found[f"error of shapiq {kind}"] = measure(explain, truth)
    return found


def measure(run: Callable[[int], Values], truth: Values) -> tuple[float, float]:
    """Measure the median CPU seconds, and the mean squared error relative to the mean square of the truth."""
    seconds, errors = [], []
    for seed in range(REPEATS):
        start = time.process_time()
        values = run(seed)
        seconds.append(time.process_time() - start)
        errors.append(float(((values - truth) ** 2).mean() / (truth**2).mean()))
    return float(np.median(seconds)), float(np.mean(errors))


def compare(game: Game, rows: Tensor, truth: Values, permutations: int) -> dict[str, float]:
    """Measure shap with this number of permutations, and ``sampling`` in at most the same time."""
    shap_seconds, shap_error = measure(lambda seed: shap_values(game, rows, permutations, seed), truth)
    shortest, _ = measure(lambda seed: sampled_values(game, rows, 2 * B, seed), truth)
    samples = 2 * B * max(1, int(shap_seconds / shortest))
    seconds, error = measure(lambda seed: sampled_values(game, rows, samples, seed), truth)
    return {
        "orders of shap": permutations,
        "seconds of shap": shap_seconds,
        "error of shap": shap_error,
        "draws": samples,
        "seconds": seconds,
        "error": error,
        "error / error of shap": error / shap_error,
        **shapiq_errors(game, rows, truth, permutations),
    }


def main() -> None:
    """Print the table and write ``results/sampling.json``."""
    torch.set_num_threads(1)
    rows, background = table(ROWS, 1), table(B, 2)
    models = {"linear": autoencoder(), "ReLU": autoencoder(nn.ReLU()), "tanh": autoencoder(nn.Tanh())}
    results: dict[str, list[dict[str, float]]] = {}
    for name, model in models.items():
        game = Game(Explainer(model, background).score, background)
        shap_values(game, rows[:1], 1, 0)  # numba compiles
        linear = name == "linear"
        truth = exact_values(model, rows, background) if linear else sampled_values(game, rows, REFERENCE_SAMPLES, 99)
        results[name] = [compare(game, rows, truth, permutations) for permutations in PERMUTATIONS]
        if linear:
            print(f"| autoencoder | {' | '.join(results[name][0])} |\n|---|{'---|' * len(results[name][0])}")
        for each in results[name]:
            print(f"| {name} | {' | '.join(f'{number:.3g}' for number in each.values())} |", flush=True)
    save("sampling", results)


if __name__ == "__main__":
    main()
