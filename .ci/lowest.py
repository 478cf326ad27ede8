"""Print a constraints file for pip: each package that jacoscope needs, at the lowest version that it allows.

    pip install --no-deps -e . && python .ci/lowest.py > lowest.txt && pip install -c lowest.txt -e '.[test]'

The requirements are read from the installed package, so that Python 3.10, which has no TOML parser, can do it.
"""

import re
from collections.abc import Iterable
from importlib.metadata import requires

REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[^]]*\])?\s*>=\s*(?P<floor>[\w.]+)\s*(;\s*(?P<marker>.*))?$")
EXTRA = re.compile(r"(\s*and\s*)?\(?extra\s*==\s*['\"][\w-]+['\"]\)?(\s*and\s*)?")


def constraints(requirements: Iterable[str]) -> list[str]:
    """Return a line for each requirement with a floor.

    >>> constraints(["torch>=2.6", "zarr>=3.0; python_version >= '3.11'", "mkdocstrings[python]>=1.0; extra == 'docs'"])
    ['mkdocstrings==1.0', 'torch==2.6', "zarr==3.0; python_version >= '3.11'"]
    >>> constraints(["ray>=2; (python_version < '3.14') and extra == 'sweep'", "jacoscope[sweep]; extra == 'test'"])
    ["ray==2; (python_version < '3.14')"]
    """
    found = filter(None, map(REQUIREMENT.match, requirements))
    lines = set()
    for each in found:
        marker = EXTRA.sub("", each["marker"] or "").strip()
        lines.add(f"{each['name']}=={each['floor']}" + (f"; {marker}" if marker else ""))
    return sorted(lines)


if __name__ == "__main__":
    print("\n".join(constraints(requires("jacoscope") or [])))
