"""Recipes from names and files: layers of TOML over `natural`, then `--set a.b=v`, then one strict check.

Every layer is a list of differences. A key that `natural` does not have is a mistake; the answer names the nearest one.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from dinocli.config.recipe import Recipe
from dinocli.errors import RecipeError
from dinocli.files import user_path
from dinocli.stored import MAX_DEPTH, depth, read_limited, reason, short_repr

BASE = "natural"

MAX_BYTES = 1 << 20
"""Of a recipe file; the largest of ours has six thousand."""

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
"""Keys of older recipes. None is read as an alias: the answer names the new key, or why there is none."""


def recipe_folder() -> Path:
    """Return the folder of the shipped recipes: in the wheel, or beside the package in a checkout."""
    packaged = Path(str(resources.files("dinocli"))) / "_recipes"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "recipes"


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes, sorted."""
    return sorted(path.stem for path in recipe_folder().rglob("*.toml"))


def recipe_path(name_or_path: str) -> Path:
    """Find a shipped recipe by name, or a file by path.

    Raises:
        RecipeError: If there is neither; it names the nearest recipe.
    """
    shipped = recipe_folder() / f"{name_or_path}.toml"
    if os.sep not in name_or_path and shipped.is_file():
        return shipped
    path = user_path(name_or_path)
    if path.is_file():
        return path
    if path.suffix == ".toml" or os.sep in name_or_path:
        raise RecipeError(f"recipe file {name_or_path} not found; `dinocli recipe copy natural {path.name}` writes one")
    raise RecipeError(f"no recipe {name_or_path!r}{_nearest(name_or_path, recipe_names())}; see `dinocli recipe list`")


def load_recipe(layers: Sequence[str] = (), settings: Sequence[str] = ()) -> Recipe:
    """Merge recipes and single settings into one checked recipe.

    Example:
        >>> recipe = dinocli.load_recipe(["gentle", "grey"], ["run.steps=500"])
        >>> recipe.run.steps
        500

    Args:
        layers: Names or paths, later ones win; each file's own `extends` come just before it, `natural` before all.
        settings: `section.key=value` strings, as after `--set`; they win over every layer.

    Raises:
        RecipeError: An unknown recipe, key or value, with the place and what would be right.
    """
    values: dict[str, Any] = {}
    for path in _in_order([BASE, *layers]):
        values = _merged(values, _read(path), str(path)) if values else _read(path)
    for setting in settings:
        values = _merged(values, parse_setting(setting), "--set")
    return checked(values)


def checked(values: Mapping[str, Any]) -> Recipe:
    """Turn merged values into a `Recipe`.

    Raises:
        RecipeError: One line for the first wrong value: its key, what was wrong, and what the key means.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(_first_problem(error)) from None


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some values changed, checked again.

    Args:
        recipe: The one to start from.
        values: `section.key` to new value.
    """
    data = recipe.model_dump(mode="json")
    for dotted, value in values.items():
        section, key = dotted.split(".")
        data[section][key] = value
    return checked(data)


def parse_setting(setting: str) -> dict[str, Any]:
    """Read `a.b=value`; the value is TOML where it is valid TOML, else plain text (`model.weights=none`)."""
    dotted, equals, text = setting.partition("=")
    if not equals or not dotted.strip():
        raise RecipeError(f"--set {setting}: write it as section.key=value, for example --set run.steps=500")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    if dotted.count(".") >= MAX_DEPTH or depth(value) > MAX_DEPTH:
        raise RecipeError(f"--set {short_repr(setting)} is nested too deeply; write section.key=value")
    for key in reversed(dotted.strip().split(".")):
        value = {key: value}
    return dict(value)


def to_toml(recipe: Recipe) -> str:
    """Write a recipe as TOML that `load_recipe` reads back to the same recipe."""
    return tomli_w.dumps(recipe.model_dump(mode="json"))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """List the keys whose values differ between two recipes' data, as `section.key: old -> new`."""
    old, new = dict(flat(before)), dict(flat(after))
    return [f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in old | new if old.get(key) != new.get(key)]


