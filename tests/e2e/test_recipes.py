"""Every recipe is a configuration that loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from orpo.config import load_config

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.mark.parametrize(
    "path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_a_recipe_loads_and_writes_where_its_name_says(path: Path) -> None:
    config = load_config(path).config
    assert config.objective.name in path.stem
    assert config.output.startswith(f"runs/{path.parent.name}-")
    assert config.output.endswith(f"-{config.objective.name}")


def test_what_is_trained_after_sft_starts_where_sft_writes() -> None:
    for folder in {path.parent for path in RECIPES.rglob("*.yaml")}:
        written = load_config(folder / "sft.yaml").config.output
        for name in ("dpo", "simpo", "kto"):
            assert load_config(folder / f"{name}.yaml").config.model.name == f"{written}/model"
