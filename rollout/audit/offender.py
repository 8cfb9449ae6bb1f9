"""What an audit reports: one contradiction, named so that an operator can look at it."""

import msgspec


class Offender(msgspec.Struct, frozen=True):
    """A record that contradicts another one. `expected` and `found` are for people."""

    kind: str  # episode, turn, reward, group, policy, key, index, count, metric or ledger
    id: str
    expected: str
    found: str


class Suspects:
    """Collects the offenders of one record."""

    def __init__(self, kind: str, id_: str) -> None:
        self._kind, self._id = kind, id_
        self.found: list[Offender] = []

    def expect(self, is_so: object, expected: str, found: object) -> None:
        """Note an offender unless the expectation holds."""
        if not is_so:
            self.name(self._kind, self._id, expected, found)

    def same(self, what: str, expected: object, found: object) -> None:
        """Note an offender if two values differ."""
        self.expect(expected == found, f"{what} {expected}", found)

    def name(self, kind: str, id_: str, expected: str, found: object) -> None:
        """Note an offender of another kind, which the record holds."""
        self.found.append(Offender(kind, id_, expected, str(found)))
