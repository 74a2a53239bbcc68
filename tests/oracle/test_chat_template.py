"""The recorded renderings are still what Jinja renders, and the first template is that of the model the tests read.

Of the published templates that a package ships, we take those of our families and render them as Jinja does; every other
one is refused. That our own renderings equal the recorded ones is tests/worker/model/chat_template_test.cpp.
"""
import json
import pathlib
import subprocess

import gguf
from conftest import ROOT
from record_chat_template import FAMILY_CONVERSATIONS, render
from vocabularies import TEMPLATES

RECORD = pathlib.Path(__file__).parent / "recorded" / "chat_template.json"


def test_recorded_renderings_are_those_of_jinja(model_path):
    record = json.loads(RECORD.read_text())
    templates = record["templates"]
    assert templates[0]["jinja"] == gguf.GGUFReader(model_path).fields["tokenizer.chat_template"].contents()
    rendered = [template for template in templates if "rendered" in template]
    assert len(rendered) == 8
    for template in rendered:
        now = [render(template["jinja"], messages) for messages in record["conversations"]]
        assert template["rendered"] == now, template["name"]
    assert len(record["families"]) == 15
    for family in record["families"]:
        now = [render(family["jinja"], messages) for messages in record["family_conversations"]]
        assert family["rendered"] == now, family["name"]


TAKEN = {
    "MiMo-VL": "chatml",
    "Qwen-QwQ-32B": "chatml",
    "Qwen-Qwen2.5-7B-Instruct": "chatml",
    "Qwen-Qwen3-0.6B": "chatml",
    "Qwen3-Coder": "chatml",
    "Qwen3.5-4B": "chatml",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "deepseek-r1",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "deepseek-r1",
    "google-gemma-2-2b-it": "gemma",
    "llama-cpp-deepseek-r1": "deepseek-r1",
    "meta-llama-Llama-3.1-8B-Instruct": "llama3.1",
    "meta-llama-Llama-3.2-3B-Instruct": "llama3.1",
    "meta-llama-Llama-3.3-70B-Instruct": "llama3.1",
    "microsoft-Phi-3.5-mini-instruct": "phi3",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral-v3-tekken",
    "tested-DeepSeek-V2": "deepseek-v2",
    "tested-Llama-3": "llama3",
    "tested-Mistral-Large-Instruct-2407-mistralai-v3-template-modified-to-have-system-prompt-at-start": "mistral-v3",
    "tested-Mistral-Nemo-Instruct-2407-mistralai-v3-tekken-template-modified-to-have-system-prompt-at-start":
        "mistral-v3-tekken",
    "tested-Phi-3-medium": "phi3",
    "tested-Phi-3-mini": "phi3",
    "tested-Phi-3-small": "phi3",
    "tested-Phi-3-vision": "phi3",
    "tested-bofenghuang-vigogne-2-70b-chat": "llama2",
    "tested-google-gemma-7b-it": "gemma",
    "tested-mistralai-Mistral-7B-Instruct-v0.2-NOTE-Old-pre-v1-without-a-system-prompt": "mistral-v1",
    "tested-mistralai-Mistral-7B-Instruct-v0.2-mistralai-v1-template-with-a-system-prompt": "mistral-v1",
    "tested-mistralai-Mistral-Large-Instruct-2411-mistralai-v7-template": "mistral-v7",
    "tested-phi-4": "phi4",
    "tested-teknium-OpenHermes-2.5-Mistral-7B": "chatml",
}
DIFFERENT = {
    # Mistral moves the system message to the last turn; ours stays in the first, where the document is.
    **dict.fromkeys(("mistralai-Mistral-Nemo-Instruct-2407", *(name for name in TAKEN if "to-have-system" in name)), {3}),
    # These drop a system message without a word; we refuse it.
    "tested-Phi-3-medium": {1, 3},
    "tested-Phi-3-mini": {1, 3},
    # This has no BOS, without which the model talks nonsense; its tokenizer adds it.
    "tested-google-gemma-7b-it": {0, 2, 4},
}


def test_published_templates_are_rendered_as_by_jinja_or_refused(tmp_path):
    conversations = [[{"role": role, "content": content} for role, content in turns] for turns in FAMILY_CONVERSATIONS]
    (tmp_path / "conversations.json").write_text(json.dumps(conversations))
    files = sorted(TEMPLATES.glob("*.jinja"))
    assert len(files) == 101, f"{TEMPLATES}: run scripts/setup.sh"
    taken, different = {}, {}
    for file in files:
        run = subprocess.run([ROOT / "build/release/bin/rotulus-chat", "--template", file, "--conversations",
                              tmp_path / "conversations.json", "--bos", "<s>", "--eos", "</s>"],
                             capture_output=True, text=True)
        if run.returncode != 0:
            assert "--chat-template" in run.stderr
            continue
        name, *lines = run.stdout.splitlines()
        taken[file.stem] = name
        for index, (conversation, line) in enumerate(zip(conversations, lines, strict=True)):
            if json.loads(line) != render_or_none(file.read_text(), conversation):
                different.setdefault(file.stem, set()).add(index)
    assert taken == TAKEN
    assert different == DIFFERENT


def render_or_none(jinja, messages):
    """None where the template raises an exception of its own."""
    try:
        return render(jinja, messages)
    except ValueError:
        return None
