"""Source of newly computed maps: weights, method and its fit on a sample."""

from dataclasses import replace
from typing import Any, BinaryIO

from dinocli.progress import ProgressReporter
from dinocli.segmentation.anomaly import Anomaly
from dinocli.segmentation.method import Method
from dinocli.tasks.embed.embed_options import EmbedOptions
from dinocli.tasks.embed.embed_setup import prepare
from dinocli.tasks.segment.detector import open_detector, save_detector
from dinocli.tasks.segment.method_fit import FittedPlan, choose, fitted_plan
from dinocli.tasks.segment.sample import Sample, extractor_of
from dinocli.tasks.segment.segment_options import MethodUsed, SegmentOptions
from dinocli.tasks.segment.segment_outputs import check_new_detector
from dinocli.tasks.segment.segment_plan import SegmentInputs


class FreshMaps:
    """Images and weights of a command; `plan` fits the method.

    Args:
        options: Options of the command.
        reporter: Receives the progress.
        stdin: Standard input, for `-`.
        method: A custom method instead of `options.method`.

    Attributes:
        options: Options, completed by those of a detector.
        context: Weights and preprocessing.
        inputs: Images of the command.

    Raises:
        DinocliError: Any error, before any image is computed.
    """

    def __init__(
        self, options: SegmentOptions, reporter: ProgressReporter, stdin: BinaryIO | None, method: Method | None = None
    ) -> None:
        self._detector = open_detector(options) if options.detector else None
        if options.save_detector:
            check_new_detector(options)
        self.options = options = self._detector.options if self._detector else options
        self._reporter, self._method = reporter, method
        self.context = prepare(EmbedOptions.of(options, tokens="pooled", precision=options.precision), reporter, stdin)
        if options.stride:
            self.context.backbone.set_stride(options.stride)
        context = self.context
        self.inputs = SegmentInputs(context.images, context.info.to_dict(), context.data, context.run)

    def request(self) -> dict[str, Any]:
        """Return the settings that determine the masks, besides the options."""
        return {
            "model": self.context.info.name,
            "weights sha256": self.context.info.sha256,
            "images": self.context.images.digest(),
            "preprocess": self.context.preprocess.to_dict(),
            "precision": self.context.precision,
            "detector": self._detector.digest if self._detector else "",
        }

    def chosen(self) -> tuple[Method, MethodUsed]:
        """Return the chosen method, and its record before the fit."""
        if self._detector:
            features = self._detector.fitted.features
            return Anomaly(features=features), MethodUsed("anomaly", f"detector {self._detector.folder}")
        return choose(self.context, self.options, Sample(self.context, self.options, self._reporter))

    def plan(self) -> FittedPlan:
        """Fit the method on a sample of the images.

        Raises:
            UsageError: The method does not support tiles, or these weights.
        """
        if self._detector:
            fitted, (_, used) = self._detector.fitted, self.chosen()
            extractor = extractor_of(self.context, self.options, fitted.feature_kind)
            parameters = {"features": fitted.features, **fitted.parameters}
            return FittedPlan(extractor, replace(used, parameters=parameters), fitted)
        sample = Sample(self.context, self.options, self._reporter)
        plan = fitted_plan(self.context, self.options, sample, self._reporter, self._method)
        if self.options.save_detector:
            save_detector(self.options, self.context, plan)
            self._reporter.line(f"detector {self.options.save_detector}")
        return plan
