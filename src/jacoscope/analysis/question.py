"""The question to a trained network: the command line of analyze.py, checked, as plain values.

Torch is not imported: a slip is refused within a second.
"""

from dataclasses import MISSING, dataclass, field, fields
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf

from jacoscope.errors import UserError, nearest, require_choice
from jacoscope.runs.ranges import MOST, Range
from jacoscope.runs.records import fits

if TYPE_CHECKING:
    from jacoscope.analysis.robustness.settings import Robustness


class Kind(NamedTuple):
    """A kind of question."""

    file: str
    """The file that answers it."""
    uses: tuple[str, ...]
    """The keys that not all questions use, and this one does."""


TABLE = ("checkpoint", "split", "limit", "chunk_size")
QUESTIONS = {
    "sample": Kind("sample", ("checkpoint", "split")),
    "samples": Kind("sample", ("checkpoint", "split")),
    "image": Kind("image", ("checkpoint", "invert")),
    "compare": Kind("compare", ("split", "limit", "chunk_size", "robustness")),
    "history": Kind("history", TABLE),
    "split": Kind("split", (*TABLE, "attack", "save_jacobians", "report", "robustness")),
}
"""The questions, by the key that asks them; without such a key, it is that about a whole split.

With ``robustness``, ``compare`` asks about curves, see :attr:`Question.file`.
"""
CHOICES = {
    "split": ("test", "val", "train"),
    "output": ("logits", "probs", "log_probs"),
    "jacobian_dtype": ("float32", "float16"),
}
RANGES = {name: Range(low, MOST) for name, low in (("limit", 1), ("chunk_size", 1), ("attack", 0))}
TYPES = {int: "a whole number", str: "a text", bool: "true or false"}
NOT_THE_QUESTION = ("model", "data", "images", "augmentation", "paths", "trainer")
"""Keys of the config that describe the network, its data and the devices."""


