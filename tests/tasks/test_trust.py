"""Task files that name code run none of it unless they are trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
from growloop.core.errors import InputError
from growloop.tasks.evaluate import evaluate
from growloop.tasks.scoring.planning import their_tasks
from growloop.tasks.trust import refuse_code

BASE = """
task: harmless
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/rows.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["yes", "no"]
doc_to_target: answer
metric_list: [{{metric: acc}}]
metadata: {{version: 1}}
"""
NAMING: dict[str, tuple[dict[str, str], str]] = {
    # files beside the task, and what the refusal says of them
    "a function": ({"task.yaml": "doc_to_text: !function evil.run\n"}, "!function evil.run"),
    "in a list": (
        {"task.yaml": "metric_list: [{metric: !function evil.run}]\n"},
        "!function evil.run",
    ),
    "under an anchor": ({"task.yaml": "a: &a {b: !function evil.run}\nc: *a\n"}, "evil.run"),
    "as a name": ({"task.yaml": "? !function evil.run\n: 1\n"}, "!function evil.run"),
    "a class": ({"task.yaml": "class: !function evil.run\ntask: x\n"}, "!function evil.run"),
    "of Python": ({"task.yaml": "a: !!python/name:evil.run\n"}, "!!python/name:evil.run"),
    "included": (
        {"task.yaml": "include: base.yaml\n", "base.yaml": "process_docs: !function evil.run\n"},
        "base.yaml names code",
    ),
    "included by what is included": (
        {
            "task.yaml": "include: [one.yaml, base.yaml]\n",
            "one.yaml": "a: 1\n",
            "base.yaml": "include: deep/last\n",
            "deep/last": "process_docs: !function evil.run\n",
        },
        "last names code",
    ),
    "included through a merge": (
        {
            "task.yaml": "x: &x {include: base.yaml}\n<<: *x\n",
            "base.yaml": "process_docs: !function evil.run\n",
        },
        "base.yaml names code",
    ),
    "a data set's script": (
        {"task.yaml": "dataset_kwargs: {trust_remote_code: true}\n"},
        "trust_remote_code: true",
    ),
    "a pickle": ({"task.yaml": "dataset_path: pandas\n"}, "dataset_path: pandas"),
    "a script": ({"task.yaml": "dataset_path: ./evil.py\n"}, "dataset_path: ./evil.py"),
    "a metric of the hub": (
        {"task.yaml": "metric_list: [{metric: acc, hf_evaluate: true}]\n"},
        "hf_evaluate: true",
    ),
    "a metric that is a script": (
        {"task.yaml": "group: g\ntask: [{task: hellaswag, metric_list: [{metric: ./evil}]}]\n"},
        "metric: ./evil",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "evil.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
        "def run(*given):\n    return given[0]['question']\n"
    )
    row = '{"question": "q%d", "answer": %d}\n'
    (tmp_path / "rows.jsonl").write_text("".join(row % (i, i % 2) for i in range(8)))
    return tmp_path


@pytest.mark.parametrize("case", NAMING)
def test_a_file_that_names_code_is_refused_and_nothing_is_run(folder: Path, case: str) -> None:
    files, reason = NAMING[case]
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    with pytest.raises(InputError) as refused:
        their_tasks([str(folder / "task.yaml")], {})
    assert reason in str(refused.value)
    assert "--trust-task-code" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (folder / "ran").exists()


def test_evaluation_refuses_before_the_model_is_loaded(folder: Path) -> None:
    (folder / "task.yaml").write_text("task: x\ndoc_to_text: !function evil.run\n")
    (folder / "config.json").write_text("{}")
    with pytest.raises(InputError, match="names code"):
        evaluate(str(folder), [str(folder / "task.yaml")])
    assert not (folder / "ran").exists()


def test_a_trusted_file_runs_its_code(folder: Path) -> None:
    text = BASE.format(folder=folder).replace('"{{question}}"', "!function evil.run")
    (folder / "task.yaml").write_text(text)
    manager, [name] = their_tasks([str(folder / "task.yaml")], {}, trust_code=True)
    [task] = manager.load([name])["tasks"].values()
    assert task.doc_to_text(task.test_docs()[1]) == "q1"
    assert (folder / "ran").exists()


def test_a_file_without_code_and_one_that_includes_lm_evals_own_need_no_trust(
    folder: Path,
) -> None:
    import lm_eval.tasks

    (folder / "task.yaml").write_text(BASE.format(folder=folder))
    manager, [name] = their_tasks([str(folder / "task.yaml")], {})
    [task] = manager.load([name])["tasks"].values()
    assert task.doc_to_text(task.test_docs()[1]) == "q1"
    own = Path(lm_eval.tasks.__file__).parent / "hellaswag" / "hellaswag.yaml"
    assert "!function" in own.read_text()
    (folder / "more.yaml").write_text(f"include: {own}\ntask: mine\n")
    refuse_code([str(folder / "more.yaml"), str(own)])


def test_templates_of_a_file_that_is_not_trusted_are_rendered_in_a_sandbox(folder: Path) -> None:
    from jinja2.exceptions import SecurityError

    ran = folder / "ran"
    escape = f"{{{{ cycler.__init__.__globals__.os.mkdir('{ran}') }}}}"
    text = BASE.format(folder=folder).replace("{{question}}", escape)
    (folder / "task.yaml").write_text(text)
    manager, [name] = their_tasks([str(folder / "task.yaml")], {})
    with pytest.raises(SecurityError):  # lm-eval renders the first question to look at it
        manager.load([name])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 5000, "100 levels deep"),
        ("a: [", "not YAML"),
        ("a: &a [*a]", "holds itself"),
        ("include: {a: 1}", "include takes"),
        ("include: gone.yaml", "cannot read"),
        ('a: "\\Uffffffff"', "not YAML"),
        (
            "a: &a [" + "x," * 99 + "]\n"
            + "".join(f"{c}: &{c} [{f'*{b},' * 99}]\n" for b, c in ("ab", "bc", "cd", "de")),
            "100,000 values",
        ),
    ],
    ids=["nested", "cut", "recursive", "include", "gone", "character", "bomb"],
)  # fmt: skip
def test_files_that_cannot_be_read_or_never_end_are_refused(
    tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "task.yaml").write_text(text)
    with pytest.raises(InputError, match=reason):
        refuse_code([str(tmp_path / "task.yaml")])
