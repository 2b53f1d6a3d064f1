"""Pickles of explainers, which hold also the functions and classes that no module has."""

import copy
from typing import Any, Self

import cloudpickle

from shapae.errors import OutputError
from shapae.utils.text import one_line
from shapae.utils.torch_modules import pickle_torch_modules_by_name


class Picklable:
    """Base of objects whose pickles hold lambdas, closures and the classes of a notebook, whichever pickler is used.

    Pickle takes functions and classes by their names alone, which mean nothing in another process if they are of
    ``__main__``, and which lambdas do not have. So the state is pickled by cloudpickle, which takes these by value.

    Raises:
        OutputError: Something can't be pickled, or the pickle can't be read; from ``pickle.dumps`` and ``loads``.
    """

    def __getstate__(self) -> bytes:
        pickle_torch_modules_by_name()
        try:
            state: bytes = cloudpickle.dumps(vars(self))
        except Exception as error:
            name, reason = type(self).__name__, one_line(error).rstrip(".")
            raise OutputError(
                f"the {name} holds something that can't be pickled: {reason}. Save it without pickle, by the weights "
                f"of the model and a function that makes the model: explainer.save(folder, factory='my_model:make')."
            ) from error
        return state

    def __setstate__(self, state: bytes) -> None:
        try:
            vars(self).update(cloudpickle.loads(state))
        except Exception as error:
            reason = one_line(error).rstrip(".")
            raise OutputError(
                f"the pickled {type(self).__name__} can't be read: {reason}. It needs the packages of its model, and "
                f"the versions of Python, torch and shapae that it was pickled with."
            ) from error

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = memo[id(self)] = object.__new__(type(self))
        vars(twin).update(copy.deepcopy(vars(self), memo))
        return twin
