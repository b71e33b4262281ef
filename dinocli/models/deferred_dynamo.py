"""Import timm without PyTorch's compiler: `torch._dynamo` takes a quarter of the start-up, and features need none.

Two modules load it, and sympy with it, for what they do when they are called: torchvision's `roi_align`, which nothing
here uses, imports a function of it, and timm's NaFlexViT marks methods that are not to be compiled. Both get a function
that loads it when it is called. Optimizers and `torch.compile` load it as ever.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

_ROI_ALIGN, _UTILS = "torchvision.ops.roi_align", "torch._dynamo.utils"
_DECORATOR = "timm.layers.typing"


def defer_dynamo() -> None:
    """Let both modules be imported without `torch._dynamo`, from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def is_compile_supported(device_type: str) -> bool:
    """Return what the function of this name in `torch._dynamo.utils` returns."""
    return bool(import_module(_UTILS).is_compile_supported(device_type))


class _Finder:
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in (_ROI_ALIGN, _DECORATOR):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        stand_in = _StandIn(_UTILS)
        if module.__name__ == _ROI_ALIGN:
            sys.modules.setdefault(_UTILS, stand_in)
        try:
            super().exec_module(module)
        finally:
            if sys.modules.get(_UTILS) is stand_in:
                del sys.modules[_UTILS]
        if module.__name__ == _DECORATOR:
            from torch._compile import _disable_dynamo  # torch's own decorator, which loads it late

            vars(module)["disable_compiler"] = _disable_dynamo


class _StandIn(ModuleType):
    """What `roi_align` imports its function from; whatever else it may want comes from the real module."""

    def __getattr__(self, name: str) -> object:
        if name == is_compile_supported.__name__:
            return is_compile_supported
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(_UTILS) is self:
            del sys.modules[_UTILS]
        return getattr(import_module(_UTILS), name)
