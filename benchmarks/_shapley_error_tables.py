"""Tables of the errors: by task, by number of gradients, and within the time of shap.DeepExplainer."""

from typing import Any

import numpy as np
import pandas as pd

from benchmarks._shapley_error_methods import PAIRS

DEEP, LIMIT = "deep", "shap_deep"
LEAST_ERROR = 1e-3  # smaller errors count as this one in ratios, and are drawn there


def show_task(heading: str, records: list[dict[str, Any]]) -> None:
    """Print all methods of a task."""
    print(f"\n| {heading} | setting | relative error | ms per row | evaluations | rows x seeds |\n|{'---|' * 6}")
    for row in records:
        error = f"{row['error']:.4f}" + ("" if row["half"] is None else f" ± {row['half']:.4f}")
        cost = f"{1e3 * row['seconds']:.2f} | {row['evaluations']:,} | {row['rows']} x {row['seeds']}"
        print(f"| {row['method']} | {row['setting']} | {error} | {cost} |", flush=True)


def equal_costs(records: pd.DataFrame) -> pd.DataFrame:
    """Compare the errors of ``deep``, of coalitions with K pairs, and of ``sampling`` with as many evaluations."""
    return pd.DataFrame({task: _equal_costs(rows) for task, rows in records.groupby("task", sort=False)}).T


def _equal_costs(rows: pd.DataFrame) -> dict[str, Any]:
    error = rows.set_index(["method", "setting"])["error"]
    deep, pairs = error.get((DEEP, ""), np.nan), {k: error.get(("coalitions", f"K = {k}"), np.nan) for k in PAIRS}
    found: dict[str, Any] = {"d": rows["d"].iloc[0], DEEP: deep}
    found |= {f"K = {k}": each for k, each in pairs.items()}
    found["a third of deep at"] = next((f"K = {k}" for k, each in pairs.items() if each <= deep / 3), "none")
    return found | {f"sampling, {k}": error.get(("sampling", f"cost of K = {k}"), np.nan) for k in PAIRS}


def ranking(records: pd.DataFrame, entrant: list[str]) -> pd.DataFrame:
    """Rank methods by their errors within the time of shap.DeepExplainer.

    Args:
        records: Records of all tasks. A task in which shap.DeepExplainer fails is left out.
        entrant: ["method"] to let each method have its best setting in each task, or ["method", "setting"].

    Returns:
        For each entrant: the mean rank over the tasks, where those that take longer come last; the number of tasks in
        which it is fast enough; the geometric mean over these tasks of its error relative to that of ``deep``; and the
        number of them in which it has the smallest error.
    """
    limit = records[records["method"] == LIMIT].set_index("task")["seconds"]
    fast = records[records["seconds"] <= records["task"].map(limit)]
    errors = fast.groupby(["task", *entrant])["error"].min().clip(lower=LEAST_ERROR).reset_index("task")
    deep = records[records["method"] == DEEP].set_index("task")["error"].clip(lower=LEAST_ERROR)
    ranks = errors.groupby("task")["error"].rank(method="min")
    logs = np.log(errors["error"] / errors["task"].map(deep))
    groups = errors.assign(rank=ranks, log=logs, best=ranks == 1).groupby(level=entrant)
    last = records.groupby(entrant).ngroups
    found = pd.DataFrame({
        "mean rank": (groups["rank"].sum() + last * (len(limit) - groups.size())) / len(limit),
        f"in time, of {len(limit)} tasks": groups.size(),
        "error / error of deep": np.exp(groups["log"].mean()),
        "smallest error": groups["best"].sum(),
    })
    found.index = found.index.map(lambda key: key if isinstance(key, str) else ", ".join(filter(None, key)))
    return found.sort_values("mean rank").rename_axis("method")


def show(frame: pd.DataFrame, corner: str) -> None:
    """Print a table."""
    print(f"\n| {corner} | {' | '.join(map(str, frame.columns))} |\n|{'---|' * (1 + frame.shape[1])}")
    for name, row in frame.iterrows():
        cells = (f"{each:.3g}" if isinstance(each, float) else str(each) for each in row)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
