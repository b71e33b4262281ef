from dataclasses import replace

import pytest

from dinocli.config.preprocess import Preprocess
from dinocli.config.recipe import Views
from dinocli.errors import UsageError
from dinocli.models.create import create_backbone
from dinocli.tasks.train.setup import _check_views, warn_of_other_reading
from dinocli.tasks.train.train_options import TrainOptions
from tests.engine.learners import tiny_recipe
from tests.tasks.drive import Ears


def test_a_request_is_what_has_to_be_the_same_again() -> None:
    job = TrainOptions(inputs=("a",), recipe=tiny_recipe())
    assert job.request() == replace(job, out="elsewhere", labels="folder", resume=True, argv=("x",)).request()
    assert job.request() != replace(job, minutes=3.0).request()
    assert job.request() != replace(job, recipe=tiny_recipe("run.seed=9")).request()


def test_sizes_of_views_are_checked_before_images_are_read() -> None:
    def views(*settings: str) -> Views:
        return tiny_recipe(*settings).views

    vit = create_backbone("test_vit")
    _check_views(views("views.global_size=96", "views.local_size=48"), vit)
    for name, other in (("global_size", "local_size"), ("local_size", "global_size")):
        with pytest.raises(UsageError, match=rf"views\.{name}: 56x56 px is not a multiple of the 16-px patches"):
            _check_views(views(f"views.{name}=56", f"views.{other}=48", "views.local_count=2"), vit)
    _check_views(views("views.global_size=96", "views.local_size=56", "views.local_count=0"), vit)


def test_weights_of_another_range_or_region_are_named() -> None:
    """A new run measures its own range and reads whole images, whatever its start was trained with."""
    now = Preprocess("auto", 0.0, 4095.0, True, True, (), 0, (0.5,) * 3, (0.2,) * 3, 224)
    heard = Ears()
    warn_of_other_reading("start weights were", now.to_dict(), now, heard)
    assert heard.warnings == []
    was = replace(now, range_policy="full", roi="10,20,30,40")
    warn_of_other_reading("start weights were", was.to_dict(), now, heard)
    first, second = heard.warnings
    assert first.endswith("trained with the range full, these images are read with auto (0 to 4095) (--range)")
    assert second == "the start weights were trained on region of 30x40 px at 10,20; now it is whole images (--roi)"
