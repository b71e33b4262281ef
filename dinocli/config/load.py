"""Recipe loading: TOML layers over `natural`, then `--set section.key=value`, then validation.

Each layer holds differences. A key that `natural` does not have is an error, whose message names the nearest key.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from dinocli.config.recipe import Recipe
from dinocli.config.recipe_messages import first_problem, nearest, unknown_key
from dinocli.errors import RecipeError
from dinocli.files import user_path
from dinocli.stored import MAX_DEPTH, depth, read_limited, reason, short_repr

BASE = "natural"

MAX_RECIPE_BYTES = 1 << 20
"""Largest accepted recipe file; the shipped ones have up to 6,000 bytes."""


def recipe_folder() -> Path:
    """Return the folder of the shipped recipes: inside the wheel, or beside the package in a checkout."""
    packaged = Path(str(resources.files("dinocli"))) / "_recipes"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "recipes"


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes, sorted."""
    return sorted(path.stem for path in recipe_folder().rglob("*.toml"))


def recipe_path(name_or_path: str) -> Path:
    """Return the path of a shipped recipe by name, or of a file by path.

    Raises:
        RecipeError: Neither exists; the message names the nearest recipe.
    """
    shipped = recipe_folder() / f"{name_or_path}.toml"
    if os.sep not in name_or_path and shipped.is_file():
        return shipped
    path = user_path(name_or_path)
    if path.is_file():
        return path
    if path.suffix == ".toml" or os.sep in name_or_path:
        raise RecipeError(f"recipe file {name_or_path} not found; `dinocli recipe copy natural {path.name}` writes one")
    raise RecipeError(f"no recipe {name_or_path!r}{nearest(name_or_path, recipe_names())}; see `dinocli recipe list`")


def load_recipe(layers: Sequence[str] = (), settings: Sequence[str] = ()) -> Recipe:
    """Merge recipes and settings into one validated recipe.

    Example:
        >>> recipe = dinocli.load_recipe(["gentle", "grey"], ["run.steps=500"])
        >>> recipe.run.steps
        500

    Args:
        layers: Names or paths; later ones override earlier ones, each overrides its `extends`, all override `natural`.
        settings: `section.key=value` strings, as for `--set`; they override all layers.

    Raises:
        RecipeError: A recipe, key or value is unknown; the message says where, and what is valid.
    """
    values: dict[str, Any] = {}
    layers, settings = ([one] if isinstance(one, str) else one for one in (layers, settings))
    for path in _resolve_extends([BASE, *layers]):
        values = _merged(values, _read(path), str(path)) if values else _read(path)
    for setting in settings:
        values = _merged(values, parse_setting(setting), "--set")
    return checked_recipe(values)


def checked_recipe(values: Mapping[str, Any]) -> Recipe:
    """Validate merged values and return them as a `Recipe`.

    Raises:
        RecipeError: A value is invalid; one line with the key, the problem and the meaning of the key.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(first_problem(error)) from None


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a validated copy of a recipe with new values.

    Args:
        recipe: Original recipe.
        values: `section.key` -> new value.
    """
    data = recipe.model_dump(mode="json")
    for dotted, value in values.items():
        section, key = dotted.split(".")
        data[section][key] = value
    return checked_recipe(data)


def parse_setting(setting: str) -> dict[str, Any]:
    """Parse `section.key=value`; the value is TOML if valid, else plain text (`model.weights=none`)."""
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
    """Return a recipe as TOML, from which `load_recipe` reads the same recipe."""
    return tomli_w.dumps(recipe.model_dump(mode="json"))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the differences between two recipes' data, as `section.key: old -> new`."""
    old, new = dict(flat(before)), dict(flat(after))
    return [f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in old | new if old.get(key) != new.get(key)]


def _resolve_extends(names: Sequence[str]) -> list[Path]:
    """Return the files of all layers, each after the files that it extends."""
    ordered: list[Path] = []

    def visit(name: str, parents: tuple[Path, ...]) -> None:
        path = recipe_path(name).resolve()
        if path in parents:
            raise RecipeError(f"{path} extends itself by way of {parents[-1]}; take one of the two `extends` out")
        for base in _extends(path):
            sibling = path.parent / base
            visit(str(sibling) if sibling.is_file() else base, (*parents, path))
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
        values = tomllib.loads(read_limited(path, MAX_RECIPE_BYTES).decode("utf-8-sig"))  # some editors write a BOM
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {reason(error)}") from None
    except (ValueError, RecursionError) as error:  # ValueError also for integers of thousands of digits
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
            raise RecipeError(f"{origin}: {unknown_key(f'{prefix}{key}', _near_keys(base, prefix))}")
        if isinstance(base[key], dict) != isinstance(value, Mapping):
            kind = "a section" if isinstance(base[key], dict) else "a single value"
            raise RecipeError(f"{origin}: {prefix}{key} is {kind}")
        merged[key] = _merged(base[key], value, origin, f"{prefix}{key}.") if isinstance(value, Mapping) else value
    return merged


def _near_keys(base: Mapping[str, Any], prefix: str) -> list[str]:
    inner = [f"{section}.{key}" for section, keys in base.items() if isinstance(keys, Mapping) for key in keys]
    return [*(f"{prefix}{key}" for key in base), *inner]


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `section.key` and value of each setting."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value
