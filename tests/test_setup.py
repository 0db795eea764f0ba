"""setup.sh and its helpers. Nothing here installs anything: fakes on PATH stand for the machine."""

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mug.flash_attn_wheel import wheel_name, wheel_url

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [ROOT / "setup.sh", ROOT / "scripts/demo.sh", ROOT / "scripts/test.sh", ROOT / ".ci/run"]
# What setup.sh itself calls before it installs anything.
TOOLS = "bash dirname cat uname awk sed head grep timeout df cksum tr mktemp rm mv env sh".split()


@pytest.fixture
def machine(tmp_path):
    """A copy of setup.sh on a machine whose PATH holds a few tools, Python 3.11+ as `python3.11`, and nothing else."""
    return Machine(tmp_path)


class Machine:
    def __init__(self, folder: Path):
        self.home = folder / "project"
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.home / "scripts").mkdir(parents=True)
        for name in ("setup.sh", "requirements.txt", "requirements-dev.txt", "requirements-vllm.txt"):
            shutil.copy(ROOT / name, self.home / name)
        for tool in TOOLS:
            if path := shutil.which(tool):
                (self.bin / tool).symlink_to(path)
        self.program("python3.11", f'exec "{sys.executable}" "$@"')

    def program(self, name: str, body: str) -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def nvidia_smi(self, cuda: str, label: str = "CUDA Version") -> None:
        banner = f"| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   {label}: {cuda}     |"
        self.program(
            "nvidia-smi",
            f"if [ $# -gt 0 ]; then echo 'NVIDIA A100-SXM4-80GB, 81920 MiB'; else echo '{banner}'; fi",
        )

    def setup(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        # No proxy or index of the outside reaches the script: what it does must follow from the fakes alone.
        env = {"PATH": str(self.bin), "HOME": str(self.home), "LANG": "C.UTF-8", **environment}
        command = [shutil.which("bash") or "bash", str(self.home / "setup.sh"), *options]
        return subprocess.run(command, env=env, capture_output=True, text=True, encoding="utf-8", timeout=60)

    def refuses(self, *options: str, **environment: str) -> str:
        result = self.setup(*options, **environment)
        assert result.returncode == 2, result.stdout + result.stderr
        chinese, english = result.stderr.splitlines()  # one sentence each, and nothing else
        assert chinese.startswith("错误: ") and english.startswith("error: ")
        return result.stderr


# --- the scripts themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_help_names_every_option_and_installs_nothing(machine):
    result = machine.setup("--help")
    assert result.returncode == 0
    for option in (
        "--extras",
        "--build-flash-attn",
        "--conda",
        "--dev",
        "--torch-index",
        "--dry-run",
        "--print-python",
    ):
        assert option in result.stdout
    assert not (machine.home / ".venv").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--extras", "flash-attn,flashatn"], "不认识的可选组件 flashatn"),
        (["--extras"], "--extras 后面要有名字"),
        (["--torch-index"], "--torch-index 后面要有网址"),
        (["--frobnicate"], "不认识的选项 --frobnicate"),
        (["vllm"], "不认识的选项 vllm"),
    ],
)
def test_wrong_options_get_a_sentence(machine, options, sentence):
    assert sentence in machine.refuses(*options)


@pytest.mark.parametrize(
    "options",
    [["--extras", "vllm,deepspeed"], ["--extras", "vllm", "deepspeed", "--dev"], ["--extras=vllm deepspeed"]],
)
def test_extras_are_separated_by_commas_or_spaces(machine, options):
    result = machine.setup(*options, "--dry-run")
    assert result.returncode == 0
    assert "可选组件: vllm deepspeed" in result.stdout


# --- Python, venv, conda, disk, network ------------------------------------------------------------------------------

OLD_PYTHON = 'case "$2" in *platform*) echo 3.10.12;; *) exit 1;; esac'


def test_too_old_python(machine):
    machine.program("python3.11", "exit 127")  # a pyenv shim without its Python
    machine.program("python3", OLD_PYTHON)
    text = machine.refuses()
    assert "找到的 Python 是 3.10.12，需要 3.11 到 3.13" in text
    assert not (machine.home / ".venv").exists()


def test_no_python(machine):
    (machine.bin / "python3.11").unlink()
    assert "找不到 Python" in machine.refuses()


def test_python_may_be_named(machine):
    machine.program("mypython", f'exec "{sys.executable}" "$@"')
    assert "Python: mypython" in machine.setup("--dry-run", PYTHON="mypython").stdout


