"""The errors of `turngate`; the command prints the message and exits with code 1.

DeployError
├── SettingsInvalid
├── PortInUse
├── DataDirectoryInUse
├── NotRunning
├── StartFailed
├── StopFailed
├── EnvironmentMissing
├── PolicyUnavailable
├── CommandMissing
├── RewardMissing
├── EvaluationFailed
└── GatewayRefused
    ├── GatewayBusy
    └── NotKnown
"""


class DeployError(Exception):
    """The message names the thing and the remedy."""


class SettingsInvalid(DeployError):
    """A `TURNGATE_…` variable or option is unknown, or has an impossible value."""


class PortInUse(DeployError):
    """Another program listens on the port."""


class DataDirectoryInUse(DeployError):
    """Another `turngate up` owns the data directory, or it belongs to another model."""


class NotRunning(DeployError):
    """No `turngate up` runs on this data directory."""


class StartFailed(DeployError):
    """A process ended, or was not ready in time, when the stack was started."""


class StopFailed(DeployError):
    """A supervisor did not stop in time."""


class EnvironmentMissing(DeployError):
    """A program that one of the processes needs is not installed."""


class PolicyUnavailable(DeployError):
    """There is no such policy, or its files are missing or damaged."""


class CommandMissing(DeployError):
    """The command that a user wants to run cannot be started."""


class RewardMissing(DeployError):
    """A reward command failed, or printed no number."""


class GatewayRefused(DeployError):
    """The gateway cannot be reached, or answered a control call with an error."""


class GatewayBusy(GatewayRefused):
    """The gateway, or what it needs, may answer the same call a little later."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotKnown(GatewayRefused):
    """The gateway has nothing of this name."""


class EvaluationFailed(DeployError):
    """The client could not play the data set; the message is its own."""
