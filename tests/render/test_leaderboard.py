"""The leaderboard fits its terminal, shows what it rests on, and needs no colour to be read."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import pytest
from rich.cells import cell_len
from rich.console import Console

from core.results.tables import Table, group_tables
from ilora_app.render.export import table_record, tables_csv
from ilora_app.render.leaderboard import Leaderboard
from tests.made_up import answered, cases, five_methods, result


@dataclass(frozen=True)
class Published:
    method: str
    hit_ratio_at_1: float
    valid_ratio: float | None = None
    source: str = "a paper"


REPORTED = (Published("iLoRA", 0.5275), Published("SASRec", 0.3444, 1.0), Published("Caser", 0.3861, 1.0))


def drawn(table: Table, width: int, reported=REPORTED, encoding: str = "utf-8", **options) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    console = Console(file=file, width=width, **options)
    console.print(Leaderboard(table, reported, "MovieLens-100K"))
    file.flush()
    return file.buffer.getvalue().decode(encoding)


def only_table(results) -> Table:
    (table,) = group_tables(results)
    return table


FIVE = only_table(five_methods())
THREE_SEEDS = only_table(five_methods(seeds=3))


@pytest.mark.parametrize("width", [80, 100, 120, 160])
@pytest.mark.parametrize("table", [FIVE, THREE_SEEDS], ids=["one seed", "three seeds"])
def test_every_line_fits_and_no_figure_is_cut(table, width):
    text = drawn(table, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for row in table.rows:
        for test_set in table.sets:
            found = row.metrics[test_set]["HR@1"]
            assert f"{found.value:.3f} [{found.low:.2f}, {found.high:.2f}]".replace("0.", ".") in text


@pytest.mark.parametrize("width", [80, 120])
def test_everything_promised_is_there(width):
    text = " ".join(drawn(FIVE, width).split())
    for promised in [
        *("HR@1", "HR@5", "NDCG@10", "MRR", "280", "Seeds", "95 %", "2.48M", "+0.01 %", "7m 01s"),
        *("1.90", "110"),
        *("2.10 GB", "reported", "(paper)", ".527", "Llama-2-7B", "spread", "last", "iLoRA over LoRA"),
        *("280 cases of 28 users", "28 cases of 28 users", "Caser .386", "a paper"),
    ]:
        assert promised in text, promised


def test_costs_move_to_a_table_of_their_own_where_it_is_narrow():
    assert "What it costs" in drawn(FIVE, 80)
    assert "What it costs" not in drawn(FIVE, 120)


def test_the_best_row_and_its_equals_are_marked_by_signs():
    text = drawn(FIVE, 80, no_color=True)
    spread = text.split("Test set last")[0].splitlines()
    signs = {
        line[2:].split()[0]: line[0] for line in spread if line[:2] in ("★ ", "≈ ", "  ") and "[" in line
    }
    level = {row.method for row in FIVE.level_with_best("spread")}
    assert signs["SASRec"] == "★"
    assert ("ilora" in level) == (signs["iLoRA"] == "≈")
    assert signs["Popularity"] == " "
    assert "cannot be told apart" in text


def test_without_colour_nothing_but_text_is_written():
    colour = re.compile(r"\x1b\[(?:\d+;)*[349]\d")
    assert colour.search(drawn(FIVE, 80, force_terminal=True, color_system="standard", no_color=False))
    assert not colour.search(drawn(FIVE, 80, force_terminal=True, color_system="standard", no_color=True))
    assert "\x1b" not in drawn(FIVE, 80)


def test_a_terminal_without_unicode_gets_ascii():
    text = drawn(FIVE, 80, encoding="ascii")
    assert "* SASRec" in text and "?" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_headline_says_what_it_rests_on():
    (line,) = [line for line in drawn(THREE_SEEDS, 80).splitlines() if line.startswith("iLoRA over LoRA: ")][
        :1
    ]
    found = THREE_SEEDS.compare(*THREE_SEEDS.pair("ilora", "lora"), "spread")
    assert (
        f"{100 * found.relative:+.1f} % [{100 * found.relative_low:+.1f}, {100 * found.relative_high:+.1f}]"
        in line
    )
    assert "280 cases, 28 users, 3 seeds, p" in line


def test_the_longest_usual_headline_fits_eighty_columns():
    many = {"users": 95, "positions": 10}
    runs = [
        result(method, seed, cases=cases(0.4, seed, **many))
        for method in ("lora", "ilora")
        for seed in (0, 1, 2)
    ]
    lines = drawn(only_table(runs), 80).splitlines()
    assert any(line.startswith("iLoRA over LoRA") and "p " in line for line in lines)


def test_a_gain_over_nothing_is_given_in_points():
    table = only_table([result("ilora"), result("lora", cases=cases(0.0))])
    assert "points" in drawn(table, 80)


def test_without_a_pair_there_is_no_headline_and_without_a_card_no_reported_column():
    text = drawn(only_table([result("sasrec"), result("ilora")]), 80, reported=())
    assert "iLoRA over LoRA: +" not in text and "iLoRA over LoRA: -" not in text
    assert "reported" not in text


def test_one_user_has_a_figure_but_no_interval():
    table = only_table([result("sasrec", cases=cases(1.0, users=1))])
    assert "[.." not in drawn(table, 80) and "nan" not in drawn(table, 80)


def test_long_names_fold_and_leave_the_figures_whole():
    rows = [result("ilora"), result("ilora", model="someone/" + "long-" * 12 + "7B", config={"other": 1})]
    text = drawn(only_table(rows), 80)
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert "…" not in text


def test_the_record_says_the_same_as_the_table():
    record = table_record(THREE_SEEDS, REPORTED)
    assert [row["method"] for row in record["rows"]] == [row.method for row in THREE_SEEDS.rows]
    assert record["sets"] == {"spread": {"n": 280, "users": 28}, "last": {"n": 28, "users": 28}}
    assert [row["best"]["spread"] for row in record["rows"]] == [True, False, False, False, False]
    assert record["ilora_over_lora"]["spread"]["n"] == 280
    published = {row["method"]: row["hit_ratio_at_1_reported"] for row in record["rows"]}
    assert (published["ilora"], published["popularity"]) == (0.5275, None)


def test_csv_has_one_line_per_row_and_set():
    lines = tables_csv([FIVE], {"movielens": REPORTED}).splitlines()
    assert len(lines) == 1 + 5 * 2
    assert lines[0].startswith("dataset,split,set,method")


# --- answers in words --------------------------------------------------------------------------------------

WRITTEN = only_table(
    [result("sasrec"), *(answered(name) for name in ("zero-shot", "tallrec", "llara", "ilora"))]
)


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_answers_in_words_have_dashes_for_rankings_and_figures_of_their_own(width):
    reported = (*REPORTED, Published("TALLRec", 0.3895, 0.9263))
    text = drawn(WRITTEN, width, reported)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    scores, answers = text.split("Test set last")[0].split("Answers in words, test set spread")
    (line,) = [line for line in scores.splitlines() if "TALLRec" in line and "[" in line]
    assert line.split("]")[1].split()[:3] == ["–"] * 3  # HR@5, NDCG@10, MRR
    assert "SASRec" not in answers
    (line,) = [line for line in answers.splitlines() if "TALLRec" in line]
    row = next(row for row in WRITTEN.rows if row.method == "tallrec")
    for metric in ("ValidRatio", "HR@1 of valid", "ValidRatio (substring)", "HR@1 of valid (substring)"):
        assert f"{row.metrics['spread'][metric].value:.3f}".replace("0.", ".") in line
    assert f"({row.metrics['spread']['HR@1 of valid'].n})" in line
    assert ".926" in line
    assert "HR@1 is over all cases" in " ".join(text.split())


def test_csv_of_rankings_and_answers_has_all_their_columns():
    lines = tables_csv([WRITTEN], {}).splitlines()
    head = lines[0].split(",")
    assert {"HR@5", "ValidRatio", "HR@1 of valid", "protocol"} <= set(head)
    assert len({line.count(",") for line in lines}) == 1


def test_a_chat_model_is_named_in_its_row_and_the_others_model_in_the_heading():
    chat, other = (
        answered(
            "chat",
            model=model,
            quantization=None,
            objective=None,
            config={"chat": {"model": model}, "answering": {"protocol": "generate"}},
        )
        for model in ("acme/gpt-x", "acme/gpt-y")
    )
    for models in ([chat], [chat, other]):
        table = only_table([*five_methods(), *models])
        text = drawn(table, 200, (*REPORTED, Published("GPT-4, zero-shot", 0.2, 0.9895)))
        assert "made-up-135M" in text.splitlines()[0]
        for found in models:
            (line, *_) = [line for line in text.splitlines() if f"Chat model ({found.model[5:]})" in line]
            assert " .200 " in line
    assert {row.label for row in table.rows if row.method == "chat"} == {"chat (gpt-x)", "chat (gpt-y)"}
