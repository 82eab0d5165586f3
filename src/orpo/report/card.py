"""The model card: what was optimised, on what, and how it came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from orpo.credentials import redact
from orpo.report.metrics import HELD_OUT
from orpo.text import markdown


def model_card(
    definition: Mapping[str, Any],
    evaluations: Sequence[tuple[int, Mapping[str, float]]],
    assessment: Mapping[str, Any] | None = None,
) -> str:
    """README.md of `model/`.

    Args:
        definition: what definition.json holds.
        evaluations: (step, metrics of the held-out pairs), in order; may be empty.
        assessment: of a reward model, what summary.json holds.
    """
    model, objective = definition["model"], definition["objective"]
    adapter = model["lora"] is not None and not model["lora"]["merge"]
    name = markdown(_public_name(model["name"], _is_on_hub(model)))
    sections = [
        _front_matter(model, adapter),
        f"# Reward model from {name}\n"
        if model["is_reward_model"]
        else f"# {name}, aligned with {objective['name'].upper()}\n",
        "## Objective\n",
        _objective(objective),
        "## Data\n",
        _data_table(definition["data"]),
        "## Held-out pairs\n",
        _eval_table(evaluations),
        *([_assessment(assessment)] if assessment is not None else []),
        "## Versions\n",
        ", ".join(f"{name} {version}" for name, version in definition["versions"].items()) + "\n",
    ]
    return redact("\n".join(sections))


def _objective(objective: Mapping[str, Any]) -> str:
    coefficients = {
        name: value for name, value in objective.items() if name not in ("name", "title", "formula")
    }
    values = ", ".join(f"{name} = {value}" for name, value in coefficients.items())
    return f"{objective['title']}:\n`{objective['formula']}`; {values}.\n"


def _front_matter(model: Mapping[str, Any], adapter: bool) -> str:
    """The card's metadata; the Hub refuses a base model that is not one of its own."""
    lines = [
        "---",
        *([f"base_model: {model['name']}"] if _is_on_hub(model) else []),
        f"library_name: {'peft' if adapter else 'transformers'}",
        f"pipeline_tag: {'text-classification' if model['is_reward_model'] else 'text-generation'}",
        "tags: [orpo, preference-optimization]",
        "---",
        "",
    ]
    return "\n".join(lines)


def _is_on_hub(model: Mapping[str, Any]) -> bool:
    return model["commit"] is not None


def _public_name(name: str, is_on_hub: bool) -> str:
    """A Hub id, or the last part of a path: cards are published, and paths may tell who trained where."""
    return name if is_on_hub else PurePath(name).name or name


def _data_table(data: Mapping[str, Any]) -> str:
    lines = ["| use | source | split | rows read | kept | dropped |", "|---|---|---|---|---|---|"]
    for use in ("train", "eval"):
        for source in data[use]:
            reasons = [f"{count} {reason}" for reason, count in source["dropped"].items()]
            dropped = "; ".join(reasons) or "0"
            name = _public_name(source["path"], source["fingerprint"].startswith("hub:"))
            cells = (use, name, source["split"] or "", source["read"], source["kept"], dropped)
            lines.append("| " + " | ".join(map(markdown, cells)) + " |")
    lines += ["", f"With at most {data['max_length']} tokens of prompt and response, there were kept:", ""]
    for use, counts in data["tokens"].items():
        parts = [f"{use}: {counts['kept']} of {counts['read']}"]
        parts += [f"dropped {count}: {reason}" for reason, count in counts["dropped"].items()]
        parts += [f"note {count}: {note}" for note, count in counts["notes"].items()]
        lines.append("* " + markdown("; ".join(parts)))
    lines += ["", "Of these were used:", ""]
    for use, numbers in data["used"].items():
        singles = f" and {numbers['singles']} single responses" if numbers["singles"] else ""
        unused = f"; {numbers['of_no_use']} were of no use to the objective" if numbers["of_no_use"] else ""
        lines.append(f"* {use}: {numbers['pairs']} pairs{singles}{unused}")
    return "\n".join(lines) + "\n"


def _eval_table(evaluations: Sequence[tuple[int, Mapping[str, float]]]) -> str:
    if not evaluations:
        return "None were given.\n"
    (first_step, first), (last_step, last) = evaluations[0], evaluations[-1]
    lines = [f"| metric | step {first_step} | step {last_step} |", "|---|---|---|"]
    shared = {key: label for key, label in HELD_OUT.items() if key in first and key in last}
    lines += [f"| {label} | {first[key]:.4f} | {last[key]:.4f} |" for key, label in shared.items()]
    return "\n".join(lines) + "\n"


def _assessment(found: Mapping[str, Any]) -> str:
    """Whether a reward model is right, and as often as it says."""
    accuracy, by_length, calibration = found["accuracy"], found["by_length"], found["calibration"]
    lines = [
        f"Right on {accuracy['rate']:.1%} of {found['pairs']} pairs (95 % interval {accuracy['low']:.1%} to "
        f'{accuracy["high"]:.1%}); the rule "{by_length["rule"]}" is right on {by_length["rate"]:.1%} '
        f"(p = {by_length['p_value']:.2g}). "
        + (
            "It may judge other models."
            if found["fit_to_judge"]
            else "It should not judge other models: it has to beat both chance and that rule."
        ),
        "",
    ]
    if calibration is not None:
        lines += [
            f"Expected calibration error {calibration['expected_error']:.3f}, Brier score "
            f"{calibration['brier']:.3f}:",
            "",
            "| says | is right | pairs |",
            "|---|---|---|",
            *(
                f"| {one['confidence']:.1%} | {one['accuracy']:.1%} | {one['pairs']} |"
                for one in calibration["bins"]
            ),
            "",
        ]
    return "\n".join(lines)
