"""Backends, rankings, raw feature errors and chance on tasks whose truth is known.

``python -m benchmarks.ground_truth [--seeds 20] [--rows 12] [--background 30] [--jobs 2] [--backends deep exact ...]``

Measures of each row: the AUROC of |value| for the features that matter; for planted faults, hits at 1 and the mean
reciprocal rank of the largest values, because a fault raises the error; and the relative error to the exact values,
which are computed in closed form or by enumeration. Measures of all rows together: the AUROC of mean |value|; and the
AUROC of the methods of ``shapae.rank_features``, if the features that matter are those that the model uses at all. The
tables hold means over the seeds, each with its own data and weights, with 95 % intervals of Student's t.
"""

import argparse
from importlib.metadata import version

import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import t as student

from benchmarks import save
from benchmarks._ground_truth_evaluation import AUROC, ERROR, FAILURE, HITS, OVERALL, RANK, evaluate_seed
from benchmarks._ground_truth_tasks import TASKS
from shapae import backends


def confidence_interval(values: pd.Series) -> dict[str, float]:
    """Compute the mean over the seeds, and half the width of its interval."""
    error = values.std() / len(values) ** 0.5
    return {"mean": values.mean(), "half": float(student.ppf(0.975, len(values) - 1) * error), "seeds": len(values)}


def summarize(numbers: pd.DataFrame) -> pd.DataFrame:
    """Compute the interval of each task, method and measure."""
    keys = ["task", "method", "measure"]
    groups = numbers.astype({"value": float}).groupby(keys, sort=False)["value"]
    return pd.DataFrame([dict(zip(keys, key, strict=True)) | confidence_interval(group) for key, group in groups])


def show(task: str, summary: pd.DataFrame) -> None:
    """Print the table of one task."""
    measures = [each for each in (AUROC, OVERALL, HITS, RANK, ERROR) if each in set(summary["measure"])]
    print(f"\n| {task} | {' | '.join(measures)} |\n|---|{'---|' * len(measures)}")
    for method, rows in summary.groupby("method", sort=False):
        cells = {row.measure: f"{row.mean:.3f} ± {row.half:.3f}" for row in rows.itertuples()}
        print(f"| {method} | {' | '.join(cells.get(each, '') for each in measures)} |")


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    for name, default in {"seeds": 20, "rows": 12, "background": 30, "jobs": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--backends", nargs="+", default=backends.names(), choices=backends.names())
    return parser.parse_args()


def main() -> None:
    """Print the tables and write ``results/ground_truth.json``."""
    options = parse_options()
    batches = Parallel(options.jobs)(delayed(evaluate_seed)(seed, options) for seed in range(options.seeds))
    records = pd.DataFrame([record for batch in batches for record in batch])
    failed = records[records["measure"] == FAILURE].drop_duplicates(["task", "method"])
    summary = summarize(records[records["measure"] != FAILURE])
    for task in TASKS:
        show(task, summary[summary["task"] == task])
    for row in failed.itertuples():
        print(f"\n{row.method} failed in {row.task}: {row.value}")
    versions = {name: version(name) for name in ("shapae", "torch", "shap")}
    failures = failed[["task", "method", "value"]].to_dict("records")
    save(
        "ground_truth", vars(options) | {"versions": versions, "found": summary.to_dict("records"), "failed": failures}
    )


if __name__ == "__main__":
    main()
