"""Parameter groups, and the optimizer step: unscale, clip, step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dinocli.augment.draw import send
from dinocli.engine.step_schedule import StepValues
from dinocli.models.head import DinoNetwork

UNDECAYED_NAMES = (
    *("cls_token", "pos_embed", "reg_token", "register_tokens", "dist_token", "prototypes.length"),
    *("relative_position_bias_table", "attention_biases", "logit_scale"),  # Swin, LeViT and similar
)


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Say whether weight decay applies: not to biases, norms, tokens, positions and prototype lengths."""
    return parameter.ndim > 1 and not name.endswith((".bias", *UNDECAYED_NAMES))


def parameter_groups(network: DinoNetwork, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """Sort the parameters into backbone or head, by rate, decaying or not. The order is fixed: checkpoints rely on it.

    Args:
        network: The student.
        factors: Name of each parameter of the backbone that ever learns to its factor on the learning rate; the others
            are in no group.
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
                params = [p for name, p, own in named if own == factor and decays(f"{part}.{name}", p) == decay]
                fixed = {"part": part, "factor": factor, "decay": decay}
                groups.append({"params": params, **fixed, "lr": 0.0, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def make_optimizer(network: DinoNetwork, factors: Mapping[str, float]) -> torch.optim.AdamW:
    """Build fused AdamW with the groups of `parameter_groups`, whose rates and decay `Updater` sets."""
    return torch.optim.AdamW(parameter_groups(network, factors), lr=0.0, fused=True)


class Updater:
    """Unscale and clip gradients and step the optimizer.

    A step with a non-finite gradient is skipped *on the device*, without a wait of the host: student and teacher stay
    unchanged.

    Args:
        network: The student.
        optimizer: Of `make_optimizer`.
        clip: Largest gradient norm, 0 is off.
        clip_mode: `parameter` clips each tensor by its own norm, as the paper's code does; `global` all by one norm.
        scaler: For float16 only.
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
        """Set learning rates and weight decay of this step, and zero the gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = (now.lr if group["part"] == "backbone" else now.head_lr) * group["factor"]
            group["weight_decay"] = now.weight_decay if group["decay"] else 0.0
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a slice's share of the loss."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()  # type: ignore[no-untyped-call]

    def loss_scale(self) -> list[Tensor]:
        """Return the scaler's factor, (), on the device, where there is a scaler that has begun."""
        scale = None if self.scaler is None else self.scaler._scale  # what it gives to callers makes the host wait
        return [] if scale is None else [scale.view(())]

    def step(self, now: StepValues) -> tuple[Tensor, Tensor]:
        """Clip and step.

        Returns:
            The global gradient norm before clipping, and whether it was finite; both stay on the device.
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
            # A factor per tensor would launch a kernel per tensor; spread over the elements, they need a few kernels.
            sizes = [grad.numel() for grad in grads]
            spread = factors.repeat_interleave(self._lengths(sizes, factors.device), output_size=sum(sizes))
            pieces = [piece.view(grad.shape) for piece, grad in zip(torch.split(spread, sizes), grads, strict=True)]
            torch._foreach_mul_(grads, pieces)

    def _lengths(self, sizes: list[int], device: torch.device) -> Tensor:
        """Keep the sizes of the gradients on the device; they change when the backbone begins to learn."""
        if self._sent[0] != sizes:
            self._sent = (sizes, send(torch.tensor(sizes), device))
        return self._sent[1]

    def _apply(self, finite: Tensor) -> None:
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
            self.optimizer.step()
