"""Relative rounding errors, of dtypes and of products that torch may compute less precisely than their dtype."""

import torch

# Relative rounding errors of the products of float32 that each precision of torch allows: by float32 itself, by
# TensorFloat-32, and by bfloat16.
PRODUCT_ERRORS = {"highest": torch.finfo(torch.float32).eps, "high": 2.0**-10, "medium": 2.0**-7}


def rounding_error(dtype: torch.dtype, *, by_cudnn: bool = False) -> float:
    """Return the relative rounding error of numbers in a dtype, and of matrix products that are computed from them.

    Nothing is set: ``torch.set_float32_matmul_precision`` and ``torch.backends.cudnn.allow_tf32`` are the user's.

    Args:
        dtype: A floating point or complex dtype.
        by_cudnn: Whether cuDNN computes some of the products: convolutions, and layers of recurrent networks.
    """
    eps = torch.finfo(dtype).eps
    if dtype != torch.float32:
        return eps
    allowed = PRODUCT_ERRORS[matmul_precision() or "high"]
    return max(eps, allowed, PRODUCT_ERRORS["high"] if by_cudnn and _cudnn_allows_tf32() else 0)


def matmul_precision() -> str | None:
    """Return the precision of matrix products in float32; None if it was set for each backend by itself."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # torch does not tell it then
        return None


def _cudnn_allows_tf32() -> bool:
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return True
