"""Export to ONNX and TorchScript: a graph with two outputs, dynamic batch and mostly dynamic size, verified before use.

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

from dinocli.errors import WeightsError, first_line
from dinocli.models.backbone import Backbone
from dinocli.models.graph_pipeline import INPUT, Exportable, GraphPipeline
from dinocli.models.portable import Portable
from dinocli.models.rounding import rounding_tolerance

OPSET = 18
"""ONNX opset, supported by runtimes from 2023 on."""

Compute = Callable[[Tensor], list[NDArray[np.float32]]]
"""Function from images to all outputs of a graph."""

_MAX_PATCHES_PER_SIDE = 1024  # 16,384 px with 16-px patches


def to_onnx(
    backbone: Backbone,
    size: int,
    facts: dict[str, str],
    *,
    pipeline: Exportable | None = None,
    verify: Callable[[Compute], float] | None = None,
) -> tuple[bytes, float]:
    """Export to ONNX; return the model and its largest relative difference from the backbone.

    Args:
        backbone: In eval mode, on the CPU.
        size: Side of the images it was trained for, pixels.
        facts: Metadata, stored in `metadata_props`.
        pipeline: The graph with other parts; None for the backbone alone.
        verify: Returns the difference of the graph from the original, or raises `WeightsError`; None uses `verified`.

    Raises:
        WeightsError: Packages are missing, the model cannot be exported, or its outputs differ from the backbone's.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise WeightsError(f"--format onnx needs {error.name}: pip install 'dinocli[onnx]'") from None
    whole: Exportable = pipeline or GraphPipeline(backbone, size)
    with _quiet():
        try:
            program = torch.onnx.export(
                whole.eval(),
                (whole.example(),),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes={INPUT: whole.axes() or _dynamic(backbone)},
                input_names=[INPUT],
                output_names=whole.outputs,
                verbose=False,
            )
            assert program is not None
            proto: Any = program.model_proto
            onnx.helper.set_model_props(proto, facts)
            data: bytes = proto.SerializeToString()
        except (RuntimeError, ValueError, torch.onnx.OnnxExporterError) as error:
            raise WeightsError(
                f"{backbone.name} cannot be exported to ONNX ({first_line(error)}); {whole.remedy}"
            ) from error
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def compute(images: Tensor) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = session.run(whole.outputs, {INPUT: images.numpy()})
        return outputs

    return data, verify(compute) if verify else verified(compute, backbone, size)


def to_torchscript(backbone: Backbone, size: int, facts: dict[str, str]) -> tuple[bytes, float]:
    """Export to TorchScript; return the module and its largest relative difference from the backbone.

    Args:
        backbone: In eval mode, on the CPU.
        size: Side of the images it was trained for, pixels.
        facts: Metadata, stored as extra files.

    Raises:
        WeightsError: The model cannot be traced, or its outputs differ from the backbone's.
    """
    trace: Any = torch.jit.trace  # both are untyped
    reload: Any = torch.jit.load
    with _quiet(), torch.no_grad():
        try:
            # Models with `dynamic_img_size` skip resampling at their native grid, and so would a trace at that size.
            dynamic = getattr(backbone.model, "dynamic_img_size", False)
            images = _images(backbone, size + backbone.patch if dynamic else size, 2)
            script = trace(Portable(backbone).eval(), (images,), check_trace=False)
        except (RuntimeError, ValueError, TypeError) as error:
            raise WeightsError(
                f"{backbone.name} cannot be traced ({first_line(error)}); {Exportable.remedy}"
            ) from error
        file = io.BytesIO()
        torch.jit.save(script, file, _extra_files=facts)
        data = file.getvalue()
        script = reload(io.BytesIO(data))

        def compute(images: Tensor) -> list[NDArray[np.float32]]:
            return [output.numpy() for output in script(images)]

        return data, verified(compute, backbone, size)


def has_one_size(backbone: Backbone) -> bool:
    """Return whether exported graphs take only the image size they were exported with.

    TensorFlow's padding ("SAME", timm's `tf_` models) depends on the size at every layer; with a symbolic size the
    expressions grow from layer to layer and the exporter does not terminate.
    """
    return backbone.fixed_size or any(type(module).__name__.endswith("Same") for module in backbone.model.modules())


def verified(compute: Compute, backbone: Backbone, side: int) -> float:
    """Compare a graph with the backbone at other batch and image sizes; return the largest relative difference.

    Raises:
        WeightsError: They differ by more than rounding.
    """
    worst = 0.0
    for height, width, count in _trials(backbone, side):
        images = _images(backbone, (height, width), count)
        with torch.no_grad():
            expected = [output.numpy() for output in backbone.with_patches(images)]
        for actual, reference in zip(compute(images)[: len(expected)], expected, strict=True):
            scale = max(1.0, float(np.abs(reference).max()))
            worst = max(worst, float(np.abs(actual - reference).max()) / scale)
    tolerance = rounding_tolerance(backbone)
    if not worst <= tolerance:
        raise WeightsError(
            f"the exported {backbone.name} differs from the original by {worst:.2g}, where rounding explains "
            f"{tolerance:.2g}; {Exportable.remedy}"
        )
    return worst


def _trials(backbone: Backbone, side: int) -> list[tuple[int, int, int]]:
    """Return test sizes (height, width, batch): the export size, a longer side, a longer and a shorter side."""
    if has_one_size(backbone):
        return [(side, side, 1), (side, side, 3)]
    step = backbone.patch or 32
    shorter = max(step, side - step)
    return [(side, side, 1), (side, side + step, 2), (side + step, shorter, 3)]


def _dynamic(backbone: Backbone) -> dict[int, Any]:
    """Return the dynamic axes: the batch, and the sides in whole patches."""
    dim = torch.export.Dim
    if has_one_size(backbone):
        return {0: dim("batch")}
    if backbone.is_vit:
        rows, columns = (dim(name, min=1, max=_MAX_PATCHES_PER_SIDE) for name in ("rows", "columns"))
        return {0: dim("batch"), 2: backbone.patch * rows, 3: backbone.patch * columns}
    return {0: dim("batch"), 2: dim("height", min=32), 3: dim("width", min=32)}


def _images(backbone: Backbone, size: int | tuple[int, int], count: int) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    random = torch.Generator().manual_seed(0)
    return torch.randn(count, backbone.in_chans, height, width, generator=random)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings and output of the exporters; the result is verified afterwards."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
