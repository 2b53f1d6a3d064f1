"""Explanations in folders, block by block: the bits of the explanation as a whole, whatever interrupts them."""

import errno
import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
import xarray
from torch import nn

import shapae
from shapae.errors import AdditivityWarning, DataError, MissingPackage, OutputError, UnknownName
from shapae.explainer.written import write
from shapae.explainer.written.blocks import ExplanationBlocks
from shapae.utils import records, resumable
from tests import cases

NAMES = [f"gene {column}" for column in range(cases.D)]
X = pd.DataFrame(cases.table(23, seed=4), [f"cell {row}" for row in range(23)], NAMES)
BACKGROUND = pd.DataFrame(cases.table(7, seed=5), columns=NAMES)
ARRAYS = ("values", "base_values", "scores", "residual", "data", "standard_errors", "background_errors", "used")
ARRAYS += ("categories",)
FORMATS = ["parquet", "zarr"]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(write, "MIN_BLOCKS", 6)
    monkeypatch.setattr(write, "MIN_ROWS", 1)


def explainer(**settings):
    return shapae.Explainer(cases.build(cases.Question), BACKGROUND, **settings)


def check_equal(got, want, rtol=0.0):
    for name in ARRAYS:
        one, other = getattr(got, name), getattr(want, name)
        if other is None:
            assert one is None
        else:
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol, err_msg=name)
    assert (got.feature_names, got.output_names) == (want.feature_names, want.output_names)
    np.testing.assert_array_equal(got.row_names, want.row_names)
    assert got.made_by.keys() == want.made_by.keys()


def in_place(folder):
    """Files of finished blocks, with what changes when they are written again."""
    files = (path for path in folder.rglob("*") if path.is_file() and "block" in path.name)
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"head": "latent"},
        {"head": "latent:1", "backend": "sampling"},
        {"backend": "sampling", "tolerance": 0.5},
        {"backend": "gradient", "groups": {"both": NAMES[:2]}},
        {"source": "latent"},
        {"backend": "coalitions"},
    ],
    ids=str,
)
def test_blocks_have_the_bits_of_the_whole(format, settings, tmp_path):
    explain = explainer(**settings)
    written = explain.write(X, tmp_path / "out", format=format)
    want = explain(X)
    assert len(written) == 6
    check_equal(written.explanation(), want, rtol=1e-13)  # products of matrices of other heights
    check_equal(shapae.read(tmp_path / "out")[2], explainer(**settings).write(X, tmp_path / "again", format=format)[2])
    np.testing.assert_array_equal(np.concatenate([each.values for each in written]), written.explanation().values)
    averages, whole = written.importance(), explain.summarize(X)
    for name in ("mean", "mean_abs", "mean_error", "mean_abs_error", "residual"):
        np.testing.assert_allclose(getattr(averages, name), getattr(whole, name), rtol=1e-10, atol=1e-14)
    assert averages.rows == len(X)


@pytest.mark.parametrize(
    "rows", [X.to_numpy(), torch.tensor(X.to_numpy()), X.reset_index(drop=True), pl.DataFrame(X), X.iloc[:1]]
)
@pytest.mark.parametrize("format", FORMATS)
def test_any_table_is_written(rows, format, tmp_path):
    explain = explainer()
    check_equal(explain.write(rows, tmp_path / "out", format=format).explanation(), explain(rows))


@pytest.mark.parametrize("format", FORMATS)
def test_active_categories_are_written(format, tmp_path):
    state = np.arange(23) % 3 * (np.arange(23) > 6)  # the first blocks have the first category only
    rows = X.assign(**{name: (state == at) * 1.0 for at, name in enumerate(NAMES[:3])})
    background = BACKGROUND.assign(**{name: [1.0 * (at == 0)] * 7 for at, name in enumerate(NAMES[:3])})
    explain = shapae.Explainer(cases.build(cases.Question), background, groups={"state": NAMES[:3], "b": NAMES[3:5]})
    written = explain.write(rows, tmp_path / "out", format=format)
    np.testing.assert_array_equal(written.explanation().categories[:, 0], state)
    check_equal(written.explanation(), explain(rows), rtol=1e-13)


