"""Results that are computed once for a score and its background, and kept between calls while neither changes."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shapae.utils.reachable import reachable

if TYPE_CHECKING:
    from shapae.deepshap.recording import Recording

R = TypeVar("R", bound="Recording")


class Kept:
    """Results of earlier calls. Copies, and what is sent to other processes, begin without any.

    Attributes:
        from_earlier_call: Whether an earlier call has left something here.
        is_doubtful: Whether values did not add up that were computed with it.
    """

    def __init__(self) -> None:
        self.from_earlier_call = self.is_doubtful = False
        self._recordings: list[Recording] = []
        self._used: list[Recording] = []
        self._row_bytes: int | None = None
        self._background_scores: NDArray[Any] | None = None

    def __reduce__(self) -> Any:
        return Kept, ()

    def recording(self, new: R) -> R:
        """Return the kept recording of the same function and background, or else keep ``new``."""
        found = next((each for each in self._recordings if type(each) is type(new) and _is_same(each, new)), None)
        recording = new if found is None else found
        self._recordings += [new] if found is None else []
        self._used.append(recording)
        return recording

    def end_call(self) -> None:
        """Drop the recordings that this call has not used, if it has used others: nothing piles up."""
        used = {id(each) for each in self._used}
        self._recordings = [each for each in self._recordings if id(each) in used or not used]
        self._used = []

    def row_bytes(self, measure: Callable[[], int]) -> int:
        """Return the bytes that the score takes for each row, which are measured once."""
        if self._row_bytes is None:
            self._row_bytes = measure()
        return self._row_bytes

    def check_scores(self, scores: NDArray[Any]) -> None:
        """Drop all recordings if the scores of the background, (b, k), are not to the last bit those of before.

        They tell a change that no comparison of the model has seen.
        """
        before = self._background_scores
        if before is None or before.shape != scores.shape or before.tobytes() != scores.tobytes():
            self.clear()
        self._background_scores = np.array(scores)

    def clear(self) -> None:
        """Drop everything."""
        self.__init__()  # type: ignore[misc]

    def nbytes(self, score: Any) -> int:
        """Count the bytes of all tensors that are kept, beside those of the score."""
        own = _storages(score)
        return sum(size for place, size in _storages(self._recordings).items() if place not in own)


def _is_same(recording: "Recording", other: "Recording") -> bool:
    tables, others = ([each.background, *each.anchors] for each in (recording, other))
    pairs = zip([*tables, recording.weights], [*others, other.weights], strict=False)
    same_tables = len(tables) == len(others) and all(a is b or _is_equal(a, b) for a, b in pairs)
    return same_tables and _is_same_function(recording.function, other.function)


def _is_equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.dtype == b.dtype and torch.equal(a, b)


def _is_same_function(function: Any, other: Any) -> bool:
    """Return whether two functions are one, or modules with the same parts, such as ``Score.per_sample`` makes."""
    if function is other:
        return True
    if type(function) is not type(other) or not isinstance(function, nn.Module):
        return False
    parts, others = vars(function), vars(other)
    return parts.keys() == others.keys() and all(_is_same_part(parts[name], others[name]) for name in parts)


def _is_same_part(part: Any, other: Any) -> bool:
    """Return whether two attributes of modules are one, or dicts of the same objects, or empty sets."""
    if isinstance(part, dict) and isinstance(other, dict):
        return part.keys() == other.keys() and all(_is_same_function(part[key], other[key]) for key in part)
    return part is other or (isinstance(part, set) and part == other == set())


def _storages(root: Any) -> dict[int, int]:
    """Find the memory that tensors take, by its place."""
    places = {}
    for each in reachable(root):
        if isinstance(each, Tensor) and each.layout == torch.strided:
            with suppress(RuntimeError):  # it has no numbers: a model that keeps results is traced by another thread
                storage = each.untyped_storage()
                places[storage.data_ptr()] = storage.nbytes()
    return places
