"""What README and the pages of docs/ tell people to type runs; what they show is there."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from pytorch_lightning import LightningModule
from torch.utils.data import DataLoader, TensorDataset

import jacoscope
from jacoscope.commands import typed
from jacoscope.data import ImageSets
from jacoscope.models import LeNet5
from jacoscope.runs.directory import folder_of

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
GENERATED = {"configs", "changelog", "contributing", "security"}  # docs/hooks.py makes these pages
ELSEWHERE = {"callback.md"}  # tests/callbacks/test_docs.py runs its examples on modules of its own


def blocks(page: Path, language: str) -> list[str]:
    """The code of a page, without what is marked as not run."""
    return [
        re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)
        for indent, name, title, body in BLOCK.findall(page.read_text())
        if name == language and "not run: " not in title
    ]


WITH_PYTHON = [page for page in PAGES if blocks(page, "python") and page.name not in ELSEWHERE]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_all_python_of_a_page_runs_from_top_to_bottom(
    page: Path, mnist: ImageSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = LeNet5()
    x, y = mnist.test.images[:12].float() / 255, mnist.test.labels[:12]
    names: dict[str, Any] = {
        "model": model,
        "x": x,
        "y": y,
        "optimizer": torch.optim.SGD(model.parameters(), 0.1),
        "train_loader": DataLoader(TensorDataset(x, y), 6),
        "images": x,
        "labels": y,
        "train_one_epoch": lambda _: None,
        "cross_entropy": torch.nn.functional.cross_entropy,
        "LightningModule": LightningModule,
        "__name__": "page",
    }
    for number, code in enumerate(blocks(page, "python"), start=1):
        exec(compile(code, f"{page.name}, block {number}", "exec"), names)


COMMAND = re.compile(r"^\$? *(?:jacoscope|python) (train|analyze)(?:\.py)? (.*)$", re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    found = set()
    for page in PAGES:
        text = page.read_text()
        for block in re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
            for name, words in COMMAND.findall(re.sub(r"^ +", "", block, flags=re.MULTILINE)):
                found.add((name, words.partition("#")[0].strip()))
    return sorted(found)


def test_every_command_of_the_pages_is_composed_by_hydra() -> None:
    """Keys, groups and choices exist; what a placeholder stands for does not matter."""
    resolvers = {"folder_of": folder_of, "typed": typed}
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)
    parser = OverridesParser.create()
    tried = 0
    with initialize_config_dir(str(ROOT / "configs")):
        for name, line in commands():
            words = [word.strip("'\"") for word in re.findall(r"(?:[^\s'\"]|'[^']*'|\"[^\"]*\")+", line)]
            overrides = [word for word in words if "=" in word and not word.startswith("-")]
            if "optimizer.lrr=1" in overrides or "model=mine" in overrides:
                continue  # the page shows the message about it; a config of the reader's own
            single = []
            for override in parser.parse_overrides(overrides):
                value = override.input_line
                if override.is_sweep_override():
                    first = next(iter(override.sweep_string_iterator()))
                    value = f"{override.get_key_element()}={first}"
                single.append(value)
            compose(name, single, return_hydra_config=True)
            tried += 1
    assert tried > 15


def test_every_public_name_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    missing = [name for name in jacoscope.__all__ if f"::: jacoscope.{name}\n" not in page and name != "__version__"]
    assert not missing
    for name in jacoscope.__all__:
        assert name in ("STRATEGIES", "__version__") or getattr(jacoscope, name).__doc__, name


def test_pictures_and_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
            generated = page.parent.name == "docs" and target.partition(".")[0] in GENERATED
            assert generated or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_changelog_names_the_version_and_so_does_the_citation() -> None:
    assert f"## [{jacoscope.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {jacoscope.__version__}\n" in (ROOT / "CITATION.cff").read_text()
