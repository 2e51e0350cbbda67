"""What is done with a trained run: evaluate it, move it, export a user's adapter and load that in peft."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from core.assets import hub
from core.runs.store import open_run
from ilora_app.cli import main
from tests import tiny

Run = Callable[..., tuple[int, str, str]]
OPTIONS = ["--dataset", "tiny", "--quantize", "none", "--preset", "quick", "--layers", "2", "--samples", "24"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Path]:
    """An output folder with a run of iLoRA (rank 20: more than servers take), of LoRA and of SASRec."""
    place = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in tiny.install(place / "home", place / "mirror").items():
            patch.setenv(name, value)
        for method in ("ilora", "lora", "sasrec"):
            given = ["--method", method, "--model", str(tiny_model), "--rank", "20", *OPTIONS]
            with pytest.raises(SystemExit) as done:
                main(["train", *given, "--out", str(place / "runs")])
            assert done.value.code == 0
        yield place / "runs"


@pytest.fixture
def run(shop: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process."""

    def call(*given: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(part) for part in given])
        written = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, written.out, written.err

    return call


def folder_of(shop: Path, method: str) -> Path:
    (found,) = (shop / "models").glob(f"*.{method}.*")
    return found


def answer(outcome: tuple[int, str, str]) -> dict[str, Any]:
    code, out, err = outcome
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def complained(outcome: tuple[int, str, str], says: str) -> None:
    code, out, err = outcome
    assert code == 2
    assert out == ""
    assert err.splitlines()[-2].startswith("error: "), err
    assert says in err.splitlines()[-2]
    assert err.splitlines()[-1].startswith("hint: ")


# --- evaluate ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ilora", "sasrec"])
def test_a_saved_run_gives_its_stated_figures_again(run: Run, shop: Path, method: str) -> None:
    found = answer(run("evaluate", f".{method}.", "--out", shop, "--json"))
    assert found["agrees"] is True
    assert found["cases_ranked_otherwise"] == 0
    assert found["method"] == method
    assert found["sets"]["last"]["n"] == found["sets"]["last"]["users"] == 4
    for values in found["sets"].values():
        for value in values["metrics"].values():
            assert value["value"] == value["stated"]
            assert value["n"] == values["n"]  # of a ranking, every figure rests on every case


def test_a_run_that_was_copied_elsewhere_evaluates_alike(run: Run, shop: Path, tmp_path: Path) -> None:
    copy = tmp_path / "from a friend"
    shutil.copytree(folder_of(shop, "ilora"), copy)
    code, out, err = run("evaluate", copy)
    assert code == 0, err
    assert "the stated figures come out" in out


def test_weights_that_are_not_those_of_the_figures_are_found_out(
    run: Run, shop: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder_of(shop, "sasrec"), copy)
    other = open_run(copy)
    torch.manual_seed(1)
    for parameter in other.recommender.model.parameters():  # type: ignore[attr-defined]
        parameter.data.normal_()
    other.recommender.save(copy)
    complained(run("evaluate", copy), "it is not the file that was saved")
    card = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    del card["files"]  # as in runs of older versions, which hold no checksums
    (copy / "run.json").write_text(json.dumps(card), encoding="utf-8")
    found = answer(run("evaluate", copy, "--json"))
    assert found["agrees"] is False
    assert found["cases_ranked_otherwise"] > 0
    assert "do not come out" in run("evaluate", copy)[1]


def test_a_run_nobody_has_is_one_line(run: Run, shop: Path, tmp_path: Path) -> None:
    complained(run("evaluate", "nothing", "--out", shop), "no run nothing")
    complained(run("evaluate", "seed0", "--out", shop), "3 runs are called seed0")
    complained(run("evaluate", tmp_path), "is not a run folder")
    complained(run("evaluate", "--out", tmp_path / "empty"), "no trained run")
    complained(run("tui", "--run", "nothing", "--out", shop), "no run nothing")


# --- export ------------------------------------------------------------------------------------------------


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    ids = torch.randint(2, 300, (1, 9), generator=torch.Generator().manual_seed(0))
    found: torch.Tensor = model.eval()(input_ids=ids).logits.float()
    return found


