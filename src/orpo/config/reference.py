"""``docs/config.md``, generated from the schema so that it cannot go out of date."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from orpo.config.compare import CompareConfig
from orpo.config.keys import KEYS, Key, Keys, fields_of, keys_of, sections_of
from orpo.config.schema import RunConfig
from orpo.config.section import Section

EXAMPLE = """\
model: HuggingFaceTB/SmolLM2-135M
data:
  train: HuggingFaceH4/ultrafeedback_binarized
  max_length: 2048
objective:
  name: orpo
  lambda: 0.1
training:
  batch_size: 64          # pairs per optimizer step, over all devices
  max_tokens: auto        # per device; memory only
  epochs: 1
  learning_rate: 8e-6
  schedule: cosine
  warmup: 0.1
output: runs/smollm2-orpo
"""
"""A configuration as people write it: what is left out has its default."""

_INTRODUCTION = f"""\
# Configuration

<!-- Written by scripts/config_reference from src/orpo/config/schema.py; change it there. -->

A run is configured by one YAML 1.2 file:

```yaml
{EXAMPLE}```

* Unknown and duplicate keys, wrong types and values out of range are errors. All of them are listed at once,
  each with its line; a key of TRL, Axolotl, LLaMA-Factory or Unsloth is answered with the one used here.
* `1e-5` is a number, `no` and `12:30` are text, and text is never taken for a number.
* `key=value` after the file on the command line overrides a value: `objective.lambda=0.2`, `data.eval=null`,
  `data.train.split=train_prefs`, `training.report_to=[tensorboard]`. Values are YAML; later ones win.
* Credentials are refused, here and on the command line. Use `hf auth login` or environment variables.
* The run directory gets the resolved configuration: every key, with the line that its value came from.
"""


_COMPARISONS = """\
# Comparisons

`orpo compare` takes the same file with one more section ([compare.md](compare.md)).
"""


def reference() -> str:
    """The reference of every key: type, default and meaning, section by section, as Markdown."""
    of_comparisons = {path: key for path, key in keys_of(CompareConfig).items() if path not in KEYS}
    lines = [_INTRODUCTION, *_section(RunConfig, None, KEYS), *_inner_sections(KEYS)]
    return "\n".join([*lines, _COMPARISONS, *_inner_sections(of_comparisons)])


def _inner_sections(keys: Keys) -> Iterator[str]:
    documented: set[type[Section]] = set()
    for key in keys.values():
        for section in key.sections:
            if section not in documented:
                documented.add(section)
                yield from _section(section, key, keys)


def _section(section: type[Section], key: Key | None, keys: Keys) -> Iterator[str]:
    """One heading with a table; a section that several keys hold is described once, under all their names."""
    holders = [holder.path for holder in keys.values() if key and section in holder.sections]
    title = ", ".join(f"`{path}`" for path in holders) or "Top level"
    if key and len(key.sections) > 1:
        title += f" with `name: {section.model_fields['name'].default}`"
    yield f"## {title}\n"
    yield f"{' '.join((section.__doc__ or '').split())}\n"
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in fields_of(section).items():
        child = Key(name, (field,), sections_of(field))
        yield f"| `{name}` | {child.expected} | {_default(child)} | {child.help} |"
    yield ""


def _default(key: Key) -> str:
    if key.field.is_required():
        return "required"
    default: Any = key.field.default
    if isinstance(default, Section):
        return "its defaults"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"
