"""Groups of features as players of a game."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.errors import DataError
from shapae.utils.text import enumerate_names

Groups = Mapping[str, Sequence[str]]


@dataclass(frozen=True, eq=False)
class Players:
    """Groups and the features that are in none of them, the groups first.

    Attributes:
        names: p unique names.
        members: (2, m), for each member of a player its feature and the player.
    """

    names: list[str]
    members: NDArray[Any]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def positions(self) -> tuple[tuple[int, ...], ...]:
        """For each player the positions of its features."""
        features, of = self.members
        return tuple(tuple(features[of == player].tolist()) for player in range(len(self)))

    def player_of_feature(self) -> Tensor:
        """(d,): the player of each feature, where each has one."""
        return torch.from_numpy(self.members[1, np.argsort(self.members[0])])

    def sums(self, values: NDArray[Any], axis: int = 1) -> NDArray[Any]:
        """Sums over the features of each player, along ``axis``: d becomes p."""
        parts = torch.from_numpy(np.take(values, self.members[0], axis))
        shape = [*values.shape[:axis], len(self), *values.shape[axis + 1 :]]
        return parts.new_zeros(shape).index_add_(axis, torch.tensor(self.members[1]), parts).numpy()

    def means(self, data: NDArray[Any], axis: int = 1) -> NDArray[Any]:
        """Means over the features of each player, along ``axis``: d becomes p."""
        sizes = np.bincount(self.members[1], minlength=len(self)).astype(data.dtype)
        sizes = sizes.reshape(-1, *[1] * (data.ndim - 1 - axis))
        return np.asarray(self.sums(data, axis) / sizes)


def players(groups: Groups, features: Sequence[str], *, disjoint: bool) -> Players:
    """The players of ``features``: the groups, and the features that are in none of them.

    Args:
        groups: From names to names of features.
        features: d unique names.
        disjoint: No feature may be in two groups.

    Raises:
        DataError: A group is empty, or names a feature twice or one that is not there; or groups overlap.
    """
    _check_groups(groups, set(features))
    if disjoint:
        _check_overlap(groups)
    grouped = {member for members in groups.values() for member in members}
    alone = [feature for feature in features if feature not in grouped]
    names = [*map(str, groups), *alone]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"groups must have other names than the features outside of them, and than each other; rename "
            f"{enumerate_names(twice, 'group')}."
        )
    place = {feature: at for at, feature in enumerate(features)}
    parts = [*groups.values(), *([feature] for feature in alone)]
    pairs = [(place[member], player) for player, members in enumerate(parts) for member in members]
    return Players(names, np.array(pairs).T.copy())


def _check_groups(groups: Groups, features: set[str]) -> None:
    if not isinstance(groups, Mapping):
        raise DataError(
            f"groups must be a dict from names to lists of features, got {type(groups).__name__}; "
            f"write {{'colour': ['colour_red', 'colour_blue']}}."
        )
    for name, members in groups.items():
        if isinstance(members, str) or not len(members):
            raise DataError(f"the group {name!r} must be a list of one feature or more, got {members!r}.")
        if len({*members}) < len(members):
            raise DataError(f"the group {name!r} names a feature twice: {list(members)}.")
    unknown = [
        f"{member} (in {name})" for name, members in groups.items() for member in members if member not in features
    ]
    if unknown:
        raise DataError(f"groups name features that are not there: {', '.join(unknown)}.")


def _check_overlap(groups: Groups) -> None:
    of = defaultdict(list)
    for name, members in groups.items():
        for member in members:
            of[member].append(str(name))
    shared = [f"{member} (in {' and '.join(names)})" for member, names in of.items() if len(names) > 1]
    if shared:
        raise DataError(
            f"a feature can be in one player only, but groups share {enumerate_names(shared, 'feature')}; take "
            f"features out, or "
            f"add up values that may be counted twice, with explanation.grouped(groups)."
        )