def in_plain_peft(tiny_model: Path, folder: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    return logits(PeftModel.from_pretrained(base, folder))


def test_a_users_adapter_is_what_the_run_gives_that_user(
    run: Run, shop: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "user3"
    source = folder_of(shop, "ilora")
    found = answer(run("export", source, "--user", "3", "--out", out, "--rank", "20", "--json"))
    assert (found["user"], found["rank"], found["lost"]) == ("3", 20, 0)
    assert sum(found["omega"]) == pytest.approx(1, abs=1e-4)
    opened = open_run(source)
    model: Any = opened.recommender.model  # type: ignore[attr-defined]
    sequence = opened.dataset.sequences["3"].items
    assert found["position"] == len(sequence) - 1
    assert found["history"] == sequence[-11:-1].tolist()[-len(found["history"]) :]
    model.train(False)
    model.llm.model.float()
    with torch.no_grad(), model._gated([found["history"]]):
        expected = logits(model.peft)
    torch.testing.assert_close(in_plain_peft(tiny_model, out), expected, rtol=1e-3, atol=1e-3)
    settings = json.loads((out / "adapter_config.json").read_text())
    assert settings["r"] == settings["lora_alpha"] == 20
    card = (out / "README.md").read_text()
    assert "What is not in it" in card
    for part in ("gate", "sequence encoder", "item slots", "score head"):
        assert part in card
    assert "folded" in card


def test_exported_ranks_suit_servers_unless_asked_otherwise(run: Run, shop: Path, tmp_path: Path) -> None:
    found = answer(run("export", ".ilora.", "--runs", shop, "--out", tmp_path / "plain", "--json"))
    assert (found["rank"], found["trained_rank"], found["user"]) == (16, 20, None)
    assert 0 <= found["lost"] < 1
    code, out, _ = run(
        "export", ".ilora.", "--runs", shop, "--user", "3", "--rank", "2", "--out", tmp_path / "two"
    )
    assert code == 0
    assert "cut from 20" in out
    assert "cut from 20" in (tmp_path / "two" / "README.md").read_text()
    assert json.loads((tmp_path / "two" / "adapter_config.json").read_text())["r"] == 2


def test_the_whole_adapter_is_what_plain_peft_makes_of_the_run_folder(
    run: Run, shop: Path, tiny_model: Path, tmp_path: Path
) -> None:
    for method in ("ilora", "lora"):
        source, out = folder_of(shop, method), tmp_path / method
        assert run("export", source, "--out", out, "--rank", "20")[0] == 0
        expected = in_plain_peft(tiny_model, source)
        torch.testing.assert_close(in_plain_peft(tiny_model, out), expected, rtol=1e-3, atol=1e-3)


def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(run: Run, shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for given, says in (
        ([".ilora.", "--user", "nobody"], "no user nobody"),
        ([".ilora.", "--user", "3", "--position", "99"], "no position 99"),
        ([".ilora.", "--position", "3"], "--position needs a user"),
        ([".ilora.", "--rank", "0"], "--rank is 0"),
        ([".lora.", "--user", "3"], "the same for every user"),
        ([".sasrec."], "is a sasrec run, without an adapter"),
    ):
        complained(run("export", *given, "--runs", shop, "--out", out), says)
        assert not out.exists()
    out.mkdir()
    (out / "mine").write_text("precious")
    complained(run("export", ".ilora.", "--runs", shop, "--out", out), "is not an empty folder")
    assert (out / "mine").read_text() == "precious"


def test_an_exported_folder_is_uploaded_only_when_asked_for(
    run: Run, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[Path, str]] = []
    monkeypatch.setattr(hub, "push_folder", lambda folder, name: sent.append((folder, name)) or "there")
    given = ["export", ".ilora.", "--runs", shop, "--user", "3", "--json"]
    assert answer(run(*given, "--out", tmp_path / "a"))["hub"] is None
    assert sent == []
    assert answer(run(*given, "--out", tmp_path / "b", "--push-to-hub", "me/mine"))["hub"] == "there"
    assert sent == [(tmp_path / "b", "me/mine")]


# --- runs --------------------------------------------------------------------------------------------------


def test_runs_are_listed_and_shown(run: Run, shop: Path) -> None:
    listed = answer(run("runs", "list", "--out", shop, "--json"))["runs"]
    assert {row["method"] for row in listed} == {"ilora", "lora", "sasrec"}
    assert answer(run("runs", "--out", shop, "--json"))["runs"] == listed
    shown = answer(run("runs", "show", ".ilora.", "--out", shop, "--json"))
    assert shown["path"] == str(folder_of(shop, "ilora"))
    assert shown["figures"]["last"]["HR@1"]["value"] == shown["metrics"]["last"]["HR@1"]
    assert sum(shown["files"].values()) == shown["bytes"]
    for given in (["runs", "--out", shop], ["runs", "show", ".ilora.", "--out", shop]):
        code, out, err = run(*given)
        assert code == 0, err
        assert "ilora" in out
    assert "ilora-app train makes one" in run("runs", "--out", shop / "empty")[1]


def test_two_runs_are_compared_on_the_same_cases(run: Run, shop: Path) -> None:
    found = answer(run("runs", "compare", ".ilora.", ".sasrec.", "--out", shop, "--json"))
    assert found["settings"] == {"method": ["ilora", "sasrec"]}
    a, b = (row["metrics"]["last"]["MRR"] for row in found["runs"])
    assert found["sets"]["last"]["MRR"]["difference"] == pytest.approx(a - b)
    assert found["sets"]["last"]["MRR"]["n"] == 4
    same = answer(run("runs", "compare", ".lora.", ".lora.", "--out", shop, "--json"))
    assert same["settings"] == {}
    assert same["sets"]["last"]["HR@1"]["difference"] == 0
    code, out, err = run("runs", "compare", ".ilora.", ".sasrec.", "--out", shop)
    assert code == 0, err
    assert "ilora in A, sasrec in B" in out


def test_runs_that_met_other_cases_are_not_compared(run: Run, shop: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other"
    shutil.copytree(folder_of(shop, "lora"), copy)
    result = json.loads((copy / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps({**result, "samples_sha256": "00" * 32}))
    complained(run("runs", "compare", copy, ".ilora.", "--out", shop), "met different test cases")


def test_a_run_is_removed_after_a_yes_and_its_result_stays(run: Run, shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    shutil.copytree(shop, out)
    folder = folder_of(out, "lora")
    complained(run("runs", "remove", ".lora.", "--out", out), "nobody to ask")
    assert folder.is_dir()
    code, said, err = run("runs", "remove", ".lora.", "--out", out, "--yes")
    assert code == 0, err
    assert str(folder) in said
    assert not folder.exists()
    assert [path.name for path in (out / "models").iterdir() if path.name.startswith(".")] == []
    assert list((out / "results").glob("*.lora.*"))


@pytest.mark.parametrize(("reply", "left"), [("n\n", True), ("y\n", False)])
def test_removing_asks_first(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: str, left: bool
) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = tmp_path / "runs"
    shutil.copytree(shop, out)
    folder = folder_of(out, "lora")
    monkeypatch.setattr("sys.stdin", Terminal(reply))
    with pytest.raises(SystemExit) as done:
        main(["runs", "remove", str(folder)])
    assert done.value.code == (130 if left else 0)
    assert folder.exists() == left


# --- doctor ------------------------------------------------------------------------------------------------


def test_the_doctor_tries_every_quantization_and_sizes_a_model_unloaded(run: Run, tiny_model: Path) -> None:
    found = answer(run("doctor", "--model", tiny_model, "--json"))
    assert {trial["quantize"]: trial["works"] for trial in found["quantizations"]}["none"] is True
    assert found["cached"]["tiny"] is True
    assert found["embedded"] is None  # this home has not fetched it
    size = found["model"]
    parameters = list(tiny.llama().parameters())
    assert size["parameters"] == sum(p.numel() for p in parameters)
    assert size["bytes"]["nf4"] < size["bytes"]["int8"] < size["bytes"]["none"]
    assert size["bytes"]["none"] == {"float32": 4, "bfloat16": 2}[size["precision"]] * size["parameters"]
    assert "torch" in found["versions"]
    assert "works" in run("doctor")[1]


def test_a_four_bit_estimate_is_near_what_loading_takes(tiny_model: Path) -> None:
    from core.config.settings import ModelConfig
    from core.lm.doctor import model_size, weight_bytes
    from core.lm.precision import pick_dtype

    estimated = model_size(ModelConfig(str(tiny_model))).bytes["nf4"]
    assert estimated == pytest.approx(
        weight_bytes(tiny.nf4(tiny_model, pick_dtype(torch.device("cpu")))), rel=0.4
    )


def test_a_model_that_cannot_be_found_is_one_line(run: Run, tmp_path: Path) -> None:
    complained(run("doctor", "--model", tmp_path / "none"), "none")


def test_a_quantization_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.lm import doctor

    def broken(*_: object) -> None:
        raise RuntimeError("no kernel\nfor this")

    monkeypatch.setattr(doctor, "quantized_linear", broken)
    trial = doctor.try_quantization("nf4")
    assert (trial.works, trial.note) == (False, "no kernel")
