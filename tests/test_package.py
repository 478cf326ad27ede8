import ast
import re
import subprocess
import sys
from pathlib import Path

import jacoscope
import jacoscope.jacobians

ROOT = Path(__file__).parents[1]


def test_importing_costs_nothing() -> None:
    code = "import sys, jacoscope; assert 'torch' not in sys.modules; jacoscope.jacobian; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_mathematics_needs_torch_alone() -> None:
    code = "import sys, jacoscope.jacobians\nprint([m for m in ('pytorch_lightning', 'hydra', 'matplotlib', "
    code += "'torchvision', 'tensorboard') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in jacoscope.__all__:
        assert getattr(jacoscope, name) is not None
    assert jacoscope.jacobian is jacoscope.jacobians.jacobian


def test_tensorboard_is_started_on_loopback_only() -> None:
    recipe = (ROOT / "Makefile").read_text().split("\nboard:")[1].split("\n\n")[0]
    assert "--host localhost" in recipe
    assert "--bind_all" not in recipe
    assert "--samples_per_plugin=images=1000,jacobians=1000" in recipe


def test_checkpoints_py_alone_unpickles_and_weights_alone() -> None:
    calls = {
        f"{path.name}: {ast.unparse(node)}"
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and re.search(r"(torch|np|pickle|joblib)\.loads?$", ast.unparse(node.func))
    }
    assert calls == {
        "checkpoints.py: torch.load(file, map_location='cpu', weights_only=True)",
        "arrays.py: np.load(path, allow_pickle=False)",
    }


def test_the_command_explains_itself_and_names_what_was_meant() -> None:
    def typed(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "jacoscope", *words], capture_output=True, text=True)

    assert all(name in typed().stdout for name in ("jacoscope train", "jacoscope analyze", "jacoscope runs"))
    wrong = typed("trian", "model=mlp")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("There is no jacoscope trian. Did you mean jacoscope train?")


def test_all_addresses_of_the_repository_are_those_of_pyproject() -> None:
    (source,) = re.findall(r'^Source = "https://github.com/(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    owner, name = source.split("/")
    files = ["pyproject.toml", "mkdocs.yml", "CITATION.cff", "CHANGELOG.md", "docs/start.md"]
    for text in ((ROOT / file).read_text() for file in files):
        found = re.findall(r"(?:github|githubusercontent)\.com/([\w.-]+/[\w.-]+?)(?=[/\s\"']|$)", text)
        assert set(found) == {source}
        assert set(re.findall(r"([\w-]+)\.github\.io/([\w.-]+)", text)) <= {(owner, name)}