def test_missing_venv_module(machine):
    machine.program("python3.11", f'if [ "$2" = venv ]; then exit 1; fi; exec "{sys.executable}" "$@"')
    assert "-venv 后重试" in machine.refuses()
    assert not (machine.home / ".venv").exists()


FAKE_VENV = """
if [ "$2" = venv ]; then
  mkdir -p .venv/bin && printf '%s\\n' '#!/bin/sh' 'case "$*" in *"-m pip"*) exit 1;; esac' > .venv/bin/python
  chmod +x .venv/bin/python
fi"""


@pytest.fixture
def machine_with_venv(machine):
    """As ``machine``; the environment is made, but its pip reaches nothing."""
    for tool in ("mkdir", "chmod"):
        (machine.bin / tool).symlink_to(shutil.which(tool))
    machine.program("python3.11", FAKE_VENV)
    return machine


def test_no_network(machine_with_venv):
    machine_with_venv.program("df", "echo header; echo 'disk 1 1 99999999 1% /'")
    assert "pip 连不上软件包源" in machine_with_venv.refuses()


def test_full_disk(machine_with_venv):
    machine_with_venv.program("df", f"echo header; echo 'disk 1 1 {3 * 1024 * 1024} 1% /'")
    assert "剩 3 GB，需要 5 GB" in machine_with_venv.refuses()
    assert "剩 3 GB，需要 14 GB" in machine_with_venv.refuses(TORCH_INDEX_URL="default")


def test_conda(machine):
    assert "找不到 conda" in machine.refuses("--conda")
    machine.program("conda", f"case $1 in env) echo 'qwen_finetune /c';; run) echo '{machine.bin}/python3.11';; esac")
    assert machine.setup("--conda", "--print-python").stdout.strip() == f"{machine.bin}/python3.11"
    assert "conda:qwen_finetune" in machine.setup("--dry-run", SETUP_CONDA="1").stdout


def test_print_python_is_in_the_virtual_environment(machine):
    assert machine.setup("--print-python").stdout.strip() == str(machine.home / ".venv/bin/python")


# --- GPU and torch ---------------------------------------------------------------------------------------------------

x86_64 = pytest.mark.skipif(
    os.uname().machine != "x86_64" or os.uname().sysname != "Linux", reason="Linux x86_64 only"
)


@x86_64
@pytest.mark.parametrize(
    ("cuda", "source"),
    [("13.0", "registry"), ("12.8", "registry"), ("12.4", "cu126"), ("12.0", "cu126"), ("11.8", "cpu")],
)
def test_torch_follows_the_driver(machine, cuda, source):
    machine.nvidia_smi(cuda)
    text = machine.setup("--dry-run").stdout
    assert f"（{source}）" in text
    assert f"驱动 CUDA: {cuda}" in text and "NVIDIA A100-SXM4-80GB" in text
    assert ("请升级 NVIDIA 驱动" in text) == (cuda == "11.8")
    assert not (machine.home / ".venv").exists()


@x86_64
def test_torch_without_a_working_gpu(machine):
    assert "（cpu）" in machine.setup("--dry-run").stdout
    machine.program("nvidia-smi", "echo 'NVIDIA-SMI has failed because no driver is running.'; exit 9")
    assert "（cpu）" in machine.setup("--dry-run").stdout


@x86_64
def test_newer_label_of_nvidia_smi(machine):
    machine.nvidia_smi("13.1", label="CUDA UMD Version")
    assert "驱动 CUDA: 13.1" in machine.setup("--dry-run").stdout


def test_torch_index_is_the_users_word(machine):
    assert "（registry）" in machine.setup("--dry-run", TORCH_INDEX_URL="default").stdout
    assert "（https://mirror/cu128）" in machine.setup("--dry-run", "--torch-index", "https://mirror/cu128").stdout


# --- flash-attn's wheel ----------------------------------------------------------------------------------------------


def test_wheel_name():
    assert (
        wheel_name("3.11.7", "2.9.1+cu128", "12.8", cxx11_abi=True)
        == "flash_attn-2.8.3+cu12torch2.9cxx11abiTRUE-cp311-cp311-linux_x86_64.whl"
    )
    assert (
        wheel_name("3.12", "2.10.0a0", "13.0", cxx11_abi=False, machine="aarch64", version="2.8.1")
        == "flash_attn-2.8.1+cu13torch2.10cxx11abiFALSE-cp312-cp312-linux_aarch64.whl"
    )


