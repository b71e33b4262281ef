"""ONNX and TorchScript: a graph with two outputs, any batch, mostly any size, which is proved before it is written.

With preprocessing or a classifier (`graph_pipeline`) it is one graph from source values to features or probabilities.

Legend: B images, H W pixels, D width, h w rows and columns of the feature grid.
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinocli.errors import WeightsError
from dinocli.models.backbone import Backbone
from dinocli.models.graph_pipeline import INPUT, GraphPipeline
from dinocli.models.portable import Portable
from dinocli.models.rounding import rounding_tolerance

OPSET = 18
"""Of ONNX: what runtimes from 2023 on take."""

Compute = Callable[[Tensor], list[NDArray[np.float32]]]
"""Images to all outputs of a graph."""

_MOST_PATCHES = 1024  # along a side: 16,384 px of 16-px patches
_WAYS_OUT = "use --format timm, and tell us which model it was"


def to_onnx(
    backbone: Backbone,
    size: int,
    facts: dict[str, str],
    *,
    pipeline: GraphPipeline | None = None,
    prove: Callable[[Compute], float] | None = None,
) -> tuple[bytes, float]:
    """Return an ONNX model and its largest relative difference to the backbone.

    Args:
        backbone: In eval mode, on the CPU.
        size: Side of the images it was trained for, pixels.
        facts: Stored in `metadata_props`.
        pipeline: The whole graph, with its reading or classifier; None for the backbone alone.
        prove: Says how far such a graph is off, or raises a `WeightsError`; None compares with the backbone.

    Raises:
        WeightsError: The packages are missing, the model cannot be exported, or gives other features than ours.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise WeightsError(f"--format onnx needs {error.name}: pip install 'dinocli[onnx]'") from None
    whole = pipeline or GraphPipeline(backbone)
    with _quiet():
        try:
            program = torch.onnx.export(
                whole.eval(),
                (whole.example() if whole.before else _images(backbone, size, 2),),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes={INPUT: whole.axes() if whole.before else _dynamic(backbone)},
                input_names=[INPUT],
                output_names=whole.outputs,
                verbose=False,
            )
            assert program is not None
            proto: Any = program.model_proto
            onnx.helper.set_model_props(proto, facts)
            data: bytes = proto.SerializeToString()
        except (RuntimeError, ValueError, torch.onnx.OnnxExporterError) as error:
            raise WeightsError(f"{backbone.name} cannot be exported to ONNX ({_first(error)}); {_WAYS_OUT}") from error
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def compute(images: Tensor) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = session.run(whole.outputs, {INPUT: images.numpy()})
        return found

    return data, prove(compute) if prove else proved(compute, backbone, size)


def to_torchscript(backbone: Backbone, size: int, facts: dict[str, str]) -> tuple[bytes, float]:
    """Return a TorchScript module and its largest relative difference to the backbone.

    Args:
        backbone: In eval mode, on the CPU.
        size: Side of the images it was trained for, pixels.
        facts: Stored as extra files.

    Raises:
        WeightsError: The model cannot be traced, or gives other features than ours.
    """
    trace: Any = torch.jit.trace  # neither has types
    reload: Any = torch.jit.load
    with _quiet(), torch.no_grad():
        try:
            # Models that resample their positions themselves skip it at their own grid, and so would the trace.
            own_way = getattr(backbone.model, "dynamic_img_size", False)
            images = _images(backbone, size + backbone.patch if own_way else size, 2)
            script = trace(Portable(backbone).eval(), (images,), check_trace=False)
        except (RuntimeError, ValueError, TypeError) as error:
            raise WeightsError(f"{backbone.name} cannot be traced ({_first(error)}); {_WAYS_OUT}") from error
        file = io.BytesIO()
        torch.jit.save(script, file, _extra_files=facts)
        data = file.getvalue()
        script = reload(io.BytesIO(data))

        def compute(images: Tensor) -> list[NDArray[np.float32]]:
            return [output.numpy() for output in script(images)]

        return data, proved(compute, backbone, size)


def has_one_size(backbone: Backbone) -> bool:
    """Whether its graphs keep the size they were made with.

    TensorFlow's padding ("SAME", timm's `tf_` models) depends on the size at every layer: as a symbol it grows from
    layer to layer until the exporter never comes back.
    """
    return backbone.one_size or any(type(module).__name__.endswith("Same") for module in backbone.model.modules())


def proved(compute: Compute, backbone: Backbone, side: int) -> float:
    """Compare with our own network, on another number of images and another size than the graph was made with.

    Raises:
        WeightsError: They differ by more than rounding.
    """
    worst = 0.0
    for height, width, count in _trials(backbone, side):
        images = _images(backbone, (height, width), count)
        with torch.no_grad():
            expected = [output.numpy() for output in backbone.with_patches(images)]
        for found, wanted in zip(compute(images)[: len(expected)], expected, strict=True):
            scale = max(1.0, float(np.abs(wanted).max()))
            worst = max(worst, float(np.abs(found - wanted).max()) / scale)
    most = rounding_tolerance(backbone)
    if not worst <= most:
        raise WeightsError(
            f"the exported {backbone.name} differs from ours by {worst:.2g}, where rounding explains {most:.2g}; "
            f"{_WAYS_OUT}"
        )
    return worst


def _trials(backbone: Backbone, side: int) -> list[tuple[int, int, int]]:
    """Choose heights, widths and batches: its own size, one longer side, one longer and one shorter."""
    if has_one_size(backbone):
        return [(side, side, 1), (side, side, 3)]
    step = backbone.patch or 32
    shorter = max(step, side - step)
    return [(side, side, 1), (side, side + step, 2), (side + step, shorter, 3)]


def _dynamic(backbone: Backbone) -> dict[int, Any]:
    """Name the axes that may change: the batch, and the sides in whole patches."""
    dim = torch.export.Dim
    if has_one_size(backbone):
        return {0: dim("batch")}
    if backbone.is_vit:
        rows, columns = (dim(name, min=1, max=_MOST_PATCHES) for name in ("rows", "columns"))
        return {0: dim("batch"), 2: backbone.patch * rows, 3: backbone.patch * columns}
    return {0: dim("batch"), 2: dim("height", min=32), 3: dim("width", min=32)}


def _images(backbone: Backbone, size: int | tuple[int, int], count: int) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    random = torch.Generator().manual_seed(0)
    return torch.randn(count, backbone.in_chans, height, width, generator=random)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' remarks to themselves: what matters of them is proved afterwards."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
