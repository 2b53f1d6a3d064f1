"""Seconds of three tools against features and against outputs."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

STYLES: dict[str, Any] = {"shapae": "-", "shap": "--", "captum": ":"}
Results = list[dict[str, Any]]


def draw(tasks: dict[str, Results], latents: Results) -> Figure:
    """Draw the seconds of each task against features, and those of the latents against outputs."""
    figure = Figure(figsize=(13, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    colors = {name: f"C{place}" for place, name in enumerate(tasks)}
    for name, results in tasks.items():
        _lines(left, results, "d", colors[name])
    _lines(right, latents, "outputs", colors["all latents"])
    first = latents[0]
    left.set(title=f"{first['n']} rows, b = {first['b']}", xlabel="features d", ylabel="time (s)")
    right.set(title=f"latents, {first['n']} x {first['d']}, b = {first['b']}", xlabel="outputs k", ylabel="time (s)")
    handles = [Line2D([], [], color=color, label=name) for name, color in colors.items()]
    handles += [Line2D([], [], color="black", linestyle=style, label=tool) for tool, style in STYLES.items()]
    figure.legend(handles=handles, loc="outside right center", fontsize=11)
    return figure


def _lines(ax: Axes, results: Results, key: str, color: str) -> None:
    x = [each[key] for each in results]
    for tool, style in STYLES.items():
        ax.plot(x, [each["seconds"][tool] for each in results], style, marker="o", markersize=4, color=color)
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(x, [str(each) for each in x])
    ax.xaxis.minorticks_off()
    ax.grid(alpha=0.3)
    for text in (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()):
        text.set_fontsize(12)
