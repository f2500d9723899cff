"""`yolox-jax memory` for accelerators that are not there."""

import pytest

from absent_devices import skip_without_compiler
from yolox_jax.cli.main import main
from yolox_jax.training.profiling.cards import card_names, load_card

SMALL = ["--config", "yolox_nano", "--train.multiscale-px", "None", "--data.input-size", "64", "64"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "h10"], "--device h10 is not described; did you mean h100?"),
        (["--device", "v5e"], "such as --device v5e:2x2"),
        (["--devices", "8"], "--devices needs --device"),
        (["--train.multiscale-px", "320", "640"], "must include the input height 64"),
    ],
)
def test_what_cannot_be_compiled_for_or_trained_is_an_error_of_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["memory", *SMALL, *words]) == 2
    assert message in capsys.readouterr().err


def test_help_names_every_described_card(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["memory", "--help-all"])
    shown = " ".join(capsys.readouterr().out.split())
    missing = [name for name in card_names() if (load_card(name).example or name) not in shown]
    assert missing == []


@pytest.mark.slow
def test_a_card_that_is_not_there_is_too_small_for_what_a_real_one_would_be(capsys: pytest.CaptureFixture[str]):
    skip_without_compiler("h100")
    assert main(["memory", *SMALL, "--device", "h100", "--limit-gib", "0.005", "--train.batch-size", "4"]) == 2
    printed = capsys.readouterr()
    assert "64x64 px, 1 device (NVIDIA H100 SXM5, 80 GB) with 0.0 GiB each" in printed.out
    assert "not even a batch of 1 fits" in printed.err
