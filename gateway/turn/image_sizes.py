"""How many tokens each image takes. An engine's image processor decides this; the answer is remembered.

Known before the prompt is attached, so that a prompt with images is compared, recorded and measured against the context
length like any other. What the engine reports for the turn itself has to agree, or its answer is refused.
"""

import logging
import secrets
from collections import OrderedDict
from collections.abc import Sequence

from gateway.errors import BadRequest
from gateway.request.request import Image
from rollout.engine.errors import EngineError, EngineFailed, EngineRejected
from rollout.engine.generation import GenerateRequest, SamplingParameters
from rollout.engine.pool import Pool
from rollout.served_model import AskedModel
from rollout.tokenizer.vision import SizedImage, Vision

log = logging.getLogger(__name__)
MAX_REMEMBERED = 65_536  # about 150 bytes each


class Images:
    def __init__(self, vision: Vision | None, pool: Pool) -> None:
        self._vision = vision
        self._pool = pool
        self._lengths: OrderedDict[str, int] = OrderedDict()

    def check(self, images: Sequence[Image]) -> None:
        """Raises BadRequest for images that the model cannot see."""
        if images and self._vision is None:
            where = images[0].where
            raise BadRequest(
                f"{where}: content parts of type image_url are not supported, only text",
                param=where,
                code="unsupported_content",
            )

    async def sized(
        self, images: Sequence[Image], *, model: AskedModel, affinity: str
    ) -> list[SizedImage]:
        """The images with their lengths; an engine refuses bytes that are no image."""
        return [SizedImage(i.digest, await self._length(i, model, affinity)) for i in images]

    async def _length(self, image: Image, model: AskedModel, affinity: str) -> int:
        length = self._lengths.get(image.digest)
        if length is None:
            length = self._lengths[image.digest] = await self._measured(image, model, affinity)
        self._lengths.move_to_end(image.digest)
        while len(self._lengths) > MAX_REMEMBERED:
            self._lengths.popitem(last=False)
        return length

    async def _measured(self, image: Image, model: AskedModel, affinity: str) -> int:
        """Let the engine that will get the turn read the image, between the two tokens that stand around every image."""
        assert self._vision is not None
        ids = [self._vision.start, self._vision.placeholder, self._vision.end]
        request = GenerateRequest(
            call_id=f"image_{secrets.token_hex(12)}",
            prompt_ids=ids,
            sampling=SamplingParameters(max_tokens=1),
            images=(image.url,),
        )
        with self._pool.lease(model, affinity, len(ids)) as engine:
            try:
                return (await engine.generate(request)).prompt_tokens - 2
            except EngineFailed as error:  # as an engine does whose memory an image does not fit
                why = "the engine failed on it; is the image too large?"
                raise _refused(image, why, error) from error
            except EngineRejected as error:
                raise _refused(image, "the engine cannot read it as an image", error) from error


def _refused(image: Image, why: str, error: EngineError) -> BadRequest:
    """The caller is told neither the engine's address nor its words; the log has both."""
    log.warning("image refused", extra={"where": image.where, "reason": str(error)})
    return BadRequest(f"{image.where}: {why}", param=image.where, code="invalid_image")
