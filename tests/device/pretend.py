# mypy: disable-error-code="no-untyped-call"
"""A pretend device: arithmetic of the CPU behind a device of another type, so that a GPU's rules hold where none is.

Its tensors are not CPU tensors to anybody who asks. While `PretendDevice` is in force, an operation that mixes both
raises, as it would on a GPU, and what would cost there is counted: kernels, copies, and every time that the host would
wait for the device.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

aten = torch.ops.aten

WITHOUT_KERNEL = {
    *("empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "_unsafe_view", "_reshape_alias"),
    *("detach", "alias", "lift_fresh", "lift", "set_", "resize_"),
}
READS = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "item"}
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}


HALF = ("linear", "mm", "addmm", "bmm", "matmul", "conv2d", "scaled_dot_product_attention")
FULL = ("layer_norm", "softmax.int", "log_softmax.int", "_softmax")
"""Operations of autocast on CUDA, as far as the networks use them."""

_REGISTERED: list[torch.library.Library] = []


class _Backend(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


@cache
def pretend_device() -> torch.device:
    """Return the device; the first call makes torch know it, for the rest of the process."""
    _setup_privateuseone_for_python_backend("pretend", backend_module=_Backend())
    _REGISTERED.append(others := torch.library.Library("_", "IMPL"))
    others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    _REGISTERED.append(library := torch.library.Library("aten", "IMPL"))
    library.impl("scaled_dot_product_attention", _fused_attention, "AutogradPrivateUse1")
    for names, full in ((HALF, False), (FULL, True)):
        for name in names:
            library.impl(name, partial(_cast, getattr(aten, name.split(".")[0]), full), "AutocastPrivateUse1")
    return torch.device("pretend", 0)


def _cast(operation: Any, full: bool, *args: Any, **kwargs: Any) -> Any:
    """Do what CUDA's autocast does: some operations get half precision, some float32."""
    dtype = torch.float32 if full else torch.get_autocast_dtype("pretend")
    cast = [value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value for value in args]
    with torch._C._ExcludeDispatchKeyGuard(
        torch._C.DispatchKeySet(torch._C._dispatch_key_parse("AutocastPrivateUse1"))
    ):
        return operation(*cast, **kwargs)


def _fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Take the one kernel for attention, as a GPU would."""
    assert not dropout
    assert not enable_gqa
    found: Tensor = aten._scaled_dot_product_fused_attention_overrideable(
        query, key, value, mask, 0.0, causal, False, scale=scale
    )[0]
    return found


class DeviceTensor(Tensor):
    """A tensor on the device; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "DeviceTensor":
        made: DeviceTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=pretend_device(),
        )
        made.held = held
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"DeviceTensor({self.held!r})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _compute(func, args, kwargs or {}, Counter())


class _FromData(TorchFunctionMode):
    """Make `torch.tensor(..., device=)` the copy from the host that it is: it hides from a dispatch mode."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and device is not None:
            made = func(*args, **{name: value for name, value in kwargs.items() if name != "device"})
            return made.to(device)
        return func(*args, **kwargs)


class PretendDevice(TorchDispatchMode):
    """Counts, inside a `with` block, what is asked of the device.

    Attributes:
        kernels: By the operation that starts them.
        copies: From the host, by operation; those that the host waits for stand in `waits` as well.
        waits: By the operation that makes the host wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.device = pretend_device()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._from_data = _FromData()

    def __enter__(self) -> "PretendDevice":
        self._from_data.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._from_data.__exit__(*raised)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _compute(func, args, kwargs or {}, self._counts)

    def forget(self) -> None:
        """Start counting again."""
        self._counts.clear()

    def _of(self, kind: str) -> Counter[str]:
        return Counter({name: count for (what, name), count in self._counts.items() if what == kind})

    @property
    def kernels(self) -> Counter[str]:
        return self._of("kernel")

    @property
    def copies(self) -> Counter[str]:
        return self._of("copy")

    @property
    def waits(self) -> Counter[str]:
        return self._of("wait")


