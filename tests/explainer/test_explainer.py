"""The Explainer: its inputs, and its record."""

import numpy as np
import pandas as pd
import pytest
import torch

from shapae import Explainer, backends
from shapae.errors import DataError
from tests import cases

NAMES = list("abcdef")
every_backend = pytest.mark.parametrize("backend", backends.names())


def named(table):
    return pd.DataFrame(table, columns=NAMES)


def polars_frame(table):
    return pytest.importorskip("polars").DataFrame(table, schema=NAMES)


def read_only(table):
    table = table.copy()
    table.flags.writeable = False
    return table


TABLES = {
    "read-only": read_only,
    "reversed": lambda table: table[::-1].copy()[::-1],
    "Fortran": np.asfortranarray,
    "lists": np.ndarray.tolist,
    "tensor": lambda table: torch.tensor(table, requires_grad=True),
    "pandas": named,
    "polars": polars_frame,
}


@pytest.mark.parametrize("kind", TABLES)
def test_any_kind_of_table_is_explained_and_left_as_it_was(kind, model, rows, background):
    given = TABLES[kind](background), TABLES[kind](rows)
    got = Explainer(model, given[0], backend="exact")(given[1])
    np.testing.assert_array_equal(got.values, Explainer(model, background, backend="exact")(rows).values)
    np.testing.assert_array_equal(got.data, rows)
    got.data[:] = 0  # nobody else's memory
    got.values[:] = 0
    for table, want in zip(given, (background, rows), strict=True):
        np.testing.assert_array_equal(table.detach() if isinstance(table, torch.Tensor) else table, want)


@every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("given", [np.float32, np.float64, np.int8, bool])
def test_everything_comes_out_in_the_dtype_of_the_model(backend, dtype, given, rows, background):
    got = Explainer(cases.build(cases.Question, dtype=dtype), background, backend=backend)((3 * rows).astype(given))
    kinds = {getattr(got, name).dtype for name in ("values", "base_values", "data", "scores", "residual")}
    assert kinds == {np.dtype(str(dtype).removeprefix("torch."))}
    np.testing.assert_array_equal(got.data, (3 * rows).astype(given).astype(got.data.dtype))


def test_float64_tensors_are_explained_with_a_float32_model(rows, background):
    model = cases.build(cases.Question, dtype=torch.float32)
    got = Explainer(model, torch.tensor(background))(torch.tensor(rows, requires_grad=True))
    np.testing.assert_allclose(got.residual, 0, atol=1e-6)


@pytest.mark.parametrize("who", ["background", "rows", "both", "argument", "nobody"])
def test_names_come_from_whoever_has_them(who, model, rows, background):
    explainer = Explainer(
        model,
        named(background) if who in {"background", "both"} else background,
        head="reconstruction",
        feature_names=NAMES if who == "argument" else None,
    )
    got = explainer(named(rows) if who in {"rows", "both"} else rows)
    want = NAMES if who != "nobody" else [f"feature {j}" for j in range(6)]
    assert list(got.feature_names) == list(got.output_names) == want


TAKEN = {"names": named, "no names": np.asarray}


@pytest.mark.parametrize("rows_have", TAKEN)
@pytest.mark.parametrize("background_has", TAKEN)
def test_rows_of_another_width_are_refused(rows_have, background_has, model, background):
    explainer = Explainer(model, TAKEN[background_has](background))
    narrow = TAKEN[rows_have](cases.table(3))
    narrow = narrow.iloc[:, :5] if rows_have == "names" else narrow[:, :5]
    with pytest.raises(DataError, match="got 5 columns in the rows, expected 6|without column f"):
        explainer(narrow)


def test_columns_in_another_order_are_refused_and_the_message_mends_it(model, rows, background):
    explainer = Explainer(model, named(background))
    X = named(rows)[list("fbcdea")]
    with pytest.raises(
        DataError, match=r"another order than expected \(columns f, a moved\)\. Select them as X\[explainer.feature_na"
    ):
        explainer(X)
    np.testing.assert_array_equal(explainer(X[explainer.feature_names]).values, explainer(rows).values)


@pytest.mark.parametrize("what", ["rows", "background"])
def test_nan_is_refused_in_both_tables(what, model, rows, background):
    bad = {"rows": rows, "background": background}
    bad[what][2, 4] = np.nan
    with pytest.raises(DataError, match=f"the {what} .*NaN or infinite, in row 2 and column e"):
        Explainer(model, named(bad["background"]))(named(bad["rows"]))


def test_it_is_recorded_how_the_values_were_made(model, rows, background):
    made_by = Explainer(model, background, head="latent:2", backend="shap_gradient", seed=7)(rows).made_by
    assert {name: made_by[name] for name in ("head", "backend", "b", "seed")} == {
        "head": "latent:2",
        "backend": "shap_gradient",
        "b": 7,
        "seed": 7,
    }
    assert made_by["seconds"] > 0
    assert {"shapae", "torch", "shap", "numpy", "python"} <= {*made_by["versions"]}


@pytest.mark.parametrize("progress", [True, False, None])
def test_progress_is_shown_to_who_wants_it(progress, model, rows, background, capsys):
    Explainer(model, background, progress=progress)(rows)
    assert ("explaining" in capsys.readouterr().err) == (progress is True)


def test_the_default_backend_is_additive(model, background):
    assert backends.named(Explainer(model, background).backend).additive


@pytest.mark.parametrize(
    ("groups", "line"),
    [
        ({"kind": ["a", "c"], "day": ["b", "d"]}, "groups kind, day, and 2 single features"),
        ({"all": NAMES}, "group all"),
        ({"some": NAMES[:5]}, "group some, and 1 single feature"),
        ({f"g{place}": [name] for place, name in enumerate(NAMES)}, "groups g0, g1, g2, g3, g4, g5"),
    ],
)
@pytest.mark.parametrize("backend", ["deep", "sampling"])
def test_the_text_form_names_the_groups(backend, groups, line, model, background):
    assert repr(Explainer(model, named(background), groups=groups, backend=backend)).splitlines()[1] == f"  {line}"
