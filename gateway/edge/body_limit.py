"""How large a body may be: what a prompt of this model can need, and less for everything that is not a model call."""

from typing import NamedTuple

MIB = 1024 * 1024
CONTROL_BYTES = MIB  # some thousand rewards; read on the event loop
# A token of text is four bytes, of source code or escaped text up to ten, of indentation more.
BYTES_PER_TOKEN = 32
OTHER_BYTES = 4 * MIB  # tools, schemas and what clients send that is ignored
IMAGE_BYTES = 32 * MIB  # base64
# Of a body whose caller is not known yet: a larger one arrives through uvicorn's flow control, after the caller is checked.
UNKNOWN_CALLER_BYTES = 65_536


class BodyLimit(NamedTuple):
    model_call: int
    other: int

    @property
    def unknown_caller(self) -> int:
        return min(UNKNOWN_CALLER_BYTES, self.model_call)

    @classmethod
    def for_model(
        cls, chosen: int | None, *, context_length: int, sees_images: bool
    ) -> "BodyLimit":
        images = IMAGE_BYTES if sees_images else 0
        most = chosen or OTHER_BYTES + BYTES_PER_TOKEN * context_length + images
        return cls(model_call=most, other=min(most, CONTROL_BYTES))