def _compute(func: Any, args: Sequence[Any], kwargs: dict[str, Any], counts: Counter[tuple[str, str]]) -> Any:
    """Run an operation on the values behind its tensors, and count it if it belongs to the device."""
    flat = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    there = [value for value in flat if isinstance(value, DeviceTensor)]
    here = [value for value in flat if not isinstance(value, DeviceTensor)]
    wanted = kwargs.get("device")
    to_device = wanted is not None and torch.device(wanted).type == pretend_device().type
    if not there and not to_device:
        return func(*args, **kwargs)
    name = func.overloadpacket.__name__
    _count(name, func, args, kwargs, there, here, counts)
    held = tree_map(lambda value: value.held if isinstance(value, DeviceTensor) else value, (args, kwargs))
    options = held[1] | ({"device": torch.device("cpu")} if wanted is not None else {})
    options.pop("pin_memory", None)
    found = OWN.get(name, func)(*held[0], **options)
    leaves = wanted is not None and not to_device
    if leaves or name in ("_local_scalar_dense", "equal", "is_nonzero"):
        return found.clone() if leaves and any(found is value.held for value in there) else found
    wrapped = tree_map(lambda value: DeviceTensor(value) if isinstance(value, Tensor) else value, found)
    if not there:
        return wrapped
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


def _count(
    name: str,
    func: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    there: list[DeviceTensor],
    here: list[Tensor],
    counts: Counter[tuple[str, str]],
) -> None:
    """Count one operation, or raise where a GPU would refuse it."""
    moves = name in ("_to_copy", "copy_") and (bool(here) or (kwargs.get("device") and there and not _stays(kwargs)))
    if moves or (name in INDEXED and here):
        counts["copy", name] += 1
        waits = name in INDEXED or not (kwargs.get("non_blocking") or (name == "copy_" and args[2:] and args[2]))
        if waits:
            counts["wait", name] += 1
    elif any(value.dim() for value in here) and there:
        raise RuntimeError(f"Expected all tensors to be on the same device: {name} got some on the CPU")
    if name in READS or (name in INDEXED and _masked(args)):
        counts["wait", name] += 1
    if not func.is_view and name not in WITHOUT_KERNEL and not moves:
        counts["kernel", name] += _launches(name, args)


def _stays(kwargs: dict[str, Any]) -> bool:
    return torch.device(kwargs["device"]).type == pretend_device().type


def _masked(args: Sequence[Any]) -> bool:
    """Say whether an index is a mask: how many rows it takes, only the device knows."""
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])


def _launches(name: str, args: Sequence[Any]) -> int:
    """Count one for a list of tensors where CUDA takes them together: the lists have to agree in sizes and strides."""
    lists = [value for value in args if isinstance(value, (list, tuple)) and value and isinstance(value[0], Tensor)]
    if not name.startswith("_foreach") or not lists:
        return 1
    same = all(
        one.shape == other.shape and one.stride() == other.stride()
        for others in lists[1:]
        for one, other in zip(lists[0], others, strict=True)
    )
    return 1 if same else len(lists[0])


def _attention(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> tuple[Any, ...]:
    """Stand in for the one kernel of a GPU: output, log-sum-exp, and what the backward pass asks for beside them."""
    bias, causal = (rest[0] if rest else None), bool(rest[3]) if len(rest) > 3 else False
    out, logsumexp = aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, is_causal=causal, attn_mask=bias, scale=options.get("scale")
    )
    seed, none = torch.zeros((), dtype=torch.int64), torch.empty(0)
    return out, logsumexp, none, none, query.shape[2], key.shape[2], seed, seed.clone(), none


def _attention_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    wanted: Any,
    out: Tensor,
    lse: Tensor,
    *_: Any,
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor, None]:
    grads = aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad, query, key, value, out, lse, 0.0, False, scale=options.get("scale")
    )
    return (*grads, None)


OWN: dict[str, Callable[..., Any]] = {
    "_scaled_dot_product_fused_attention_overrideable": _attention,
    "_scaled_dot_product_fused_attention_overrideable_backward": _attention_backward,
}
