"""Every known data set loads from a file with exactly its columns and nothing said about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orpo.data.pairs import Message
from orpo.data.schemas.registry import SCHEMAS
from tests.preferences import assistant, load, pairs_of, system, turns, user
from tests.unit.data.schemas.test_single import SINGLE_CASES

ASKED = turns(user("q"))
CHAT = turns(user("a"), assistant("b"), user("q"))
STEERED = turns(system("s"), user("q"))
YES, NO = [user("q"), assistant("yes")], [user("q"), assistant("no")]
LONG_YES, LONG_NO = ([user("a"), assistant("b"), *answer] for answer in (YES, NO))
SCORES = {"score_chosen": 8.0, "score_rejected": 4.0}
MODELS = {"chosen_model": "m", "rejected_model": "n"}

Case = tuple[str, dict[str, Any], tuple[Message, ...] | str]
"""Schema, row and prompt; `yes` is chosen and `no` rejected in all of them."""

CASES: dict[str, Case] = {
    "HuggingFaceH4/ultrafeedback_binarized": (
        "messages",
        {"prompt": "q", "prompt_id": "1", "chosen": YES, "rejected": NO, "messages": YES} | SCORES,
        ASKED,
    ),
    "trl-lib/ultrafeedback_binarized": ("messages", {"chosen": YES, "rejected": NO} | SCORES, ASKED),
    "argilla/ultrafeedback-binarized-preferences-cleaned": (
        "messages",
        {
            "source": "s",
            "prompt": "q",
            "chosen": YES,
            "chosen-rating": 5.0,
            "chosen-model": "m",
            "rejected": NO,
            "rejected-rating": 3.0,
            "rejected-model": "n",
        },
        ASKED,
    ),
    "argilla/dpo-mix-7k": (
        "messages",
        {"dataset": "d", "chosen": YES, "rejected": NO, "chosen_rating": 5, "rejected_rating": 4},
        ASKED,
    ),
    "argilla/distilabel-capybara-dpo-7k-binarized": (
        "Capybara",
        {
            "source": "s",
            "conversation": [{"input": "a", "output": "b"}, {"input": "q", "output": "old"}],
            "original_response": "old",
            "generation_prompt": ["x"],
            "raw_generation_responses": ["x"],
            "new_generations": ["x"],
            "prompt": "q",
            "chosen": YES,
            "rejected": NO,
            "rating_chosen": 5,
            "rating_rejected": 4,
            **MODELS,
        },
        CHAT,
    ),
    "Anthropic/hh-rlhf": (
        "transcripts",
        {
            "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: q\n\nAssistant: yes",
            "rejected": "\n\nHuman: a\n\nAssistant: b\n\nHuman: q\n\nAssistant: no",
        },
        CHAT,
    ),
    "mlabonne/orpo-dpo-mix-40k": (
        "messages",
        {"source": "s", "chosen": LONG_YES, "rejected": LONG_NO, "prompt": "a", "question": "a"},
        CHAT,
    ),
    "berkeley-nest/Nectar": (
        "Nectar",
        {
            "prompt": "\n\nHuman: a\n\nAssistant: b\n\nHuman: q\n\nAssistant: ",
            "answers": [
                {"answer": text, "model": "m", "rank": rank}
                for text, rank in (("so", 2.0), ("no", 3.0), ("yes", 1.0))
            ],
            "turns": 2,
            "num_responses": 3,
            "source": ["s"],
            "good_natured": True,
        },
        CHAT,
    ),
    "stanfordnlp/SHP": (
        "SHP",
        {
            "post_id": "p",
            "domain": "d",
            "upvote_ratio": 0.9,
            "history": "q",
            "human_ref_A": "yes",
            "human_ref_B": "no",
            "labels": 1,
            "score_A": 9,
            "score_B": 3,
            "score_ratio": 3.0,
            "seconds_difference": 7.0,
        },
        ASKED,
    ),
    "nvidia/HelpSteer2, preference": (
        "HelpSteer2 preferences",
        {
            "split": "train",
            "prompt": "a\n\n<extra_id_1>Assistant\nb\n<extra_id_1>User\nq",
            "response_1": "no",
            "response_2": "yes",
            "preference_strength": 2,
            "preference_statement": "@Response 2 is better",
            "preference_elaboration": "…",
            "three_most_similar_preferences": [],
            "all_preferences_unprocessed": [],
        },
        CHAT,
    ),
    "nvidia/HelpSteer3, preference": (
        "HelpSteer3",
        {
            "domain": "general",
            "language": "english",
            "context": [user("a"), assistant("b"), user("q")],
            "response1": "yes",
            "response2": "no",
            "overall_preference": -1,
            "individual_preference": [{"score": -1, "reasoning": "…", "feedback1": "…", "feedback2": "…"}],
        },
        CHAT,
    ),
    "allenai/llama-3.1-tulu-3-8b-preference-mixture": (
        "messages",
        {"id": "1", "prompt": "q", "chosen": YES, "rejected": NO, "source": "s"},
        ASKED,
    ),
    "allenai/llama-3.1-tulu-3-405b-preference-mixture": (
        "messages",
        {"id": "1", "prompt": "q", "chosen": YES, "rejected": NO, "source": "s"}
        | {"chosen_rating": 5.0, "rejected_rating": 2.0}
        | MODELS,
        ASKED,
    ),
    "Skywork/Skywork-Reward-Preference-80K-v0.2": (
        "messages",
        {"chosen": YES, "rejected": NO, "source": "s"},
        ASKED,
    ),
    "Intel/orca_dpo_pairs": (
        "Orca pairs",
        {"system": "s", "question": "q", "chosen": "yes", "rejected": "no"},
        STEERED,
    ),
    "Intel/orca_dpo_pairs without a system turn": (
        "Orca pairs",
        {"system": "", "question": "q", "chosen": "yes", "rejected": "no"},
        ASKED,
    ),
    "argilla/distilabel-intel-orca-dpo-pairs": (
        "distilabel Orca pairs",
        {
            "system": "s",
            "input": "q",
            "chosen": "yes",
            "rejected": "no",
            "generations": ["yes", "no"],
            "order": ["a", "b"],
            "rating": [9.0, 7.0],
            "status": "unchanged",
            "original_chosen": "yes",
            "original_rejected": "no",
            "chosen_score": 9.0,
            "in_gsm8k_train": False,
        },
        STEERED,
    ),
    "HuggingFaceH4/orca_dpo_pairs": ("messages", {"chosen": YES, "rejected": NO, "prompt": "q"}, ASKED),
    "jondurbin/truthy-dpo-v0.1": (
        "answers to prompts",
        {"id": "1", "source": "s", "system": "s", "prompt": "q", "chosen": "yes", "rejected": "no"},
        STEERED,
    ),
    "princeton-nlp/llama3-ultrafeedback-armorm": (
        "messages",
        {"prompt_id": "1", "prompt": "q", "chosen": YES, "rejected": NO}
        | {"all_generated_responses": ["yes", "no"], "all_rm_scores": [0.2, 0.1]},
        ASKED,
    ),
    "openbmb/UltraFeedback": (
        "UltraFeedback",
        {
            "source": "s",
            "instruction": "q",
            "models": ["m", "n", "o"],
            "completions": [
                {"model": "m", "response": text, "overall_score": score, "annotations": {}}
                for text, score in (("so", 5.0), ("yes", 8.5), ("no", 2.0))
            ],
            "correct_answers": [],
            "incorrect_answers": [],
        },
        ASKED,
    ),
    "lmarena-ai/arena-human-preference-140k": (
        "arena battles",
        {
            "id": "1",
            "model_a": "m",
            "model_b": "n",
            "winner": "model_b",
            "conversation_a": [user([{"type": "text", "text": "q", "image": None}]), assistant("no")],
            "conversation_b": [
                user([{"type": "text", "text": "q", "image": None}]),
                assistant([{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]),
            ],
        },
        ASKED,
    ),
    "lmsys/mt_bench_human_judgments": (
        "arena battles",
        {
            "question_id": 81,
            "model_a": "m",
            "model_b": "n",
            "winner": "model_a",
            "judge": "expert_1",
            "conversation_a": [*YES, user("more"), assistant("x")],
            "conversation_b": [*NO, user("more"), assistant("y")],
            "turn": 1,
        },
        ASKED,
    ),
    "FastChat's log of votes": (
        "arena votes",
        {
            "tstamp": 1.0,
            "type": "rightvote",
            "models": ["m", "n"],
            "states": [
                {"messages": [["Human", "example"], ["A", "x"], ["Human", "q"], ["A", text]], "offset": 2}
                for text in ("no", "yes")
            ],
            "ip": "",
        },
        ASKED,
    ),
    "votes": (
        "votes",
        {"prompt": "q", "response_a": "no", "response_b": "yes", "votes": ["b", "a", "b"]},
        ASKED,
    ),
    "llamafactory/DPO-En-Zh-20k": (
        "ShareGPT pairs",
        {
            "conversations": [
                {"from": "system", "value": "s"},
                {"from": "human", "value": "q"},
            ],
            "chosen": {"from": "gpt", "value": "yes"},
            "rejected": {"from": "gpt", "value": "no"},
        },
        STEERED,
    ),
    "Alpaca, chosen and rejected": (
        "Alpaca pairs",
        {"instruction": "q", "input": "", "chosen": "yes", "rejected": "no"},
        ASKED,
    ),
    "Alpaca, output": (
        "Alpaca ranking",
        {"instruction": "q", "input": "more", "output": ["yes", "no"], "history": [["a", "b"]]},
        turns(user("a"), assistant("b"), user("q\n\nmore")),
    ),
    "AlpacaEval": (
        "AlpacaEval annotations",
        {
            "instruction": "q",
            "output_1": "no",
            "generator_1": "m",
            "output_2": "yes",
            "generator_2": "n",
            "dataset": "d",
            "annotator": "a",
            "preference": 2,
        },
        ASKED,
    ),
    "Auto-J": (
        "Auto-J",
        {"scenario": "s", "label": 0, "prompt": "q", "response 1": "yes", "response 2": "no"},
        ASKED,
    ),
    "PandaLM": (
        "PandaLM",
        {
            "idx": 0,
            "motivation_app": "m",
            "cmp_key": "a_b",
            "instruction": "q",
            "input": "",
            "response1": "no",
            "response2": "yes",
            "annotator1": 2,
            "annotator2": 0,
            "annotator3": 2,
        },
        ASKED,
    ),
    "TRL, strings": ("strings", {"prompt": "q", "chosen": "yes", "rejected": "no"}, "q"),
    "our own votes": (
        "messages",
        {"prompt": [user("q")], "chosen": [assistant("yes")], "rejected": [assistant("no")]}
        | SCORES
        | MODELS
        | {"source": "s", "vote_id": "v", "rater": "r", "margin": 4.0},
        ASKED,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_known_data_set_loads_with_nothing_said_about_its_columns(name: str, tmp_path: Path) -> None:
    schema, row, prompt = CASES[name]
    table = load(tmp_path, [row])
    (pair,) = pairs_of(table)
    (report,) = table.sources
    assert report.schema == schema
    assert (pair.prompt, pair.chosen, pair.rejected) == (prompt, "yes", "no")
    assert (report.counts.read, report.counts.kept, sum(report.counts.dropped.values())) == (1, 1, 0)


def test_columns_that_are_read_are_not_called_unused(tmp_path: Path) -> None:
    row = CASES["nvidia/HelpSteer3, preference"][1]
    (report,) = load(tmp_path, [row]).sources
    assert report.unused_columns == ("domain", "language", "individual_preference")
    assert report.detected == "HelpSteer3 (A/B with overall_preference)"


def test_every_schema_is_that_of_some_case_here_or_has_tests_of_its_own() -> None:
    elsewhere = {"PKU-SafeRLHF", "HelpSteer2", "KTO rows", "KTO conversations", "answers to messages"}
    cases = {case[0] for case in (*CASES.values(), *SINGLE_CASES.values())}
    assert {schema.name for schema in SCHEMAS} == cases | elsewhere
