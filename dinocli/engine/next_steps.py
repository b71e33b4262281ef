"""Advice after a run that did not help, or whose score says little, from its verdict and probes."""

from dinocli.config.recipe import Recipe
from dinocli.engine.loop import RunResult
from dinocli.quality.near_start import NEAR_START
from dinocli.quality.probe_result import ProbeResult
from dinocli.quality.verdict import DEFECT_DECREASE, MIN_PAIRS, Verdict

FEW_IMAGES = 100

SATURATED_MRR = 0.9
"""Retrieval score of the start above which training can hardly raise it."""

SOLVED_MRR = 0.99
"""Retrieval score of the start above which a better one says little: it is reached on natural photographs, where k-NN
accuracy by labels fell while the score rose, and on aerial images, where both rose."""

UNCHANGED_CKA, DRIFTED_CKA = 0.995, 0.7
"""CKA to the start's features above which the weights have hardly changed, and below which they changed too much."""

LOST_DEFECTS = "Synthetic defects are detected less often."
KEEP_STATISTICS = "Train with the batch-norm statistics of the original weights (--set model.batch_norm=frozen)."
LABEL_SOME = "Label a few images and give the labels with --labels: scores by your labels are more reliable."
READ_YOURS = "The scores by your labels are more reliable."


def next_steps(
    verdict: Verdict,
    result: RunResult,
    recipe: Recipe,
    *,
    distinct: int,
    after: ProbeResult,
    labelled: bool = False,
    minutes: float = 0.0,
) -> list[str]:
    """Return advice, most promising first; empty if the run helped and its score can be relied on.

    Args:
        verdict: Verdict of the run.
        result: Result of the training loop.
        recipe: Resolved recipe.
        distinct: Number of images, near-duplicates counted once.
        after: Probe result of the adapted weights on the images of the verdict.
        labelled: Scores by the user's labels were measured.
        minutes: Value of `--minutes` if it cut the run short; else 0.
    """
    start = result.probe_results[0].scores if result.probe_results else None
    start_mrr = start.retrieval_mrr if start and start.finite else 0.0
    if verdict.outcome == "better":
        if labelled or start_mrr <= SOLVED_MRR:
            return []
        return [f"The start already finds nearly every image by its crop, so a better score says little. {LABEL_SOME}"]
    judge = READ_YOURS if labelled else LABEL_SOME
    if NEAR_START in verdict.reason:
        return [f"The trained weights are in adapted/. {judge}" if after.step else judge]
    advice = list[str]()
    if DEFECT_DECREASE in verdict.reason:
        other = [] if recipe.model.batch_norm == "frozen" else [KEEP_STATISTICS]
        advice.append(" ".join([LOST_DEFECTS, *other, f"If small defects do not matter to you: {judge}"]))
    if recipe.model.teacher:
        return [
            *advice,
            "The student has not become more similar to its teacher: train for longer "
            f"(--steps {3 * int(recipe.run.steps)}), or faster (--set optim.lr={3 * float(recipe.optim.lr):.1g}).",
        ]
    if distinct < FEW_IMAGES:
        advice.append(f"Distinct images: {distinct}. Collect some hundreds, or keep the original weights.")
    if distinct < MIN_PAIRS:  # the scores say nothing
        return advice
    longer = f"--minutes {3 * minutes:g}" if minutes else f"--steps {3 * int(recipe.run.steps)}"
    cka = after.scores.cka_to_start
    unchanged = cka > UNCHANGED_CKA
    later = (probed for probed in result.probe_results if probed.step > after.step)
    changed_later = unchanged and not all(probed.scores.cka_to_start > UNCHANGED_CKA for probed in later)
    if result.stop_reason or verdict.outcome == "worse" or cka < DRIFTED_CKA or changed_later:
        advice.append(f"The weights changed too much: {', or '.join(_smaller_changes(recipe))}.")
    elif unchanged:
        advice.append(
            f"The weights have hardly changed: train for longer ({longer}), or faster "
            f"(--set optim.lr={3 * float(recipe.optim.lr):.1g})."
        )
    elif after.step == result.steps:
        advice.append(f"The last probe was the best: train for longer ({longer}).")
    if start_mrr > SATURATED_MRR:
        advice.append(f"The start already retrieves most images by their crops: these scores can hardly rise. {judge}")
    advice.append(
        "Look at views.png: a detail that the views do not show cannot be learnt. Choose the recipe for your kind of "
        "images (dinocli recipe list), larger views, or weaker augmentation."
    )
    return advice


def _smaller_changes(recipe: Recipe) -> list[str]:
    """Return ways to change the weights less, each by a setting that the run did not have."""
    ways = [f"lower the learning rate (--set optim.lr={float(recipe.optim.lr) / 3:.1g})"]
    if recipe.loss.feature_anchor < 1:
        ways.append("penalise changes of the features (--set loss.feature_anchor=1)")
    if recipe.model.trainable == "all":
        ways.append("train fewer parameters (--set model.trainable=last-1)")
    return ways
