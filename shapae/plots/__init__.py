"""Plots: functions from an Explanation or a table, and an Axes, to the Axes; nothing is shown.

The plots of comparisons and rankings, ``agreement``, ``costs``, ``curves`` and ``ranking``, take a table;
``interactions`` and ``interaction_network`` take interactions; ``anomaly`` takes the features of one anomaly.

A notebook shows a plot in the last line of a cell. Elsewhere, save it with ``.figure.savefig("summary.png")``.
"""

from shapae.plots.agreement import draw as agreement
from shapae.plots.anomaly import draw as anomaly
from shapae.plots.bar import draw as bar
from shapae.plots.costs import draw as costs
from shapae.plots.curves import draw as curves
from shapae.plots.heatmap import draw as heatmap
from shapae.plots.interaction_network import draw as interaction_network
from shapae.plots.interactions import draw as interactions
from shapae.plots.latents import draw as latents
from shapae.plots.ranking import draw as ranking
from shapae.plots.summary import draw as summary
from shapae.plots.waterfall import draw as waterfall

__all__ = [
    "agreement",
    "anomaly",
    "bar",
    "costs",
    "curves",
    "heatmap",
    "interaction_network",
    "interactions",
    "latents",
    "ranking",
    "summary",
    "waterfall",
]


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
