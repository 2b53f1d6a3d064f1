"""Models loaded from files, and files that can not be loaded."""

import pickle
import sys
from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from shapae import Autoencoder
from shapae.errors import ModelError, OutputError
from shapae.models import files


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder with a module `genes_model` with a factory, importable."""
    (tmp_path / "genes_model.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 3))\n"
        "def number():\n"
        "    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("genes_model", None)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 3))


@pytest.mark.parametrize("ending", ["safetensors", "pt", "ckpt"])
def test_a_model_is_loaded_with_its_weights(package, ending):
    saved, path = net(), package / f"weights.{ending}"
    if ending == "safetensors":
        save_file(saved.state_dict(), path)
    else:
        torch.save(saved.state_dict() if ending == "pt" else {"state_dict": saved.state_dict(), "epoch": 3}, path)
    model = files.load_model("genes_model:build", path)
    rows = torch.randn(4, 3)
    torch.testing.assert_close(model(rows), saved(rows), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        (
            "nowhere:build",
            r"can't find 'nowhere:build': No module named 'nowhere'\. A factory is given as package\.module:factory",
        ),
        ("genes_model:nothing", r"can't find 'genes_model:nothing': module 'genes_model' has no attribute 'nothing'"),
        ("genes_model", r"can't find 'genes_model'"),
        ("", r"can't find ''"),
        ("genes_model:number", r"genes_model:number must return a torch\.nn\.Module, got int"),
    ],
)
def test_the_error_for_a_missing_factory_names_it(package, factory, text):
    with pytest.raises(ModelError, match=text):
        files.load_model(factory, package / "weights.pt")


def test_the_error_for_a_pickled_model_names_the_code_that_loading_would_run(package):
    torch.save(net(), package / "whole.pt")
    with pytest.raises(
        ModelError, match=r"would run torch\.nn\.modules\.\S+.*torch\.save\(model\.state_dict\(\)"
    ) as caught:
        files.load_model("genes_model:build", package / "whole.pt")
    assert "\n" not in str(caught.value)


def test_a_pickle_in_place_of_weights_is_an_error_without_a_warning_of_torch(package, recwarn):
    """Such as a scaler that joblib wrote: torch would ask for a fault to be reported."""
    (package / "scaler.joblib").write_bytes(pickle.dumps({"mean": [1.0]}, protocol=4))
    with pytest.raises(ModelError, match=r"can't read the weights in .*scaler\.joblib: it is damaged, or no file of"):
        files.load_model("genes_model:build", package / "scaler.joblib")
    assert not recwarn.list


def test_weights_of_another_model_are_an_error(package):
    torch.save(nn.Linear(3, 3).state_dict(), package / "other.pt")
    with pytest.raises(ModelError, match=r"without entries 0\.weight, .* and with unexpected entries weight, bias"):
        files.load_model("genes_model:build", package / "other.pt")
    torch.save(nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3)).state_dict(), package / "wide.pt")
    with pytest.raises(ModelError, match=r"do not fit the model of genes_model:build, by their shapes: .*0\.weight"):
        files.load_model("genes_model:build", package / "wide.pt")


@pytest.mark.parametrize("name", ["missing.pt", "missing.safetensors", "garbage.safetensors", "garbage.pt", "list.pt"])
def test_unreadable_weights_are_an_error(package, name):
    (package / f"garbage.{name.split('.')[1]}").write_bytes(b"no weights at all")
    torch.save([torch.zeros(3)], package / "list.pt")
    with pytest.raises(ModelError, match=name):
        files.load_model("genes_model:build", package / name)


WRAPPED = (
    "import shapae\n"
    "from genes_model import build\n"
    "def wrapped():\n"
    "    return shapae.Autoencoder(build(), preprocess=([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]))\n"
    "def broken():\n"
    "    raise OSError('no disk')\n"
)


@pytest.fixture
def wrapping(package):
    """The same folder, with a factory that wraps the model."""
    (package / "wrapping_model.py").write_text(WRAPPED)
    yield package
    sys.modules.pop("wrapping_model", None)


@pytest.mark.parametrize("whole", [False, True])
def test_a_wrapped_model_loads_its_own_weights_and_those_of_its_wrapper(wrapping, whole):
    saved = Autoencoder(net(), preprocess=([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]))
    torch.save((saved if whole else saved.model).state_dict(), wrapping / "weights.pt")
    model = files.load_model("wrapping_model:wrapped", wrapping / "weights.pt")
    rows = torch.randn(4, 3)
    torch.testing.assert_close(model(rows), saved(rows), rtol=0, atol=0)


def test_weights_of_another_model_are_an_error_for_a_wrapped_model_too(wrapping):
    torch.save(nn.Linear(3, 3).state_dict(), wrapping / "other.pt")
    with pytest.raises(ModelError, match=r"without entries 0\.weight, .* and with unexpected entries weight, bias"):
        files.load_model("wrapping_model:wrapped", wrapping / "other.pt")


def test_the_error_of_a_factory_that_fails_names_it(wrapping):
    with pytest.raises(
        ModelError, match=r"wrapping_model:broken can't be called without arguments: OSError: no disk\."
    ):
        files.make_model("wrapping_model:broken")
    (wrapping / "half_model.py").write_text("def build(:")
    with pytest.raises(ModelError, match=r"half_model can't be imported: SyntaxError: "):
        files.make_model("half_model:build")


def test_a_factory_has_a_name_if_it_can_be_imported_by_it(monkeypatch):
    assert files.name_factory(nn.Linear) == "torch.nn.modules.linear:Linear"
    assert files.name_factory(nn.Linear.extra_repr) == "torch.nn.modules.linear:Linear.extra_repr"
    for factory in (net, lambda: net(), partial(nn.Linear, 3, 3), nn.Linear(3, 3).extra_repr):
        monkeypatch.setattr(sys.modules[__name__], "net", None)
        with pytest.raises(ModelError, match=r"no other process can import .*Move it into a module"):
            files.name_factory(factory)


def test_tensors_of_a_state_are_written_each_for_itself(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    state = {"whole": base, "again": base, "turned": base.t(), "part": base[:, ::2], "expanded": base[0].expand(2, 4)}
    state |= {
        "half": base.bfloat16(),
        "count": torch.tensor(3),
        "flag": torch.tensor([True]),
        "none": torch.empty(0, 3),
    }
    files.write_state(state, tmp_path / "state.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "state.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
    read = files.read_state(tmp_path / "state.safetensors")
    assert read.keys() == state.keys()
    for name, each in state.items():
        assert read[name].dtype == each.dtype
        assert torch.equal(read[name], each)


@pytest.mark.parametrize(
    ("each", "text"),
    [
        ({"epoch": 3}, r"entry extra \(dict\)"),
        (torch.eye(2).to_sparse(), "sparse_coo"),
        (torch.ones(2, dtype=torch.complex64), "complex64"),
        (torch.empty(2, device="meta"), "on the device meta"),
    ],
)
def test_what_is_no_dense_tensor_is_refused(each, text, tmp_path):
    with pytest.raises(OutputError, match=f"only dense tensors can be saved, .*{text}"):
        files.write_state({"weight": torch.ones(2), "extra": each}, tmp_path / "state.safetensors")
    assert not [*tmp_path.iterdir()]


def test_a_model_takes_the_dtypes_of_its_weights():
    model, weights = net(), net().double().state_dict()
    model.register_buffer("outside", torch.ones(2), persistent=False)
    model.register_buffer("count", torch.tensor(3))
    files.match_dtypes(model, weights)
    assert {each.dtype for each in model.parameters()} == {torch.float64}
    assert (model.outside.dtype, model.count.dtype) == (torch.float64, torch.int64)


def test_dtypes_of_some_weights_change_these_alone():
    model, weights = net(), net().state_dict()
    model.register_buffer("outside", torch.ones(2), persistent=False)
    weights["0.bias"] = weights["0.bias"].double()
    files.match_dtypes(model, weights)
    assert (model[0].bias.dtype, model[0].weight.dtype, model.outside.dtype) == (
        torch.float64,
        torch.float32,
        torch.float32,
    )
