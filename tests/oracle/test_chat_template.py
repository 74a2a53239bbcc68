"""The recorded renderings are still what Jinja renders, and the first template is that of the model the tests read.

That our own renderings equal the recorded ones is tests/worker/model/chat_template_test.cpp.
"""
import json
import pathlib

import gguf
from record_chat_template import render

RECORD = pathlib.Path(__file__).parent / "recorded" / "chat_template.json"


def test_recorded_renderings_are_those_of_jinja(model_path):
    record = json.loads(RECORD.read_text())
    templates = record["templates"]
    assert templates[0]["jinja"] == gguf.GGUFReader(model_path).fields["tokenizer.chat_template"].contents()
    rendered = [template for template in templates if "rendered" in template]
    assert len(rendered) == 7
    for template in rendered:
        now = [render(template["jinja"], messages) for messages in record["conversations"]]
        assert template["rendered"] == now, template["name"]
