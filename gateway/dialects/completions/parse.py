"""Text completions on their way in: the prompt is text or token ids, which no template touches."""

from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.dialects.bodies.fields import invalid_body, read_body, read_object, read_value
from gateway.dialects.bodies.limits import MAX_METADATA_BYTES
from gateway.dialects.bodies.names import names_in
from gateway.dialects.bodies.sampling import sampling_of
from gateway.dialects.completions.body import CompletionsBody
from gateway.errors import BadRequest
from gateway.request.conversation_hash import print_of
from gateway.request.request import ChatMessage, Request

DEFAULT_TOKENS = 16  # as in OpenAI's reference

Prompt = str | tuple[int, ...]
_Ids = tuple[Annotated[int, Meta(ge=0, le=2**31 - 1)], ...]

_body_decoder = msgspec.json.Decoder(CompletionsBody)


def parse_completion(body: bytes) -> Request:
    """Read and check a text completion's body."""
    given = read_body(body, _body_decoder)
    prompt = _prompt(given.prompt)
    _check(given, prompt)
    names = names_in(read_object(given.metadata, MAX_METADATA_BYTES, "metadata"), given.session_id)
    message = _message(prompt)
    return Request(
        model=given.model,
        messages=[message],
        prints=[print_of(message)],
        prompt=prompt,
        sampling=sampling_of(given, max_tokens=given.max_tokens or DEFAULT_TOKENS, schema=None),
        num_outputs=given.n or 1,
        stream=bool(given.stream),
        include_usage=given.asks_for_usage,
        counts_always=given.asks_for_all_usage,
        logprobs=given.logprobs is not None,
        top_logprobs=given.logprobs or 0,
        return_token_ids=bool(given.return_token_ids),
        named_episodes=names.episodes,
        session=names.session,
        echo=prompt if given.echo else "",
    )


def _prompt(raw: msgspec.Raw) -> Prompt:
    """One prompt, alone or in a list. Raises BadRequest."""
    given = read_value(raw, "prompt")
    if isinstance(given, list) and given and isinstance(given[0], str | list):
        if len(given) > 1:
            raise BadRequest(
                f"prompt holds {len(given)} prompts, and a reply is one turn: send one prompt in each call",
                param="prompt",
                code="unsupported_value",
            )
        given = given[0]
    if not given:
        raise BadRequest(
            "prompt is empty; send text or token ids", param="prompt", code="invalid_value"
        )
    if isinstance(given, str):
        return given
    try:
        return msgspec.convert(given, _Ids)
    except msgspec.ValidationError as error:
        raise invalid_body(error, "prompt") from None


def _check(given: CompletionsBody, prompt: Prompt) -> None:
    """Raises BadRequest for what would have no effect."""
    refused = {
        "suffix": (given.suffix, "text cannot be inserted before a suffix"),
        "best_of": ((given.best_of or 1) > (given.n or 1), "outputs are not ranked; use n"),
        "echo": (
            given.echo and not (isinstance(prompt, str) and given.logprobs is None),
            "only a prompt of text is shown again, and without logprobs",
        ),
    }
    for field, (is_asked, why) in refused.items():
        if is_asked:
            raise BadRequest(f"{field}: {why}", param=field, code="unsupported_value")


def _message(prompt: Prompt) -> ChatMessage:
    """What stands for the prompt where conversations are compared; nothing renders it."""
    if isinstance(prompt, str):
        return {"role": "user", "content": prompt}
    digest = sha256(repr(prompt).encode()).hexdigest()
    return {"role": "user", "content": f"token ids {digest}"}
