"""Plots: functions from an Explanation or a table, and an Axes, to the Axes; nothing is shown.

``summary``, ``bar``, ``heatmap`` and ``scatter`` draw an Explanation of rows; ``waterfall`` and ``bar`` draw one row.
``bar`` and ``latents`` take an ``Importance`` as well, and ``groups`` takes averages over groups of rows. The plots of
comparisons and rankings, ``agreement``, ``costs``, ``curves`` and ``ranking``, take a table, and two of them the result
itself; ``interactions`` and ``interaction_network`` take interactions; ``anomaly`` takes the features of one anomaly;
``influence`` and ``self_influence`` take influences, ``cleaning`` the curves of a search; ``latent_map``, ``sweep`` and
``drives`` take a report on latents.

A notebook shows a plot in the last line of a cell. Elsewhere, save it with ``.figure.savefig("summary.png")``.
"""

from shapae.plots.agreement import draw as agreement
from shapae.plots.anomaly import draw as anomaly
from shapae.plots.bar import draw as bar
from shapae.plots.cleaning import draw as cleaning
from shapae.plots.costs import draw as costs
from shapae.plots.curves import draw as curves
from shapae.plots.drives import draw as drives
from shapae.plots.groups import draw as groups
from shapae.plots.heatmap import draw as heatmap
from shapae.plots.influence import draw as influence
from shapae.plots.interaction_network import draw as interaction_network
from shapae.plots.interactions import draw as interactions
from shapae.plots.latent_map import draw as latent_map
from shapae.plots.latents import draw as latents
from shapae.plots.ranking import draw as ranking
from shapae.plots.scatter import draw as scatter
from shapae.plots.self_influence import draw as self_influence
from shapae.plots.summary import draw as summary
from shapae.plots.sweep import draw as sweep
from shapae.plots.waterfall import draw as waterfall

__all__ = [
    "agreement",
    "anomaly",
    "bar",
    "cleaning",
    "costs",
    "curves",
    "drives",
    "groups",
    "heatmap",
    "influence",
    "interaction_network",
    "interactions",
    "latent_map",
    "latents",
    "ranking",
    "scatter",
    "self_influence",
    "summary",
    "sweep",
    "waterfall",
]


def __dir__() -> list[str]:  # tab completion shows the public names
    return __all__
