"""Messages about invalid settings of a recipe: what is wrong, the nearest name, and an example."""

import difflib
import json
import tomllib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dinocli.config.recipe import Recipe
from dinocli.stored import short_repr

RENAMED = {
    "head.start": "head.init",
    "optim.stem_lr": "optim.stem_lr_mult",
    "optim.clip": "optim.clip_grad",
    "optim.accumulate": "optim.grad_accum_steps",
    "guard.blend": "guard.weight_interpolation",
    "run.tensorboard": "run.track",
}
RETIRED = {
    "optim.optimizer": "training uses AdamW",
    "guard.score": "the guard selects by crop/quadrant retrieval",
}
"""Keys of older recipes. They are not aliases: the error message names the new key, or why there is none."""

MAX_EXAMPLE = 60
"""Characters of the longest list that a message repeats."""


def unknown_key(key: str, known: Sequence[str]) -> str:
    """Return the message about an unknown key, with the key to use instead."""
    if key in RENAMED:
        return f"{key} is now called {RENAMED[key]}: write {RENAMED[key]}"
    if key in RETIRED:
        return f"{key} is no longer a setting ({RETIRED[key]}): remove it"
    return f"there is no setting {key}{nearest(key.rpartition('.')[2], known)}"


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the end of a message about an unknown name: the nearest one, or those that there are."""
    by_last_part = {name.rpartition(".")[2]: name for name in reversed(known)}
    close = difflib.get_close_matches(word, [*by_last_part], n=1, cutoff=0.6)
    return f"; did you mean {by_last_part[close[0]]}?" if close else f"; there are {', '.join(known[:12])}"


def first_problem(error: ValidationError) -> str:
    """Return the message about the first invalid key; messages of a union ("auto" or a number) are joined by "or"."""
    problems = error.errors()
    unknown = (".".join(map(str, problem["loc"])) for problem in problems if problem["type"] == "extra_forbidden")
    for name in unknown:
        if name in RENAMED | RETIRED:
            return f"recipe: {unknown_key(name, ())}"
    section, key, *_ = (*map(str, problems[0]["loc"]), "", "")
    name = f"{section}.{key}" if key else section
    of_key = [problem for problem in problems if (*map(str, problem["loc"]), "")[:2] == (section, key)]
    messages = dict.fromkeys(_advice(name, problem) for problem in of_key)
    field = Recipe.model_fields.get(section)
    keys = getattr(field.annotation, "model_fields", {}) if field else {}
    meaning = f" ({keys[key].description})" if key in keys else ""
    value = "" if problems[0]["type"] == "missing" else f" = {short_repr(problems[0]['input'])}"
    return f"recipe: {name}{value}: {', or: '.join(messages)}{meaning}"


def _advice(key: str, problem: ErrorDetails) -> str:
    """Return what is wrong with a value; for one where a list is expected, an example that a shell passes on."""
    if problem["type"] == "string_pattern_mismatch":
        return "no such value"
    if problem["type"] in ("list_type", "tuple_type"):
        example = json.dumps(_as_list(problem["input"]), default=str)
        return "write a list" + (f", such as --set '{key}={example}'" if len(example) <= MAX_EXAMPLE else "")
    return problem["msg"].removeprefix("Value error, ")


def _as_list(value: Any) -> list[Any]:
    """Return the list that was meant by `0,2`, `tensorboard` or `[tensorboard]`, whose quotes the shell took."""
    text = str(value).strip().removeprefix("[").removesuffix("]")
    try:
        return list(tomllib.loads(f"value = [{text}]")["value"])
    except (ValueError, RecursionError):
        return [item.strip() for item in text.split(",")]
