"""Every kind of thing that ever broke the program is tried on ten or more of its own: what is tried where.

An index for whoever meets a new fault: it goes beside the others of its kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests import test_hardware as hardware
from tests import test_records as records
from tests.assets import test_fetching as fetching
from tests.data.own import test_doors as doors
from tests.data.own import test_layouts as layouts
from tests.data.own import test_long_and_escaped as escaped
from tests.data.own import test_more_odd_files as more
from tests.data.own import test_odd_files as odd
from tests.data.own import test_times_and_ids as times
from tests.data.reading import test_columns as columns
from tests.data.reading import test_interactions as interactions
from tests.data.reading import test_pickles as pickles
from tests.data.reading import test_unpacking as unpacking
from tests.hostile import (
    test_browser,
    test_code,
    test_engine_lines,
    test_full_disk,
    test_fuzz,
    test_fuzz_distil,
    test_fuzz_kept,
    test_fuzz_served,
    test_leftovers,
    test_numbers,
    test_outputs,
    test_places,
    test_removed,
    test_terminals,
)
from tests.lm import test_families as families
from tests.lm import test_folder as folder
from tests.lm import test_loading as loading
from tests.lm import test_more_families as more_families
from tests.lm import test_tokenizers as tokenizers
from tests.recommenders import test_chat_client as chat
from tests.runs import test_runs as runs
from tests.tui import test_attached as attached

LEAST = 10
Test = Callable[..., Any]

KINDS: dict[str, list[Test]] = {
    "code that a card or run would run": [
        test_code.test_a_wheel_is_a_name_and_a_version_and_nothing_that_a_tool_could_take_for_more,
        test_code.test_a_url_is_a_web_address,
        test_code.test_a_run_names_a_dataset_plainly,
    ],
    "pickles": [
        pickles.test_a_forged_array_is_refused_before_anything_looks_into_it,
        pickles.test_no_other_name_is_looked_up,
        pickles.test_any_edited_pickle_is_read_or_refused,
    ],
    "who may talk to a browser's screen": [
        test_browser.test_other_names_of_this_machine_are_refused,
        test_browser.test_pages_of_other_origins_are_refused,
    ],
    "requests of attached screens": [
        test_fuzz_served.test_a_body_that_is_odd_deep_or_huge,
        test_fuzz_served.test_only_a_screens_request_is_answered,
        test_fuzz_served.test_what_is_no_request_leaves_it_answering,
        attached.test_only_a_request_of_a_screen_is_read,
    ],
    "answers of a chat server": [
        chat.test_an_answer_that_is_none_is_empty_paid_for_and_not_asked_again,
        chat.test_a_count_of_tokens_that_is_none_is_left_out,
        chat.test_a_body_that_is_packed_as_nobody_asked_is_no_answer,
    ],
    "text that acts in a terminal, page or sheet": [
        test_outputs.test_a_plot_keeps_its_shapes_and_loses_the_rest,
        test_outputs.test_a_sheet_computes_no_cell,
        test_outputs.test_a_merge_writes_nothing_outside,
        test_terminals.test_what_a_terminal_cannot_show_is_replaced,
    ],
    "archives": [fetching.test_a_bad_archive_leaves_nothing, unpacking.test_a_bomb_is_refused],
    "run folders": [
        test_code.test_one_bad_run_is_named_and_the_others_are_listed,
        test_code.test_a_run_card_that_is_nonsense_is_named,
        runs.test_a_run_that_does_not_fit_is_one_line_and_never_half_opened,
        test_fuzz.test_run_cards,
    ],
    "lines for the engine": [test_fuzz.test_lines_for_the_engine, test_fuzz.test_text_for_the_engine],
    "results and what lies beside them": [
        test_outputs.test_a_result_is_validated_whole_when_it_is_read,
        test_fuzz.test_results,
        records.test_what_does_not_fit_is_named_in_one_line,
    ],
    "weights": [test_fuzz.test_weights_of_an_adapter, loading.test_a_damaged_model_folder_is_one_line],
    "limits of memory": [hardware.test_groups_of_any_shape_are_read],
    "disks that fill up or go away": [
        test_full_disk.test_files_that_may_not_grow_are_one_line,
        test_full_disk.test_a_home_that_cannot_be_written_is_one_line,
        test_full_disk.test_a_command_whose_streams_are_closed_does_its_work,
        test_removed.test_runs_and_judgements,
    ],
    "places for files": [
        test_places.test_a_file_arrives_whole_wherever_it_can,
        test_places.test_where_no_file_can_go_nothing_changes,
        test_places.test_the_programs_own_output_is_written_to_plainly,
        test_outputs.test_a_path_where_nothing_can_lie_is_one_line,
    ],
    "numbers": [
        test_numbers.test_a_number_works_or_is_refused_in_one_line,
        test_fuzz_kept.test_a_run_of_impossible_numbers_is_refused,
    ],
    "families of models that work": [
        families.test_candidates_together_have_the_likelihoods_of_each_alone_wherever_the_layers_are_split,
        more_families.test_another_family_is_read_as_it_reads_itself_and_all_that_is_adapted_learns,
    ],
    "families of models that are refused": [
        more_families.test_another_family_is_refused_from_its_settings_for_what_it_is,
        more_families.test_what_only_the_comparison_finds_is_one_line,
    ],
    "settings of a model": [
        folder.test_settings_that_say_odd_things_work_or_are_one_line,
        folder.test_settings_that_are_nonsense_work_or_are_one_line,
    ],
    "tokenizers": [
        tokenizers.test_titles_are_told_apart_whatever_cuts_them,
        tokenizers.test_a_tokenizer_that_loses_the_lines_end_is_one_line,
    ],
    "quotes that are letters": [
        odd.test_text_without_quoting_is_never_merged_over_lines,
        more.test_quotes_that_are_letters,
    ],
    "quotes around fields": [
        odd.test_quotes_are_understood_wherever_they_first_come,
        more.test_quotes_around_fields,
    ],
    "quotes behind backslashes": [escaped.test_a_quote_behind_a_backslash_is_a_letter],
    "long fields": [escaped.test_a_long_field_is_passed_over],
    "the line at fault": [
        escaped.test_the_line_at_fault_is_named,
        odd.test_the_line_named_is_the_line_at_fault,
    ],
    "separators": [odd.test_the_separator_is_what_cuts_all_lines_alike, more.test_separators],
    "lines of names": [odd.test_names_are_told_from_data, more.test_first_lines],
    "encodings": [
        odd.test_western_and_unicode_text_is_told_apart,
        more.test_encodings,
        escaped.test_an_encoding_that_is_said_is_read_and_none_is_guessed_wrongly,
    ],
    "times": [
        times.test_times_are_read_as_people_write_them,
        more.test_times_under_many_names,
        more.test_times_with_an_offset_are_the_same_moment,
    ],
    "ids, and what joins two files": [
        times.test_the_id_that_joins_the_files_is_found,
        more.test_ids_as_programs_write_them,
        more.test_files_are_joined_by_the_id_that_both_hold,
    ],
    "packed files": [more.test_packed_files_and_json, layouts.test_packed_files_are_read_whatever_their_name],
    "JSON": [escaped.test_json_lines_of_any_shape, columns.test_a_list_is_read_block_by_block],
    "Parquet": [
        layouts.test_parquet_is_read_as_the_same_table_in_csv,
        more.test_parquet_of_many_types,
        doors.test_any_column_of_parquet,
    ],
    "files that are no tables": [odd.test_what_is_no_table_says_what_it_is],
    "ratings that are wrong": [interactions.test_bad_ratings_are_refused_with_file_and_line],
    "options with a folder or a file": [
        escaped.test_an_option_with_a_folder_is_heeded,
        escaped.test_an_option_that_a_folder_cannot_heed_is_one_line,
        more.test_what_is_said_is_heeded,
    ],
    "no terminal": [test_terminals.test_without_a_terminal_nothing_is_drawn],
    "teachers of a student": [
        test_fuzz_distil.test_any_run,
        test_fuzz_distil.test_a_file_of_the_teacher_that_is_gone_or_nonsense,
    ],
}


def tried(test: Test) -> int:
    """How many cases a test has: those that it lists, or the fewest that it draws."""
    drawn = getattr(test, "_hypothesis_internal_use_settings", None)
    marks = [mark for mark in vars(test).get("pytestmark", []) if mark.name == "parametrize"]
    listed = math.prod(len(list(mark.args[1])) for mark in marks)
    return listed * (drawn.max_examples if drawn else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_tried_on_ten_of_its_own(kind: str) -> None:
    assert sum(map(tried, KINDS[kind])) >= LEAST


def test_what_is_counted_is_what_is_listed() -> None:
    left = test_leftovers.test_the_next_start_removes_what_a_killed_one_left_in_the_output_folder
    assert tried(left) == len(test_leftovers.PLACES)
    assert tried(test_fuzz.test_run_cards) == test_fuzz.FAST.max_examples
    assert len(test_engine_lines.ODD) >= LEAST
