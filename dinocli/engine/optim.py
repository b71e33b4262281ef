"""Parameter groups, layer-wise learning-rate decay, and the optimizer step: unscale, clip, step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dinocli.augment.draw import to_device
from dinocli.engine.step_schedule import StepValues
from dinocli.models.backbone import Backbone
from dinocli.models.head import DinoNetwork
from dinocli.models.trainable import layers

UNDECAYED_NAMES = (
    *("cls_token", "pos_embed", "reg_token", "register_tokens", "dist_token", "prototypes.length"),
    *("relative_position_bias_table", "attention_biases", "logit_scale"),  # Swin, LeViT and similar
)


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Return whether weight decay applies: not to biases, norms, tokens, positions and prototype norms."""
    return parameter.ndim > 1 and not name.endswith((".bias", *UNDECAYED_NAMES))


def lr_scales(backbone: Backbone, decay: float, stem: float) -> dict[str, float]:
    """Return the learning-rate factor of each parameter by layer-wise decay.

    Args:
        backbone: Any backbone.
        decay: Factor from each layer to the one before it; the last layer has factor 1.
        stem: Additional factor of the patch embedding, or of the whole stem of a convnet; not of tokens and positions.

    Returns:
        Factor by parameter name.

    Source: Clark et al. 2020 (ELECTRA), arXiv:2003.10555, for the decay; DINOv2's code for the patch embedding.
    """
    ordered = layers(backbone, coarse=False)
    factors = {name: decay ** (len(ordered) - 1 - number) for number, names in enumerate(ordered) for name in names}
    for name in ordered[0] if len(ordered) > 1 else ():
        if not backbone.is_vit or ".patch_embed." in name:
            factors[name] *= stem
    return factors


def parameter_groups(network: DinoNetwork, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return parameter groups by part (backbone, head), learning-rate factor and weight decay.

    The order is fixed: optimizer states in checkpoints depend on it.

    Args:
        network: The student.
        factors: Learning-rate factor of each trainable parameter of the backbone; others are in no group.
    """
    groups: list[dict[str, Any]] = []
    for part in ("backbone", "head"):
        named = [
            (name, parameter, factors[name] if part == "backbone" else 1.0)
            for name, parameter in getattr(network, part).named_parameters()
            if part == "head" or name in factors
        ]
        for factor in sorted({factor for _, _, factor in named}):
            for decay in (True, False):
                params = [
                    p for name, p, own_factor in named if own_factor == factor and decays(f"{part}.{name}", p) == decay
                ]
                fixed = {"part": part, "factor": factor, "decay": decay}
                groups.append({"params": params, **fixed, "lr": 0.0, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def make_optimizer(network: DinoNetwork, factors: Mapping[str, float]) -> torch.optim.AdamW:
    """Build fused AdamW with `parameter_groups`; `Updater` sets learning rates and weight decay."""
    return torch.optim.AdamW(parameter_groups(network, factors), lr=0.0, fused=True)


class Updater:
    """Unscales and clips gradients and steps the optimizer.

    A step with a non-finite gradient is skipped *on the device*, without synchronisation.

    Args:
        network: The student.
        optimizer: Optimizer of `make_optimizer`.
        clip: Maximum gradient norm; 0 for no clipping.
        clip_mode: `parameter` clips each tensor by its own norm, as in the authors' code; `global` all by their joint
            norm.
        scaler: Gradient scaler, for float16 only.
    """

    def __init__(
        self,
        network: DinoNetwork,
        optimizer: torch.optim.Optimizer,
        *,
        clip: float,
        clip_mode: str,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.network, self.optimizer, self.scaler = network, optimizer, scaler
        self.clip, self.clip_mode = clip, clip_mode
        self._sent: tuple[list[int], Tensor] = ([], torch.empty(0))

    def prepare(self, now: StepValues) -> None:
        """Set learning rates and weight decay of the step, and clear the gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = (now.lr if group["part"] == "backbone" else now.head_lr) * group["factor"]
            group["weight_decay"] = now.weight_decay if group["decay"] else 0.0
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradient of the loss of a slice."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()  # type: ignore[no-untyped-call]

    def loss_scale(self) -> list[Tensor]:
        """Return the factor of the gradient scaler, (), on the device; an empty list without an initialised scaler."""
        scale = None if self.scaler is None else self.scaler._scale  # its public method synchronises
        return [] if scale is None else [scale.view(())]

    def step(self, now: StepValues) -> tuple[Tensor, Tensor]:
        """Clip the gradients and step the optimizer.

        Returns:
            Global gradient norm before clipping, and whether it is finite; both on the device.
        """
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        grads = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms = torch.stack(torch._foreach_norm(grads))
        total = norms.norm()
        finite = torch.isfinite(total)
        if self.clip:
            self._clip(grads, norms, total)
        if not now.prototypes_learn:
            for parameter in self.network.head.prototypes.parameters():
                parameter.grad = None
        self._apply(finite)
        return total, finite

    def _clip(self, grads: list[Tensor], norms: Tensor, total: Tensor) -> None:
        limits = norms if self.clip_mode == "parameter" else total
        factors = (self.clip / (limits + 1e-6)).clamp(max=1.0)
        if self.clip_mode == "global":
            torch._foreach_mul_(grads, factors)
        elif grads[0].device.type == "cpu":
            torch._foreach_mul_(grads, [*factors.unbind()])
        else:
            # A factor per tensor would launch a kernel per tensor; expanded to elements, a few kernels suffice.
            sizes = [grad.numel() for grad in grads]
            expanded = factors.repeat_interleave(self._lengths(sizes, factors.device), output_size=sum(sizes))
            pieces = [piece.view(grad.shape) for piece, grad in zip(torch.split(expanded, sizes), grads, strict=True)]
            torch._foreach_mul_(grads, pieces)

    def _lengths(self, sizes: list[int], device: torch.device) -> Tensor:
        """Return the sizes of the gradients on the device; cached until they change with the stage."""
        if self._sent[0] != sizes:
            self._sent = (sizes, to_device(torch.tensor(sizes), device))
        return self._sent[1]

    def _apply(self, finite: Tensor) -> None:
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
            self.optimizer.step()
