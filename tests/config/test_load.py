"""Recipes from names, files and settings, and the message for every kind of error."""

import tomllib
from pathlib import Path

import pytest

from dinocli.config.auto import resolve
from dinocli.config.load import (
    checked_recipe,
    differences,
    load_recipe,
    parse_setting,
    recipe_folder,
    recipe_names,
    recipe_path,
    to_toml,
    with_values,
)
from dinocli.config.recipe import Recipe
from dinocli.config.recipe_messages import RENAMED, RETIRED
from dinocli.config.run_facts import RunFacts
from dinocli.errors import RecipeError

SHIPPED = sorted(recipe_folder().rglob("*.toml"))


def sentence(*layers: str, settings: tuple[str, ...] = ()) -> str:
    """The error of a wrong recipe, which has to be one line."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(layers, settings)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_recipes_are_found() -> None:
    assert len(SHIPPED) >= 6
    assert {"natural", "plain", "industrial", "grey", "microscopy", "satellite", "texture"} <= set(recipe_names())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_resolves_and_comes_back_from_toml(path: Path, tmp_path: Path) -> None:
    for recipe in (load_recipe([path.stem]), load_recipe([str(path)])):
        assert recipe.description == tomllib.loads(path.read_text())["description"]
        for facts in (RunFacts(300, pretrained=True), RunFacts(10, False, "convnet", batch_norm=True)):
            resolved = resolve(recipe, facts)
            copy = tmp_path / "recipe.toml"
            copy.write_text(to_toml(resolved))
            assert load_recipe([str(copy)]) == resolved
            assert with_values(resolved, {}) == resolved


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.stem != "natural"], ids=lambda path: path.stem)
def test_a_recipe_holds_differences_only(path: Path) -> None:
    base, data = load_recipe().model_dump(mode="json"), tomllib.loads(path.read_text())
    same = [
        f"{section}.{key}"
        for section, keys in data.items()
        if isinstance(keys, dict)
        for key, value in keys.items()
        if base[section][key] == value
    ]
    assert not same


def test_every_setting_has_a_meaning() -> None:
    described = 0
    for section in Recipe.model_fields.values():
        for key, field in getattr(section.annotation, "model_fields", {}).items():
            assert field.description, key
            assert field.is_required(), f"{key}: values stand in natural.toml alone"
            described += 1
    assert described > 50


def test_later_layers_and_settings_win(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[run]\nseed = 7\nsave_every = 3\n[views]\nvflip = 0.25\n")
    recipe = load_recipe(
        ["texture", str(own)], ["run.save_every=4", "model.weights=none", "data.channels=[2, 0]", "data.max_bad=25"]
    )
    assert (recipe.run.seed, recipe.run.save_every, recipe.views.vflip) == (7, 4, 0.25)
    assert (recipe.model.weights, recipe.data.channels, recipe.data.max_bad) == ("none", [2, 0], "25")
    assert recipe.views.rot90 == 0.5, "of texture"
    assert recipe.optim.clip_grad == 3.0, "of natural"


def test_extends_comes_before_its_file_beside_it_or_by_name(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('extends = "grey"\n[run]\nseed = 1\nlog_every = 2\n')
    (tmp_path / "own.toml").write_text('extends = ["base.toml"]\n[run]\nseed = 3\n')
    recipe = load_recipe([str(tmp_path / "own.toml")])
    assert (recipe.run.seed, recipe.run.log_every, recipe.views.hue) == (3, 2, 0.0)


def test_extends_loop_is_named(tmp_path: Path) -> None:
    for own, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{own}.toml").write_text(f'extends = "{other}.toml"\n')
    text = sentence(str(tmp_path / "a.toml"))
    assert "a.toml extends itself by way of" in text
    assert "b.toml" in text


@pytest.mark.parametrize("value", ["3", "[3]", "{ a = 1 }"])
def test_extends_has_to_be_names(tmp_path: Path, value: str) -> None:
    (tmp_path / "a.toml").write_text(f"extends = {value}\n")
    assert "extends" in sentence(str(tmp_path / "a.toml"))


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("run.stepps=5", ["--set", "run.stepps", "did you mean run.steps?"]),
        ("steps=5", ["there is no setting steps", "did you mean run.steps?"]),
        ("runs.steps=5", ["there is no setting runs", "did you mean run?"]),
        ("optim.zzzzzz=5", ["optim.zzzzzz", "there are optim."]),
        ("head.start=fitted", ["--set", "head.start is now called head.init"]),
        ("guard.blend=[1.0]", ["guard.blend is now called guard.weight_interpolation"]),
        ("optim.optimizer=sgd", ["optim.optimizer is no longer a setting (training uses AdamW): remove it"]),
        ("run=5", ["run is a section"]),
        ("run.steps.more=5", ["run.steps is a single value"]),
        ("run.steps", ["write it as section.key=value"]),
        ("=5", ["write it as section.key=value"]),
        ("run.steps=0", ["run.steps = 0", "greater than or equal to 1", "optimizer steps"]),
        ("run.steps=many", ["run.steps = 'many'", "'auto'", "optimizer steps"]),
        ("optim.clip_mode=norm", ["optim.clip_mode = 'norm'", "'parameter' or 'global'"]),
        ("optim.lr=nan", ["optim.lr = nan", "finite number"]),
        ("optim.lr=1e300", ["optim.lr = 1e+300", "between 1e-30 and 1e30"]),
        ("views.global_size=100000", ["views.global_size = 100000", "less than or equal to 16384"]),
        ("optim.lr=-1", ["optim.lr = -1", "greater than or equal to 0"]),
        ("optim.freeze_last_layer=1.5", ["freeze_last_layer = 1.5", "less than or equal to 1"]),
        ("dino.teacher_temp=0", ["dino.teacher_temp = 0", "greater than 0"]),
        ("views.local_scale=[0.4, 0.05]", ["views.local_scale", "smaller value first"]),
        ("views.blur=[1, 0]", ["views.blur", "global view 1"]),
        ("guard.stop=perhaps", ["guard.stop = 'perhaps'"]),
        ("head.out_dim=1", ["head.out_dim = 1"]),
        ("data.max_bad=true", ["data.max_bad = True", "a percentage"]),
        ("run.track=tensorboard", ["""write a list, such as --set 'run.track=["tensorboard"]'"""]),
        ("run.track=[tensorboard, mlflow]", ["""such as --set 'run.track=["tensorboard", "mlflow"]'"""]),
        ("data.channels=0,2", ["write a list, such as --set 'data.channels=[0, 2]'"]),
        ("views.blur=2020-01-01", ["""write a list, such as --set 'views.blur=["2020-01-01"]'"""]),
        (f"run.track={'x' * 100}", ["write a list (also write"]),
        ("model.trainable=some", ["model.trainable = 'some'", "no such value (trained part of the backbone"]),
    ],
)
def test_wrong_settings_are_explained_in_one_line(setting: str, parts: list[str]) -> None:
    text = sentence(settings=(setting,))
    for part in parts:
        assert part in text, text


def test_a_recipe_saved_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[run]\nsteps = 5\n", encoding="utf-8-sig")
    assert load_recipe([str(tmp_path / "mine.toml")]).run.steps == 5


def test_wrong_names_and_files_are_explained_in_one_line(tmp_path: Path) -> None:
    assert "did you mean texture?" in sentence("textur")
    assert "dinocli recipe list" in sentence("zzz")
    assert "not found" in sentence(str(tmp_path / "own.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("[run\n")
    assert "broken.toml is not valid TOML" in sentence(str(broken))
    broken.write_bytes(b"\xff\xfe")
    assert "is not valid TOML" in sentence(str(broken))
    broken.write_text("[run]\nspeed = 3\n")
    assert sentence(str(broken)).startswith(str(broken))


def test_a_wrong_value_outside_the_sections_has_a_reason(tmp_path: Path) -> None:
    for value in ("5", '["x"]'):
        (tmp_path / "mine.toml").write_text(f"description = {value}\n")
        with pytest.raises(RecipeError, match=r"^recipe: description = .*: Input should be a valid string$"):
            load_recipe([str(tmp_path / "mine.toml")])


def test_a_missing_setting_is_named() -> None:
    data = load_recipe().model_dump(mode="json")
    del data["run"]["seed"]
    with pytest.raises(RecipeError, match=r"^recipe: run\.seed: Field required"):
        checked_recipe(data)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("a.b=3", 3), ("a.b=1e-4", 1e-4), ("a.b=true", True), ("a.b=auto", "auto"), ('a.b="3"', "3"), ("a.b=x=y", "x=y")],
)
def test_a_value_is_toml_or_else_text(setting: str, value: object) -> None:
    assert parse_setting(setting) == {"a": {"b": value}}


def test_differences_name_both_values() -> None:
    before = load_recipe().model_dump(mode="json")
    after = load_recipe(settings=["run.seed=5", "views.blur=[0,0,0]"]).model_dump(mode="json")
    assert sorted(differences(before, after)) == [
        "run.seed: 0 -> 5",
        "views.blur: [1.0, 0.1, 0.5] -> [0.0, 0.0, 0.0]",
    ]
    assert differences(before, before) == []


def test_recipe_path_prefers_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grey").write_text("")
    assert recipe_path("grey") == recipe_folder() / "grey.toml"


def test_a_stored_recipe_with_an_old_key_names_the_new_one() -> None:
    data = load_recipe().model_dump(mode="json")
    data["optim"]["stem_lr"] = data["optim"].pop("stem_lr_mult")
    with pytest.raises(RecipeError, match=r"optim\.stem_lr is now called optim\.stem_lr_mult"):
        checked_recipe(data)


@pytest.mark.parametrize("table", [RENAMED, RETIRED])
def test_old_keys_are_settings_no_more_and_their_successors_are(table: dict[str, str]) -> None:
    sections = load_recipe().model_dump(exclude={"description"})
    known = {f"{section}.{key}" for section, keys in sections.items() for key in keys}
    assert not table.keys() & known
    assert set(RENAMED.values()) <= known
