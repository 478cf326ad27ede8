"""What the documentation site makes itself: the page of configs, formulas as MathML, links to files of the repository.

mkdocs calls the functions that begin with ``on_``; :class:`Roles` is an extension of mkdocstrings.
"""

import html
import itertools
import re
from pathlib import Path
from typing import Any

from griffe import Docstring, Extension, Object
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
DOCUMENTS = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
GROUPS = {
    "data": "What is learned from. `images` is the shape and the number of classes that the network is built for.",
    "augmentation": "A random distortion of each training image.",
    "model": "The network: any `nn.Module` from pixels in [0, 1] to logits.",
    "loss": "What is minimised.",
    "penalty": "A term of the Jacobian that is added to the loss.",
    "regularisation": "Dropout, weight decay and penalties together.",
    "optimizer": "How the weights are changed.",
    "scheduler": "The learning rate over the training.",
    "trainer": "Lightning's `Trainer`: the device, the number of epochs, the precision.",
    "callbacks": "What happens during a training. Add one with `callbacks=[default,ema]`.",
    "logger": "Where curves and pictures go.",
    "paths": "Folders of data and logs.",
    "experiment": "Whole recipes: choices and values for all other groups.",
    "hparams_search": "Searches by Optuna, with `-m`.",
    "robustness": "Robustness curves of an analysis.",
    "debug": "To find mistakes.",
    "hydra": "Hydra's own settings: folders, launchers, sweepers.",
}


# The page of configs.


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of all configs, generated from the files, and the documents at the top of the repository."""
    files.append(File.generated(config, "configs.md", content=config_page()))
    for name, uri in DOCUMENTS.items():
        text = re.sub(r"\]\(docs/", "](", (ROOT / name).read_text())
        files.append(File.generated(config, uri, content=re.sub(r"\]\((?=(src|configs|[A-Z]+\.md))", "](../", text)))
    return files


def config_page() -> str:
    """Return the page: the two primary configs, then each group with its choices."""
    page = ["# Configs", ""]
    page += ["Every key can be set on the command line, `KEY=VALUE`; every group chosen, `GROUP=CHOICE`. This page is "]
    page += ["generated from the files in `configs/`; `--cfg job` shows the whole config of a command.", ""]
    for name in ("train", "analyze"):
        page += [f"## {name}", "", *_file(CONFIGS / f"{name}.yaml")]
    folders = sorted((path for path in CONFIGS.iterdir() if path.is_dir()), key=_order)
    for folder in folders:
        page += [f"## {folder.name}", "", GROUPS.get(folder.name, ""), ""]
        for file in sorted(folder.rglob("*.yaml")):
            choice = file.relative_to(folder).with_suffix("").as_posix()
            page += [f"### {folder.name}={choice} {{: #{folder.name}-{choice.replace('/', '-')} }}", "", *_file(file)]
    return "\n".join(page)


def _order(folder: Path) -> tuple[int, str]:
    names = list(GROUPS)
    return names.index(folder.name) if folder.name in names else len(names), folder.name


def _file(path: Path) -> list[str]:
    lines = path.read_text().removeprefix("# @package _global_\n").splitlines()
    comments = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    purpose = "\n".join(line.removeprefix("#").strip() for line in comments)
    purpose = re.sub(r"([*_<>])", r"\\\1", purpose)  # plain text, not Markdown
    body = "\n".join(lines[len(comments) :])
    return [purpose, "", "```yaml", body.strip() or "{}", "```", ""]


# Links and formulas.


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Lead links out of docs/ to the files of the repository."""
    return re.sub(r"\]\(\.\./([\w./-]+)\)", lambda match: _link(match[1], str(config.repo_url)), markdown)


def _link(target: str, repository: str) -> str:
    if target in DOCUMENTS:
        return f"]({DOCUMENTS[target]})"
    kind = "tree" if (ROOT / target).is_dir() else "blob"
    return f"]({repository.rstrip('/')}/{kind}/main/{target})"


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Replace formulas by MathML, which browsers draw without a script."""
    content = re.sub(
        r'<span class="arithmatex">\\\((.*?)\\\)</span>', lambda m: _mathml(m[1], "inline"), content, flags=re.S
    )
    return re.sub(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', lambda m: _mathml(m[1], "block"), content, flags=re.S)


def _mathml(formula: str, display: str) -> str:
    return convert(html.unescape(formula).strip(), display=display)


# Docstrings.


class Roles(Extension):
    """Read the roles of docstrings, which are those of Sphinx, as Markdown."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring = Docstring(
                as_markdown(obj.docstring.value),
                parent=obj,
                lineno=obj.docstring.lineno,
                parser=obj.docstring.parser,
                parser_options=obj.docstring.parser_options,
            )


def as_markdown(text: str) -> str:
    """Return a docstring with formulas between dollars, names as code, and examples as blocks of code.

    >>> as_markdown("The norm :math:`a_1` of :func:`~jacoscope.jacobian`")
    'The norm $a_1$ of `jacobian`'
    """
    text = re.sub(r"(?m)^( *)>>>.*(?:\n(?! *$).*)*", _fenced, text)
    text = re.sub(r"(?m)^( *)\.\. math:: ((?:.+\n?)+)", lambda m: f"{m[1]}$$\n{m[1]}{m[2].rstrip()}\n{m[1]}$$\n", text)
    text = re.sub(r":math:`([^`]+)`", lambda m: f"${' '.join(m[1].split())}$", text)
    return re.sub(r":(?:func|class|mod|meth|data|attr):`~?([^`]+)`", lambda m: f"`{m[1].rpartition('.')[2]}`", text)


def _fenced(block: re.Match[str]) -> str:
    return f"{block[1]}```python\n{block[0]}\n{block[1]}```"
