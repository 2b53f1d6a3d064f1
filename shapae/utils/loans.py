"""State that several threads change at the same time: the first keeps it, the last one restores it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any
from weakref import ref

Restore = Callable[[], None]


class Loans:
    """Objects that are lent to any number of users, in any threads.

    The state of an object is kept when its first user comes, and restored when its last user leaves. Nobody else may
    change the object meanwhile: the change would be undone.

    Args:
        keep: Function of an object that returns a function which restores the state of now. Both must be short, because
            other threads wait for them.
    """

    def __init__(self, keep: Callable[[Any], Restore]) -> None:
        self._keep, self._lock, self._loans = keep, RLock(), dict[int, _Loan]()

    @contextmanager
    def lent(self, objects: Iterable[Any]) -> Iterator[None]:
        """Lend objects inside; the order in which they are restored is the reverse of theirs."""
        somebody, mine = _User(), list[_Loan]()
        user, loans = ref(somebody), self._loans
        try:
            with self._lock:
                for each in objects:
                    loan = loans.get(id(each))
                    if loan is None or not loan.has_users():  # the last user was interrupted while it left
                        loans[id(each)] = loan = _Loan(each, self._keep(each))
                    loan.users.append(user)
                    mine.append(loan)
            yield
        finally:
            with self._lock:
                _restore_all([loan for loan in reversed(mine) if self._ends(loan, user)])

    def _ends(self, loan: "_Loan", user: "ref[_User]") -> bool:
        """End the loan if no other user is left, and return whether it has ended."""
        loan.users.remove(user)
        return not loan.has_users() and self._loans.pop(id(loan.object), None) is loan


class _User:
    """Somebody who has borrowed objects; a user that is gone for whatever reason has given them back."""


class _Loan:
    """An object that is lent, with its users. It is held, so that no other object gets its id."""

    __slots__ = ("object", "restore", "users")

    def __init__(self, each: Any, restore: Restore) -> None:
        self.object, self.restore = each, restore
        self.users: list[ref[_User]] = []

    def has_users(self) -> bool:
        """Return whether somebody has the object."""
        return bool(self.users) and any(each() for each in self.users)


def _restore_all(loans: list[_Loan]) -> None:
    """Restore each object, also if one of them fails."""
    for position, loan in enumerate(loans):
        try:
            loan.restore()
        except BaseException:
            _restore_all(loans[position + 1 :])
            raise
