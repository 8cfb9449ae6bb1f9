"""Text to ids and back: the fast codec agrees with `tokenizers`."""

import itertools
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tiktoken.load import load_tiktoken_bpe
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers

from rollout.tokenizer import tokenizer as module
from rollout.tokenizer.byte_level_bpe import LONGEST_PIECE, ByteLevelCodec
from rollout.tokenizer.huggingface_codec import HuggingFaceCodec
from rollout.tokenizer.model_directory import ModelDirectoryError
from rollout.tokenizer.tiktoken_file import KIMI_PATTERN
from tests.rollout.model_directory import (
    byte_level_bpe,
    sentencepiece_like,
    write_kimi_directory,
    write_model_directory,
)
from tests.rollout.pre_tokenizers import PRE_TOKENIZERS

TEXTS = st.lists(
    st.sampled_from(
        ["<|im_start|>", "<|im_end|>", "<tool_call>", "</think>", " ", "  ", "\n", "\t", "é", "e\u0301", "漢字", "🙂", "def ", "'s",
         "self.", "return", "123", "1", "_", "==", "\u0338", "ᄒ\u1161", "\u3000", "<|im_", "x"]
    )
    | st.text(max_size=8),
    max_size=12,
).map("".join)  # fmt: skip


@pytest.fixture(scope="module", params=list(PRE_TOKENIZERS))
def codecs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, HuggingFaceCodec]:
    """The fast tokenizer and Hugging Face's, for one way of splitting text before merging."""
    built = byte_level_bpe(pre_tokenizer=PRE_TOKENIZERS[request.param], vocab_size=600)
    directory = write_model_directory(tmp_path_factory.mktemp("bpe"), built)
    return module.Tokenizer.load(directory), HuggingFaceCodec(directory / "tokenizer.json")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> module.Tokenizer:
    return module.Tokenizer.load(
        write_model_directory(tmp_path_factory.mktemp("qwen"), byte_level_bpe())
    )


@given(TEXTS)
def test_encoding_equals_the_reference(
    codecs: tuple[module.Tokenizer, HuggingFaceCodec], text: str
) -> None:
    """Any text, special tokens and unnormalized characters included, gives the ids of `tokenizers`."""
    tokenizer, reference = codecs
    assert isinstance(tokenizer.encode.__self__, ByteLevelCodec)
    ids = reference.encode(text)
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids) == reference.decode(ids)
    assert tokenizer.visible_text(ids) == reference.visible_text(ids)


@pytest.mark.parametrize("form", ["NFD", "NFKC", "NFKD", "Sequence"])
def test_every_normal_form_equals_the_reference(tmp_path: Path, form: str) -> None:
    """Text between added tokens is normalized as `tokenizers` does it, and nothing else changes."""
    chosen = getattr(normalizers, form)
    normalizer = chosen([normalizers.NFC()]) if form == "Sequence" else chosen()
    directory = write_model_directory(
        tmp_path, byte_level_bpe(normalizer=normalizer, vocab_size=400)
    )
    tokenizer, reference = (
        module.Tokenizer.load(directory),
        HuggingFaceCodec(tmp_path / "tokenizer.json"),
    )
    assert tokenizer.kind == "tiktoken"
    for text in (
        *module.AWKWARD_TEXTS,
        "e<|im_end|>\u0301 <|im_start|>\u0323ﬁ",
        "\u212b\u2126 Ⅷ ½",
    ):
        assert tokenizer.encode(text) == reference.encode(text)


def whole_characters(data: bytes) -> str:
    """The text without an incomplete character at its end."""
    for size in (3, 2, 1):
        try:
            data[-size:].decode()
        except UnicodeDecodeError as error:
            if (error.start, error.reason) == (0, "unexpected end of data"):
                return data[:-size].decode(errors="replace")
    return data.decode(errors="replace")


