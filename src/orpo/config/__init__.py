"""The configuration of a run: schema, loading, and its resolved form."""

from orpo.config.dump import dump_config
from orpo.config.load import LoadedConfig, load_config, parse_config, resolved
from orpo.config.objectives import ObjectiveSection
from orpo.config.recorded import Setting, read_recorded
from orpo.config.schema import (
    DataSection,
    LoraSection,
    ModelSection,
    RunConfig,
    SourceSection,
    TrainingSection,
)

__all__ = [
    "DataSection",
    "LoadedConfig",
    "LoraSection",
    "ModelSection",
    "ObjectiveSection",
    "RunConfig",
    "Setting",
    "SourceSection",
    "TrainingSection",
    "dump_config",
    "load_config",
    "parse_config",
    "read_recorded",
    "resolved",
]
