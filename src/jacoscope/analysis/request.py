"""What was asked for: the command line, checked, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf

from jacoscope.errors import UserError, nearest

CHOICES = {
    "split": ("test", "val", "train"),
    "output": ("logits", "probs", "log_probs"),
    "jacobian_dtype": ("float32", "float16"),
}
OF_THE_RUN = ("model", "data", "images", "augmentation", "paths", "trainer")
"""Keys of the config that describe the network and its data, not the question."""


@dataclass(frozen=True)
class Request:
    """The question put to a checkpoint; the names are those of configs/analyze.yaml, which explains them."""

    checkpoint: str | None = None
    split: str = "test"
    output: str | None = None
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
    report: bool = True
    chunk_size: int = 512
    output_dir: str | None = None
    trust: list[str] = field(default_factory=list)

    @classmethod
    def from_config(cls, cfg: DictConfig) -> "Request":
        """Read the question from a composed config.

        Raises:
            UserError: if there is no such key, a value is of the wrong type or out of range, or two exclude each other.
        """
        plain: Any = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [str(k) for k in cfg if k not in OF_THE_RUN]))
        hints = get_type_hints(cls)
        if unknown := [name for name in plain if name not in hints]:
            raise UserError(f"There is no key {unknown[0]}.{nearest(unknown[0], hints)}\nKeys: {', '.join(hints)}")
        for name, value in plain.items():
            if isinstance(value, str) and list[str] in (hints[name], *get_args(hints[name])):
                plain[name] = [value]  # trust=my_package is as clear as trust=[my_package]
            elif not _fits(plain[name], hints[name]):
                raise UserError(f"{name}={value!r} is of the wrong type: it is {_words(hints[name])}")
        request = cls(**plain)
        request._check()
        return request

    @property
    def indices(self) -> list[int] | None:
        """The samples asked for one by one, or none for a whole split."""
        return [self.sample] if self.sample is not None else self.samples

    @property
    def named_output(self) -> str:
        """What is differentiated: as asked for, else probs for a single picture and logits for tables."""
        single = self.indices is not None or self.image is not None
        return self.output or ("probs" if single else "logits")

    def _check(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise UserError(
                    f"{name}={value}: it is one of {', '.join(allowed)}.{nearest(value, allowed, f'{name}=')}"
                )
        for name, least in (("limit", 1), ("chunk_size", 1), ("attack", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{name}={value}: it is at least {least}")
        if self.samples == []:
            raise UserError("samples=[]: name at least one, samples=[7,12]")
        questions = {
            "sample": self.sample is not None,
            "samples": self.samples is not None,
            "image": self.image is not None,
            "compare": self.compare is not None,
            "history": self.history,
        }
        asked = [name for name, given in questions.items() if given]
        if len(asked) > 1:
            raise UserError(f"{' and '.join(asked)} are different questions: ask one at a time")
        if self.compare is not None and len(self.compare) != 2:
            raise UserError(f"compare={self.compare}: name two runs or checkpoints, compare=[RUN_A,RUN_B]")


def _fits(value: Any, hint: Any) -> bool:
    kinds: Sequence[Any] = get_args(hint) if type(None) in get_args(hint) else (hint,)
    for kind in kinds:
        if get_args(kind):
            if isinstance(value, list) and all(_fits(item, get_args(kind)[0]) for item in value):
                return True
        elif isinstance(value, kind) and (kind is bool) == isinstance(value, bool):
            return True
    return False


def _words(hint: Any) -> str:
    named = {int: "a whole number", str: "a text", bool: "true or false"}
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] if type(None) in get_args(hint) else [hint]
    (kind,) = kinds
    return f"a list, each {named[get_args(kind)[0]]}" if get_args(kind) else named[kind]
