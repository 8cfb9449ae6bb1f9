"""What `turngate` can fail with; the command prints the message and ends with code 1.

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
    """A `TURNGATE_…` variable or option that nobody reads, or with a value that cannot be."""


class PortInUse(DeployError):
    """Somebody else listens where we were told to."""


class DataDirectoryInUse(DeployError):
    """Another `turngate up` owns the data directory, or it belongs to another model."""


class NotRunning(DeployError):
    """There is no `turngate up` on this data directory to talk to."""


class StartFailed(DeployError):
    """A process ended, or was not ready in time, when the stack was started."""


class StopFailed(DeployError):
    """A supervisor was told to stop and did not."""


class EnvironmentMissing(DeployError):
    """A program that one of the processes needs is not installed."""


class PolicyUnavailable(DeployError):
    """There is no such policy, or none whose files are here and whole."""


class GatewayRefused(DeployError):
    """The gateway cannot be reached, or answered a control call with an error."""
