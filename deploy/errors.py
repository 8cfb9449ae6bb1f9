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
└── GatewayRefused
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


class GatewayRefused(DeployError):
    """The gateway cannot be reached, or answered a control call with an error."""
