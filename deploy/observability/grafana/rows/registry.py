"""The rows of the dashboard, from top to bottom."""

from deploy.observability.grafana.rows.engines import ENGINES
from deploy.observability.grafana.rows.episodes import EPISODES
from deploy.observability.grafana.rows.fidelity import FIDELITY
from deploy.observability.grafana.rows.policy import POLICY
from deploy.observability.grafana.rows.traffic import TRAFFIC
from deploy.observability.grafana.rows.training import training_row

ROWS = (TRAFFIC, EPISODES, FIDELITY, POLICY, training_row(), ENGINES)
