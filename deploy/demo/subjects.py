"""The subjects by name, as `turngate demo --task` and `turngate up --starter` take them."""

from typing import Literal

from deploy.demo.arithmetic.subject import ARITHMETIC
from deploy.demo.clerk.subject import CLERK
from deploy.demo.subject import Subject
from deploy.errors import SettingsInvalid

SubjectName = Literal["clerk", "math"]
SUBJECTS: dict[str, Subject] = {subject.name: subject for subject in (CLERK, ARITHMETIC)}


def subject_named(name: str) -> Subject:
    if name not in SUBJECTS:
        raise SettingsInvalid(f"there is no starter {name!r}; choose one of {', '.join(SUBJECTS)}")
    return SUBJECTS[name]
