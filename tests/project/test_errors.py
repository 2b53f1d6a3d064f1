"""The tree of errors, and the one message that is written by an error itself."""

import pickle

import pytest

from shapae import errors

TREE = {
    errors.DataError: ValueError,
    errors.ModelError: ValueError,
    errors.ShapeError: errors.ModelError,
    errors.UnsupportedOperator: errors.ModelError,
    errors.UnknownName: KeyError,
    errors.TooLarge: ValueError,
    errors.OutputError: OSError,
    errors.MissingPackage: ImportError,
    errors.WrongIndex: IndexError,
    errors.WorkerError: RuntimeError,
}


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_of_shapae_and_of_the_kind_that_python_has_for_it(kind):
    assert issubclass(kind, errors.ShapaeError)
    assert issubclass(kind, TREE[kind])


def test_the_docstring_names_them_all():
    kinds = [
        name for name, each in vars(errors).items() if isinstance(each, type) and each.__module__ == errors.__name__
    ]
    assert all(name in errors.__doc__ for name in kinds)
    assert {each.__name__ for each in TREE} | {
        "ShapaeError",
        "AdditivityWarning",
        "MemoryWarning",
        "NamesWarning",
        "OutputWarning",
        "RankingWarning",
        "ReconstructionWarning",
        "ReferenceWarning",
    } == set(kinds)


def test_an_unknown_name_shows_the_nearest_first_and_twelve_at_most():
    message = str(errors.UnknownName("gene", "CD79B", [f"G{i}" for i in range(20)] + ["CD79A"]))
    assert message.startswith("no gene is called 'CD79B'; there are: CD79A, G0, ")
    assert message.endswith("G10, and 9 more.")


def test_errors_come_back_from_other_processes():
    for error in (errors.UnknownName("head", "latant", ["latent"]), errors.UnsupportedOperator(["aten.sort in Model"])):
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
