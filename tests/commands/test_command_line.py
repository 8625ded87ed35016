"""The command line: what is wrong is one line before anything is trained."""

import subprocess
import sys

import pytest

from aelle.errors import UserError
from aelle.sweep.options import check_name
from sweeps import command


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["experiment=nosuch"], "experiment=nosuch does not exist: choose one of adding"),
        (
            ["experiment=digits", "p=uniform(2.0,2.5)"],
            "quote a distribution twice on the command line: 'p=\"uniform(2.0, 2.5)\"'",
        ),
        (["outputs/digits"], "options are given as name=value"),
        (["experiment=digits", "lyapunov=3"], "lyapunov=3: lyapunov is chosen by its name; choose one of cheap, exact"),
        (
            ["experiment=digits", "lyapunov=null"],
            "lyapunov=null: lyapunov is chosen by its name; choose one of cheap, ",
        ),
        (["experiment=digits", "lyapunov=chaep"], "lyapunov=chaep does not exist: choose one of cheap, exact"),
        (["-m", "experiment=digits", "lyapunov=cheap,exact"], "lyapunov cannot be swept over"),
        (["experiment=digits", "trainer=3"], "trainer=3: give its options one by one: trainer.accelerator, "),
        (["experiment=digits", "~lyapunov"], "lyapunov=None: give its options one by one"),
        (["experiment=digits", "~trainer.devices"], "trainer.devices is missing, which every run reads"),
        (["experiment=digits", "logger=3"], "logger=3: logger is chosen by its name; choose one of csv, tensorboard"),
        (["experiment=digits", "logger=[3]"], "logger=[3]: logger is chosen by its name"),
        (["task=3"], "task=3: task is chosen by its name; choose one of adding, charrnn"),
        (["experiment=digits", "outputs=3"], "outputs=3: give the path of a folder"),
        (["experiment=digits", "hidden_size=-4"], "hidden_size=-4: give a whole number of at least 1"),
        (["experiment=digits", "p=[]"], "p=[] is an empty list: give"),
        (["experiment=digits", "epochs=0"], "epochs=0: give a whole number from 1 to 100000"),
        (["experiment=digits", "size=zero"], "size=zero: give a whole number"),
        (["experiment=digits", "hyperparameters=[seed]"], "seed is an option, not a hyperparameter"),
        (["experiment=digits", "+state=3"], "state cannot be a hyperparameter: the tables of results have a column"),
        (["experiment=digits", "+final_loss=1"], "rename it, e.g. to final_loss_"),
        (["experiment=digits", "variants=203"], "from 0 to 202"),
        (["experiment=digits", "sweep=../elsewhere"], "folder below outputs"),
        (["experiment=digits", "sweep=outputs/digits"], "sweep=outputs/digits: outputs is where all sweeps are; give"),
        (["experiment=digits", "sweep=./outputs/a/b/"], "give the name below it, sweep=a/b"),
        (["-m", "experiment=digits", "sweep=outputs/digits"], "give the name below it, sweep=digits"),
        (["-m", "experiment=digits", "outputs=runs/all", "sweep='runs/all/a b'"], "below it, 'sweep=\"a b\"'"),
        (["experiment=digits", "sweep=outputs"], "sweep=outputs: outputs is where all sweeps are; give another name"),
        (["experiment=digits", "lyapunov.over=both"], "choose hidden or full"),
        (["experiment=digits", "lyapunov.sequences=1000"], "1 to 360"),
        (["experiment=digits", "hiden_size=4"], "'hiden_size' (did you mean hidden_size?"),
        (["experiment=digits", "lyapunov.sequence=4"], "did you mean lyapunov.sequences?"),
        (
            ["task=target", "dropout=0.2"],
            "(task=target does not have dropout, only other tasks do; it has g, hidden_size,",
        ),
        (["experiment=target_small", "dropout=0.2"], "it has g, hidden_size, target, variant_seed; python train.py"),
        (["g=1.5"], "task=digits does not have g, only other tasks do; it has batch_size, beta1,"),
        (["task=target", "hiden_size=8"], "(did you mean hidden_size?"),
        (["task=target", "droput=0.2"], "'droput' (python train.py --help"),
        (["task=digits", "task.data.delay=3"], "task=digits does not have task.data.delay"),
        (["experiment=digits", "zzqqxx=4"], "'zzqqxx' (python train.py --help"),
        (["experiment=smnist", "task.data.root=/nonexistent/data"], "task.data.root"),
        (["task=nosuch"], "choose one of adding"),
        (["experiment=digits", "trainer.precision=16-mixed"], "choose 32-true or 64-true or bf16-mixed"),
        (["experiment=digits", "trainer.devices=2"], "trainer.devices=2: choose 1"),
        (["experiment=digits", "trainer.accelerator=abacus"], "trainer: "),
        (["experiment=digits", "trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val=-1: give a number above 0"),
        (["experiment=digits", "task.module._target_=aelle.tasks.Nothing"], "task.module"),
        (["experiment=digits", "task.threshold=low"], "task.threshold=low: give a number above 0"),
        (["experiment=digits", "hyperparameters=5"], "hyperparameters=5"),
        (["experiment=digits", "variants=0-3000000000"], "from 0 to 202"),
        (["experiment=digits", "hidden_size='uniform(8,64)'"], "integers(a, b)"),
        (["experiment=digits", "cell=perceptron"], "cell='perceptron': no such cell"),
        (["experiment=digits", "cell=lem", "+weigth_decay=0.1"], "did you mean weight_decay?"),
        (["experiment=digits", "+dt=0.1", "cell=[lem,lstm]"], "dt is not an option of cell=lstm"),
        (["experiment=digits", "+zzqqxx=4"], "zzqqxx is not read by SequenceClassification"),
        (["experiment=digits", "momentum=0.9"], "momentum is read only where optimizer is sgd or rmsprop"),
        (["experiment=digits", "momentum={optimiser:{sgd:0.9}}"], "did you mean optimizer?"),
        (["experiment=digits", "momentum={optimizer:{sdg:0.9}}", "optimizer=[sgd,adam]"], "optimizer=sdg"),
        (["experiment=digits", "layers=5"], "layers=5: give a whole number from 1 to 4"),
        (["experiment=digits", "repeats=0"], "repeats=0: give a whole number of at least 1"),
        (["task=digits", "size=4", "reference={init:default}"], "give their number and values"),
        (["task=digits", "size=4", "reference={size:2,inti:default}"], "inti is not a hyperparameter"),
        (["experiment=digits", "+reference.momentum=0.9"], "momentum is read only where optimizer"),
        (["task=digits", "reference={size:2,init:default}"], "there is no sweep to compare with"),
        (["experiment=digits", "optimizer=[adam,sgd]", "momentum={optimizer:{adam:0.9}}"], "here it is adam"),
        (["experiment=digits", "repeats=2", "variant_seed=3"], "repeated variants would be identical"),
        (["experiment=digits", "variant_seed=100000000000000000000"], "beyond 2^63"),
        (["experiment=digits", "dropout=0.999"], "give a number from 0 to 0.99"),
        (["experiment=digits", "cell=co_rnn", "+epsilon=abc"], "epsilon=abc: its default in the class is a float"),
        (["-m", "experiment=digits", "cell=co_rnn", "+dt=[1,a]"], "numbers, words, or true and false"),
        (["experiment=digits", "+dropout=0.1"], "(leave out the +)"),
        (["experiment=digits", "+trainer.accumulate_grad_batches=2"], "choose a larger batch_size"),
        (["task=digits", "cell=intersection_rnn"], "requires input_size == hidden_size"),
        (["-m", "task=digits", "momentum=0.5,0.9"], "momentum is read only where optimizer"),
        (["-m", "experiment=digits", "epochs=2,3"], "start a sweep for each"),
        (["experiment=digits", "+task.module.error=squared"], "task.module: got an unexpected keyword argument"),
        (["-m", "experiment=digits", "hidden_size=4,8"], "hidden_size=[…]"),
        (["-m", "experiment=digits,smnist"], "one experiment"),
        (["-m", "task=digits", "hidden_size=4,-1"], "hidden_size=-1: give a whole number of at least 1"),
        (["-m", "experiment=digits", "epochs=0"], "epochs=0"),
        (["-m"], "-m has nothing to sweep over: choose experiment=…"),
        (["-m", "experiment=digits", "p='uniform(3,2)'"], "lower bound"),
    ],
)
def test_bad_input_is_one_line_and_trains_nothing(main, tmp_path, overrides, says):
    code, _, err = main("train.py", *overrides)
    assert code == 2 and err.count("\n") == 1 and err.startswith("error: ") and says in err
    assert list(tmp_path.iterdir()) == []


