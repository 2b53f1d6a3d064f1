"""Plots: functions from an Explanation or a table, and an Axes, to the Axes; nothing is shown.

``bar`` and ``latents`` take an ``Importance`` as well, and ``groups`` takes averages over groups of rows. The plots of
comparisons and rankings, ``agreement``, ``costs``, ``curves`` and ``ranking``, take a table, and two of them the result
itself; ``interactions`` and ``interaction_network`` take interactions.

A notebook shows a plot in the last line of a cell. Elsewhere, save it with ``.figure.savefig("summary.png")``.
"""

from shapae.plots.agreement import draw as agreement
from shapae.plots.bar import draw as bar
from shapae.plots.costs import draw as costs
from shapae.plots.curves import draw as curves
from shapae.plots.groups import draw as groups
from shapae.plots.heatmap import draw as heatmap
from shapae.plots.interaction_network import draw as interaction_network
from shapae.plots.interactions import draw as interactions
from shapae.plots.latents import draw as latents
from shapae.plots.ranking import draw as ranking
from shapae.plots.summary import draw as summary
from shapae.plots.waterfall import draw as waterfall

__all__ = [
    "agreement",
    "bar",
    "costs",
    "curves",
    "groups",
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