@dataclass(frozen=True)
class Question:
    """The question to one or two checkpoints; the names are those of configs/analyze.yaml, which explains them."""

    checkpoint: str | None = None
    split: str = "test"
    output: str | None = None
    strategy: str = "vmap-jacrev"
    limit: int | None = None
    sample: int | None = None
    samples: list[int] | None = None
    image: str | None = None
    invert: bool = False
    save_jacobians: bool = False
    jacobian_dtype: str = "float32"
    compare: list[str] | None = None
    history: bool = False
    attack: int = 50
    robustness: "Robustness | None" = None
    report: bool = True
    chunk_size: int = 512
    output_dir: str | None = None
    trust: list[str] = field(default_factory=list)

    @classmethod
    def from_config(cls, cfg: DictConfig) -> "Question":
        """Read the question from a composed config.

        Raises:
            UserError: if a key does not exist, a value has the wrong type or is out of range, or two keys exclude each
                other.
        """
        own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in NOT_THE_QUESTION])
        values: Any = OmegaConf.to_container(own)
        hints = get_type_hints(cls, localns={"Robustness": object})
        if unknown := [name for name in values if name not in hints]:
            raise UserError(f"There is no key {unknown[0]}.{nearest(unknown[0], hints)}\nKeys: {', '.join(hints)}")
        for name, value in values.items():
            if value == "":
                raise UserError(f"{name}= has no value: type {name}=VALUE, or leave it out")
            if name == "robustness":
                continue  # checked there
            if isinstance(value, str) and list[str] in (hints[name], *get_args(hints[name])):
                values[name] = [value]  # trust=my_package is as clear as trust=[my_package]
            elif not fits(value, hints[name], MISSING):
                raise UserError(f"{name}={value!r} is of the wrong type: it is {_described(hints[name])}")
        if curves := values.pop("robustness", None):
            from jacoscope.analysis.robustness.settings import Robustness

            values["robustness"] = Robustness.from_config(curves)
        question = cls(**values)
        question._check()
        return question

    @property
    def indices(self) -> list[int] | None:
        """The samples that are asked for one by one; none for a whole split."""
        return [self.sample] if self.sample is not None else self.samples

    @property
    def is_about_single_images(self) -> bool:
        """Whether it asks about samples or pictures one by one."""
        return self.asked in ("sample", "samples", "image")

    @property
    def asked(self) -> str:
        """The key of :data:`QUESTIONS` that was typed."""
        return next(iter(self._typed), "split")

    @property
    def file(self) -> str:
        """The name of the file that answers it."""
        return "compare_robustness" if self.compare and self.robustness else QUESTIONS[self.asked].file

    @property
    def _typed(self) -> list[str]:
        values = {name: getattr(self, name) for name in QUESTIONS if name != "split"}
        return [name for name, value in values.items() if value is not None and value is not False]  # sample=0 is one

    @property
    def named_output(self) -> str:
        """The output that is differentiated: the one asked for, else probs for single images and logits for tables."""
        return self.output or ("probs" if self.is_about_single_images else "logits")

    @property
    def scope(self) -> dict[str, Any]:
        """All that decides the numbers, except the networks."""
        return {
            "split": self.split,
            "output": self.named_output,
            "strategy": self.strategy,
            "limit": self.limit,
        }

    @property
    def output_name(self) -> str:
        """Output and strategy as a part of the name of a folder."""
        return self.named_output if self.strategy == Question.strategy else f"{self.named_output}_{self.strategy}"

    @property
    def scope_name(self) -> str:
        """The scope as a part of the name of a folder."""
        return f"{self.split}_{self.output_name}" + (f"_first_{self.limit}" if self.limit else "")

    def _check(self) -> None:
        choices_of = dict(CHOICES)
        if self.strategy != Question.strategy:
            from jacoscope.jacobians import STRATEGIES

            choices_of["strategy"] = ("auto", *STRATEGIES)
        for name, choices in choices_of.items():
            if (value := getattr(self, name)) is not None:
                require_choice(name, value, choices)
        for name, allowed in RANGES.items():
            if not allowed.allows(value := getattr(self, name)):
                raise UserError(f"{name}={value} is not allowed; it is {allowed}")
        if self.samples == []:
            raise UserError("samples=[]: name at least one, samples=[7,12]")
        if len(self._typed) > 1:
            raise UserError(f"{' and '.join(self._typed)} are different questions: ask one at a time")
        if self.compare == []:
            raise UserError("compare=[]: name runs or checkpoints, compare=[RUN_A,RUN_B]")
        if self.compare is not None and len(self.compare) != 2 and self.robustness is None:
            raise UserError(f"compare={self.compare}: name two runs or checkpoints, compare=[RUN_A,RUN_B]")
        self._check_that_all_is_used()
        for index in self.indices or ():
            if index < 0:
                raise UserError(f"sample={index} is out of range: samples are counted from 0")

    def _check_that_all_is_used(self) -> None:
        """Refuse what was set but is not used by the question that is asked. Values of nothing ask for nothing."""
        defaults = {each.name: each.default for each in fields(self)}
        for name in dict.fromkeys(name for kind in QUESTIONS.values() for name in kind.uses):
            value, users = getattr(self, name), [key for key, kind in QUESTIONS.items() if name in kind.uses]
            is_set = value != defaults[name] and (value or defaults[name] is True)
            if self.asked not in users and is_set:
                alone = f"without {' or '.join(f'{user}=' for user in users)}"
                besides = alone if self.asked == "split" else f"with {self.asked}="
                given = name if name == "robustness" else f"{name}={value}"
                raise UserError(f"{given} is not used {besides}: leave it out")
        if self.jacobian_dtype != defaults["jacobian_dtype"] and not self.save_jacobians:
            raise UserError(f"jacobian_dtype={self.jacobian_dtype} is not used without save_jacobians=true")


def _described(hint: Any) -> str:
    """Describe a type in words: ``a whole number``, ``a list, each a text``."""
    (kind,) = [arm for arm in get_args(hint) if arm is not type(None)] if type(None) in get_args(hint) else [hint]
    return f"a list, each {TYPES[get_args(kind)[0]]}" if get_args(kind) else TYPES[kind]


def find_pictures(pattern: str) -> list[Path]:
    """Return the files that match a name or a pattern (``scans/*.png``), in the order of their names.

    Raises:
        UserError: if there are none.
    """
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        raise UserError(f"image={pattern} is a folder: name the pictures in it, image='{path}/*.png'")
    found = sorted(Path(name) for name in glob(str(path), recursive=True) if Path(name).is_file())  # noqa: PTH207
    if not found:
        wrong = "that is not a file, but a pipe or a device" if path.exists() else "there is no such file"
        raise UserError(f"image={pattern}: {wrong}")
    return found