def _in_order(names: Sequence[str]) -> list[Path]:
    ordered: list[Path] = []

    def visit(name: str, trail: tuple[Path, ...]) -> None:
        path = recipe_path(name).resolve()
        if path in trail:
            raise RecipeError(f"{path} extends itself by way of {trail[-1]}; take one of the two `extends` out")
        for other in _extends(path):
            beside = path.parent / other
            visit(str(beside) if beside.is_file() else other, (*trail, path))
        if path not in ordered:
            ordered.append(path)

    for name in names:
        visit(name, ())
    return ordered


def _extends(path: Path) -> list[str]:
    names = _read(path).get("extends", [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RecipeError(f"{path}: extends = {names!r}: write the name or path of a recipe, or a list of them")
    return names


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(read_limited(path, MAX_BYTES).decode("utf-8-sig"))  # as some editors save it
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {reason(error)}") from None
    except (ValueError, RecursionError) as error:  # also of whole numbers with thousands of digits
        raise RecipeError(f"{path} is not valid TOML: {reason(error)}") from None
    if depth(values) > MAX_DEPTH:
        raise RecipeError(f"{path} is nested too deeply; a recipe has sections, and a section has settings")
    return values


def _merged(base: dict[str, Any], layer: Mapping[str, Any], origin: str, prefix: str = "") -> dict[str, Any]:
    merged = dict(base)
    for key, value in layer.items():
        if key == "extends" and not prefix:
            continue
        if key not in base:
            raise RecipeError(f"{origin}: {_unknown(f'{prefix}{key}', _near_keys(base, prefix))}")
        if isinstance(base[key], dict) != isinstance(value, Mapping):
            kind = "a section" if isinstance(base[key], dict) else "a single value"
            raise RecipeError(f"{origin}: {prefix}{key} is {kind}")
        merged[key] = _merged(base[key], value, origin, f"{prefix}{key}.") if isinstance(value, Mapping) else value
    return merged


def _unknown(key: str, known: Sequence[str]) -> str:
    """Say what to write instead of a key that no recipe has."""
    if key in RENAMED:
        return f"{key} is now called {RENAMED[key]}: write {RENAMED[key]}"
    if key in RETIRED:
        return f"{key} is no longer a setting ({RETIRED[key]}): remove it"
    return f"there is no setting {key}{_nearest(key.rpartition('.')[2], known)}"


def _near_keys(base: Mapping[str, Any], prefix: str) -> list[str]:
    inner = [f"{section}.{key}" for section, keys in base.items() if isinstance(keys, Mapping) for key in keys]
    return [*(f"{prefix}{key}" for key in base), *inner]


def _nearest(word: str, known: Sequence[str]) -> str:
    by_last_part = {name.rpartition(".")[2]: name for name in reversed(known)}
    found = difflib.get_close_matches(word, [*by_last_part], n=1, cutoff=0.6)
    return f"; did you mean {by_last_part[found[0]]}?" if found else f"; there are {', '.join(known[:12])}"


def _first_problem(error: ValidationError) -> str:
    """Say what is wrong with the first wrong key; the branches of a union ("auto" or a number) are joined by "or"."""
    problems = error.errors()
    unknown = (".".join(map(str, problem["loc"])) for problem in problems if problem["type"] == "extra_forbidden")
    for name in unknown:
        if name in RENAMED | RETIRED:
            return f"recipe: {_unknown(name, ())}"
    section, key, *_ = (*map(str, problems[0]["loc"]), "", "")
    same = [problem for problem in problems if tuple(map(str, problem["loc"]))[:2] == (section, key)]
    wrong = dict.fromkeys(problem["msg"].removeprefix("Value error, ") for problem in same)
    field = Recipe.model_fields.get(section)
    known = getattr(field.annotation, "model_fields", {}) if field else {}
    meaning = f" ({known[key].description})" if key in known else ""
    value = "" if problems[0]["type"] == "missing" else f" = {short_repr(problems[0]['input'])}"
    return f"recipe: {section}{'.' if key else ''}{key}{value}: {', or: '.join(wrong)}{meaning}"


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a recipe's data as pairs of `section.key` and value."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value
