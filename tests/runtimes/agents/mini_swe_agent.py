"""mini-swe-agent with its own configuration."""

import yaml
from minisweagent.agents.default import AgentConfig, DefaultAgent
from minisweagent.config import builtin_config_dir
from minisweagent.environments.local import LocalEnvironment
from minisweagent.models.litellm_model import LitellmModel
from task import API_KEY, BASE_URL, MODEL, TASK

config = yaml.safe_load((builtin_config_dir / "mini.yaml").read_text())
model = LitellmModel(
    **config.get("model", {})
    | {
        "model_name": f"openai/{MODEL}",
        "model_kwargs": {"api_base": BASE_URL, "api_key": API_KEY},
        "cost_tracking": "ignore_errors",
    }
)
known = AgentConfig.model_fields.keys()
settings = {name: value for name, value in config["agent"].items() if name in known}
print(DefaultAgent(model, LocalEnvironment(), **settings).run(TASK))
