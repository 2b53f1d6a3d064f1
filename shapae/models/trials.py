"""Runs of the parts of a model on a few rows: the evidence of what the model means."""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from shapae.errors import ModelError
from shapae.models import outputs
from shapae.models.accessors import Accessor, Field, Part, hookable
from shapae.models.noise import ForwardMode, Noise
from shapae.models.recordings import recorded
from shapae.utils.context import ignored_warnings
from shapae.utils.rounding import rounding_error

# Two tensors are equal if they differ by at most this many times the precision of the largest number: the order of
# summation may differ between the parts of a model and the whole.
ROUNDING = 100


@dataclass(frozen=True, eq=False)
class Runner:
    """A model, and the state in which its parts run.

    Attributes:
        model: The model of the user.
        preprocess: The module in front of it.
        noise: Replacement of its Gaussian noise, see ``shapae.models.noise``.
    """

    model: nn.Module
    preprocess: nn.Module
    noise: Noise | None

    def run(self, accessor: Accessor, rows: Tensor) -> Any:
        """Run a part on rows (n, d), which it may change."""
        with ForwardMode(self.noise, len(rows)):
            return accessor(self.model, self.preprocess(rows.clone()))

    def decode(self, accessor: Accessor, latents: Tensor) -> Any:
        """Run a decoder on latents (n, m)."""
        with ForwardMode(self.noise, len(latents)):
            return accessor(self.model, latents.clone())


@dataclass(frozen=True, eq=False)
class Candidate:
    """A tensor that a part of the model returns for the rows of a trial.

    Attributes:
        accessor: How the tensor is computed.
        tensor: The tensor.
        name: Key of the tensor in the output of the part; None if the part returns the tensor alone.
    """

    accessor: Any
    tensor: Tensor
    name: str | int | None = None

    @property
    def shape(self) -> str:
        """Shape of the tensor for n rows, such as (n, 5)."""
        return f"({', '.join(['n', *map(str, self.tensor.shape[1:])])})"

    @property
    def flat(self) -> Tensor:
        """The tensor without an axis of one draw, or its mean over an axis of draws."""
        return outputs.one_axis_less(self.tensor)

    def line(self, part: str) -> str:
        """Write the call that chooses this candidate as a part of the autoencoder."""
        flat = ".flatten(1)" if self.tensor.ndim > 2 else ""
        return f"{self.accessor}, {self.shape}: Autoencoder(model, {part}=lambda m, x: {self.accessor.code()}{flat})"


