"""Players of a game: groups of features, and features without a group."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shapae.errors import DataError
from shapae.utils.constraints import MEMBERS, check_argument
from shapae.utils.moments import Array
from shapae.utils.text import enumerate_names

Groups = Mapping[str, Sequence[str]]
# In place of the position of an active feature: of players that are no one-hot columns, and of rows without a 1.
NO_ONE_HOT, NO_CATEGORY = -1, -2


@dataclass(frozen=True, eq=False)
class Players:
    """Groups of features, then the features that are in no group.

    Attributes:
        names: p unique names.
        members: (2, m): pairs (feature, player), one for each feature of each player.
    """

    names: list[str]
    members: NDArray[Any]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def positions(self) -> tuple[tuple[int, ...], ...]:
        """The positions of the features of each player."""
        features, players = self.members
        return tuple(tuple(features[players == player].tolist()) for player in range(len(self)))

    def player_of_feature(self) -> Tensor:
        """(d,): the player of each feature, if no two players share a feature."""
        return torch.from_numpy(self.members[1, np.argsort(self.members[0])])

    def sums(self, values: Array, axis: int = 1) -> Array:
        """Sum over the features of each player, along ``axis``: d becomes p. Tensors stay tensors."""
        tensor = torch.as_tensor(values)
        features, players = torch.tensor(self.members, device=tensor.device)
        parts = tensor.index_select(axis, features)
        shape = [*values.shape[:axis], len(self), *values.shape[axis + 1 :]]
        sums = parts.new_zeros(shape).index_add_(axis, players, parts)
        return sums if isinstance(values, Tensor) else sums.numpy()

    def means(self, data: NDArray[Any], axis: int = 1) -> NDArray[Any]:
        """Average over the features of each player, along ``axis``: d becomes p."""
        sizes = np.bincount(self.members[1], minlength=len(self)).astype(data.dtype)
        sizes = sizes.reshape(-1, *[1] * (data.ndim - 1 - axis))
        return np.asarray(self.sums(data, axis) / sizes)

    def categories(self, data: NDArray[Any]) -> NDArray[np.intp] | None:
        """Find the active feature of players of one-hot columns: 0 and 1 only, and a single 1 at most in each row.

        Args:
            data: (n, d), or (d,).

        Returns:
            (n, p), or (p,): positions among the features of the player; NO_CATEGORY in rows that have no 1, such as
            those of a category that an encoder does not know; NO_ONE_HOT for other players. None if there are others
            only.
        """
        found = np.full((*data.shape[:-1], len(self)), NO_ONE_HOT, dtype=np.intp)
        for player, features in enumerate(self.positions):
            columns = data[..., list(features)]
            ones = (columns == 1).sum(axis=-1)
            if len(features) > 1 and ((columns == 0) | (columns == 1)).all() and ones.max() == 1:
                found[..., player] = np.where(ones == 1, columns.argmax(axis=-1), NO_CATEGORY)
        return found if (found >= 0).any() else None


def category_names(members: Sequence[str]) -> list[str]:
    """Shorten the names of one-hot columns by their common prefix, up to its last sign other than a letter or digit.

    >>> category_names(["colour_red", "colour_blue"]), category_names(["red", "rose"])
    (['red', 'blue'], ['red', 'rose'])
    """
    prefix = commonprefix([*members])
    length = max((place + 1 for place, sign in enumerate(prefix) if not sign.isalnum()), default=0)
    return [name[length:] or name for name in members]


def players(groups: Groups, features: Sequence[str], *, disjoint: bool) -> Players:
    """Make the players of ``features``: the groups, then the features that are in no group.

    Args:
        groups: Names of groups, and the names of the features of each.
        features: d unique names.
        disjoint: Whether groups must not share features.

    Raises:
        DataError: A group is empty, repeats a feature, or names an unknown feature; or groups overlap, or share a name.
    """
    _check_groups(groups, set(features))
    if disjoint:
        _check_overlap(groups)
    grouped = {member for members in groups.values() for member in members}
    ungrouped = [feature for feature in features if feature not in grouped]
    names = [*map(str, groups), *ungrouped]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"the names of groups must differ from each other and from the features outside of groups. Rename "
            f"{enumerate_names(repeated, 'group')}."
        )
    position = {feature: column for column, feature in enumerate(features)}
    members_by_player = [*groups.values(), *([feature] for feature in ungrouped)]
    pairs = [(position[member], player) for player, members in enumerate(members_by_player) for member in members]
    return Players(names, np.array(pairs).T.copy())


def _check_groups(groups: Groups, features: set[str]) -> None:
    for name, members in groups.items():
        check_argument(f"the group {name!r}", members, MEMBERS)
        if len({*members}) < len(members):
            raise DataError(f"the group {name!r} names a feature twice: {list(members)}.")
    unknown = [
        f"{member} (in {name})" for name, members in groups.items() for member in members if member not in features
    ]
    if unknown:
        raise DataError(f"groups name features that are not there: {', '.join(unknown)}.")


def _check_overlap(groups: Groups) -> None:
    groups_of_feature = defaultdict(list)
    for name, members in groups.items():
        for member in members:
            groups_of_feature[member].append(str(name))
    shared = [f"{member} (in {' and '.join(names)})" for member, names in groups_of_feature.items() if len(names) > 1]
    if shared:
        raise DataError(
            f"a feature can be in one player only, but groups share {enumerate_names(shared, 'feature')}. Remove these "
            f"features from groups, or add up their values in each group with explanation.grouped(groups)."
        )