def test_without_file_and_network_a_sweep_ends_in_one_line(main, tmp_path, monkeypatch):
    monkeypatch.setattr("aelle.data.text.BOOK", "http://127.0.0.1:9/")
    for line in (["-m"], []):
        code, _, err = main("train.py", *line, "experiment=charrnn", f"task.data.root={tmp_path / 'none'}")
        assert code == 2 and err.count("\n") == 1 and "experiment=charrnn_small" in err
    assert not list(tmp_path.glob("**/*.parquet"))


def test_the_command_line_is_read_on_this_python(tmp_path):
    for script in ("train.py", "analyze.py"):
        done = command(script, "--hydra-help", cwd=tmp_path)
        assert done.returncode == 0 and "--shell-completion" in done.stdout, done.stderr


def test_a_machine_without_lscpu_is_told_nothing_of_it(tmp_path):
    """Where virtual machines do not report core ids either, joblib prints a traceback."""
    line = "from joblib import cpu_count; {}cpu_count(only_physical_cores=True)"
    quietly = "from aelle.commands.command_line import count_cores_quietly; count_cores_quietly(); "
    (tmp_path / "cat").symlink_to("/bin/true")
    said = [
        subprocess.run(
            [sys.executable, "-c", line.format(before)], env={"PATH": str(tmp_path)}, capture_output=True, text=True
        ).stderr
        for before in ("", quietly)
    ]
    assert "physical cores" in said[0] and said[1] == ""