class Trials:
    """Runs of the parts of a model on a few rows.

    Args:
        runner: The model.
        rows: (n, d).
    """

    def __init__(self, runner: Runner, rows: Tensor) -> None:
        self.runner, self.rows = runner, rows
        self.inputs = self._preprocessed()
        self._outputs: dict[Any, Any] = {}

    def _preprocessed(self) -> Tensor:
        try:
            inputs: Tensor = self.runner.preprocess(self.rows.clone())
        except ModelError:
            raise
        except Exception as error:
            got = outputs.describe_output(error)
            raise ModelError(
                f"preprocess fails on rows of {outputs.describe_output(self.rows)} and {self.rows.dtype}: {got}. It "
                f"must be a module (n, d) -> (n, d) for the columns of the table."
            ) from error
        return inputs

    @property
    def width(self) -> int:
        """d."""
        return self.inputs.shape[-1]

    def output(self, accessor: Any) -> Any:
        """Run a part, once; an exception of the model is the result."""
        if accessor not in self._outputs:
            self._outputs[accessor] = self.run(accessor)
        return self._outputs[accessor]

    def run(self, accessor: Any) -> Any:
        """Run a part, again; an exception of the model is the result."""
        try:
            with ignored_warnings():
                return self.runner.run(accessor, self.rows)
        except Exception as error:  # the part takes another input than rows
            return error

    def candidates(self, accessor: Any) -> list[Candidate]:
        """List the tensors that a part returns, one row for each row."""
        output = self.output(accessor)
        found = [
            Candidate(_extend(accessor, output, keys), tensor.detach(), next((k for k in keys[::-1] if k), None))
            for keys, tensor in outputs.find_tensors(output)
            if _is_readable(tensor)
        ]
        return [each for each in found if each.tensor.ndim > 1 and len(each.tensor) == len(self.rows)]

    def is_table(self, tensor: Tensor) -> bool:
        """Return whether a tensor has the shape of the rows, (n, d), or (n, draws, d) with draws that are all equal."""
        if tensor.ndim not in (2, 3) or tensor.shape[-1] != self.width or len(tensor) != len(self.rows):
            return False
        return tensor.ndim == 2 or same(tensor, tensor[:, :1].expand_as(tensor))

    def is_rows(self, tensor: Tensor) -> bool:
        """Return whether a tensor equals the rows; rows of zeros equal too much to tell."""
        return any(bool(table.any()) and same(tensor, table) for table in (self.rows, self.inputs))

    def decodes(self, decoder: Any, latents: Tensor, reconstruction: Tensor) -> bool:
        """Return whether ``decoder`` turns these latents into this reconstruction."""
        decoded = self.decoded(decoder, latents)
        return decoded is not None and same(decoded, reconstruction)

    def decoded(self, decoder: Any, latents: Tensor) -> Tensor | None:
        """Decode latents; None if ``decoder`` does not return one table."""
        try:
            output = self.runner.decode(decoder, latents)
        except Exception:  # it takes other latents, or more than latents
            return None
        tables = [tensor for _, tensor in outputs.find_tensors(output) if self.is_table(tensor)]
        return outputs.one_axis_less(tables[0]) if len(tables) == 1 else None

    def received(self, part: Any, whole: Any) -> list[Tensor]:
        """List what a part of the model is called with while another part runs.

        Args:
            part: A part of the model; of a function nothing is known.
            whole: The accessor that runs.
        """
        return [_without_draws(taken) for taken, _ in self.calls(part, whole)]

    def returned(self, part: Any, whole: Any) -> list[Tensor]:
        """List what a part of the model returns while another part runs; see ``received``."""
        return [_without_draws(given) for _, given in self.calls(part, whole) if isinstance(given, Tensor)]

    def calls(self, part: Any, whole: Any) -> list[tuple[Tensor, Any]]:
        """List what a part is called with, and what it returns, while another part runs; see ``received``."""
        if not isinstance(part, Part) or not hookable(self.runner.model, part):
            return []
        with recorded(self.runner.model, part.path) as calls:
            self.run(whole)
        return [call for call in calls if _is_readable(call[0])]

    def in_state(self, model: nn.Module, noise: Noise) -> "Trials":
        """Return the trials of another copy of the model, with its noise replaced."""
        return Trials(replace(self.runner, model=model, noise=noise), self.rows)


def _is_readable(tensor: Tensor) -> bool:
    """Return whether a tensor has numbers: those of a transform of ``torch.func`` that has ended do not."""
    try:
        tensor.detach().flatten()[:1].tolist()
    except RuntimeError:
        return False
    return True


def same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal up to rounding."""
    if one.shape != other.shape:
        return False
    eps = max(rounding_error(each.dtype) for each in (one, other))
    scale = other.abs().max() if other.numel() else other.new_zeros(())
    return bool(((one - other).abs() <= ROUNDING * eps * scale).all())


def _extend(accessor: Any, output: Any, keys: outputs.Keys) -> Any:
    """Return the accessor of the tensor with these keys in ``output``."""
    for key in keys:
        dotted = key is not None and hasattr(output, "__dataclass_fields__") and not hasattr(output, "keys")
        accessor = Field(accessor, key, dotted)
        output = output.mean if key is None else outputs.output_fields(output)[key]
    return accessor


def _without_draws(tensor: Tensor) -> Tensor:
    return tensor.detach().squeeze(1) if tensor.ndim == 3 else tensor.detach()
