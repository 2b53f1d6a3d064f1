"""The latent units of a LatentReport: which are used, what drives them, and what they change."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shapae.analysis.latents.decoding import Decoder
from shapae.analysis.latents.report import LatentReport
from shapae.report.bars import Bar
from shapae.report.words import clean, count, percent, places, show

# Numbers of units with a picture and in the table, of drives of a unit, and of lines of a sweep.
DRAWN, LISTED, DRIVES, LINES = 6, 20, 6, 4


@dataclass(frozen=True, eq=False)
class Unit:
    """One latent unit.

    Attributes:
        name: Its name.
        share: Share of the variance of all units, in words.
        drives: (feature, bar, signed importance in words) of the features that drive it most.
        middle: Place of 0 in the bars.
        lines: (feature, points of its line) of the features that it changes most; empty without a decoder.
        zero: Height of a change of 0.
        ends: Smallest and largest change, smallest and largest position, in words.
        units: Units of the changes.
    """

    name: str
    share: str
    drives: list[tuple[str, Bar, str]]
    middle: str
    lines: list[tuple[str, str]]
    zero: str
    ends: tuple[str, ...]
    units: str


@dataclass(frozen=True, eq=False)
class Latents:
    """All latent units.

    Attributes:
        title: Numbers of active units and of all units, in words.
        rule: The rule by which units are active.
        table: (unit, share of the variance, features that raise it, features that lower it).
        units: Units with a picture.
        reason: Why there are no sweeps; empty if there are.
    """

    title: str
    rule: str
    table: list[tuple[str, str, str, str]]
    units: list[Unit]
    reason: str


def describe_latents(report: LatentReport) -> Latents:
    """Prepare the latent units."""
    table, active = report.table, report.active
    lines = [
        (clean(name), percent(line["share"]), clean(line["up"], 200), clean(line["down"], 200))
        for name, line in table.loc[active].head(LISTED).iterrows()
    ]
    return Latents(
        f"{len(active)} of {count(len(report.unit_names), 'unit')} {'is' if len(active) == 1 else 'are'} active",
        clean(report.activity.rule, 200),
        lines,
        [_unit(report, name) for name in active[:DRAWN]],
        "" if isinstance(report.decoder, Decoder) else clean(report.decoder, 300),
    )


def _unit(report: LatentReport, name: str) -> Unit:
    at = report.position(name)
    signed = report.drives.signed[:, at]
    order = np.argsort(-abs(signed), kind="stable")[:DRIVES]
    features = [clean(report.feature_names[feature]) for feature in order]
    bars, middle = _signed_bars(signed[order])
    drives = [*zip(features, bars, map(show, signed[order]), strict=True)]
    lines, zero, ends, units = _sweep(report, name) if isinstance(report.decoder, Decoder) else ([], "0", (), "")
    return Unit(clean(name), percent(float(report.activity.share[at])), drives, middle, lines, zero, ends, units)


def _signed_bars(numbers: NDArray[np.floating]) -> tuple[list[Bar], str]:
    """Make bars to either side of 0; and the place of 0."""
    low, high = min(0.0, float(numbers.min())), max(0.0, float(numbers.max()))
    scale = 100 / ((high - low) or 1)
    left, width = places((np.minimum(numbers, 0) - low) * scale), places(abs(numbers) * scale)
    kinds = ["lowers" if number < 0 else "raises" for number in numbers]
    return [Bar(*each) for each in zip(kinds, left, width, strict=True)], places([-low * scale])[0]


def _sweep(report: LatentReport, name: str) -> tuple[list[tuple[str, str]], str, tuple[str, ...], str]:
    """Draw the decoded features that change most while the unit moves through its quantiles."""
    sweep = report.sweep(name)
    order = np.argsort(-sweep.range, kind="stable")[:LINES]
    changes, positions = sweep.changes[:, order].astype(float), sweep.positions.astype(float)
    low, high = min(0.0, float(changes.min())), max(0.0, float(changes.max()))
    x = places((positions - positions[0]) / (np.ptp(positions) or 1) * 100)
    heights = (high - changes) / ((high - low) or 1) * 100
    lines = [
        (clean(sweep.feature_names[feature]), " ".join(f"{a},{b}" for a, b in zip(x, places(column), strict=True)))
        for feature, column in zip(order, heights.T, strict=True)
    ]
    ends = tuple(map(show, (low, high, positions[0], positions[-1])))
    return lines, places([high / ((high - low) or 1) * 100])[0], ends, sweep.units
