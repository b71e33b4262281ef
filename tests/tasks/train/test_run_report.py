import copy

import torch

from dinocli.models.weights import load_backbone
from dinocli.tasks.train.run_report import _differ


def test_adapted_statistics_differ_from_the_start_and_equal_weights_do_not() -> None:
    """Step 0 is saved in `adapted/` only if it is more than the start."""
    torch.manual_seed(0)
    start, _, _ = load_backbone("none", "test_efficientnet")
    adapted = copy.deepcopy(start)
    assert not _differ(adapted, start)
    norm = next(module for module in adapted.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert norm.running_mean is not None
    norm.running_mean += 0.1
    assert _differ(adapted, start)
