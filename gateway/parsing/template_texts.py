"""Recognizes a family or a format by the texts that a chat template shows."""

import msgspec


class TemplateTexts(msgspec.Struct, frozen=True):
    """Alternatives, each a set of texts."""

    alternatives: tuple[tuple[str, ...], ...]

    def are_in(self, template_source: str) -> bool:
        """Whether the template shows all texts of one alternative."""
        return any(all(text in template_source for text in texts) for texts in self.alternatives)


def all_of(*texts: str) -> TemplateTexts:
    return TemplateTexts((texts,))
