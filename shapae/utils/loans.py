"""State that several threads change at the same time: the first keeps it, the last one restores it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any
from weakref import ref

Keep = Callable[[Any], Any]
Restore = Callable[[Any, Any], None]


class Loans:
    """Objects that are lent to any number of users, in any threads.

    The state of an object is kept when its first user comes, and restored when its last user leaves. Nobody else may
    change the object meanwhile: the change would be undone.

    Args:
        keep: Function of an object that returns its state of now.
        restore: Function of an object and of its state before, which restores it. Both must be short, because other
            threads wait for them.
    """

    def __init__(self, keep: Keep, restore: Restore) -> None:
        self._keep, self._restore, self._lock = keep, restore, RLock()
        self._loans, self._alone = dict[int, _Loan](), _nobody()

    @contextmanager
    def lent(self, objects: Iterable[Any]) -> Iterator[None]:
        """Lend objects inside; the order in which they are restored is the reverse of theirs."""
        user = _User()
        try:
            with self._lock:
                self._lend(objects, user)
            yield
        finally:
            with self._lock:
                self._take_back(user)

    def _lend(self, objects: Iterable[Any], user: "_User") -> None:
        other = self._alone()
        if other is None and not self._loans:
            self._alone = ref(user)
            user.kept.extend((each, self._keep(each)) for each in objects)
            return
        if other is not None:
            self._enter(other)
        for each in objects:
            loan = self._loans.get(id(each))
            if loan is None or not loan.has_users():  # the last user was interrupted while it left
                self._loans[id(each)] = loan = _Loan(each, self._keep(each))
            user.borrow(loan)

    def _enter(self, other: "_User") -> None:
        """Enter the loans of a user that was alone, and for which there was no need of them."""
        for each, state in other.kept:
            self._loans[id(each)] = loan = _Loan(each, state)
            other.borrow(loan)
        other.kept.clear()
        self._alone = _nobody()

    def _take_back(self, user: "_User") -> None:
        if self._alone() is user:
            self._alone = _nobody()
        ended = [(loan.object, loan.state) for loan in reversed(user.loans) if self._ends(loan, user)]
        self._restore_all(ended or user.kept[::-1])

    def _ends(self, loan: "_Loan", user: "_User") -> bool:
        """End the loan if no other user is left, and return whether it has ended."""
        loan.users.remove(ref(user))
        return not loan.has_users() and self._loans.pop(id(loan.object), None) is loan

    def _restore_all(self, kept: list[tuple[Any, Any]]) -> None:
        """Restore each object, also if one of them fails."""
        for position, (each, state) in enumerate(kept):
            try:
                self._restore(each, state)
            except BaseException:
                self._restore_all(kept[position + 1 :])
                raise


class _User:
    """Somebody who has borrowed objects; a user that is gone for whatever reason has given them back.

    Attributes:
        kept: Objects with their states, as long as there was no other user.
        loans: The same objects since then.
    """

    def __init__(self) -> None:
        self.kept: list[tuple[Any, Any]] = []
        self.loans: list[_Loan] = []

    def borrow(self, loan: "_Loan") -> None:
        loan.users.append(ref(self))
        self.loans.append(loan)


class _Loan:
    """An object that is lent, with its users. It is held, so that no other object gets its id."""

    __slots__ = ("object", "state", "users")

    def __init__(self, each: Any, state: Any) -> None:
        self.object, self.state = each, state
        self.users: list[ref[_User]] = []

    def has_users(self) -> bool:
        """Return whether somebody has the object."""
        return bool(self.users) and any(each() for each in self.users)


def _nobody() -> "ref[_User]":
    """Return a reference to a user that is gone."""
    return ref(_User())
