"""The documents promise nothing that is not there.

Every command of a Markdown file is taken apart and given to the program it calls: scripts parse their arguments,
setup.sh says what it would do, each key of an override is looked up in LLaMA-Factory's argument classes, and what is
quick is run. A command that no rule below knows fails, so that nobody documents one that nothing checks.
"""

import argparse
import ast
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from mug.corpus import Report, parse_meeting
from mug.metrics.baselines import GOOD_TITLES
from mug.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
READMES = [ROOT / "README.md", ROOT / "README_en.md"]
FOLDERS = ("benchmarks", "dataset", "docs")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))

# What reads a variable that the documents set: a file of ours or of a package, or a program that nobody can look into.
VARIABLES = {
    "API_HOST": "llamafactory/api/app.py",
    "API_KEY": "llamafactory/api/app.py",
    "API_PORT": "llamafactory/api/app.py",
    "CUDA_VISIBLE_DEVICES": "the CUDA driver",
    "FORCE_TORCHRUN": "llamafactory/launcher.py",
    "GRADIO_SERVER_NAME": "llamafactory/webui/interface.py",
    "HF_ENDPOINT": "huggingface_hub/constants.py",
    "HTTPS_PROXY": "pip, requests",
    "MASTER_ADDR": "llamafactory/launcher.py",
    "MASTER_PORT": "llamafactory/launcher.py",
    "MAX_CONCURRENT": "llamafactory/chat/hf_engine.py",
    "MAX_NNODES": "llamafactory/launcher.py",
    "MAX_RESTARTS": "llamafactory/launcher.py",
    "MIN_NNODES": "llamafactory/launcher.py",
    "MODELSCOPE_SDK_TOKEN": "scripts/download_data.py",
    "MUG_API_KEY": "scripts/mug/generation/api_engine.py",
    "NNODES": "llamafactory/launcher.py",
    "NODE_RANK": "llamafactory/launcher.py",
    "NPROC_PER_NODE": "llamafactory/launcher.py",
    "OPENAI_API_KEY": "scripts/mug/generation/api_engine.py",
    "PIP_INDEX_URL": "pip",
    "RDZV_ID": "llamafactory/launcher.py",
    "TORCH_INDEX_URL": "setup.sh",
    "USE_RAY": "llamafactory/extras/misc.py",
    "WANDB_MODE": "wandb",
}
# The documents name these to say that they do not exist.
ABSENT_FLAGS = {"--deepspeed", "--key"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


class Command(NamedTuple):
    document: str
    text: str
    variables: tuple[str, ...]
    words: tuple[str, ...]


def blocks(path: Path, *languages: str) -> list[str]:
    """Return the fenced blocks of these languages."""
    found = re.findall(r"^```(\S*)[^\n]*\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def prose(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def inline_code(path: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(path))


def split(document: str, line: str) -> list[Command]:
    found = []
    for part in re.split(r" (?:&&|\|) ", line):
        words = shlex.split(part, comments=True)
        variables = []
        while words and re.match(r"[A-Z_]+=", words[0]):
            variables.append(words.pop(0))
        if words:
            found.append(Command(document, " ".join((*variables, *words)), tuple(variables), tuple(words)))
    return found


def fenced(path: Path) -> list[Command]:
    lines = "".join(blocks(path, "bash", "sh", "shell", "console")).replace("\\\n", " ").splitlines()
    return [command for line in lines for command in split(relative(path), line)]


def mentioned(path: Path) -> list[Command]:
    starts = ("bash ", "python ", "llamafactory-cli ", "make ", "conda ")
    return [
        command for code in inline_code(path) if code.startswith(starts) for command in split(relative(path), code)
    ]


FENCED = [command for path in DOCUMENTS for command in fenced(path)]
COMMANDS = list(dict.fromkeys([*FENCED, *(command for path in DOCUMENTS for command in mentioned(path))]))


# --- one rule a program ----------------------------------------------------------------------------------------------


class Captured(BaseException):
    """Carries a parser out of a script's main() at the moment when it would parse."""


@lru_cache
def parser_of(script: str) -> tuple[argparse.ArgumentParser, str]:
    """Return the script's parser and the name of the method that the script calls on it."""
    spec = importlib.util.spec_from_file_location(f"documented_{Path(script).stem}", ROOT / script)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        spec.loader.exec_module(module)
        for method in ("parse_args", "parse_intermixed_args"):

            def capture(self, *_, name=method, **__):
                raise Captured(self, name)

            patch.setattr(argparse.ArgumentParser, method, capture)
        with pytest.raises(Captured) as caught:
            module.main()
    del sys.modules[spec.name]
    parser, method = caught.value.args
    parser.allow_abbrev = False
    return parser, method


@lru_cache
def setup_flags() -> frozenset[str]:
    told = subprocess.run(["bash", "setup.sh", "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return frozenset(re.findall(r"--[a-z][a-z-]+", told))


def source(file: str) -> str:
    """Return the text of a file of ours, or of an installed package without importing it."""
    if (ROOT / file).is_file():
        return (ROOT / file).read_text("utf-8")
    package = importlib.util.find_spec(file.partition("/")[0])
    return (Path(package.origin).parent.parent / file).read_text("utf-8")


@lru_cache
def llamafactory_keys(training: bool) -> frozenset[str]:
    """Return the fields of the argument classes, read from their source: to import them takes ten seconds."""
    hparams = [f"llamafactory/hparams/{name}_args.py" for name in ("model", "data", "finetuning", "generating")]
    if training:
        hparams.append("llamafactory/hparams/training_args.py")
        hparams += ["transformers/training_args.py", "transformers/training_args_seq2seq.py"]
    classes = (node for file in hparams for node in ast.parse(source(file)).body if isinstance(node, ast.ClassDef))
    return frozenset(item.target.id for node in classes for item in node.body if isinstance(item, ast.AnnAssign))


def check_python(words):
    if words[:2] == ("-m", "pytest"):
        return check_pytest(words[2:])
    script, *arguments = words
    assert (ROOT / script).is_file(), f"no script {script}"
    if script.startswith("scripts/"):
        parser, method = parser_of(script)
        getattr(parser, method)(arguments)  # leaves by SystemExit what it does not know
        for path in (word for word in arguments if word.endswith(".yaml")):
            training = script in ("scripts/train.py", "scripts/estimate_memory.py")
            ours = {"mug_speed", "mug_tree"} if training else set()
            check_config(path, [word for word in arguments if "=" in word], training=training, ours=ours)
    else:
        for flag in (word.partition("=")[0] for word in arguments if word.startswith("--")):
            assert flag in source(script), f"{script} has no {flag}"


def check_pytest(words):
    markers = re.findall(r'^  "(\w+):', source("pyproject.toml"), re.MULTILINE)
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "-m":
            named = set(re.findall(r"\w+", rest.pop(0))) - {"not", "and", "or"}
            assert named <= set(markers), f"no marker {named - set(markers)}"
        elif word == "-k":
            part = rest.pop(0)
            files = [source(file) for file in words if file.endswith(".py")]
            assert any(re.search(rf"def test_\w*{part}", text) for text in files), f"no test named like {part}"
        elif not word.startswith("-"):
            assert (ROOT / word.partition("::")[0]).exists(), f"no test {word}"


def check_bash(words):
    script, *arguments = words
    assert (ROOT / script).is_file(), f"no script {script}"
    subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)
    flags = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    known = setup_flags() if script == "setup.sh" else set(re.findall(r"--[a-z-]+", source(script)))
    assert flags <= known, f"{script} has no {flags - known}"
    if script == "setup.sh" and "--conda" not in flags and "--help" not in flags:
        environment = os.environ | {"PYTHON": sys.executable}
        dry = ["bash", script, *arguments, "--dry-run"]
        done = subprocess.run(dry, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def check_llamafactory(words):
    program, *arguments = words
    assert program in {"api", "chat", "export", "train", "webchat", "webui"}, f"llamafactory-cli has no {program}"
    if not arguments:
        return
    assert program != "webui", "webui takes no arguments"
    config, *overrides = arguments
    assert all(re.match(r"[a-z_]+=", word) for word in overrides), f"overrides are key=value: {overrides}"
    check_config(config, overrides, training=program == "train")


def check_config(path, overrides, training, ours=frozenset()):
    assert (ROOT / path).is_file(), f"no configuration {path}"
    unknown = {word.partition("=")[0] for word in overrides} - llamafactory_keys(training) - ours
    assert not unknown, f"LLaMA-Factory has no {unknown}"


def check_source(words):
    assert words == (".venv/bin/activate",)


def check_conda(words):
    name = re.search(r"^CONDA_ENV=(\S+)", source("setup.sh"), re.MULTILINE)[1]
    assert words == ("activate", name)


def check_export(words):
    for word in words:
        check_variable(word)


def check_make(words):
    targets = re.findall(r"^([a-z]+):", source("Makefile"), re.MULTILINE)
    assert set(words) <= set(targets), f"the Makefile has no {set(words) - set(targets)}"


def check_variable(assignment):
    name = assignment.partition("=")[0]
    reader = VARIABLES[name]
    if "/" not in reader and "." not in reader:
        return
    assert name in source(reader), f"{reader} does not read {name}"


def check_tool(words):
    """A tool of requirements-dev.txt."""


def check_foreign(words):
    """A program that is installed by whoever wants it, so that nothing here can look into it."""


RULES = {
    "bash": check_bash,
    "conda": check_conda,
    "export": check_export,
    "llamafactory-cli": check_llamafactory,
    "make": check_make,
    "mypy": check_tool,
    "nvidia-smi": lambda words: None,
    "ollama": check_foreign,
    "pip": check_foreign,
    "pre-commit": check_tool,
    "python": check_python,
    "ruff": check_tool,
    "source": check_source,
    "swanlab": check_foreign,
    "tensorboard": check_foreign,
    "vllm": check_foreign,
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.document}: {command.text}")
def test_every_command_is_one_that_its_program_accepts(command):
    program = Path(command.words[0]).name
    if program not in RULES:
        pytest.fail(f"no rule knows {program}: give it one, or take the command out of {command.document}")
    if RULES[program] is check_tool:
        assert re.search(rf"^{program}==", source("requirements-dev.txt"), re.MULTILINE)
    for assignment in command.variables:
        check_variable(assignment)
    RULES[program](command.words[1:])


# --- what is quick is run --------------------------------------------------------------------------------------------


def readme_command(start: str) -> list[str]:
    """Return the first command of README.md that begins so, for this Python."""
    found = [command for command in FENCED if command.document == "README.md" and command.text.startswith(start)]
    assert found, f"README.md has no command {start} …"
    return [sys.executable, str(ROOT / found[0].words[1]), *found[0].words[2:]]


def test_the_trial_on_the_sample_corpus_writes_every_dataset_that_the_readme_names(tmp_path):
    command = readme_command("python scripts/preprocess_data.py --task all --train_input dataset/sample/train.csv")
    command[command.index("--output_dir") + 1] = str(tmp_path)
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    info = json.loads((tmp_path / "dataset_info.json").read_text("utf-8"))
    assert set(info) == {
        *(f"alimeeting4mug_{part}" for part in ("train", "dev")),
        *(f"mug_{task}_{part}" for task in TASKS for part in ("train", "dev")),
    }
    assert all((tmp_path / entry["file_name"]).is_file() for entry in info.values())


@pytest.mark.slow
def test_the_floor_is_evaluated_scored_again_and_its_submission_scored_without_a_model(tmp_path):
    prepare = readme_command("python scripts/preprocess_data.py --task title_generation")
    prepare += ["--output_dir", str(tmp_path / "data")]
    sample = ["--train_input", "dataset/sample/train.csv", "--dev_input", "dataset/sample/dev.csv"]
    subprocess.run([*prepare, *sample], cwd=ROOT, check=True, capture_output=True)
    places = {"--data_path": tmp_path / "data/dev_alpaca.json", "--gold": ROOT / "dataset/sample/dev.csv"}
    submitted = tmp_path / "submission/topic_title_generation.jsonl"

    def run(start, **others):
        command = readme_command(start)
        replaced = places | {f"--{name}": path for name, path in others.items()}
        assert others.keys() <= {word.removeprefix("--") for word in command}
        for flag in replaced.keys() & set(command):
            command[command.index(flag) + 1] = str(replaced[flag])
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    run(
        "python scripts/evaluate.py --backend baseline",
        submission=tmp_path / "submission",
        output_path=tmp_path / "floor.json",
    )
    reports = {path.name for path in tmp_path.glob("floor.*")}
    assert reports == {"floor.json", "floor.md", "floor.html", "floor.predictions.jsonl"}
    given = tmp_path / "floor.predictions.jsonl"
    run("python scripts/evaluate.py --predictions", predictions=given, output_path=tmp_path / "again.json")
    run("python scripts/score_submission.py", predictions=submitted, output=tmp_path / "scores.json")

    floor, again, scores = (
        json.loads((tmp_path / f"{name}.json").read_text("utf-8")) for name in ("floor", "again", "scores")
    )
    official = floor["official"]["topic_title_generation"]["scores"]
    assert 0 < official["score"] < 1
    assert again["official"]["topic_title_generation"]["scores"] == official == scores["official"]
    assert set(scores["cleaned"]) == set(official)


def test_a_csv_at_hand_is_taken_in_place_of_a_download(tmp_path):
    shutil.copy(ROOT / "dataset/sample/dev.csv", tmp_path / "dev.csv")
    command = readme_command("python scripts/download_data.py --from dev.csv")
    subprocess.run([*command, "--output_dir", str(tmp_path / "out")], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "out/dev.csv").read_bytes().startswith(b"idx\tcontent")


def test_the_corpus_form_that_is_shown_is_read_without_repairs():
    report = Report()
    for path in READMES:
        meeting = parse_meeting(json.loads(blocks(path, "json")[0]), report, 1)
        assert (len(meeting.sentences), len(meeting.topics), len(meeting.candidates)) == (6, 2, 2)
    assert not report.warnings


# --- what is named exists --------------------------------------------------------------------------------------------


def structure(path: Path) -> tuple[list[str], list[str]]:
    """Return the paths of the structure section: those of the repository, and those that running makes."""
    parts = []
    for block in blocks(path, "text"):
        names, parents = [], []
        for line in block.splitlines():
            depth = (len(line) - len(line.lstrip())) // 2
            parents = [*parents[:depth], line.split()[0]]
            names.append("".join(parents))
        parts.append(names)
    kept, made = parts
    return kept, made


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_every_path_of_the_structure_section_exists(path):
    kept, _ = structure(path)
    assert len(kept) > 20
    assert [name for name in kept if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_the_structure_section_leaves_out_no_script_and_no_configuration(path):
    kept, _ = structure(path)
    there = [p for pattern in ("scripts/*.py", "scripts/*.sh", "configs/*.yaml") for p in ROOT.glob(pattern)]
    assert set(map(relative, there)) <= set(kept)


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_what_running_makes_is_ignored_by_git(path):
    _, made = structure(path)
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    names = [name + "x" if name.endswith("/") else name for name in made]
    told = subprocess.run(["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert sorted(told) == sorted(names)


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_every_path_named_in_prose_exists(path):
    ours = re.compile(r"(?:scripts|configs|docs|tests|benchmarks|dataset/sample)/[\w./-]*\Z")
    named = [code for code in inline_code(path) if ours.match(code)]
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_every_output_folder_named_is_one_that_a_configuration_writes(path):
    named = set(re.findall(r"outputs/qwen2\.5-7b-mug-\w+", path.read_text("utf-8")))
    configured = "".join(config.read_text("utf-8") for config in CONFIGS)
    assert named and [name for name in named if name not in configured] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_every_flag_named_in_prose_belongs_to_a_script(path):
    flags = {code.split()[0].partition("=")[0] for code in inline_code(path) if code.startswith("--")}
    scripts = map(relative, sorted((ROOT / "scripts").glob("*.py")))
    known = {flag for script in scripts for flag in parser_of(script)[0]._option_string_actions} | setup_flags()
    assert flags - known - ABSENT_FLAGS == set()


def headings(path: Path) -> set[str]:
    found = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_every_relative_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        goal = (path.parent / file) if file else path
        assert goal.exists(), target
        assert not anchor or anchor in headings(goal), target


# --- what is told is so ----------------------------------------------------------------------------------------------


def table_rows(path: Path) -> list[list[str]]:
    lines = [line.strip() for line in prose(path).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def test_both_readmes_name_the_same_commands():
    def commands(path):
        # A value for the user to fill in is Chinese in one and capitals in the other.
        value = re.compile(r"(?<==)(?:[^\x00-\x7f]+|[A-Z]+-[A-Z]+)(?= |$)")
        return [value.sub("…", command.text) for command in fenced(path)]

    assert commands(READMES[0]) == commands(READMES[1])


def test_both_readmes_give_the_same_numbers_in_their_tables():
    def numbers(path):
        # Sorted: the two languages put the same figures of a row in different places.
        return [sorted(re.findall(r"\d(?:[\d,.]*\d)?", " ".join(row))) for row in table_rows(path)]

    assert numbers(READMES[0]) == numbers(READMES[1])


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_the_settings_told_are_those_of_the_configuration(path):
    config = yaml.safe_load(source("configs/train_lora.yaml"))
    told = {row[0].strip("`"): yaml.safe_load(row[1]) for row in table_rows(path) if row[0].strip("`") in config}
    assert len(told) == 8
    assert told == {key: config[key] for key in told}


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_the_good_ranges_told_are_those_of_the_report(path):
    told = [float(row[1].removeprefix("> ")) for row in table_rows(path) if row[1].startswith("> ")]
    assert told == [GOOD_TITLES[name] / 100 for name in ("rouge-l", "bleu-4", "exact_match")]


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_the_table_of_engines_has_every_engine(path):
    choices = parser_of("scripts/evaluate.py")[0]._option_string_actions["--backend"].choices
    rows = [row[0].strip("`") for row in table_rows(path)]
    assert [name for name in rows if name in choices] == choices


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_the_speeds_told_are_those_that_were_measured(path):
    """The table of the READMEs rounds that of benchmarks/results.md, and has its rows in the same order."""

    def numbers(rows):
        return [[float(cell) for cell in re.findall(r"(?<= )\d+\.\d+(?= )", f" {' '.join(row)} ")] for row in rows]

    bold = [[cell.strip("*") for cell in row] for row in table_rows(ROOT / "benchmarks/results.md")]
    measured = numbers(row for row in bold if row[0].startswith(("one by one", "batched")))
    start = next(i for i, row in enumerate(table_rows(path)) if row[1] in ("样本/秒", "samples/s"))
    told = numbers(table_rows(path)[start + 1 : start + 1 + len(measured)])
    assert len(measured) == 2
    assert [row[0] for row in told] == [float(f"{row[0]:.3g}") for row in measured]
    assert [row[1:] for row in told[1:]] == [row[1:] for row in measured[1:]]


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_the_two_commands_stand_on_the_first_screen(path):
    lines = path.read_text("utf-8").splitlines()
    assert lines.index("bash scripts/demo.sh") < lines.index("bash scripts/test.sh") < 24


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_the_reports_told_of_the_demo_are_those_that_it_makes(path):
    told = set(re.findall(r"eval_(?:before|after)\.html", path.read_text("utf-8")))
    assert told == {"eval_before.html", "eval_after.html"}
    assert all(name in source("scripts/demo.sh") for name in told)


@pytest.mark.parametrize("path", READMES, ids=relative)
def test_the_table_of_tasks_has_every_task(path):
    assert [row[1].strip("`") for row in table_rows(path) if row[1].strip("`") in TASKS] == list(TASKS)


def task_pages() -> tuple[dict, dict[str, str]]:
    """Return the meeting of docs/tasks.md, and the section of each task."""
    path = ROOT / "docs/tasks.md"
    sections = re.split(r"^## ", path.read_text("utf-8"), flags=re.MULTILINE)
    by_name = {section.partition("\n")[0]: section for section in sections}
    return json.loads(blocks(path, "json")[0]), {name: by_name[name] for name in TASKS}


@pytest.mark.parametrize("name", TASKS)
def test_the_prompt_shown_for_a_task_is_the_prompt_that_it_makes(name):
    value, sections = task_pages()
    meeting = parse_meeting(value, Report(), 1)
    first = next(TASKS[name]().samples(meeting, "train"))
    shown = json.loads(re.search(r"```json\n(.*?)```", sections[name], re.DOTALL)[1])
    assert shown == {"instruction": first.instruction, "input": first.input, "output": first.output}


def test_the_meeting_of_the_task_page_is_that_of_the_readmes():
    value, _ = task_pages()
    assert [json.loads(blocks(path, "json")[0]) for path in READMES] == [value, value]


@pytest.mark.parametrize("name", TASKS)
def test_whose_labels_are_taken_is_told_as_it_is(name):
    row = next(row for row in table_rows(ROOT / "docs/tasks.md") if row[0] == f"`{name}`")
    if name in ("topic_segmentation", "action_item_detection"):
        assert row[1:3] == ["one labelling", "one labelling"]
    else:
        assert row[1:3] == [TASKS[name].candidates["train"], TASKS[name].candidates["dev"]]