@pytest.mark.parametrize("number", [0, 1], ids=["rows without a category", "rows with two"])
def test_blocks_agree_on_the_groups_of_one_hot_columns(number, tmp_path):
    """The rows of the third block can't tell by themselves."""
    state = np.arange(23) % 3
    rows = X.assign(**{name: (state == at) * 1.0 for at, name in enumerate(NAMES[:3])})
    rows.loc[rows.index[8:12], NAMES[:3]] = number
    explain = shapae.Explainer(cases.build(cases.Question), rows[:7], groups={"state": NAMES[:3], "b": NAMES[3:5]})
    written, whole = explain.write(rows, tmp_path / "out").explanation(), explain(rows)
    assert len(shapae.read(tmp_path / "out")) > 3
    assert (whole.categories is None) == (written.categories is None) == (number == 1)
    np.testing.assert_array_equal(written.categories, whole.categories)


def test_blocks_with_different_arrays_are_not_put_together(tmp_path, monkeypatch):
    written, real = explainer().write(X, tmp_path), ExplanationBlocks._read_all
    monkeypatch.setattr(
        ExplanationBlocks,
        "_read_all",
        lambda self: (
            (rows, {name: each for name, each in arrays.items() if rows.start or name != "standard_errors"}, record)
            for rows, arrays, record in real(self)
        ),
    )
    with pytest.raises(OutputError, match=r"different arrays, \['standard_errors'\] not all of them"):
        written.explanation()


def test_a_model_in_float32_has_blocks_in_float32(tmp_path):
    explain = shapae.Explainer(cases.build(cases.Question, dtype=torch.float32), BACKGROUND)
    assert explain.write(X, tmp_path).explanation().values.dtype == np.float32


@pytest.mark.parametrize(
    "index", [range(100, 123), pd.date_range("2026-01-01", periods=23), [*"abcdefghijklmnopqrstuvw"]]
)
def test_names_of_rows_are_kept(index, tmp_path):
    rows = X.set_axis(pd.Index(index))
    explain = explainer()
    names = explain.write(rows, tmp_path / "out").explanation().row_names
    want = explain(rows)
    want.save(tmp_path / "saved")
    np.testing.assert_array_equal(names, shapae.Explanation.load(tmp_path / "saved").row_names)


@pytest.mark.parametrize("format", FORMATS)
def test_interrupted_work_continues_with_other_workers(format, tmp_path, monkeypatch):
    real, calls = write.explain_rows, []

    def breaking(*arguments):
        calls.append(arguments)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(write, "explain_rows", breaking)
        with pytest.raises(KeyboardInterrupt):
            explainer().write(X, tmp_path / "out", format=format)
    unfinished, before = shapae.read(tmp_path / "out"), in_place(tmp_path / "out")
    assert len(unfinished.missing) == 3
    assert "3 of 6 blocks" in repr(unfinished)
    with pytest.raises(
        OutputError, match=r"3 of 6 blocks .* are not finished, first block-000003 with the rows 12 to 15"
    ):
        unfinished.explanation()
    written = explainer(n_jobs=2).write(X, tmp_path / "out", format=format)
    after = in_place(tmp_path / "out")
    assert {path: after[path] for path in before} == before
    check_equal(written.explanation(), explainer()(X))


