from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from orpo.errors import DataError
from orpo.formats.lm_eval import (
    Metric,
    Results,
    Sample,
    metrics,
    write_results,
    write_samples,
)
from orpo.formats.records import read_record, read_records

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678)

CONTENT = {
    "results": {
        "ifeval": {
            "alias": "ifeval",
            "prompt_level_strict_acc,none": 0.5287,
            "prompt_level_strict_acc_stderr,none": 0.0215,
            "inst_level_strict_acc,none": 0.6355,
            "inst_level_strict_acc_stderr,none": "N/A",
        },
        "gsm8k": {"exact_match,strict-match": 1, "exact_match_stderr,strict-match": 0.0, " ": " "},
    },
    "higher_is_better": {"ifeval": {"prompt_level_strict_acc": True, "inst_level_strict_acc": None}},
    "versions": {"ifeval": 4.0},
    "n-samples": {"ifeval": {"original": 541, "effective": 541}},
    "model_name": "kaist-ai/mistral-orpo-beta",
}


def test_every_figure_has_its_task_filter_and_error(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(CONTENT, indent=2), encoding="utf-8")
    assert metrics(read_record(path, Results)) == [
        Metric("ifeval", "prompt_level_strict_acc", "none", 0.5287, 0.0215, True),
        Metric("ifeval", "inst_level_strict_acc", "none", 0.6355, None, None),
        Metric("gsm8k", "exact_match", "strict-match", 1.0, 0.0, None),
    ]


def test_results_are_written_where_the_harness_looks_and_as_they_were(tmp_path: Path) -> None:
    path = write_results(tmp_path, Results.model_validate(CONTENT), WHEN)
    assert path == tmp_path / "kaist-ai__mistral-orpo-beta" / "results_2026-01-02T03-04-05.000678.json"
    assert json.loads(path.read_text(encoding="utf-8")) == CONTENT


@pytest.mark.parametrize("name", ["../../etc", "/etc/cron.d", "..\\..\\x", "C:\\x", "..", "."])
def test_names_of_models_and_tasks_do_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    results = write_results(folder, Results(results={}, model_name=name), WHEN)
    samples = write_samples(folder, name, name, [], WHEN)
    assert results.resolve().is_relative_to(folder.resolve())
    assert samples.parent == results.parent


def test_samples_are_written_as_they_are_read(tmp_path: Path) -> None:
    samples = [
        Sample.model_validate(
            {
                "doc_id": 0,
                "doc": {"question": "2 + 2?"},
                "target": "4",
                "arguments": {"gen_args_0": {"arg_0": "2 + 2?"}},
                "resps": [["4"]],
                "filtered_resps": ["4"],
                "filter": "none",
                "metrics": ["exact_match"],
                "exact_match": 1.0,
            }
        )
    ]
    path = write_samples(tmp_path, "ours", "gsm8k", samples, WHEN)
    assert path.name == "samples_gsm8k_2026-01-02T03-04-05.000678.jsonl"
    assert read_records(path, Sample) == samples


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('{"scores": {}}', encoding="utf-8")
    with pytest.raises(DataError, match="not a results file of lm-evaluation-harness: `results` is missing"):
        read_record(path, Results)
