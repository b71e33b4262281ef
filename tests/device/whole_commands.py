"""Run whole commands on the pretend device; a process of its own, because it changes torch before dinocli is imported.

    python -m tests.device.whole_commands FOLDER

The pretend device has limits that a GPU has not: no inference mode, no other thread, no pickling, no index by a list.
These are replaced here. Prints one line per command; the exit code is the number of those that failed.
"""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

torch.inference_mode = lambda mode=True: torch.no_grad()  # type: ignore[assignment,misc,return-value]

from dinocli.models.attention import AttentionQK  # noqa: E402
from dinocli.tasks.embed.embed import embed  # noqa: E402
from dinocli.tasks.embed.embed_options import EmbedOptions  # noqa: E402
from dinocli.tasks.evaluate.evaluate import evaluate  # noqa: E402
from dinocli.tasks.evaluate.evaluate_options import EvaluateOptions  # noqa: E402
from dinocli.tasks.segment.segment import segment  # noqa: E402
from dinocli.tasks.segment.segment_options import SegmentOptions  # noqa: E402
from dinocli.tasks.train.train import train  # noqa: E402
from dinocli.tasks.train.train_options import TrainOptions  # noqa: E402
from tests.device.pretend import DeviceTensor, PretendDevice  # noqa: E402
from tests.engine.learners import tiny_recipe  # noqa: E402
from tests.networks import TWO_BLOCKS  # noqa: E402
from tests.textures import write_textures  # noqa: E402

PICK_DEVICE = (
    "dinocli.tasks.train.machine_speed",
    "dinocli.tasks.embed.embed_setup",
    "dinocli.engine.distributed",
    "dinocli.artifacts.feature_model",
    "dinocli.engine.device",
)
"""Modules that have `pick_device`."""

STEPS = ("run.steps=4", "guard.every=0.5", "guard.probe_images=16", "guard.stop=false")
VIT, RESNET = f"model.name={TWO_BLOCKS}", "model.name=test_resnet"
TRAININGS: dict[str, tuple[str, ...]] = {
    "convnet": (),
    "vit": (VIT,),
    "vit, local views": (VIT, "views.local_count=4", "views.global_size=48"),
    "vit, LoRA": (VIT, "model.trainable=lora"),
    "vit, KoLeo and anchors": (VIT, "loss.koleo=0.1", "loss.gram_anchor=1.0", "loss.feature_anchor=1.0"),
    "vit, accumulation": (VIT, "optim.grad_accum_steps=2", "model.grad_checkpointing=true"),
    "resnet": (RESNET, "model.batch_norm=adapted", "head.init=fitted", "optim.head_warmup=0.5"),
    "resnet, focus": (RESNET, "views.focus=0.5"),
    "continued": ("model.name=", "model.weights={runs}/vit", "guard.weight_interpolation=[0.5,1.0]"),
    "distilled": ("model.teacher={runs}/vit", "loss.teacher_feature=1.0", "loss.teacher_patches=1.0"),
}


def main() -> None:
    folder = Path(sys.argv[1])
    failed = 0
    for name, work in commands(folder):
        try:
            on_device(work)
            sys.stdout.write(f"passed: {name}\n")
        except Exception:
            failed += 1
            sys.stdout.write(f"FAILED: {name}\n{traceback.format_exc()}\n")
    sys.exit(failed)


def commands(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the name and the call of each command; trainings come first, the others take their weights."""
    few = write_textures(folder / "few", each=8, side=48, seed=0)
    many = write_textures(folder / "many", each=23, side=48, seed=1)
    good = write_textures(folder / "good", each=4, side=48, seed=2)
    runs, out = folder / "runs", folder / "out"
    for name, settings in TRAININGS.items():
        recipe = tiny_recipe(*(setting.format(runs=runs) for setting in settings), *STEPS)
        options = TrainOptions(inputs=(str(few),), recipe=recipe, out=str(runs / name), device="cpu", labels="folder")
        yield f"train {name}", lambda options=options: train(options)  # type: ignore[misc]
    for network in ("vit", "convnet", "resnet"):
        asked: list[tuple[str, dict[str, Any]]] = [(tokens, {"tokens": tokens}) for tokens in ("pooled+rare", "patch")]
        asked += [("tiles", {"tile": "32"}), ("aspect", {"keep_aspect": True}), ("layers", {"layers": 2})]
        for name, further in asked:
            to = str(out / f"{network}-{name}.npy")
            embedding = EmbedOptions(inputs=(str(many),), out=to, weights=str(runs / network), device="cpu", **further)
            yield f"embed {network} {name}", lambda embedding=embedding: embed(embedding)  # type: ignore[misc]
        methods = ["anomaly", "kmeans", "pca", "tokencut", *(["attention"] if network == "vit" else [])]
        masks: list[tuple[str, dict[str, Any]]] = [(method, {"method": method}) for method in methods]
        masks += [("reference", {"method": "anomaly", "reference": str(good), "save_detector": str(out / network)})]
        masks += [("tiles", {"method": "anomaly", "tile": "48"})]
        if network != "vit":
            large = {"method": "anomaly", "size": 288, "reference": str(good)}
            masks += [("fine and coarse", {**large, "method_options": {"features": "both"}})]
        for name, further in masks:
            masking = SegmentOptions(
                **{
                    **{"inputs": (str(few),), "out": str(out / f"{network} {name}"), "weights": str(runs / network)},
                    **{"device": "cpu", "size": 96, "refine": False, **further},
                }
            )
            yield f"segment {network} {name}", lambda masking=masking: segment(masking)  # type: ignore[misc]
    judged = EvaluateOptions(inputs=(str(many),), weights=str(runs / "vit"), labels="folder", device="cpu")
    yield "evaluate", lambda: evaluate(judged)
    inspected = SegmentOptions(inputs=(str(few),), out=str(out / "inspected"), detector=str(out / "vit"), device="cpu")
    yield "segment --detector", lambda: segment(inspected)


def on_device(work: Callable[[], object]) -> None:
    """Run a command on the pretend device, and check that it computed there."""
    save, load = torch.save, torch.load
    with PretendDevice() as device, ExitStack() as patches:
        for module in PICK_DEVICE:
            import_module(module)
            patches.enter_context(mock.patch(f"{module}.pick_device", return_value=device.device))
        patches.enter_context(mock.patch("dinocli.tasks.train.batch_fit.usable_bytes", return_value=float(1 << 34)))
        patches.enter_context(mock.patch("dinocli.data.loader._prefetched", iter))
        patches.enter_context(mock.patch.object(AttentionQK, "weights", _weights))
        patches.enter_context(mock.patch("torch.save", lambda data, *rest: save(tree_map(_on_host, data), *rest)))
        patches.enter_context(
            mock.patch("torch.load", lambda *args, **kwargs: load(*args, **{**kwargs, "map_location": "cpu"}))
        )
        work()
        assert sum(device.kernels.values()) > 50, "nothing was computed on the device"


def _weights(self: AttentionQK, tokens: Any = (0,)) -> Tensor:
    query_BnQE = torch.cat([self.query_BnNE[:, :, token : token + 1] for token in tokens], dim=2)
    return (query_BnQE.float() @ self.key_BnNE.float().mT * self.scale).softmax(dim=-1)


def _on_host(value: Any) -> Any:
    held = value if isinstance(value, DeviceTensor) else getattr(value, "data", None)
    return held.held.clone() if isinstance(held, DeviceTensor) else value


if __name__ == "__main__":
    main()
