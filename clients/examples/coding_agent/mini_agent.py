"""mini-swe-agent on one task, in the current directory; it runs in the environment in which that is installed.

It knows nothing of Turngate: base URL and key are in the variables that its SDK reads.
"""

import os
import sys

os.environ.setdefault("MSWEA_CONFIGURED", "true")  # or else its first start asks for a model

import yaml
from minisweagent.agents.default import AgentConfig, DefaultAgent
from minisweagent.config import builtin_config_dir
from minisweagent.environments.local import LocalEnvironment
from minisweagent.models.litellm_model import LitellmModel

STEPS = 30


def main(task: str) -> None:
    config = yaml.safe_load((builtin_config_dir / "mini.yaml").read_text())
    model = LitellmModel(
        **config.get("model", {})
        | {
            "model_name": f"openai/{os.environ['OPENAI_MODEL']}",
            "model_kwargs": {"temperature": 1.0},
            "cost_tracking": "ignore_errors",  # it has no price of this model
        }
    )
    known = AgentConfig.model_fields.keys()
    settings = {name: value for name, value in config["agent"].items() if name in known}
    DefaultAgent(model, LocalEnvironment(), **settings | {"step_limit": STEPS}).run(task)


if __name__ == "__main__":
    main(sys.argv[1])
