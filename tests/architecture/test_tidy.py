"""What a machine can see of tidiness, so that no reviewer has to: whole tree, every file of the repository."""

import pathlib
import re
import shutil
import subprocess
import json

import pytest

import house

FILES = house.tracked_files()
# clang-format holds C++ to 120 columns where it can break a line; beyond this no screen shows it whole.
LINE_LIMIT = 160
# Prose and tables may be wider, and recorded data and other people's texts are as they are.
WIDE = {".md", ".json", ".svg", ".gguf", ".txt", ".html"}
MACHINE_PATHS = re.compile(rb"(?<![\w.])/([w]ork|[h]ome/\w+|[r]oot|[U]sers|tmp/[d]l)/")
FUNCTION_LINES = 70
LONG_FUNCTIONS_PERCENT = 1.5


def text_files():
    for file in FILES:
        content = (house.ROOT / file).read_bytes()
        if b"\0" not in content:
            yield file, content


def complain(wrong):
    assert not wrong, "\n" + "\n".join(wrong)


def numbered(file, content):
    return ((f"{file}:{number}", line) for number, line in enumerate(content.decode().split("\n"), 1))


def test_no_path_of_one_machine_is_written_down():
    complain([f"{file}: {found.group().decode()}" for file, content in text_files()
              for found in MACHINE_PATHS.finditer(content)])


def test_no_registry_is_named_by_its_host():
    hosts = re.compile(rb"https?://([d]eb|[f]iles|[r]egistry)\.")
    complain([f"{file}: {found.group().decode()}" for file, content in text_files() for found in hosts.finditer(content)])


def test_lines_fit_the_screen():
    complain([f"{place}: {len(line)} characters" for file, content in text_files()
              if file.suffix not in WIDE and file.name != "LICENSE"
              for place, line in numbered(file, content) if len(line) > LINE_LIMIT])


def test_lines_end_cleanly():
    wrong = []
    for file, content in text_files():
        if file.suffix in {".txt", ".json"} and file.name != "CMakeLists.txt":
            continue
        wrong += [f"{place}: white space at its end" for place, line in numbered(file, content)
                  if line != line.rstrip()]
        if content and not content.endswith(b"\n"):
            wrong.append(f"{file}: no end of line at its end")
    complain(wrong)


def test_no_file_is_over_one_mebibyte():
    complain([f"{file}: {size} bytes" for file in FILES if (size := (house.ROOT / file).stat().st_size) > 1 << 20])


@pytest.mark.parametrize("room", house.ARROWS)
def test_every_room_has_its_page(room):
    page = house.ROOT / room / "README.md"
    assert page.is_file(), f"{room} has no README.md"
    assert "START HERE" in page.read_text(), f"{room}/README.md does not say where to start"


def test_links_of_the_pages_lead_somewhere():
    wrong = []
    for file in FILES:
        if file.suffix != ".md":
            continue
        text = re.sub(r"```.*?```|`[^`]*`", "", (house.ROOT / file).read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in target and not (house.ROOT / file.parent / target).exists():
                wrong.append(f"{file}: {target}")
    complain(wrong)


def test_every_header_is_included_once():
    complain([f"{file}: no #pragma once" for file in FILES if file.suffix in {".h", ".hpp", ".cuh"}
              and "#pragma once" not in (house.ROOT / file).read_text()])


def test_every_source_is_built():
    """A source that no CMakeLists.txt names is dead."""
    lists = {file.parent: (house.ROOT / file).read_text() for file in FILES if file.name == "CMakeLists.txt"}
    wrong = []
    for file in house.sources(FILES):
        if file.suffix not in {".cpp", ".cu"}:
            continue
        if not any(re.search(rf"(?<![\w/]){re.escape(name)}(?![\w.])", text) for name, text in names_of(file, lists)):
            wrong.append(f"{file}: no CMakeLists.txt names it")
    complain(wrong)


def names_of(file, lists):
    """What a CMakeLists.txt of any folder would call this file: a path down from it, or a way round through `..`."""
    if file.name.endswith("_fuzz.cpp"):  # named by its target there
        yield file.name.removesuffix("_fuzz.cpp"), lists.get(file.parent, "")
    for folder, text in lists.items():
        shared = 0
        while shared < len(folder.parts) and folder.parts[shared] == file.parts[shared]:
            shared += 1
        yield "/".join([".."] * (len(folder.parts) - shared) + list(file.parts[shared:])), text


def test_regular_expressions_are_not_those_of_the_standard_library():
    """std::regex recurses once a character: a long token overflows the stack."""
    complain([f"{file}" for file in house.sources(FILES) if "std::" + "regex" in (house.ROOT / file).read_text()])


def test_no_test_is_switched_off():
    complain([f"{file}" for file in house.sources(FILES)
              if re.search(r"\bDISABLED[_]", (house.ROOT / file).read_text())])


def test_what_is_left_to_do_says_why_it_can_wait():
    wrong = [f"{place}: {line.strip()}" for file, content in text_files() if file.suffix not in {".md", ".py"}
             for place, line in numbered(file, content) if re.search(r"\b(TO[D]O(?!\(\w)|FIX[M]E|XX[X])\b", line)]
    complain(wrong)


def test_few_functions_are_longer_than_a_screen():
    assert shutil.which("ctags"), "Universal Ctags is missing: scripts/setup.sh installs it"
    rooms = [room for room in house.ARROWS if (house.ROOT / room).is_dir()]
    command = ["ctags", "-R", "--output-format=json", "--fields=+ne", "--languages=C++", "--kinds-C++=f", *rooms]
    tags = subprocess.run(command, cwd=house.ROOT, check=True, capture_output=True, text=True).stdout
    functions = [tag for tag in map(json.loads, tags.splitlines()) if "end" in tag]
    assert functions
    long = [f"{tag['path']}:{tag['line']}: {tag['name']}, {lines} lines" for tag in functions
            if (lines := tag["end"] - tag["line"] + 1) > FUNCTION_LINES]
    share = 100 * len(long) / len(functions)
    assert share <= LONG_FUNCTIONS_PERCENT, f"{share:.1f} % of {len(functions)}\n" + "\n".join(long)


def test_sources_are_formatted():
    program = shutil.which("clang-format-14")
    assert program, "clang-format-14 is missing: scripts/setup.sh installs it"
    files = [str(file) for file in house.sources(FILES)]
    run = subprocess.run([program, "--dry-run", "-Werror", *files], cwd=house.ROOT, capture_output=True, text=True)
    bad = sorted({line.split(":")[0] for line in run.stderr.splitlines() if "error:" in line})
    assert run.returncode == 0, "clang-format-14 -i " + " ".join(bad)


def shell_scripts():
    return [file for file in FILES if (house.ROOT / file).read_bytes().startswith(b"#!/usr/bin/env bash")]


def test_scripts_can_be_run():
    complain([f"{file}: not executable" for file in shell_scripts() if not (house.ROOT / file).stat().st_mode & 0o100])


def test_scripts_parse():
    runs = [subprocess.run(["bash", "-n", file], cwd=house.ROOT, capture_output=True, text=True)
            for file in shell_scripts()]
    assert runs
    complain([run.stderr for run in runs if run.returncode])