@given(
    st.lists(st.integers(0, 605) | st.integers(3, 258), max_size=40),
    st.lists(st.integers(1, 5), min_size=1, max_size=40),
)
def test_streamed_text_is_the_whole_text(
    codecs: tuple[module.Tokenizer, HuggingFaceCodec], ids: list[int], sizes: list[int]
) -> None:
    """For any sampled ids in pieces of any size, complete characters are sent at once and incomplete ones never."""
    tokenizer, reference = codecs
    decoder, slow = tokenizer.stream_decoder(), reference.stream_decoder([])
    sent, sent_slowly, position = "", "", 0
    for size in itertools.cycle(sizes):
        if position >= len(ids):
            break
        piece = ids[position : position + size]
        sent, sent_slowly = sent + decoder.push(piece), sent_slowly + slow.push(piece)
        position += size
        visible = [token for token in ids[:position] if token not in tokenizer.special_ids]
        whole = whole_characters(b"".join(map(tokenizer.token_bytes, visible)))
        assert whole.startswith(sent)
        assert set(whole.removeprefix(sent)) <= {"\ufffd"}  # what is no character may wait
        assert sent.startswith(sent_slowly)
    assert sent + decoder.finish() == tokenizer.visible_text(ids)
    assert sent_slowly + slow.finish() == tokenizer.visible_text(ids)


def test_half_a_character_waits_for_the_other_half(qwen: module.Tokenizer) -> None:
    """A character split over tokens appears with its last one, or as a replacement when the text ends before."""
    ids = qwen.encode("🙂")
    assert len(ids) > 1
    decoder = qwen.stream_decoder()
    assert [decoder.push([token]) for token in ids] == [""] * (len(ids) - 1) + ["🙂"]
    assert decoder.push(ids[:-1]) == ""
    assert decoder.finish() == "\ufffd"


def test_special_tokens_are_invisible_and_added_ones_are_not(qwen: module.Tokenizer) -> None:
    """A client does not see `<|im_end|>`, but the tool parser sees `<tool_call>`."""
    ids = qwen.encode("<tool_call>x</tool_call><|im_end|>")
    assert qwen.visible_text(ids) == "<tool_call>x</tool_call>"
    assert qwen.decode(ids) == "<tool_call>x</tool_call><|im_end|>"
    assert qwen.stream_decoder().push(ids) == "<tool_call>x</tool_call>"
    assert qwen.special_ids == {0, 1, 2}
    assert qwen.token_id("<tool_call>") == ids[0]
    assert qwen.token_id("x") is None


def test_padding_rows_of_the_embedding_decode_to_nothing(qwen: module.Tokenizer) -> None:
    """A sampled id without a token does not break the reply."""
    assert qwen.decode([qwen.vocab_size - 1]) == ""
    assert qwen.stream_decoder().push([qwen.vocab_size - 1]) == ""


def test_token_bytes_join_to_the_text(qwen: module.Tokenizer) -> None:
    """The bytes of a single token are exact, also for a part of a character."""
    ids = qwen.encode("na\u00efve 🙂")
    assert b"".join(map(qwen.token_bytes, ids)).decode() == "naïve 🙂"


@pytest.mark.parametrize("unit", [" ", "a"])
def test_endless_repetition_is_encoded(qwen: module.Tokenizer, unit: str) -> None:
    """A prompt of millions of equal characters is encoded quickly and does not kill the process."""
    text = unit * (3 * LONGEST_PIECE)
    assert qwen.decode(qwen.encode(text)) == text


