"""Chat templates as real models ship them, on one tokenizer that has all their special tokens.

They come from the `trl` wheel; those of families that it lacks are written here, in the format that the family documents.
"""

import functools
import importlib.util
import time
from pathlib import Path

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rollout.chat_template.chat_template import ChatTemplate
from rollout.chat_template.rendering import raise_exception, to_json
from rollout.tokenizer.tokenizer import Tokenizer
from tests.rollout.model_directory import byte_level_bpe, special_tokens_in, write_model_directory

# How each family ends an assistant's turn; the others write ChatML.
ENDS: dict[str, str | tuple[str, ...]] = {
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "glm": ("<|user|>", "<|observation|>"),
    "deepseek": "<｜end▁of▁sentence｜>",
    "phi": "<|end|>",
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "gptoss": ("<|return|>", "<|call|>"),
    "muse": "<|eot|>",
    "minimax": "[e~[",
    "mistral": "</s>",
    "ministral": "</s>",
}
IMAGES_ONLY = ("idefics3", "llava_next", "smolvlm")
# Variants for trainers mark what the assistant says and are else the same; two of them stand for all.
TRAINING = ("qwen3_training", "llama3_training")


class GenerationBlock(jinja2.ext.Extension):
    """transformers' `{% generation %}`, without the tracking."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own declaration

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.CallBlock:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller: jinja2.runtime.Macro) -> str:
        return caller()


@functools.cache
def hugging_face_template(source: str) -> jinja2.Template:
    """Compiled as `apply_chat_template` in transformers does."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = time.strftime
    return environment.from_string(source)


WRITTEN_HERE = Path(__file__).parent / "chat_templates"


def template_directory() -> Path:
    package = importlib.util.find_spec("trl")
    assert package is not None, "install the templates with: pip install --no-deps trl"
    return Path(package.origin or "").parent / "chat_templates"


def names() -> list[str]:
    found = [path.stem for path in sorted(template_directory().glob("*.jinja"))]
    shipped = [name for name in found if not name.endswith("_training") or name in TRAINING]
    written = [path.stem for path in sorted(WRITTEN_HERE.glob("*.jinja"))]
    return [*(name for name in shipped if not name.startswith(IMAGES_ONLY)), *written]


def source(name: str) -> str:
    directory = WRITTEN_HERE if is_written_here(name) else template_directory()
    return (directory / f"{name}.jinja").read_text(encoding="utf-8")


def is_written_here(name: str) -> bool:
    return (WRITTEN_HERE / f"{name}.jinja").exists()


def ends(name: str) -> tuple[str, str]:
    """The tokens that end a text and a call."""
    known = next((each for family, each in ENDS.items() if name.startswith(family)), "<|im_end|>")
    return (known, known) if isinstance(known, str) else (known[0], known[-1])


class ShippedTemplates:
    """Model directories, one per family, made when asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        specials = ["</s>"] + [
            token for name in names() for token in special_tokens_in(source(name))
        ]
        self._tokenizer = byte_level_bpe(dict.fromkeys(specials), vocab_size=1500)

    @functools.cache  # noqa: B019 - lives as long as the test run
    def load(self, name: str) -> tuple[ChatTemplate, Tokenizer]:
        eos, end_of_call = ends(name)
        directory = write_model_directory(
            self._directory / name,
            self._tokenizer,
            chat_template=source(name),
            eos=eos,
            config={"eos_token_id": [*map(self._tokenizer.token_to_id, (eos, end_of_call))]},
            bos="<|endoftext|>",
        )
        tokenizer = Tokenizer.load(directory)
        return ChatTemplate.load(directory, tokenizer), tokenizer
