"""Rows in which some columns are wrong, and it is known which."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# What people buy, how they pay for it, and its usual size as a logarithm; see ``transactions``.
GOODS = {"groceries": 3.5, "fuel": 4.0, "travel": 6.0, "electronics": 6.5, "rent": 7.0}
WAYS = {"card": 12.0, "online": 19.0, "transfer": 9.0}  # and its usual hour
# How often each of GOODS is paid in each of WAYS.
PAID = np.array([[0.95, 0.05, 0], [1, 0, 0], [0.1, 0.85, 0.05], [0.3, 0.7, 0], [0, 0.05, 0.95]])
# How far a faulty number is off, in standard deviations.
SHIFT = (1.0, 2.0)


@dataclass(frozen=True, eq=False)
class Faults:
    """Rows in which some columns are wrong, and rows in which none is.

    Attributes:
        normal: (n, d), float32. To train on and to compare with.
        X: (m, d), float32. With faults.
        faulty: (m, d), bool. Which columns of which row of ``X`` are wrong.
        fields: From a name to its columns: those of one category belong together, a number is alone.
    """

    normal: pd.DataFrame
    X: pd.DataFrame
    faulty: pd.DataFrame
    fields: dict[str, list[str]]


def sensors(
    n: int = 1000,
    d: int = 12,
    *,
    faulty: int = 60,
    most: int = 3,
    shift: tuple[float, float] = SHIFT,
    drivers: int = 3,
    noise: float = 0.3,
    seed: int = 0,
) -> Faults:
    """Draw rows of sensors that follow a few drivers, and rows in which one to ``most`` sensors are shifted.

    x_j = tanh(w_j . z) + noise * e_j, standardized; z, e and w are standard normal. A faulty sensor is off, up
    or down; how many are faulty, and which, is drawn for each row. These are the synthetic anomalies of Takeishi and
    Kawahara, 2023, https://openreview.net/forum?id=eLX5XrajXh.

    Args:
        n: Number of normal rows.
        d: Number of sensors.
        faulty: Number of rows with faults.
        most: Most faulty sensors of a row.
        shift: A faulty sensor is off by at least and at most so many standard deviations.
        drivers: How many numbers drive all sensors.
        noise: Standard deviation of what a sensor does for itself.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    weights, drawn = rng.standard_normal((drivers, d)), rng.standard_normal((n + faulty, drivers))
    table = np.tanh(drawn @ weights) + noise * rng.standard_normal((n + faulty, d))
    table = (table - table[:n].mean(axis=0)) / table[:n].std(axis=0)
    wrong = _some(rng, faulty, d, most)
    shifted = table[n:] + wrong * _shifts(rng, shift, wrong.shape)
    names = [f"sensor {j}" for j in range(d)]
    normal, X = (pd.DataFrame(part.astype(np.float32), columns=names) for part in (table[:n], shifted))
    return Faults(normal, X, pd.DataFrame(wrong, columns=names), {name: [name] for name in names})


def transactions(
    n: int = 1000, *, faulty: int = 60, most: int = 3, shift: tuple[float, float] = SHIFT, seed: int = 0
) -> Faults:
    """Draw payments with categories and amounts that go together, and payments in which some fields do not.

    What is bought says how it is paid and how much it costs; the way of paying says at what hour, and with the amount
    it says the fee. Amount and fee are logarithms; all numbers are standardized. Categories are one-hot, and ``fields``
    says which columns are one category. A faulty number is shifted as in ``sensors``; a faulty category is another
    one, so that two of its columns are wrong.

    Args:
        n: Number of normal rows.
        faulty: Number of rows with faults.
        most: Most faulty fields of a row.
        shift: See ``sensors``.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    total, noise = n + faulty, rng.standard_normal((n + faulty, 3))
    goods = rng.choice(len(GOODS), total)
    ways = (rng.random((total, 1)) > PAID[goods].cumsum(axis=1)).sum(axis=1)
    amount = np.array([*GOODS.values()])[goods] + 0.4 * noise[:, 0]
    fee, hour = 0.8 * amount + ways + 0.2 * noise[:, 1], np.array([*WAYS.values()])[ways] + 2 * noise[:, 2]
    numbers = np.stack([amount, fee, hour], axis=1)
    numbers = (numbers - numbers[:n].mean(axis=0)) / numbers[:n].std(axis=0)
    wrong = _some(rng, faulty, 5, most)
    shifted = numbers[n:] + wrong[:, :3] * _shifts(rng, shift, (faulty, 3))
    others = [_another(rng, each[n:], size, wrong[:, at]) for each, size, at in ((goods, 5, 3), (ways, 3, 4))]
    normal, right = (_paid(numbers[part], goods[part], ways[part]) for part in (slice(n), slice(n, None)))
    X = _paid(shifted, *others)
    fields = {"amount": ["amount"], "fee": ["fee"], "hour": ["hour"]}
    fields |= {"goods": [f"goods={each}" for each in GOODS], "way": [f"way={each}" for each in WAYS]}
    return Faults(normal, X, X != right, fields)


def _some(rng: np.random.Generator, rows: int, d: int, most: int) -> NDArray[Any]:
    """(rows, d), bool: from 1 to ``most`` in each row."""
    places = rng.random((rows, d)).argsort(axis=1).argsort(axis=1)
    return np.asarray(places < rng.integers(1, most + 1, size=(rows, 1)))


def _shifts(rng: np.random.Generator, shift: tuple[float, float], shape: Sequence[int]) -> NDArray[Any]:
    return np.asarray(rng.uniform(*shift, shape) * rng.choice([-1, 1], shape))


def _another(rng: np.random.Generator, kinds: NDArray[Any], size: int, wrong: NDArray[Any]) -> NDArray[Any]:
    """``kinds``, and other ones where they are to be wrong."""
    return np.asarray((kinds + wrong * rng.integers(1, size, len(kinds))) % size)


def _paid(numbers: NDArray[Any], goods: NDArray[Any], ways: NDArray[Any]) -> pd.DataFrame:
    names = ["amount", "fee", "hour", *(f"goods={each}" for each in GOODS), *(f"way={each}" for each in WAYS)]
    table = np.concatenate([numbers, np.eye(len(GOODS))[goods], np.eye(len(WAYS))[ways]], axis=1)
    return pd.DataFrame(table.astype(np.float32), columns=names)