def test_facts_come_from_three_files(tmp_path: Path) -> None:
    """The eos ids of all files count, as in SGLang, and a vision model's are those of its text part."""
    config = {"vocab_size": None, "max_position_embeddings": None, "eos_token_id": None,
              "text_config": {"vocab_size": 5000, "max_position_embeddings": 77, "eos_token_id": 0}}  # fmt: skip
    write_model_directory(tmp_path, byte_level_bpe(), eos="<|im_end|>", config=config)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [1, 0]}')
    loaded = module.Tokenizer.load(tmp_path)
    assert (loaded.vocab_size, loaded.context_length, loaded.eos_ids) == (5000, 77, {0, 1, 2})
    assert loaded.special_tokens == {"eos_token": "<|im_end|>"}


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    """The error says which file is missing from which directory."""
    write_model_directory(tmp_path, byte_level_bpe())
    (tmp_path / name).unlink()
    with pytest.raises(ModelDirectoryError, match=f"has no {name}"):
        module.Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", "{", "config.json cannot be read"),
        ("config.json", '{"max_position_embeddings": 8, "eos_token_id": 1}', "does not state vocab_size"),
        ("config.json", '{"vocab_size": 8, "eos_token_id": 1}', "does not state max_position_embeddings"),
        ("tokenizer.json", '{"model": {"type": "Magic"}}', "no tokenizer we know"),
        ("tokenizer.json", '{"added_tokens": 1}', "tokenizer.json cannot be read"),
    ],
)  # fmt: skip
def test_an_unreadable_file_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    """A broken or foreign file is an error that names it, not a traceback from a library."""
    write_model_directory(tmp_path, byte_level_bpe())
    (tmp_path / name).write_text(text)
    with pytest.raises(ModelDirectoryError, match=message):
        module.Tokenizer.load(tmp_path)


def test_a_model_without_an_end_of_text_is_refused(tmp_path: Path) -> None:
    """A model directory without an eos id is refused: a turn could never end."""
    write_model_directory(tmp_path, byte_level_bpe(), config={"eos_token_id": None})
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(ModelDirectoryError, match="eos_token_id"):
        module.Tokenizer.load(tmp_path)


def lowercasing() -> Tokenizer:
    return byte_level_bpe(normalizer=normalizers.Lowercase(), vocab_size=300)


def trimming() -> Tokenizer:
    built = byte_level_bpe(vocab_size=300)
    built.add_special_tokens([AddedToken("<|trim|>", rstrip=True)])
    return built


def reordered() -> Tokenizer:
    """The first merge gets the highest id, so ids are not in merge order."""
    built = byte_level_bpe(vocab_size=300)
    raw = json.loads(built.to_str())
    vocab, merges = raw["model"]["vocab"], raw["model"]["merges"]
    first, last = ("".join(merges[index]) for index in (0, -1))
    vocab[first], vocab[last] = vocab[last], vocab[first]
    return Tokenizer.from_str(json.dumps(raw))


def spaced() -> Tokenizer:
    return byte_level_bpe(
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True), vocab_size=300
    )


def whole_words() -> Tokenizer:
    """A token is a word but no merge, though two tokens spell it: tiktoken would merge them within longer words."""
    raw = json.loads(byte_level_bpe(vocab_size=400).to_str())
    raw["model"]["ignore_merges"] = True
    raw["model"]["merges"].pop()
    return Tokenizer.from_str(json.dumps(raw))


