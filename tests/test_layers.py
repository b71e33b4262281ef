"""The house rules of imports, read from the syntax tree: who may know whom."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dinocli

ROOT = Path(dinocli.__file__).parent
MIDDLE = {"data", "augment", "models", "dino", "quality"}
BASE = {
    "cores": 0.0,
    "progress": 0.0,
    "errors": 0.0,
    "file_locks": 0.0,
    "files": 0.2,
    "stored": 0.5,
    "stored_arrays": 0.5,
    "journal": 0.5,
}
BASE |= {"output_paths": 0.6, "file_set": 0.7}
RANK = BASE | dict.fromkeys(MIDDLE, 2) | {"config": 1, "engine": 3, "segmentation": 3.2, "artifacts": 3.4}
RANK |= {"report": 3.6, "tasks": 4, "cli": 5}


def module_name(path: Path) -> str:
    parts = ["dinocli", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All nodes of a file's syntax tree that import something or define a class."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef)]


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, wherever in the file, also for type checking only."""
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in inner}
    return {name for name in found if name.split(".")[0] == "dinocli"}


def layer(module: str) -> str:
    return [*module.split("."), ""][1]


INSIDE = [name for name in MODULES if layer(name) in RANK]


@pytest.fixture(scope="module")
def edges() -> dict[str, set[str]]:
    """What each module inside the layers imports."""
    return {name: imports(MODULES[name]) for name in INSIDE}


def test_the_walk_saw_the_package(edges: dict[str, set[str]]) -> None:
    assert len(edges) > 40
    assert sum(map(len, edges.values())) > 100
    assert {layer(name) for name in edges} == set(RANK)
    assert {layer(name) for name in MODULES} - set(RANK) <= {"", "__main__"}, "a package without a layer"


def test_imports_go_down_only(edges: dict[str, set[str]]) -> None:
    for name, targets in edges.items():
        for target in targets:
            above, below = layer(name), layer(target)
            assert above == below or RANK[above] > RANK.get(below, -1), f"{name} imports {target}"
            assert below or target == "dinocli", f"{name} imports {target}"


def test_middle_packages_know_no_configuration(edges: dict[str, set[str]]) -> None:
    known = {"cores", "errors", "files", "stored", "stored_arrays", "config.preprocess"}
    middle = [name for name in edges if layer(name) in MIDDLE]
    assert {layer(name) for name in middle} == MIDDLE
    for name in middle:
        own = f"dinocli.{layer(name)}."
        foreign = {target for target in edges[name] if not f"{target}.".startswith(own)}
        assert foreign <= {f"dinocli.{module}" for module in known}, name


def test_there_are_no_circles(edges: dict[str, set[str]]) -> None:
    order = [*TopologicalSorter(edges).static_order()]  # raises CycleError
    assert order.index("dinocli.errors") < order.index("dinocli.tasks.train.train")


def test_config_and_errors_import_no_torch() -> None:
    light = [path for name, path in MODULES.items() if layer(name) in ("config", "errors", "stored")]
    assert light
    heavy = {"torch", "timm", "kornia", "sklearn", "scipy", "numpy"}
    for path in light:
        for node in nodes(path):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
                assert not {name.split(".")[0] for name in names} & heavy, path


def test_only_the_command_line_knows_two_ways_to_train() -> None:
    knowing = {name for name, path in MODULES.items() if "finetune" in path.read_text(encoding="utf-8").lower()}
    assert knowing
    assert {layer(name) for name in knowing} == {"cli"}


def test_only_the_command_line_knows_training(edges: dict[str, set[str]]) -> None:
    training = {"dinocli.engine.build", "dinocli.engine.loop", "dinocli.engine.monitor", "dinocli.engine.step"}
    others = [n for n in INSIDE if RANK[layer(n)] > RANK["engine"] and layer(n) != "cli"]
    others = [n for n in others if not n.startswith("dinocli.tasks.train")]
    others.remove("dinocli.artifacts.view_features")  # makes the views of a recipe
    assert others
    for name in others:
        known = {target for target in edges[name] if target.startswith("dinocli.tasks.train")}
        assert not known | (edges[name] & training), name


def test_no_two_modules_outside_the_command_line_share_a_name() -> None:
    outside = [MODULES[name].stem for name in INSIDE if layer(name) != "cli" and MODULES[name].name != "__init__.py"]
    assert len(outside) > 100
    assert {name for name in outside if outside.count(name) > 1} == set()
    assert not {"run", "job", "utils", "common", "helpers"} & set(outside)


def test_no_two_classes_share_a_name() -> None:
    names = [node.name for path in MODULES.values() for node in nodes(path) if isinstance(node, ast.ClassDef)]
    assert len(names) > 100
    assert {name for name in names if names.count(name) > 1} == set()
