"""The public names and their signatures are those of ``surface.txt``: a change of the surface is a change of that file.

``python tests/project/test_surface.py > tests/project/surface.txt`` writes it anew.
"""

import inspect
from pathlib import Path

import shapae

SURFACE = Path(__file__).with_name("surface.txt")


def lines():
    """One line for each public name, with the parameters of functions and their defaults."""
    for name in sorted(shapae.__all__):
        yield from described(name, getattr(shapae, name))


def described(name, thing):
    if inspect.ismodule(thing):
        yield name
        for each in public(thing):
            yield from described(f"{name}.{each}", getattr(thing, each))
    elif inspect.isclass(thing):
        yield f"class {name}{signature(thing)}"
        for each, member in sorted(members(thing).items()):
            if callable(getattr(thing, each)) and (not each.startswith("_") or each == "__call__"):
                yield f"{name}.{each}{signature(getattr(thing, each))}"
            elif isinstance(member, property) and not each.startswith("_"):
                yield f"{name}.{each}"
            elif isinstance(member, bool | int | str) and not each.startswith("_") and each != "hint":
                yield f"{name}.{each} = {member!r}"
    elif callable(thing):
        yield f"{name}{signature(thing)}"


def members(thing):
    """Members of a class, and of the bases that only divide it over files: those of ``shapae.explainer``."""
    homes = ("shapae.explainer.in_files", "shapae.explainer.reporting")
    divided = [base for base in thing.__mro__[1:] if base.__module__ in homes]
    return {name: each for base in (*divided, thing) for name, each in vars(base).items()}


def public(module):
    """Names that a module defines itself, or lists in ``__all__``."""
    own = [name for name, each in vars(module).items() if getattr(each, "__module__", None) == module.__name__]
    return sorted(name for name in getattr(module, "__all__", own) if not name.startswith("_"))


def signature(thing):
    """The parameters, without hints."""
    try:
        taken = inspect.signature(thing).parameters.values()
    except ValueError:
        return ""
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in taken if each.name != "self"]
    return str(inspect.Signature(bare))


def test_the_surface_is_the_one_that_is_written_down():
    assert list(lines()) == SURFACE.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    print("\n".join(lines()))
