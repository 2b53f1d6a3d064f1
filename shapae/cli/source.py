"""The explainer of a command: a saved one, or a model with its weights. Slow imports are inside of the functions."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shapae.cli.inputs import load_background, read_head

if TYPE_CHECKING:
    from torch.nn import Module

    from shapae.explainer.explainer import Explainer

Saved = Annotated[
    Path | None,
    typer.Option(
        "--explainer",
        help="Folder of explainer.save, instead of --model and --weights. Trust it: the factory that it names is run.",
    ),
]
OptionalModel = Annotated[str | None, typer.Option(help="package.module:factory, called without arguments.")]
OptionalWeights = Annotated[Path | None, typer.Option(help="State dict: .safetensors, or .pt of torch.save.")]


@dataclass(frozen=True)
class Source:
    """A saved explainer, or a model with its weights.

    Attributes:
        context: The call of the command.
        saved: Folder of ``explainer.save``; None for a new explainer.
        model: See ``load_model``.
        weights: See ``load_model``.
        others: Further parameters of the command for which a saved explainer has no use.

    Raises:
        BadParameter: Both are given, or neither.
    """

    context: typer.Context
    saved: Path | None
    model: str | None
    weights: Path | None
    others: tuple[str, ...] = ("background",)

    def __post_init__(self) -> None:
        if self.saved is None:
            wrong = [name for name in ("model", "weights") if getattr(self, name) is None]
            reason = "give {}, or --explainer with a folder of explainer.save."
        else:
            wrong = [name for name in ("model", "weights", *self.others) if self._is_given(name)]
            reason = "leave out {}: the explainer of --explainer has its own."
        if wrong:
            options = " and ".join(f"--{name.replace('_', '-')}" for name in wrong)
            raise typer.BadParameter(reason.format(options))

    def _is_given(self, name: str) -> bool:
        source = self.context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    def load(self, settings: dict[str, Any]) -> "Explainer":
        """Load the saved explainer; settings that are given on the command line replace its own."""
        from shapae.explainer.explainer import Explainer

        assert self.saved is not None
        changes = {name: each for name, each in settings.items() if self._is_given(name)}
        if "head" in changes:
            changes["head"] = read_head(changes["head"])
        return Explainer.load(self.saved, **changes)

    def load_model(self) -> "Module":
        """Load the model of an explainer that is not saved."""
        from shapae.models.files import load_model

        assert self.model is not None
        assert self.weights is not None
        return load_model(self.model, self.weights)

    def make(self, settings: dict[str, Any], background: str, rows: Any, row_names: str | None) -> "Explainer":
        """Load the saved explainer, or make one, with a background that may be drawn from the rows to explain."""
        from shapae.explainer.explainer import Explainer

        if self.saved is not None:
            return self.load(settings)
        inputs = self.load_model(), load_background(background, rows, settings["seed"], row_names)
        return Explainer(*inputs, **{**settings, "head": read_head(settings["head"])})
