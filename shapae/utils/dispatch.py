"""The base class of dispatch modes."""

from shapae.utils.torch_private import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """Dispatch mode that does not keep torch's compiler off its operators: the compiler takes a second to import.

    Versions of torch that import nothing do not ask.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()  # type: ignore[no-untyped-call]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