@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_block_is_named_when_it_is_read_and_computed_again_when_it_is_written(format, tmp_path):
    written = explainer().write(X, tmp_path, format=format)
    damaged = max(
        (p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".json"), key=lambda p: (p.stat().st_size, p)
    )
    content = bytearray(damaged.read_bytes())
    part = slice(len(content) // 8, len(content) // 4)  # of pages: a single byte may be of a statistic that none reads
    content[part] = bytes(each ^ 4 for each in content[part])
    damaged.write_bytes(content)
    with pytest.raises(OutputError, match="block-00000. of .* is damaged"):
        written.explanation()
    check_equal(explainer().write(X, tmp_path, format=format).explanation(), explainer()(X))


def changed_weights():
    model = cases.build(cases.Question)
    with torch.no_grad():
        model.decoder[0].bias[0] += 1e-9
    return shapae.Explainer(model, BACKGROUND)


def other_activation():
    model = cases.build(cases.Question)
    model.encoder[1] = nn.LeakyReLU(0.2)
    return shapae.Explainer(model, BACKGROUND)


class Half(nn.Module):
    """A head with a setting that its name does not tell."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, autoencoder, rows):
        return self.part * autoencoder.encode(rows)[:, 0]

    def __repr__(self):
        return "Half()"


OTHERS = {
    "model": (changed_weights, X),
    "layers": (other_activation, X),
    "background": (lambda: shapae.Explainer(cases.build(cases.Question), BACKGROUND + 1e-9), X),
    "rows": (explainer, X + 1e-12),
    "row names": (explainer, X.rename(index=str.upper)),
    "head": (lambda: explainer(head="latent"), X),
    "backend": (lambda: explainer(backend="gradient"), X),
    "seed": (lambda: explainer(seed=1), X),
    "tolerance": (lambda: explainer(tolerance=0.1), X),
    "groups": (lambda: explainer(groups={"both": NAMES[:2]}), X),
    "source": (lambda: explainer(source="latent"), X),
    "features": (lambda: shapae.Explainer(cases.build(cases.Question), BACKGROUND.add_suffix("!")), X.add_suffix("!")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_blocks_of_other_work_are_refused_and_stay(name, tmp_path):
    explainer().write(X, tmp_path)
    make, rows = OTHERS[name]
    before = in_place(tmp_path)
    with pytest.raises(OutputError, match=rf"blocks of other work: .*\b{name}\b.* differs"):
        make().write(rows, tmp_path)
    assert in_place(tmp_path) == before


def test_heads_are_told_apart_by_their_scores(tmp_path):
    explainer(head=Half(0.5)).write(X, tmp_path)
    with pytest.raises(OutputError, match="scores of some rows differs"):
        explainer(head=Half(0.6)).write(X, tmp_path)


def test_another_format_is_refused(tmp_path):
    explainer().write(X, tmp_path)
    with pytest.raises(OutputError, match="format differs"):
        explainer().write(X, tmp_path, format="zarr")
    with pytest.raises(UnknownName, match="no format is called 'csv'"):
        explainer().write(X, tmp_path / "new", format="csv")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("package", ["pyarrow", "zarr"])
def test_a_missing_package_is_named_before_the_work(package, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingPackage, match=r"pip install 'shapae\[(parquet|zarr)\]'"):
        explainer().write(X, tmp_path / "out", format="parquet" if package == "pyarrow" else "zarr")
    assert not (tmp_path / "out").exists()


def test_files_of_others_are_refused_and_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        explainer().write(X, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("name", "format", "error"),
    [
        (".", "parquet", OutputError),
        ("notes.txt", "parquet", OutputError),
        ("x" * 300, "parquet", OutputError),
        ("new", "csv", UnknownName),
    ],
)
def test_refusals_come_before_the_rows_are_read(name, format, error, tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr(write, "fingerprint", lambda arrays: pytest.fail("the rows were read"))
    with pytest.raises(error):
        explainer().write(X, tmp_path / name, format=format)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_full_disk_loses_no_block(tmp_path, monkeypatch):
    real, calls = resumable.put_file, []

    def full(path, put, **settings):
        calls.append(path)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, put, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(resumable, "put_file", full)
        with pytest.raises(OutputError, match=r"No space left on device\. The finished blocks are kept"):
            explainer().write(X, tmp_path)
    assert len(shapae.read(tmp_path).missing) < 6
    assert [*tmp_path.rglob(".*")] == []
    check_equal(explainer().write(X, tmp_path).explanation(), explainer()(X))


def test_scratch_of_a_killed_process_is_deleted_and_that_of_a_living_one_stays(tmp_path):
    explainer().write(X, tmp_path)
    host = resumable.gethostname()
    dead, alive, foreign = (
        tmp_path / name for name in (f".{host}-4194305-x", f".{host}-{__import__('os').getpid()}-x", ".other-1-x")
    )
    for folder in (dead, alive, foreign):
        folder.mkdir()
    explainer().write(X, tmp_path)
    assert [path.exists() for path in (dead, alive, foreign)] == [False, True, True]


class Steep(nn.Module):
    """In float32 the values of this model overflow their own precision."""

    def forward(self, rows):
        return rows + torch.exp(20 * rows).cumsum(1).sin()


def test_values_that_do_not_add_up_are_said_once_with_their_blocks(tmp_path):
    explain = shapae.Explainer(Steep(), BACKGROUND, backend="deep")
    with pytest.warns(AdditivityWarning, match=r"in \d of 6 blocks, first in that of the rows \d+ to \d+: ") as caught:
        written = explain.write(X, tmp_path)
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]
    assert written.messages


def test_a_failing_row_is_found_by_its_position(tmp_path):
    rows = X.copy()
    rows.iloc[13] = 1e200
    with pytest.raises(shapae.errors.ShapaeError) as caught:
        explainer().write(rows, tmp_path)
    assert caught.value.__notes__ == ["this was in the rows 12 to 15"]
    assert len(shapae.read(tmp_path).missing) < 6


def test_a_later_version_is_named(tmp_path):
    explainer().write(X, tmp_path)
    entries = resumable.read_manifest(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "__version__", "9.9")
        records.write_record(tmp_path / resumable.MANIFEST, entries, format=2, files=())
    for call in (lambda: shapae.read(tmp_path), lambda: explainer().write(X, tmp_path)):
        with pytest.raises(OutputError, match=r"was written by shapae 9\.9 in format 2, .* reads format 1\. Update"):
            call()


@pytest.mark.parametrize("break_it", ["[]", "{", "{}", '{"format": 1}', '{"format": 1, "checksum": "0"}'])
def test_a_damaged_manifest_is_an_error(break_it, tmp_path):
    explainer().write(X, tmp_path)
    (tmp_path / resumable.MANIFEST).write_text(break_it)
    for call in (lambda: shapae.read(tmp_path), lambda: explainer().write(X, tmp_path)):
        with pytest.raises(OutputError, match=r"holds no blocks that can be read"):
            call()


def test_a_folder_of_other_blocks_is_an_error(tmp_path):
    resumable.Resumable(tmp_path, {}, {"parts": [1]})
    with pytest.raises(OutputError, match="other work than explanations"):
        shapae.read(tmp_path)
    with pytest.raises(OutputError, match="holds no blocks that can be read: there is no _manifest.json"):
        shapae.read(tmp_path / "nowhere")


def test_readers_of_parquet_read_all_blocks_as_one_table(tmp_path):
    explain = explainer(head="latent")
    explain.write(X, tmp_path)
    table, want = pd.read_parquet(tmp_path), explain(X)
    assert pl.read_parquet(tmp_path / "*.parquet").shape == table.shape
    assert len(table) == len(X) * len(want.output_names)
    by_row = table.set_index(["row", "output"])
    for row, output, feature in [(0, 0, 0), (22, 2, 5), (7, 1, 3)]:
        line = by_row.loc[(X.index[row], want.output_names[output])]
        assert line[f"value:{NAMES[feature]}"] == pytest.approx(want.values[row, feature, output], rel=1e-10)
        assert line[f"data:{NAMES[feature]}"] == want.data[row, feature]
        assert line["score"] == pytest.approx(want.scores[row, output], rel=1e-10)
        assert line["position"] == row


@pytest.mark.filterwarnings("ignore:.*consolidated")
def test_readers_of_zarr_read_all_blocks_as_arrays(tmp_path):
    explain = explainer(head="latent")
    explain.write(X, tmp_path, format="zarr")
    data, want = xarray.open_zarr(tmp_path / "explanation.zarr", consolidated=False), explain(X)
    assert data["values"].dims == ("row", "feature", "output")
    np.testing.assert_array_equal(data["values"], shapae.read(tmp_path).explanation().values)
    np.testing.assert_allclose(data["values"], want.values, rtol=1e-10)
    assert data.attrs == {"feature_names": NAMES, "output_names": want.output_names}


def test_the_record_says_what_was_explained(tmp_path):
    explainer().write(X, tmp_path)
    manifest = json.loads((Path(tmp_path) / resumable.MANIFEST).read_text())
    assert manifest["task"]["head"][0] == "reconstruction_error"
    assert manifest["written_by"] == shapae.__version__


def test_importances_of_other_values_are_not_merged():
    parts = [explainer().summarize(X), explainer(backend="gradient").summarize(X)]
    with pytest.raises(DataError, match="have other backend"):
        shapae.Importance.merge(*parts)
    with pytest.raises(DataError, match="have other output names"):
        parts[0].merge(explainer(head="latent").summarize(X))


@pytest.mark.parametrize("settings", [{}, {"head": "latent"}, {"backend": "sampling", "tolerance": 0.5}], ids=str)
@pytest.mark.parametrize("cuts", [[5], [1, 2, 20], [11, 12, 13, 14]], ids=str)
def test_importances_of_shards_add_up(settings, cuts):
    explain = explainer(**settings)
    parts = [explain.summarize(part) for part in np.split(X.to_numpy(), cuts)]
    merged = shapae.Importance.merge(*parts)
    values = np.concatenate([
        explain(part).values.reshape(len(part), cases.D, -1) for part in np.split(X.to_numpy(), cuts)
    ])
    np.testing.assert_allclose(merged.mean, values.mean(axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(merged.mean_abs, np.abs(values).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(merged.mean_error, values.std(axis=0, ddof=1) / np.sqrt(23), rtol=1e-9)
    residual = np.average([part.residual for part in parts], axis=0, weights=[part.rows for part in parts])
    np.testing.assert_allclose(merged.residual, residual, atol=1e-15)
    assert merged.rows == 23
    assert merged.made_by["seconds"] == pytest.approx(sum(part.made_by["seconds"] for part in parts), abs=1e-3)
    assert (merged.used is None) == (parts[0].used is None)