def test_wheel_url_quotes_the_plus():
    assert wheel_url("flash_attn-2.8.3+cu12.whl").endswith("/v2.8.3/flash_attn-2.8.3%2Bcu12.whl")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"cuda": None}, "CPU"),
        ({"system": "Windows"}, "Windows"),
        ({"python": "3"}, "not a version"),
        ({"torch": "nightly"}, "not a version"),
    ],
)
def test_wheel_name_says_why_there_is_none(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        wheel_name(**{"python": "3.11", "torch": "2.9.1", "cuda": "12.8", "cxx11_abi": True, **arguments})


# --- the check table -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def check_setup():
    spec = importlib.util.spec_from_file_location("check_setup", ROOT / "scripts/check_setup.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_setup"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("lang", "word"), [("zh", "项目"), ("en", "what")])
def test_check_table_of_this_environment(lang, word):
    command = [sys.executable, str(ROOT / "scripts/check_setup.py"), "--lang", lang]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert word in result.stdout
    for name in ("Python", "torch", "llamafactory", "transformers", "attention", "deepspeed", "jieba"):
        assert name in result.stdout
    assert result.returncode in (0, 1)
    assert (result.returncode == 1) == ("✗" in result.stdout)


def test_check_table_finds_what_is_missing(check_setup, monkeypatch):
    versions = {"llamafactory": "0.9.5", "transformers": "5.7.0", "peft": "0.18.1", "numpy": "2.0.0"}
    monkeypatch.setattr(check_setup, "installed", versions.get)
    monkeypatch.setattr(check_setup, "llamafactory_bounds", lambda: {"transformers": "<=5.6.0,>=4.55.0"})
    states = {row.what: row.state for row in check_setup.package_rows(chinese=True)}
    assert states["transformers"] == "missing"  # there, but LLaMA-Factory would refuse it
    assert states["jieba"] == "missing"
    assert states["peft"] == "good"
    assert states["numpy"] == "optional"  # works as far as anyone knows, but is not what was tried


def test_check_table_knows_the_pins_that_vllm_changes(check_setup, monkeypatch):
    pins = check_setup.read_pins(ROOT / "requirements-vllm.txt")
    monkeypatch.setattr(check_setup, "installed", pins.get)
    states = {row.what: row.state for row in check_setup.package_rows(chinese=False)}
    assert states["transformers"] == "good"


def test_check_table_columns_line_up(check_setup):
    rows = [check_setup.Row("磁盘剩余", "9 GB", "good", "甲"), check_setup.Row("torch", "2.9.1", "good", "b")]
    lines = check_setup.table(rows, ("项目", "版本", "说明")).splitlines()
    assert len({check_setup.width(line[: line.index(last)]) for line, last in zip(lines, "说甲b", strict=True)}) == 1


# --- pins ------------------------------------------------------------------------------------------------------------


def test_every_requirement_is_pinned_and_explained():
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-vllm.txt"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                assert "==" in line, f"{name}: {line}"
                assert name != "requirements.txt" or "#" in line, f"{name}: why is {line} needed?"


def test_setup_and_requirements_name_the_same_versions(check_setup):
    text = (ROOT / "setup.sh").read_text(encoding="utf-8")
    assert f"TORCH_VERSION={check_setup.read_pins(ROOT / 'requirements.txt')['torch']} " in text
    assert "FLASH_ATTN_VERSION=2.8.3\n" in text
    assert check_setup.read_pins(ROOT / "requirements-vllm.txt")["transformers"] in text  # --help names it


def test_the_pins_can_be_given_to_pip_as_constraints():
    """Pip refuses constraints with extras, so setup.sh takes them out: else dev tools and extras would not install."""
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert re.search(r"^[\w-]+\[\w+\]==", pins, re.MULTILINE)  # else there is nothing to take out
    script = (ROOT / "setup.sh").read_text(encoding="utf-8")
    (command,) = re.findall(r"^sed '(.*)' \"\$requirements\" >\"\$constraints\"$", script, re.MULTILINE)
    done = subprocess.run(["sed", command], input=pins, capture_output=True, text=True, check=True)
    assert "[" not in "".join(line.split("#")[0] for line in done.stdout.splitlines())
    assert "modelscope==" in done.stdout
    assert '-c "$requirements"' not in script


def test_a_pin_with_an_extra_is_checked_by_the_packages_name(check_setup, tmp_path):
    pins = tmp_path / "requirements.txt"
    pins.write_text("modelscope[datasets]==1.40.2  # why\nnltk==3.10.4\n", encoding="utf-8")
    assert check_setup.read_pins(pins) == {"modelscope": "1.40.2", "nltk": "3.10.4"}
