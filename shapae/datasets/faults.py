"""Synthetic rows with faults in known columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shapae.errors import DataError
from shapae.utils.constraints import check_arguments

# Goods and their mean log amounts; see ``transactions``.
GOODS = {"groceries": 3.5, "fuel": 4.0, "travel": 6.0, "electronics": 6.5, "rent": 7.0}
# Payment methods and their mean hours.
PAYMENT_METHODS = {"card": 12.0, "online": 19.0, "transfer": 9.0}
# Probability of each payment method (column) for each of the goods (row).
PAYMENT_PROBABILITIES = np.array([[0.95, 0.05, 0], [1, 0, 0], [0.1, 0.85, 0.05], [0.3, 0.7, 0], [0, 0.05, 0.95]])
# Smallest and largest shift of a faulty number, in standard deviations.
SHIFT = (1.0, 2.0)


@dataclass(frozen=True, eq=False)
class Faults:
    """Normal rows, and rows with faults in known columns.

    Attributes:
        normal: (n, d), float32. Rows without faults, for training and as background.
        X: (m, d), float32. Rows with faults.
        faulty: (m, d), bool. Whether each column of each row of ``X`` is wrong.
        fields: From the name of each field to its columns: one column of a number, all columns of a category.
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
    """Draw rows of sensors that follow a few latent drivers, and rows in which one to ``most`` sensors are shifted.

    x_j = tanh(w_j . z) + noise * e_j, standardized; z, e and w are standard normal. A faulty sensor is shifted up or
    down; the number and the choice of faulty sensors are random for each row. These are the synthetic anomalies of
    Takeishi and Kawahara, 2023, https://openreview.net/forum?id=eLX5XrajXh.

    Args:
        n: Number of normal rows.
        d: Number of sensors.
        faulty: Number of rows with faults.
        most: Largest number of faulty sensors in a row.
        shift: Smallest and largest shift of a faulty sensor, in standard deviations.
        drivers: Number of latent drivers.
        noise: Standard deviation of the independent noise of each sensor.
        seed: Random seed.
    """
    check_arguments(n=n, d=d, faulty=faulty, most=most, shift=shift, drivers=drivers, noise=noise, seed=seed)
    _check_shift(shift)
    rng = np.random.default_rng(seed)
    weights, latents = rng.standard_normal((drivers, d)), rng.standard_normal((n + faulty, drivers))
    table = np.tanh(latents @ weights) + noise * rng.standard_normal((n + faulty, d))
    table = (table - table[:n].mean(axis=0)) / table[:n].std(axis=0)
    wrong = _random_subsets(rng, faulty, d, most)
    shifted = table[n:] + wrong * _shifts(rng, shift, wrong.shape)
    names = [f"sensor {j}" for j in range(d)]
    normal, X = (pd.DataFrame(part.astype(np.float32), columns=names) for part in (table[:n], shifted))
    return Faults(normal, X, pd.DataFrame(wrong, columns=names), {name: [name] for name in names})


def transactions(
    n: int = 1000, *, faulty: int = 60, most: int = 3, shift: tuple[float, float] = SHIFT, seed: int = 0
) -> Faults:
    """Draw payments with dependent categories and numbers, and payments with faults in some fields.

    The goods determine the payment method and the amount, up to noise; the method determines the hour, and together
    with the amount the fee. Amount and fee are logarithms; all numbers are standardized. Categories are one-hot, and
    ``fields`` lists the columns of each category. A faulty number is shifted as in ``sensors``. A faulty category is
    replaced by another category, so that two of its columns are wrong.

    Args:
        n: Number of normal rows.
        faulty: Number of rows with faults.
        most: Largest number of faulty fields in a row.
        shift: See ``sensors``.
        seed: Random seed.
    """
    check_arguments(n=n, faulty=faulty, most=most, shift=shift, seed=seed)
    _check_shift(shift)
    rng = np.random.default_rng(seed)
    total, noise = n + faulty, rng.standard_normal((n + faulty, 3))
    goods = rng.choice(len(GOODS), total)
    methods = (rng.random((total, 1)) > PAYMENT_PROBABILITIES[goods].cumsum(axis=1)).sum(axis=1)
    amount = np.array([*GOODS.values()])[goods] + 0.4 * noise[:, 0]
    fee, hour = (
        0.8 * amount + methods + 0.2 * noise[:, 1],
        np.array([*PAYMENT_METHODS.values()])[methods] + 2 * noise[:, 2],
    )
    numbers = np.stack([amount, fee, hour], axis=1)
    numbers = (numbers - numbers[:n].mean(axis=0)) / numbers[:n].std(axis=0)
    wrong = _random_subsets(rng, faulty, 5, most)
    shifted = numbers[n:] + wrong[:, :3] * _shifts(rng, shift, (faulty, 3))
    categories = [_replace(rng, values[n:], size, wrong[:, j]) for values, size, j in ((goods, 5, 3), (methods, 3, 4))]
    normal, correct = (_payments(numbers[part], goods[part], methods[part]) for part in (slice(n), slice(n, None)))
    X = _payments(shifted, *categories)
    fields = {"amount": ["amount"], "fee": ["fee"], "hour": ["hour"]}
    fields |= {"goods": [f"goods={name}" for name in GOODS], "way": [f"way={name}" for name in PAYMENT_METHODS]}
    return Faults(normal, X, X != correct, fields)


def _random_subsets(rng: np.random.Generator, rows: int, d: int, most: int) -> NDArray[Any]:
    """Draw a mask (rows, d), bool, with 1 to ``most`` columns in each row."""
    ranks = rng.random((rows, d)).argsort(axis=1).argsort(axis=1)
    return np.asarray(ranks < rng.integers(1, most + 1, size=(rows, 1)))


def _check_shift(shift: tuple[float, float]) -> None:
    """Check that the smallest shift is not larger than the largest one.

    Raises:
        DataError: It is.
    """
    if shift[0] > shift[1]:
        raise DataError(f"shift must be the smallest and the largest shift, got {shift}.")


def _shifts(rng: np.random.Generator, shift: tuple[float, float], shape: Sequence[int]) -> NDArray[Any]:
    return np.asarray(rng.uniform(*shift, shape) * rng.choice([-1, 1], shape))


def _replace(rng: np.random.Generator, categories: NDArray[Any], size: int, wrong: NDArray[Any]) -> NDArray[Any]:
    """Replace the categories by others where they should be wrong."""
    return np.asarray((categories + wrong * rng.integers(1, size, len(categories))) % size)


def _payments(numbers: NDArray[Any], goods: NDArray[Any], methods: NDArray[Any]) -> pd.DataFrame:
    names = [
        "amount",
        "fee",
        "hour",
        *(f"goods={name}" for name in GOODS),
        *(f"way={name}" for name in PAYMENT_METHODS),
    ]
    table = np.concatenate([numbers, np.eye(len(GOODS))[goods], np.eye(len(PAYMENT_METHODS))[methods]], axis=1)
    return pd.DataFrame(table.astype(np.float32), columns=names)
