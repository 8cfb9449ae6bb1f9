"""The optional parts of the distribution, which `pip install turngate` leaves out."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, requires

from deploy.errors import EnvironmentMissing

DISTRIBUTION = "turngate"


def require_extras(command: str, *extras: str) -> None:
    """Raise EnvironmentMissing with the command that installs them if packages of one of these extras are not here."""
    missing = {extra: names for extra in extras if (names := [*missing_packages(extra)])}
    if missing:
        packages = ", ".join(dict.fromkeys(name for names in missing.values() for name in names))
        raise EnvironmentMissing(
            f"{command} needs packages that are not installed: {packages}; "
            f"run `pip install '{DISTRIBUTION}[{','.join(missing)}]'`"
        )


def missing_packages(extra: str) -> Iterator[str]:
    """The packages that our own metadata lists under this extra and that this environment does not have."""
    for requirement in requires(DISTRIBUTION) or []:
        name = re.match(r"[\w.-]+", requirement)
        if name and re.search(rf"""extra == ["']{extra}["']""", requirement):
            try:
                distribution(name[0])
            except PackageNotFoundError:
                yield name[0]
