import pytest

from regenhance_data.predictors.paddleseg.arguments import VERBS
from tests.support.commands import paddleseg

OF_ONE_VERB = {"train": "--use_ema", "predict": "--image_path", "export": "--output_op"}


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_shows_its_flags_alone(verb, capsys):
    assert paddleseg(verb, "--help") == 0
    said = capsys.readouterr().out
    assert f"usage: paddleseg {verb} " in said
    assert "--config" in said
    for other, flag in OF_ONE_VERB.items():
        assert (flag in said) == (other == verb)
    assert "aug_eval" not in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("val", "--aug_eval"), "--aug_eval: a predictor sees each whole frame once"),
        (("val", "--is_slide", "--crop_size", "64", "64"), "whole frame"),
        (("val", "--scales", "0.5", "1.0"), "--input_scale"),
        (("val", "--auc_roc"), "ranking"),
        (("export", "--for_fd"), "deploy/export_onnx.py"),
        (("train", "--data_format", "NHWC"), "NCHW"),
        (("train", "--amp_level", "O2"), "O1"),
        (("train", "--profiler_options", "batch_range=[1,2]"), "cProfile"),
    ],
)
def test_a_flag_of_paddleseg_that_means_nothing_here_says_what_to_do_instead(words, says, capsys):
    assert paddleseg(*words, "--config", "absent.yml") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_a_flag_of_another_verb_is_left_out_and_told(capsys):
    assert paddleseg("val", "--config", "absent.yml", "--iters", 3, "--num_workers", 2) == 2
    assert "--iters (of train), --num_workers (of train): val leaves them out" in capsys.readouterr().err
