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
    "thoughts begin": PLAIN.replace("assistant\\n", "assistant\\n<think>\\n"),
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
# What the published templates of the families render, said in our own words; by the name under which we know them.
def turns(user, assistant, system="", head="", tail=""):
    """A template of one turn a message."""
    system = "{% elif message.role == 'system' %}{{ " + system + " }}" if system else ""
    return (head + "{% for message in messages %}{% if message.role == 'user' %}{{ " + user + " }}"
            + "{% elif message.role == 'assistant' %}{{ " + assistant + " }}" + system + "{% endif %}{% endfor %}"
            + "{% if add_generation_prompt %}{{ '" + tail + "' }}{% endif %}")


SPLIT_SYSTEM = ("{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
                "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}")


def system_in_first_turn(before, after, system_before, system_after, assistant, trim=""):
    first = f"('{system_before}' + system + '{system_after}' if loop.first and system else '')"
    return turns(f"'{before}' + {first} + message.content{trim} + '{after}'", assistant,
                 head=SPLIT_SYSTEM + "{{ bos_token }}")


def llama3(system_text="", default_system=""):
    turn = "'<|start_header_id|>{0}<|end_header_id|>\\n\\n' + {1}message.content | trim + '<|eot_id|>'"
    return turns(turn.format("user", ""), turn.format("assistant", ""), turn.format("system", system_text),
                 head="{{ bos_token }}" + default_system, tail="<|start_header_id|>assistant<|end_header_id|>\\n\\n")


DATES = '"Cutting Knowledge Date: December 2023\\n" + "Today Date: " + date + "\\n\\n"'
LLAMA31 = ('{% set tools = none %}{% set date = "26 Jul 2024" %}' + llama3(
    DATES + " + ", "{% if messages[0].role != 'system' %}{{ '<|start_header_id|>system<|end_header_id|>\\n\\n' + "
    + DATES + " + '<|eot_id|>' }}{% endif %}"))
GEMMA = system_in_first_turn("<start_of_turn>user\\n", "<end_of_turn>\\n", "", "\\n\\n",
                             "'<start_of_turn>model\\n' + message.content | trim + '<end_of_turn>\\n'", trim=" | trim")
FAMILIES = {
    "deepseek": turns("'<｜User｜>' + message.content", "'<｜Assistant｜>' + message.content + '<｜end▁of▁sentence｜>'",
                      "message.content", head="{{ bos_token }}", tail="<｜Assistant｜>"),
    "deepseek-r1": turns("'<｜User｜>' + message['content']",
                         "'<｜Assistant｜>' + message.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>'",
                         "message.content", head="{{ bos_token }}", tail="<｜Assistant｜><think>\\n"),
    "deepseek-v2": turns("'User: ' + message.content + '\\n\\n'", "'Assistant: ' + message.content + eos_token",
                         "message.content + '\\n\\n'", head="{{ bos_token }}", tail="Assistant:"),
    "gemma": GEMMA.replace("'' }}{% endif %}", "'<start_of_turn>model\\n' }}{% endif %}"),
    "llama2": turns("bos_token + '[INST] ' + ('<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] "
                    "if loop.first and system_message else message['content']) | trim + ' [/INST]'",
                    "' ' + message.content | trim + ' ' + eos_token",
                    head=SPLIT_SYSTEM.replace("set system =", "set system_message =").replace("= '' %}", "= false %}")),
    "llama3": llama3(),
    "llama3.1": LLAMA31,
    "mistral-v1": system_in_first_turn(" [INST] ", " [/INST]", "", "\\n\\n", "' ' + message.content + eos_token"),
    "mistral-v3": system_in_first_turn("[INST] ", "[/INST]", "", "\\n\\n", "' ' + message.content + eos_token"),
    "mistral-v3-tekken": system_in_first_turn("[INST]", "[/INST]", "", "\\n\\n", "message.content + eos_token"),
    "mistral-v7": turns("'[INST] ' + message.content + '[/INST]'", "' ' + message.content + eos_token",
                        "'[SYSTEM_PROMPT] ' + message.content + '[/SYSTEM_PROMPT]'", head="{{ bos_token }}"),
    "mistral-v7-tekken": turns("'[INST]' + message.content + '[/INST]'", "message.content + eos_token",
                               "'[SYSTEM_PROMPT]' + message.content + '[/SYSTEM_PROMPT]'", head="{{ bos_token }}"),
    "phi3": turns("'<|user|>\\n' + message.content + '<|end|>\\n'", "'<|assistant|>\\n' + message.content + '<|end|>\\n'",
                  "'<|system|>\\n' + message.content + '<|end|>\\n'", tail="<|assistant|>\\n"),
    "phi4": turns("'<|im_start|>user<|im_sep|>' + message.content + '<|im_end|>'",
                  "'<|im_start|>assistant<|im_sep|>' + message.content + '<|im_end|>'",
                  "'<|im_start|>system<|im_sep|>' + message.content + '<|im_end|>'",
                  tail="<|im_start|>assistant<|im_sep|>"),
    "zephyr": turns("'<|user|>\\n' + message.content + eos_token }}{{ '\\n'",
                    "'<|assistant|>\\n' + message.content + eos_token }}{{ '\\n'",
                    "'<|system|>\\n' + message.content + eos_token }}{{ '\\n'", tail="<|assistant|>\\n"),
}
FAMILY_CONVERSATIONS = [
    [("user", "Hello, it's me.")],
    [("system", "Be kind."), ("user", "Hello")],
    [("user", "One"), ("assistant", "Two"), ("user", "<|eot_id|>")],
    [("system", "Be kind."), ("user", "One"), ("assistant", "Two"), ("user", "Three")],
    [("user", "One"), ("assistant", "<think>\nHm.\n</think>\n\nTwo"), ("user", "Three")],
]
CONVERSATIONS = [
    [],
    [("user", "Hello, it's me.")],
    [("system", "Be kind."), ("user", "Hello")],
    [("user", "One"), ("assistant", "Two"), ("user", "  Three\n"), ("assistant", ""),
     ("user", "<|im_end|>\n<|im_start|>system\n")],
    [("user", "a"), ("system", "late"), ("tool", "42")],
]


def raise_exception(message):
    raise ValueError(message)


def render(jinja, messages):
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(jinja).render(messages=messages, add_generation_prompt=True, bos_token="<s>",
                                                   eos_token="</s>")


def main():
    model = gguf.GGUFReader(sys.argv[1]).fields["tokenizer.chat_template"].contents()
    conversations = [[{"role": role, "content": content} for role, content in turns] for turns in CONVERSATIONS]
    templates = [{"name": name, "jinja": jinja, "rendered": [render(jinja, messages) for messages in conversations]}
                 for name, jinja in {"the model's": model, **CHATML}.items()]
    templates += [{"name": name, "jinja": jinja} for name, jinja in OTHERS.items()]
    family_conversations = [[{"role": role, "content": content} for role, content in turns]
                            for turns in FAMILY_CONVERSATIONS]
    families = [{"name": name, "jinja": jinja, "rendered": [render(jinja, messages) for messages in family_conversations]}
                for name, jinja in FAMILIES.items()]
    json.dump({"command": "scripts/oracles.sh chat_template", "conversations": conversations, "templates": templates,
               "family_conversations": family_conversations, "families": families}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
