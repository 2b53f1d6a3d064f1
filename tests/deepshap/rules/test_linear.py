"""Linear operators of a row (12,)."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from shapae.deepshap import attribute
from tests.deepshap.helpers import CUBE, KERNEL, W, assert_close, expand_rows, flat, run, square, tensor, zeros

KERNEL2, KERNEL3 = tensor(5, 8, 4).view(5, 2, 2, 2), tensor(2, 8, 5).view(2, 1, 2, 2, 2)
HERE = torch.tensor([3, 0, 0, 11, 5])
PLACES = torch.randint(0, 4, (3, 6), generator=torch.Generator().manual_seed(0))
EVEN = torch.arange(12) % 2 == 0


def image(x):
    return x.view(-1, 1, 3, 4)


def channels(x):
    return x.view(-1, 2, 2, 3)


def volume(x):
    return x.view(-1, 1, 2, 2, 3)


def written(x):
    out = torch.zeros_like(x)
    out[:, ::2] = 3 * x[:, 1::2]
    out[:, 3:5] += x[:, :2]
    return out


LINEAR = {
    "view": square,
    "reshape": lambda x: x.t().reshape(3, 4, -1).permute(2, 1, 0),
    "unflatten": lambda x: x.unflatten(1, (3, 4)),
    "permute": lambda x: square(x).permute(0, 2, 1),
    "movedim": lambda x: square(x).movedim(1, 2),
    "mT": lambda x: square(x).mT,
    "rows last": lambda x: square(x).permute(1, 2, 0).reshape(12, -1).T,
    "squeeze": lambda x: x.unsqueeze(1).squeeze(1),
    "cat": lambda x: torch.cat([x, 2 * x.flip(1), expand_rows(x, W[0])], 1),
    "hstack": lambda x: torch.hstack([x, x]),
    "column_stack": lambda x: torch.column_stack([x[:, 0], x[:, 3]]),
    "dstack": lambda x: torch.dstack([square(x), square(x)]),
    "stack": lambda x: torch.stack([x, -x], 2),
    "split": lambda x: sum(i * part for i, part in enumerate(torch.split(x, 3, 1))),
    "split by sizes": lambda x: torch.split(x, [2, 4, 6], 1)[2],
    "chunk": lambda x: torch.chunk(x, 5, 1)[1],
    "tensor_split": lambda x: torch.tensor_split(x, 5, dim=1)[0],
    "unbind": lambda x: sum(i * part for i, part in enumerate(square(x).unbind(1))),
    "unbound rows": lambda x: torch.stack([row * 2 for row in x]),
    "index": lambda x: x[:, HERE],
    "index by lists": lambda x: square(x)[:, [0, 2], [1, 3]],
    "index by a mask": lambda x: x[:, EVEN],
    "new axis": lambda x: x[:, None, HERE],
    "slice": lambda x: x[:, 1:10:3],
    "ellipsis": lambda x: x[..., -1:],
    "rows and slice": lambda x: x[torch.arange(len(x)), 3:5],
    "gather": lambda x: torch.gather(square(x), 2, expand_rows(x, PLACES)),
    "take_along_dim": lambda x: torch.take_along_dim(square(x), expand_rows(x, PLACES), 2),
    "index_select": lambda x: x.index_select(1, HERE),
    "triangle": lambda x: square(x)[:, *torch.triu_indices(3, 4)],
    "embedding": lambda x: F.embedding(HERE, x.T).T,
    "narrow": lambda x: x.narrow(1, 2, 5),
    "flip": lambda x: square(x).flip(1, 2),
    "roll": lambda x: torch.roll(square(x), (1, 2), (1, 2)),
    "rot90": lambda x: torch.rot90(square(x), 1, (1, 2)),
    "cumsum": lambda x: x.cumsum(1),
    "diff": lambda x: x.diff(n=2, dim=1),
    "trapezoid": lambda x: torch.trapezoid(x, dim=1),
    "sum": lambda x: square(x).sum(2),
    "mean": lambda x: square(x).mean((1, 2), keepdim=True),
    "mean, from the end": lambda x: square(x).mean((-1,)) - square(x).mean(-2, keepdim=True).sum(-1),
    "sum of all": lambda x: torch.stack([(row * W[0]).sum() for row in x]),
    "sum of no axes": lambda x: torch.stack([(square(row[None])[0] * CUBE[0, :3]).sum([]) for row in x]),
    "mean of None": lambda x: torch.stack([(row * W[0]).mean(None, keepdim=True) for row in x]),
    "sum of a number": lambda x: torch.stack([(3 * row[2]).sum(-1) for row in x]),
    "sum in a dtype": lambda x: x.sum(1, dtype=x.dtype) + (x * W[0]).mean(1, dtype=x.dtype),
    "differences with factors": lambda x: torch.sub(x, 2 * x.flip(1), alpha=3) + torch.add(W[0], x, alpha=-2),
    "trace": lambda x: torch.vmap(torch.trace)(square(x)),
    "pad": lambda x: F.pad(square(x), (1, 2, 0, 1), value=3.0),
    "cropped": lambda x: F.pad(x, (-1, 2)),
    **{
        f"pad, {mode}, {shape.__name__}": lambda x, mode=mode, shape=shape, sizes=sizes: F.pad(
            shape(x), sizes, mode=mode
        )
        for mode in ("reflect", "replicate", "circular")
        for shape, sizes in ((square, (2, 1)), (image, (2, 1, 1, 2)), (volume, (2, 1, 1, 1, 0, 1)))
    },
    "unfold": lambda x: F.unfold(image(x), (2, 2), dilation=1, padding=1, stride=2),
    "fold": lambda x: F.fold(x.view(-1, 4, 3), (2, 4), (2, 2)),
    "as_strided": lambda x: torch.vmap(lambda row: row.as_strided((3, 2), (2, 1)))(x),
    "linear": lambda x: F.linear(x, W, W[:, 0]),
    "matmul": lambda x: x @ W.T,
    "addmm": lambda x: torch.addmm(W[:, 0], x, W.T, beta=0.5, alpha=2.0),
    "matmul from the left": lambda x: W[:, :3] @ square(x),
    "bmm": lambda x: torch.bmm(square(x), expand_rows(x, CUBE[0])),
    "baddbmm": lambda x: torch.baddbmm(square(x)[:, :, :1], square(x), expand_rows(x, CUBE[0]), beta=2, alpha=3),
    "mv": lambda x: torch.mv(x, W[0]),
    "einsum": lambda x: torch.einsum("nij,kjl->nikl", square(x), CUBE),
    "einsum, elementwise": lambda x: torch.einsum("nij,ij->ni", square(x), CUBE[0, :3]),
    "tensordot": lambda x: torch.tensordot(square(x), CUBE, dims=([2], [1])),
    "inner": lambda x: torch.inner(x, W),
    "outer": lambda x: torch.vmap(lambda row: torch.outer(row, W[0]))(x),
    "multi_dot": lambda x: torch.linalg.multi_dot([x, W.T, W]),
    "addmv": lambda x: torch.vmap(lambda row: torch.addmv(W[:, 0], W, row))(x),
    "dot": lambda x: torch.vmap(lambda row: torch.dot(row, W[0]))(x),
    "bilinear": lambda x: F.bilinear(x, expand_rows(x, W[0, :2]), CUBE.reshape(2, 12, 2)),
    "cross": lambda x: torch.linalg.cross(x.view(-1, 4, 3), expand_rows(x, W[:4, :3])),
    "conv1d": lambda x: F.conv1d(square(x), KERNEL, KERNEL[:, 0, 0], stride=2, padding=3, dilation=2),
    "conv1d, same": lambda x: F.conv1d(square(x), KERNEL, padding="same"),
    "conv1d, groups": lambda x: F.conv1d(x.view(-1, 2, 6), KERNEL[:, :1], groups=2),
    "conv2d": lambda x: F.conv2d(channels(x), KERNEL2, padding=1),
    "conv3d": lambda x: F.conv3d(volume(x), KERNEL3),
    "conv_transpose1d": lambda x: F.conv_transpose1d(x.view(-1, 4, 3), KERNEL, stride=2, padding=1, output_padding=1),
    "conv_transpose2d": lambda x: F.conv_transpose2d(channels(x), KERNEL2[:2], stride=2),
    "conv_transpose3d": lambda x: F.conv_transpose3d(volume(x), KERNEL3[:1]),
    "circular convolution": nn.Sequential(
        nn.Unflatten(1, (3, 4)), nn.Conv1d(3, 2, 3, padding=1, padding_mode="circular")
    ).double(),
    "avg_pool1d": lambda x: F.avg_pool1d(square(x), 3, 2, 1, True, False),
    "avg_pool2d": lambda x: F.avg_pool2d(image(x), 2, 1, 1, count_include_pad=False),
    "avg_pool2d, divisor": lambda x: F.avg_pool2d(image(x), 2, 1, divisor_override=3),
    "avg_pool3d": lambda x: F.avg_pool3d(volume(x), 2),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(square(x), 3),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(image(x), (2, 3)),
    "adaptive_avg_pool2d to one": lambda x: F.adaptive_avg_pool2d(image(x), 1),
    "adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(volume(x), (2, 1, 2)),
    **{
        f"interpolate, {mode}": lambda x, mode=mode, shape=shape, size=size: F.interpolate(shape(x), size, mode=mode)
        for mode, shape, size in (
            *(("nearest", square, 7), ("nearest-exact", square, 7), ("linear", square, 7), ("area", square, 3)),
            *(("bilinear", image, (5, 7)), ("bicubic", image, (5, 7)), ("trilinear", volume, (3, 3, 3))),
        )
    },
    "interpolate, corners": lambda x: F.interpolate(image(x), (5, 7), mode="bilinear", align_corners=True),
    "interpolate, scale": lambda x: F.interpolate(image(x), scale_factor=2),
    "grid_sample": lambda x: F.grid_sample(
        image(x), expand_rows(x, CUBE[:1, :3, :2].tanh()), align_corners=False, padding_mode="border"
    ),
    "tril": lambda x: square(x).tril() + 2 * square(x).triu(1),
    "diagonal": lambda x: square(x).diagonal(dim1=1, dim2=2),
    "diag_embed": lambda x: torch.diag_embed(square(x)),
    "block_diag": lambda x: torch.vmap(lambda row: torch.block_diag(row.view(3, 4), row.view(4, 3)))(x),
    "scatter": lambda x: zeros(x, 20).scatter(1, expand_rows(x, torch.arange(12) + 3), x),
    "scatter into a row": lambda x: x.scatter(1, expand_rows(x, HERE[1:]), 7.0),
    "scatter_add": lambda x: zeros(x, 20).scatter_add(1, expand_rows(x, torch.arange(12) // 2), x),
    "index_add": lambda x: zeros(x, 5).index_add(1, torch.arange(12) % 5, x, alpha=2),
    "index_copy": lambda x: x.index_copy(1, torch.tensor([2, 5]), x[:, :2]),
    "index_put": lambda x: torch.zeros_like(x).index_put(
        (torch.arange(len(x))[:, None], HERE[None]), x[:, :5], accumulate=True
    ),
    "index_fill": lambda x: x.index_fill(1, HERE, 4.0),
    "masked_fill": lambda x: x.masked_fill(EVEN, -5.0),
    "where": lambda x: torch.where(EVEN, x, 2 * x),
    "written": written,
    "select_scatter": lambda x: torch.select_scatter(square(x), x[:, :4], 1, 1),
    "slice_scatter": lambda x: torch.slice_scatter(x, x[:, :3] * 2, 1, 2, 5),
    "diagonal_scatter": lambda x: torch.diagonal_scatter(square(x), x[:, :3], 0, 1, 2),
    "repeat": lambda x: x.repeat(1, 2),
    "tile": lambda x: x.tile(2),
    "repeat_interleave": lambda x: x.repeat_interleave(torch.arange(12) % 3, 1),
    "expand": lambda x: x.unsqueeze(1).expand(-1, 3, -1),
    "broadcast": lambda x: x.unsqueeze(1) + torch.zeros(3, 1, dtype=x.dtype),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x.view(-1, 4, 1, 3), 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x.view(-1, 1, 2, 6), 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x.view(-1, 4, 3), 2),
    "arithmetic": lambda x: torch.sub(1 - 3 * x, x.flip(1) / 7, alpha=3),
    "lerp": lambda x: torch.lerp(x, x.flip(1), torch.linspace(0, 1, 12, dtype=x.dtype)),
    "mask as a factor": lambda x: x * EVEN,
    "batch norm": nn.Sequential(nn.Unflatten(1, (3, 4)), nn.BatchNorm1d(3)).double().eval(),
    "batch norm as a function": lambda x: F.batch_norm(x, W[0], W[1] ** 2, W[2], W[3]),
    "dropout": nn.Dropout().eval(),
    "clone": lambda x: x.clone().contiguous(),
    "meshgrid": lambda x: torch.vmap(lambda row: torch.stack(torch.meshgrid(row[:3], row[3:6], indexing="ij")))(x),
}


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_operator_has_the_values_of_its_jacobian(name):
    function, x, b = flat(LINEAR[name]), tensor(4, 12, 6), tensor(5, 12, 7)
    jacobian = torch.func.jacrev(lambda row: function(row[None])[0])(x[0]).detach()
    assert_close(run(function, x) - run(function, b).mean(0), (x - b.mean(0)) @ jacobian.T)
    assert_close(attribute(function, x, b), jacobian.T * (x - b.mean(0))[:, :, None])
