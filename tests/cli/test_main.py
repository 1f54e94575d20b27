"""The command line as a whole: mistakes, empty values, how the process begins and ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.terminal import run_tl

EMPTY = " is empty, perhaps a variable that is not set. Give it a value, or leave it out."


@pytest.mark.parametrize("value", ["", " "])
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["finetune", "--data", "{}"], "--data"),
        (["finetune", "--data={}"], "--data"),
        (["finetune", "--out", "{}"], "--out"),
        (["finetune", "--weights", "{}"], "--weights"),
        (["finetune", "--resume", "{}"], "--resume"),
        (["finetune", "-c", "{}"], "-c"),
        (["rank", "--data", "{}"], "--data"),
        (["rank", "--arch", "{}"], "--arch"),
        (["evaluate", "--data", "{}"], "--data"),
        (["evaluate", "--model", "{}"], "--model"),
        (["predict", "{}"], "An argument"),
        (["predict", "cat.png", "-m", "{}"], "-m"),
        (["predict", "cat.png", "--out", "{}"], "--out"),
        (["export", "{}", "--to", "state-dict", "--out", "x.pt"], "An argument"),
        (["plot", "{}"], "An argument"),
        (["data", "info", "{}"], "An argument"),
        (["data", "check", "digits", "--csv", "{}"], "--csv"),
        (["data", "get", "mnist", "--data-root", "{}"], "--data-root"),
        (["models", "{}"], "An argument"),
        (["models", "show", "{}"], "An argument"),
    ],
)
def test_any_command_with_an_empty_value_refuses_it(in_folder: Path, arguments: list[str], what: str, value: str):
    done = run_tl(*(argument.format(value) for argument in arguments))
    assert done.exit_code == 2
    assert done.stderr == f"Error: {what}{EMPTY}\n"
    assert list(in_folder.iterdir()) == []


def test_finetune_with_an_empty_setting_in_its_config_file_refuses_it(in_folder: Path):
    Path("config.yaml").write_text("data: ''\nout: ' '\n")
    done = run_tl("finetune", "--config", "config.yaml")
    assert done.exit_code == 2
    assert done.stderr == (
        "Error: - --data must not be empty: leave it out, or say what it is.\n"
        "- --out must not be empty: leave it out, or say what it is.\n"
    )


def test_finetune_with_wrong_flags_names_flags():
    done = run_tl("finetune", "--lr", "-1", "--seed", str(2**40))
    assert done.exit_code == 2
    assert done.stderr == (
        "Error: - --lr must be above 0, not -1.0.\n"
        "- --seed must be at least 0 and at most 4294967295, not 1099511627776.\n"
    )


def test_finetune_with_a_config_file_of_a_misspelt_setting_suggests_each_name_once(in_folder: Path):
    Path("config.yaml").write_text("epoch: 3\n")
    done = run_tl("finetune", "--config", "config.yaml")
    assert done.stderr == "Error: No setting is named 'epoch'. Did you mean epochs or probe_epochs?\n"


@pytest.mark.parametrize("command", [["models", "show", "{}"], ["finetune", "--weights", "none", "--arch", "{}"]])
@pytest.mark.parametrize(
    ("arch", "option", "message"),
    [
        (
            "resnet18",
            "foo",
            "No option of torchvision:resnet18 is named 'foo'. Choose from zero_init_residual, groups, "
            "width_per_group, replace_stride_with_dilation, norm_layer.",
        ),
        ("timm:resnet10t", "drop_rte", "No option of timm:resnet10t is named 'drop_rte'. Did you mean drop_rate"),
    ],
)
def test_network_with_an_unknown_option_exits_with_2_and_lists_those_that_it_has(
    in_folder: Path, command: list[str], arch: str, option: str, message: str
):
    done = run_tl(*(argument.format(arch) for argument in command), "--arch-options", f"{option}=1")
    assert done.exit_code == 2
    assert f"Error: {message}" in done.stderr
    assert " Choose from " in done.stderr


@pytest.mark.parametrize("compiler", [False, True])
def test_main_ends_without_a_look_for_garbage_unless_the_compiler_is_there(compiler: bool):
    code = (
        "import atexit, gc, sys, types\n"
        "from tl_toolkit.cli.main import main\n"
        f"sys.modules.update({{'torch._dynamo': types.ModuleType('x')}} if {compiler} else {{}})\n"
        "atexit.register(lambda: print('frozen', gc.get_freeze_count() > 0))\n"
        "sys.argv = ['tl', '--version']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"frozen {not compiler}"


def test_unknown_allocator_exits_with_2_and_says_which_there_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TL_ALLOCATOR", "fast")
    done = run_tl("models", "list")
    assert done.exit_code == 2
    assert "TL_ALLOCATOR is 'fast'; it can be tuned (the default) or system." in done.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["finetune", "--classes", "5"], 2, "Error: --classes is 5, but digits has 10 classes"),
        (["finetune", "--arch", "resnt18"], 2, "Error: No architecture is named 'resnt18'. Did you mean resnet18"),
        (["finetune", "--arch", "vgg16", "--classes", "10"], 1, "vgg16-397923af.pth is not in the cache"),
        (["finetune", "--data", "nowhere"], 2, "Error: There is no folder 'nowhere'"),
        (["finetune", "--head", "foo"], 2, "'foo' is not one of"),
        (["finetune", "--save", "foo"], 2, "--save must be state-dict or full-model"),
        (["finetune", "--lr", "0"], 2, "--lr must be above 0"),
        (["finetune", "--config", "nowhere.yaml"], 2, "Cannot read the config file nowhere.yaml"),
        (["predict", "."], 2, "There is no run in"),
        (["predict", "cat.png"], 2, "There is no file or folder 'cat.png'."),
        (["predict", "cat.png", "dog*.png"], 2, "None of these is there: 'cat.png', 'dog*.png'."),
        (["predict", "cat.png", "--out", "x.txt"], 2, "x.txt ends in none of .json, .jsonl, .csv; say --format"),
        (["predict"], 2, "Say which images: files, folders or globs"),
        (["evaluate", "--model", "nowhere"], 2, "There is no model 'nowhere'"),
        (["export", "nowhere", "--to", "state-dict", "--out", "x.pt"], 2, "There is no model 'nowhere'"),
        (["models", "no-such-network"], 2, "No architecture is named 'no-such-network'"),
        (["models", "show", "resnet81"], 2, "Did you mean resnet18"),
        (["data", "info", "nowhere"], 2, "There is no folder 'nowhere'"),
        (["data", "get", "mnst"], 2, "Did you mean mnist"),
        (["tune"], 2, "No such command 'tune'"),
    ],
)
def test_mistakes_end_with_their_code_and_one_message(in_folder: Path, arguments: list[str], code: int, message: str):
    done = run_tl(*arguments)
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    "command", [["predict", "IMAGE", "-m"], ["evaluate", "-m"], ["export", "--to", "state-dict", "--out", "x.pt"]]
)
def test_commands_given_an_image_as_model_say_what_it_is(command: list[str], tiny_data: Path, in_folder: Path):
    image = min((tiny_data / "test" / "1").iterdir())
    done = run_tl(*(image if word == "IMAGE" else word for word in command), image)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{image} is an image (PNG), not a model. Give a run folder" in done.stderr


def test_module_run_by_python_is_tl():
    done = subprocess.run([sys.executable, "-m", "tl_toolkit", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == run_tl("--version").stdout
