"""Write a report: check its parts, compute the checks, render the page, put it into its place."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shapae.analysis.latents.report import LatentReport
from shapae.analysis.ranking.result import GlobalRanking
from shapae.errors import DataError
from shapae.explainer.explainer import Explainer
from shapae.explainer.explanation import Explanation
from shapae.report import bars, head, latents, outputs, ranking, rows
from shapae.report.checks import Check, computed_checks, missing_checks, own_checks, unknown_checks
from shapae.report.explainers import check_explainer, explainer_of_other, raw_errors_of
from shapae.report.facts import code
from shapae.report.page import BEGINNING, render
from shapae.report.words import clean, count, join
from shapae.utils.constraints import check_argument, check_arguments
from shapae.utils.directories import atomic_file
from shapae.utils.kinds import Kind

# Largest number of explanations in one report, and of bytes of the tables to download in all.
MOST, DOWNLOADS = 4, 280_000
# Advice if there is another file, from whether an earlier report is replaced.
REMEDY = {
    True: "Give the name of a new file; only an earlier report is replaced.",
    False: "Give the name of a new file, or --force to replace an earlier report.",
}


def write_report(
    explanation: Explanation,
    path: str | Path,
    *,
    explainer: Any = None,
    others: Sequence[Explanation] = (),
    latent_report: LatentReport | None = None,
    global_ranking: GlobalRanking | None = None,
    title: str = "",
    replaces: bool = True,
) -> Path:
    """Write a report to ``path``, as a whole or not at all; see ``Explanation.report``.

    Args:
        explanation: What is explained first.
        path: The file.
        explainer: Explainer of ``explanation``.
        others: Explanations of other heads.
        latent_report: Report on the latent units.
        global_ranking: Ranking of the features.
        title: Title.
        replaces: Whether an earlier report is replaced.

    Raises:
        DataError: A part is not what it must be.
        OutputError: The file can't be written, or is no earlier report.
    """
    check_arguments(path=path, title=title)
    explanations = _check_parts(explanation, others, latent_report, global_ranking)
    explainers = _explainers(explainer, explanations)
    with atomic_file(Path(path), replaces=BEGINNING if replaces else None, remedy=REMEDY[replaces]) as fresh:
        heads = [
            head.describe_head(each, DOWNLOADS // len(explanations), one and raw_errors_of(one))
            for each, one in zip(explanations, explainers, strict=True)
        ]
        checks = [own_checks(each.parts, one.made_by) for each, one in zip(heads, explanations, strict=True)]
        if explainer is None:
            checks[0] += missing_checks()
        else:
            for found, one, each in zip(checks, explainers, heads, strict=True):
                found += unknown_checks() if one is None else computed_checks(one, each.parts)
        text = render(
            title=clean(title or f"Explanation of {join([each.title for each in heads])}", 120),
            date=datetime.now(UTC).date().isoformat(),
            heads=heads,
            labels=list(dict.fromkeys(label for each in heads for label, _ in each.facts)),
            checks=checks,
            verdict=_verdict(checks),
            latents=None if latent_report is None else latents.describe_latents(latent_report),
            ranking=None if global_ranking is None else ranking.describe_ranking(global_ranking),
            code=code([each.made_by for each in explanations], title),
            caps=_caps(),
        )
        fresh.write_bytes(text.encode())
    return Path(path)


def _check_parts(explanation: Any, others: Any, latent_report: Any, global_ranking: Any) -> list[Explanation]:
    """Check the types of all parts, and return all explanations.

    Raises:
        DataError: A part is not what it must be, or there are too many explanations.
    """
    check_argument("others", others, Kind((list, tuple), "a list of explanations of other heads"))
    kind = Kind(Explanation, "an Explanation of shapae, the result of explainer(X)")
    explanations = [explanation, *others]
    for each in explanations:
        check_argument("each explanation", each, kind)
        head.arrays_of(each)
    if len(explanations) > MOST:
        raise DataError(f"a report has at most {MOST} explanations, got {len(explanations)}. Write several reports.")
    if latent_report is not None:
        check_argument("latents", latent_report, Kind(LatentReport, "the result of shapae.latents(model, X), or None"))
    if global_ranking is not None:
        kind = Kind(GlobalRanking, "the result of shapae.rank_features(model, X), or None")
        check_argument("ranking", global_ranking, kind)
    return explanations


def _explainers(explainer: Any, explanations: list[Explanation]) -> list[Explainer | None]:
    """Find the explainer of each explanation; None where it is not known.

    Raises:
        DataError: ``explainer`` is not that of the first explanation.
    """
    if explainer is None:
        return [None] * len(explanations)
    first, *others = ((head.arrays_of(each), each.made_by) for each in explanations)
    check_explainer(explainer, *first)
    return [explainer, *(explainer_of_other(explainer, *each) for each in others)]


def _verdict(checks: list[list[Check]]) -> str:
    """Sum the checks up in one sentence."""
    verdicts = [check.verdict for each in checks for check in each]
    fine, look, unknown = (verdicts.count(verdict) for verdict in ("fine", "look", "not known"))
    parts = [f"{count(fine, 'check')} {'is' if fine == 1 else 'are'} fine"]
    parts += [f"{look} {'needs' if look == 1 else 'need'} a look"] if look else []
    parts += [f"{unknown} {'is' if unknown == 1 else 'are'} not known"] if unknown else []
    return join(parts)


def _caps() -> list[tuple[str, str]]:
    """Say how much of the data is in the file."""
    return [
        ("Bars of importance", f"the {head.BARS} features with the largest mean |value|"),
        ("Picture of all rows", f"{head.LINES} features; {head.DOTTED} rows, drawn at random if there are more"),
        ("Ends of that picture", f"{bars.TAIL:.1%} of the values at either end are drawn at the edge"),
        (
            "Rows to pick",
            f"the {rows.PICKED} rows with the largest scores; {rows.STEPS} features of each, and the sum of the rest",
        ),
        ("Rows as tables", f"the {rows.TABLES} rows with the largest scores"),
        (
            "Features beside outputs",
            f"{outputs.ROWS} features and {outputs.COLUMNS} outputs, {outputs.LISTED} outputs in the list",
        ),
        ("Latent units", f"{latents.DRAWN} active units with pictures, {latents.LISTED} in the table"),
        ("Ranking", f"{ranking.LISTED} features"),
        ("Tables to download", f"{DOWNLOADS // 1000} kB in all; the last lines are left out, which the link says"),
        ("Names", "60 characters, shortened in the middle; hidden characters are shown as \N{REPLACEMENT CHARACTER}"),
    ]
