"""The run directory: what one training run leaves behind, written and read here only."""

from orpo.rundir.directory import RunDirectory, Status, require_free, writing
from orpo.rundir.lock import locked

__all__ = ["RunDirectory", "Status", "locked", "require_free", "writing"]
