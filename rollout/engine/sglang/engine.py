"""One SGLang server as an Engine: its data path and its control path."""

from rollout.engine.engine import Capabilities, EngineOptions
from rollout.engine.grammar import AfterThought, Ebnf, JsonSchema, Regex, ToolCalls
from rollout.engine.sglang.control_path import ControlPath
from rollout.engine.sglang.data_path import DataPath


class SglangEngine(DataPath, ControlPath):
    capabilities = Capabilities(
        grammars=frozenset({Regex, Ebnf, JsonSchema, ToolCalls, AfterThought}),
        # `--sampling-mask-max-tokens` is 4,096 and counts ties; tokens after the first 1,024 are not worth more.
        max_top_k=1024,
    )

    def __init__(self, url: str, options: EngineOptions | None = None) -> None:
        for half in (DataPath, ControlPath):
            half.__init__(self, url.rstrip("/"), options or EngineOptions())

    async def close(self) -> None:
        await DataPath.close(self)
        await ControlPath.close(self)
