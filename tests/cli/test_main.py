import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli import tl

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
    done = tl(*(argument.format(value) for argument in arguments))
    assert done.exit_code == 2
    assert done.stderr == f"Error: {what}{EMPTY}\n"
    assert list(in_folder.iterdir()) == []


def test_finetune_with_an_empty_setting_in_its_config_file_refuses_it(in_folder: Path):
    Path("config.yaml").write_text("data: ''\nout: ' '\n")
    done = tl("finetune", "--config", "config.yaml")
    assert done.exit_code == 2
    assert done.stderr == (
        "Error: - --data must not be empty: leave it out, or say what it is.\n"
        "- --out must not be empty: leave it out, or say what it is.\n"
    )


def test_finetune_with_wrong_flags_names_flags():
    done = tl("finetune", "--lr", "-1", "--seed", str(2**40))
    assert done.exit_code == 2
    assert done.stderr == (
        "Error: - --lr must be above 0, not -1.0.\n"
        "- --seed must be at least 0 and at most 4294967295, not 1099511627776.\n"
    )


def test_finetune_with_a_config_file_of_a_misspelt_setting_suggests_each_name_once(in_folder: Path):
    Path("config.yaml").write_text("epoch: 3\n")
    done = tl("finetune", "--config", "config.yaml")
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
    done = tl(*(argument.format(arch) for argument in command), "--arch-options", f"{option}=1")
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
