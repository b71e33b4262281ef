from dataclasses import replace

from dinocli.tasks.train.train_options import TrainOptions
from tests.engine.learners import tiny_recipe


def test_a_request_is_what_has_to_be_the_same_again() -> None:
    job = TrainOptions(inputs=("a",), recipe=tiny_recipe())
    assert job.request() == replace(job, out="elsewhere", labels="folder", resume=True, argv=("x",)).request()
    assert job.request() != replace(job, minutes=3.0).request()
    assert job.request() != replace(job, recipe=tiny_recipe("run.seed=9")).request()
