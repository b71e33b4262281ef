r"""Train with the rare patches in the trained feature: `finetune-ssl` whose head reads what `pooled+rare` is made of.

    python benchmarks/rare_target.py 0.5 ./cells --weights W --model tf_efficientnet_lite0 --steps 200 --out RUN

The first argument is the share of the rare part; all others are those of `dinocli finetune-ssl`. Student and teacher
give the head the L2-normalised pooled feature joined with the rarity-weighted mean of the standardised patches of both
maps. The memory banks are those of views of the folder with the start weights (and adapted batch-norm statistics), and
stay; no gradient flows through the weights. Guard, verdict and the written backbone are unchanged.
"""

import math
import sys

import torch
import torch.nn.functional as F
from torch import Tensor

from dinocli.cli.app import main as dinocli
from dinocli.data.loader import Loader
from dinocli.engine import build, head_init
from dinocli.engine.step import Learner
from dinocli.models import head
from dinocli.models.backbone import Backbone
from dinocli.models.features import eval_mode
from dinocli.models.rarity_maps import MAPS, rarity_maps
from dinocli.progress import ProgressReporter
from dinocli.quality.rarity import BankBuilder, MemoryBank

VIEWS = 1024
"""Number of global views from which the memory banks are drawn."""


class RareTarget:
    """Replaces the feature that is trained; `banks` is empty until the head is initialised."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.banks: dict[str, MemoryBank] = {}

    def feature(self, backbone: Backbone, x_BCHW: Tensor) -> Tensor:
        pooled_BD, maps = rarity_maps(backbone, x_BCHW)
        parts = [math.sqrt(1 - self.share) * F.normalize(pooled_BD.float(), dim=1)]
        for name in MAPS:
            parts.append(math.sqrt(self.share / len(MAPS)) * F.normalize(self._pool(name, maps[name].float()), dim=1))
        return torch.cat(parts, dim=1) * math.sqrt(pooled_BD.shape[1])

    def _pool(self, name: str, map_BDhw: Tensor) -> Tensor:
        if name not in self.banks:  # measuring memory and speed
            return map_BDhw.mean(dim=(2, 3))
        bank = self.banks[name]
        with torch.no_grad():
            weight_Bhw = bank.weights(bank.rarity(map_BDhw))
        standard_BDhw = (map_BDhw - bank.mean_D[:, None, None]) / bank.std_D[:, None, None]
        return torch.einsum("bdhw,bhw->bd", standard_BDhw, weight_Bhw)

    def features(self, learner: Learner, loader: Loader, reporter: ProgressReporter, views: int) -> Tensor:
        """Fill the banks; return the features for the initialisation of the head, (V, D)."""
        backbone, builders, count = learner.teacher.backbone, {name: BankBuilder() for name in MAPS}, 0
        with eval_mode(backbone), torch.no_grad():
            for views_NISS in head_init.global_views(learner, loader, reporter, VIEWS, "filling the memory banks"):
                _, maps = rarity_maps(backbone, views_NISS)
                numbers_N = torch.arange(count, count + len(views_NISS))
                for name, builder in builders.items():
                    builder.add(maps[name].float(), numbers_N)
                count += len(views_NISS)
            self.banks = {name: builder.finish() for name, builder in builders.items()}
            all_views = head_init.global_views(learner, loader, reporter, views, "initialising the head")
            return torch.cat([self.feature(backbone, views_NISS) for views_NISS in all_views])


class WiderHead(head.DinoHead):
    """A head that also reads the rare part, whose maps are as wide as in EfficientNet-Lite0."""

    def __init__(self, width: int, **options: object) -> None:
        super().__init__(width + 112 + 320, **options)  # type: ignore[arg-type]


def main() -> None:
    target = RareTarget(float(sys.argv[1]))
    head.trained_feature = target.feature
    head_init._features = target.features
    vars(build)["DinoHead"] = WiderHead
    sys.argv = ["dinocli", "finetune-ssl", *sys.argv[2:]]
    dinocli()


if __name__ == "__main__":
    main()
