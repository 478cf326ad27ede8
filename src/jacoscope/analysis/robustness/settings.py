"""What robustness curves are asked for: the node ``robustness`` of the command line, checked, as plain values."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, get_type_hints

from jacoscope.analysis.robustness.perturbations import ATTACKS, CORRUPTIONS, DDN, NORMS
from jacoscope.errors import UserError, nearest
from jacoscope.runs.ranges import MOST, Range
from jacoscope.runs.records import fits, type_name

RANGES = {
    "epsilons": Range(0, 1, above=True),
    "l2_epsilons": Range(0, above=True),
    "steps": Range(1, 100_000),
    "restarts": Range(1, 10_000),
    "samples": Range(1, MOST),
    "seed": Range(0, 2**32 - 1),
    "max_minutes": Range(0, above=True),
}


@dataclass(frozen=True)
class Robustness:
    """Which curves, of what sizes, on how many samples; configs/robustness/curves.yaml explains the keys.

    Sizes are sorted, and each stands there once.
    """

    epsilons: list[float]
    l2_epsilons: list[float]
    attacks: list[str]
    corruptions: dict[str, Any]
    steps: int
    restarts: int
    samples: int
    seed: int
    max_minutes: float | None = None

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> "Robustness | None":
        """Read the settings from plain values; ``None`` where nothing is asked for.

        Raises:
            UserError: if a key does not exist or is missing, or a value has the wrong type or is out of range.
        """
        if not values:
            return None
        hints = get_type_hints(cls)
        for key, value in values.items():
            if key not in hints:
                raise UserError(
                    f"There is no key robustness.{key}.{nearest(key, hints, 'robustness.')}\n"
                    f"Keys of robustness: {', '.join(hints)}"
                )
            if not fits(value, hints[key], MISSING):
                raise UserError(f"robustness.{key}={value!r} is of the wrong type: it is {type_name(hints[key])}")
            _check_range(key, value, RANGES.get(key))
        required = {each.name for each in fields(cls) if each.default is MISSING}
        if missing := sorted(required - values.keys()):
            raise UserError(f"There is no robustness.{missing[0]}: type robustness=curves, which sets all keys")
        settings = cls(**values)
        settings._check()
        return settings._sorted()

    @property
    def decides(self) -> dict[str, Any]:
        """All that decides the numbers: everything but the time that they may take."""
        return {name: value for name, value in asdict(self).items() if name != "max_minutes"}

    def sizes(self) -> dict[str, list[float]]:
        """Return the sizes of each noise, attack and corruption, by its name, in the order in which they are shown."""
        attacks = {name: getattr(self, NORMS[ATTACKS[name].norm].key) for name in ATTACKS if name in self.attacks}
        return attacks | {name: self.corruptions[name] for name in CORRUPTIONS if name in self.corruptions}

    @property
    def finds_distances(self) -> bool:
        """Whether the nearest adversarial examples are searched."""
        return DDN in self.attacks

    def _check(self) -> None:
        known = [*ATTACKS, DDN]
        for name in self.attacks:
            if name not in known:
                raise UserError(
                    f"robustness.attacks: there is no {name}.{nearest(name, known)}\nAttacks: {', '.join(known)}"
                )
        if not self.attacks and not self.corruptions:
            raise UserError(
                "robustness: there are neither attacks nor corruptions; name one, robustness.attacks=[fgsm]"
            )
        for norm in NORMS.values():
            users = [name for name, attack in ATTACKS.items() if NORMS[attack.norm] is norm] + [DDN] * norm.has_ddn
            if not getattr(self, norm.key) and (asked := [name for name in users if name in self.attacks]):
                raise UserError(
                    f"robustness.{norm.key}=[]: name at least one size for {', '.join(asked)}, "
                    f"robustness.{norm.key}=[0.1]"
                )
        for name, sizes in self.corruptions.items():
            key = f"robustness.corruptions.{name}"
            if name not in CORRUPTIONS:
                raise UserError(
                    f"There is no {key}.{nearest(name, CORRUPTIONS)}\nCorruptions: {', '.join(CORRUPTIONS)}"
                )
            kind = CORRUPTIONS[name].kind
            if not fits(sizes, kind, MISSING):
                raise UserError(f"{key}={sizes!r} is of the wrong type: it is {type_name(kind)}")
            if not sizes:
                raise UserError(f"{key}=[]: name at least one size, or leave it out, ~{key}")
            _check_range(key, sizes, CORRUPTIONS[name].allowed)

    def _sorted(self) -> "Robustness":
        corruptions = {name: sorted(set(sizes)) for name, sizes in self.corruptions.items()}
        own = {name: sorted(set(getattr(self, name))) for name in ("epsilons", "l2_epsilons")}
        attacks = list(dict.fromkeys(self.attacks))
        return Robustness(**{**asdict(self), **own, "attacks": attacks, "corruptions": corruptions})


def _check_range(key: str, value: Any, allowed: Range | None) -> None:
    name = key if key.startswith("robustness.") else f"robustness.{key}"
    numbers = value if isinstance(value, list) else [value]
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        raise UserError(f"{name}={value} is not allowed; type a finite number")
    if allowed is not None and not allowed.allows(value):
        raise UserError(
            f"{name}={value} is not allowed; {'each of them' if isinstance(value, list) else 'it'} is {allowed}"
        )
