"""Plots take an Explanation and an Axes, return the Axes, and show nothing.

In a notebook, a plot is shown if it is the last line of a cell. Elsewhere, ``.figure.savefig("summary.png")`` keeps it.
"""

from shapae.plots.bar import draw as bar
from shapae.plots.heatmap import draw as heatmap
from shapae.plots.latents import draw as latents
from shapae.plots.summary import draw as summary
from shapae.plots.waterfall import draw as waterfall

__all__ = ["bar", "heatmap", "latents", "summary", "waterfall"]
