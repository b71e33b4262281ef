"""Fit a frozen teacher to the folder before the first step: feature means, and prototypes by k-means.

Shapes: V views, D width of the teacher, K prototypes.
"""

import torch
import torch.nn.functional as F

from dinocli.data.loader import Loader
from dinocli.engine.head_init import global_views
from dinocli.engine.step import Learner
from dinocli.progress import ProgressReporter
from dinocli.quality.kmeans import unit_kmeans
from dinocli.quality.normalized_features import NormalizedFeatures

STAGE = "clustering the teacher's features into prototypes"
VIEWS_PER_PROTOTYPE, KMEANS_PASSES = 4, 25
"""Global views per prototype, and iterations of k-means: prototypes need no optimal clustering."""


@torch.no_grad()
def fit_teacher(learner: Learner, loader: Loader, reporter: ProgressReporter) -> None:
    """Set the means of the teacher's features over views of the folder, and cluster the centred features.

    Args:
        learner: Before its first step, with a frozen teacher. Student and EMA get the same prototypes.
        loader: Source of the images.
        reporter: Receives the progress.
    """
    teacher = learner.frozen_teacher
    assert teacher is not None
    count = len(teacher.prototypes.direction)
    features, patches = [], torch.zeros_like(teacher.patch_mean)
    for views_N3SS in global_views(learner, loader, reporter, VIEWS_PER_PROTOTYPE * count, STAGE):
        with learner.precision.autocast():
            features_ND, maps_NChw = teacher.raw(views_N3SS, patches=True)
        assert maps_NChw is not None
        features.append(features_ND.float())
        patches += maps_NChw.float().mean(dim=(2, 3)).sum(dim=0)
    features_VD = torch.cat(features)
    teacher.feature_mean.copy_(features_VD.mean(dim=0))
    teacher.patch_mean.copy_(patches / len(features_VD))
    rows = NormalizedFeatures((features_VD - teacher.feature_mean).cpu().numpy())
    clusters = unit_kmeans(rows, count, seed=learner.seed, starts=1, passes=KMEANS_PASSES, breath=0)
    teacher.prototypes.direction.copy_(F.normalize(torch.from_numpy(clusters.centres_KD), dim=-1))
    for network in (learner.student, learner.teacher):
        network.head.prototypes.load_state_dict(teacher.prototypes.state_dict())