@pytest.mark.parametrize(
    "build", [sentencepiece_like, lowercasing, trimming, reordered, spaced, whole_words]
)
def test_what_the_fast_codec_cannot_do_falls_back(
    build: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another kind of tokenizer is served by `tokenizers`, the log says why, and streams still join to the whole."""
    eos = "</s>" if build is sentencepiece_like else "<|im_end|>"
    built = build()
    write_model_directory(tmp_path, built, eos=eos)
    with caplog.at_level(logging.WARNING):
        loaded = module.Tokenizer.load(tmp_path)
    assert [record.message for record in caplog.records] == ["tokenizer falls back to `tokenizers`"]
    ids = loaded.encode("some words  é and <|trim|>  more")
    assert ids == built.encode("some words  é and <|trim|>  more", add_special_tokens=False).ids
    decoder = loaded.stream_decoder()
    pieces = [decoder.push([token]) for token in ids]
    assert "".join([*pieces, decoder.finish()]) == loaded.visible_text(ids)


@pytest.mark.parametrize("ignores_merges", [False, True])
def test_a_token_that_no_merge_makes_is_never_encoded(
    tmp_path: Path, *, ignores_merges: bool
) -> None:
    """tiktoken alone would take any piece that is in the vocabulary; `tokenizers` does only where merges are ignored."""
    raw = json.loads(byte_level_bpe(vocab_size=400).to_str())
    raw["model"]["vocab"]["unreachable"] = unreachable = raw["model"]["vocab"].pop(
        "".join(raw["model"]["merges"].pop())
    )
    raw["model"]["ignore_merges"] = ignores_merges
    built = Tokenizer.from_str(json.dumps(raw))
    write_model_directory(tmp_path, built)
    loaded = module.Tokenizer.load(tmp_path)
    assert isinstance(loaded.encode.__self__, ByteLevelCodec)
    assert (loaded.encode("unreachable") == [unreachable]) is ignores_merges
    assert loaded.encode("unreachable") == built.encode("unreachable").ids
    assert loaded.decode([unreachable]) == "unreachable"


def test_a_codec_that_differs_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A difference that the file does not show is found by comparing texts at load."""
    raw = json.loads(byte_level_bpe(vocab_size=400).to_str())
    raw["decoder"] = {
        "type": "Sequence",
        "decoders": [raw["decoder"], {"type": "Strip", "content": " ", "start": 1, "stop": 0}],
    }
    write_model_directory(tmp_path, Tokenizer.from_str(json.dumps(raw)))
    with caplog.at_level(logging.WARNING):
        loaded = module.Tokenizer.load(tmp_path)
    assert isinstance(loaded.encode.__self__, HuggingFaceCodec)
    assert "differs on" in caplog.records[0].__dict__["reason"]


@pytest.fixture(scope="module")
def kimi(tmp_path_factory: pytest.TempPathFactory) -> tuple[module.Tokenizer, tiktoken.Encoding]:
    """The tokenizer, and tiktoken itself on the same file."""
    directory = write_kimi_directory(tmp_path_factory.mktemp("kimi"))
    oracle = tiktoken.Encoding(
        "kimi",
        pat_str=KIMI_PATTERN,
        mergeable_ranks=load_tiktoken_bpe(str(directory / "tiktoken.model")),
        special_tokens={"[BOS]": 600, "<|im_end|>": 601, "<|im_middle|>": 602},
    )
    return module.Tokenizer.load(directory), oracle


@given(TEXTS)
def test_kimis_vocabulary_is_read_without_its_code(
    kimi: tuple[module.Tokenizer, tiktoken.Encoding], text: str
) -> None:
    """tiktoken.model gives what tiktoken gives for Kimi's pattern, special tokens are those of the configuration."""
    tokenizer, oracle = kimi
    written = f"[BOS]{text}<|im_end|>{text}"
    assert tokenizer.encode(written) == oracle.encode(written, allowed_special="all")
    assert tokenizer.decode(tokenizer.encode(written)) == written
    assert (tokenizer.eos_ids, tokenizer.special_ids) == ({601}, {600, 601, 602})


def test_a_damaged_vocabulary_is_named(tmp_path: Path) -> None:
    """A line that is no token is an error that names the file."""
    directory = write_kimi_directory(tmp_path)
    (directory / "tiktoken.model").write_text("!!! 5")
    with pytest.raises(ModelDirectoryError, match=r"tiktoken\.model cannot be read"):
        module.Tokenizer.load(directory)


def test_neither_torch_nor_transformers_is_loaded() -> None:
    """Templates, tokenizers, families and parsers import neither torch nor transformers, nor numpy."""
    code = (
        "import sys, rollout.chat_template.chat_template, gateway.families.registry;"
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@given(
    st.lists(st.sampled_from(["<|im_start|>", "<|im_end|>", "<tool_call>", " Hi", "é🙂", "\n"])),
    st.sets(st.sampled_from(["<|im_start|>", "<|im_end|>", "<|unknown|>"])),
)
def test_a_parser_may_ask_for_special_tokens(
    codecs: tuple[module.Tokenizer, HuggingFaceCodec], texts: list[str], shown: set[str]
) -> None:
    """With either codec, special tokens that are markup are in the stream if they are asked for."""
    tokenizer, reference = codecs
    visible = "".join(text for text in texts if not text.startswith("<|im_") or text in shown)
    asked = [id_ for text in shown if (id_ := tokenizer.token_id(text)) is not None]
    for decoder in (tokenizer.stream_decoder(shown), reference.stream_decoder(asked)):
        pieces = [decoder.push([id_]) for id_ in tokenizer.encode("".join(texts))]
        assert "".join([*pieces, decoder.finish()]) == visible
