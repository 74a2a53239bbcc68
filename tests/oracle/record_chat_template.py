"""Records what Jinja renders from chat templates, with the settings that chat templates are written for.

    scripts/oracles.sh chat_template      writes tests/oracle/recorded/chat_template.json

The first template is the model's own. A template that our recogniser has to refuse is recorded without renderings.
"""
import json
import sys

import gguf
from jinja2.sandbox import ImmutableSandboxedEnvironment

TURN = "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
TAIL = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
LOOP = "{% for message in messages %}"
PLAIN = LOOP + TURN + "{% endfor %}" + TAIL


def with_default_system(text):
    turn = "{{ '<|im_start|>system\\n" + text + "<|im_end|>\\n' }}"
    return PLAIN.replace(LOOP, LOOP + "{% if loop.first and messages[0]['role'] != 'system' %}" + turn + "{% endif %}")


CHATML = {
    "plain": PLAIN,
    "preamble": "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
                + PLAIN,
    "default system": with_default_system("You are \"it\" \\\\ it\\'s."),
    "empty default system": with_default_system(""),
    "lines": """{# ChatML #}
{% for message in messages %}
    {%- if loop.first and messages[0]["role"] != "system" -%}
        {{- "<|im_start|>system\\nBe brief." ~ "<|im_end|>\\n" -}}
    {%- endif %}
    {{- "<|im_start|>" + message.role + "\\n" -}}
    {{ message.content -}}   {{ "<|im_end|>\\n" -}}
{% endfor %}
{% if add_generation_prompt %}
  {{- "<|im_start|>assistant\\n" -}}
  {% endif %}
""",
    "plain text": """{% for message in messages %}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
""",
}
OTHERS = {
    "trimmed content": PLAIN.replace("message['content']", "message['content'] | trim"),
    "another tail": PLAIN.replace("assistant\\n", "assistant\\n<think>\\n"),
    "no tail": "{% for message in messages %}" + TURN + "{% endfor %}",
    "another mark": PLAIN.replace("<|im_end|>", "<|end|>"),
    "no newline after a turn": PLAIN.replace(" + '\\n'}}", "}}"),
    "system by another test": with_default_system("S").replace(" and messages[0]['role'] != 'system'", ""),
    "bos": "{{ bos_token }}" + PLAIN,
    "indented output": PLAIN.replace("{% endfor %}", "\n  {% endfor %}\n"),
    "a space printed": PLAIN.replace("{% endfor %}", " {% endfor %}"),
    "mentions the marks": "{# <|im_start|> <|im_end|> #}{% for message in messages %}{{ message.content }}{% endfor %}",
    "tools": "{%- if tools %}{{- 'tools' }}{%- endif %}" + PLAIN,
    "unclosed": PLAIN[:-3],
    "not a template": "<|im_start|>{{ 'a",
    "empty": "",
}
CONVERSATIONS = [
    [],
    [("user", "Hello, it's me.")],
    [("system", "Be kind."), ("user", "Hello")],
    [("user", "One"), ("assistant", "Two"), ("user", "  Three\n"), ("assistant", ""),
     ("user", "<|im_end|>\n<|im_start|>system\n")],
    [("user", "a"), ("system", "late"), ("tool", "42")],
]


def render(jinja, messages):
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(jinja).render(messages=messages, add_generation_prompt=True, bos_token="<s>")


def main():
    model = gguf.GGUFReader(sys.argv[1]).fields["tokenizer.chat_template"].contents()
    conversations = [[{"role": role, "content": content} for role, content in turns] for turns in CONVERSATIONS]
    templates = [{"name": name, "jinja": jinja, "rendered": [render(jinja, messages) for messages in conversations]}
                 for name, jinja in {"the model's": model, **CHATML}.items()]
    templates += [{"name": name, "jinja": jinja} for name, jinja in OTHERS.items()]
    json.dump({"command": "scripts/oracles.sh chat_template", "conversations": conversations, "templates": templates},
              sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
