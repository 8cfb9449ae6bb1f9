"""Which weights an engine serves, and which a call asks for.

One project is served today, by one version of its policy and no adapter. Engines, pool, swap and store compare these
records and nothing else, so that more can be served by filling them.
"""

import msgspec


class ServedModel(msgspec.Struct, frozen=True):
    """Weights as an engine serves them: a version of a project's policy, or an adapter on top of it."""

    project: str
    version: int
    adapter: str | None = None

    def is_newer_than(self, other: "ServedModel") -> bool:
        """Whether this is a later version of the same thing."""
        is_same = (self.project, self.adapter) == (other.project, other.adapter)
        return is_same and self.version > other.version


class AskedModel(msgspec.Struct, frozen=True):
    """What a call asks for; without a version, the one that the project serves now."""

    project: str
    version: int | None = None
    adapter: str | None = None

    def is_met_by(self, served: ServedModel) -> bool:
        is_same = (self.project, self.adapter) == (served.project, served.adapter)
        return is_same and self.version in (None, served.version)
