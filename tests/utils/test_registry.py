"""Registries."""

import pytest

from shapae.errors import UnknownName
from shapae.utils.registry import ModuleRegistry, Registry


def test_a_name_is_registered_once():
    colours = Registry("colour")
    assert colours.register("red")(1) == 1
    with pytest.raises(ValueError, match=r"colour 'red' is already taken by 1\. Choose another name\."):
        colours.register("red")
    assert dict(colours) == {"red": 1}
    assert len(colours) == 1


def test_an_unknown_name_is_an_error_that_lists_the_known_names():
    colours = Registry("colour")
    colours.register("red")(1)
    with pytest.raises(UnknownName, match="no colour is called 'rad'; there are: red"):
        colours["rad"]
    assert "rad" not in colours
    assert not hasattr(colours, "__setitem__")


def test_modules_are_entries_and_private_modules_are_not(tmp_path, monkeypatch):
    package = tmp_path / "shelf"
    package.mkdir()
    for name in ("__init__", "_private", "one", "two"):
        (package / f"{name}.py").write_text("name = __name__" if name != "two" else "raise ImportError('an extra')")
    monkeypatch.syspath_prepend(tmp_path)
    shelf = ModuleRegistry("book", "shelf", [str(package)])
    assert list(shelf) == ["one", "two"]
    assert len(shelf) == 2
    assert shelf["one"].name == "shelf.one"
    with pytest.raises(ImportError, match="an extra"):  # not before the first access
        shelf["two"]
    for unknown in ("three", "_private"):
        with pytest.raises(UnknownName, match=f"no book is called '{unknown}'; there are: one, two"):
            shelf[unknown]