def test_options_of_a_task_of_ones_own_are_known(main, tmp_path):
    (tmp_path / "conf" / "task").mkdir(parents=True)
    text = (
        "# @package _global_\ndefaults:\n  - /space: gradient\n  - _self_\ntask: {name: mine, threshold: 1}\ndepth: 3\n"
    )
    (tmp_path / "conf" / "task" / "mine.yaml").write_text(text)
    for own in (["--config-dir", str(tmp_path / "conf")], [f"--config-dir={tmp_path / 'conf'}"]):
        code, _, err = main("train.py", "task=mine", "dropout=0.2", *own)
        assert code == 2 and "task=mine does not have dropout, only other tasks do; it has batch_size, beta1" in err
        assert "depth, " in err and " p, " in err and "keep" not in err
        assert "did you mean depth?" in main("train.py", "task=mine", "dpth=4", *own)[2]
        assert "task=digits does not have depth" in main("train.py", "task=digits", "depth=4", *own)[2]


@pytest.mark.parametrize(("outputs", "sweep"), [("outputs", "digits"), ("outputs", "a/outputs"), (".", "digits")])
def test_a_name_below_outputs_is_one(outputs, sweep):
    check_name(sweep, outputs)


@pytest.mark.parametrize("sweep", [None, 3, "", ".", "/", "a/../b", "\0", "/elsewhere/digits"])
def test_what_is_no_name_of_a_folder_is_refused(sweep):
    with pytest.raises(UserError, match="give the name of a folder below outputs"):
        check_name(sweep, "outputs")


def test_the_whole_path_of_a_sweep_is_answered_with_its_name(tmp_path):
    for outputs in (str(tmp_path), f"{tmp_path}/"):
        with pytest.raises(UserError, match=r"give the name below it, sweep=digits$"):
            check_name(str(tmp_path / "digits"), outputs)
