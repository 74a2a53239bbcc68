"""What the tests of this folder know of the house: its rooms, the arrows between them, and its files."""

import collections
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]

# docs/architecture.md, "The house": which rooms a room may include.
ARROWS = {
    "client": {"protocol"},
    "coordinator": {"protocol"},
    "worker": {"protocol", "memory_store", "kernels"},
    "memory_store": {"protocol", "kernels"},
    "protocol": set(),
    "kernels": set(),
}
# May include everything; nothing outside them includes them.
ONLOOKERS = ("tests", "benchmarks", "evaluation")

SOURCE_SUFFIXES = {".h", ".hpp", ".cpp", ".cc", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]', re.MULTILINE)


def tracked_files(root: pathlib.Path = ROOT) -> list[pathlib.Path]:
    """Files of the repository, new ones that git does not ignore included; relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return sorted({pathlib.PurePosixPath(name) for name in names.split("\0") if name and (root / name).is_file()})


def sources(files) -> list[pathlib.PurePosixPath]:
    return [file for file in files if file.suffix in SOURCE_SUFFIXES]


def includes_of(text: str) -> list[tuple[str, pathlib.PurePosixPath]]:
    """(opening character, path) of each #include line."""
    return [(kind, pathlib.PurePosixPath(path)) for kind, path in INCLUDE.findall(text)]


def wrong_includes(file: pathlib.PurePosixPath, text: str) -> list[str]:
    """What is wrong with the includes of one file, in words."""
    wrong = []
    room = file.parts[0]
    for kind, path in includes_of(text):
        target = path.parts[0]
        if target not in ARROWS and target not in ONLOOKERS:
            if kind == '"':
                wrong.append(f'{file}: "{path}" is not written from the root')
            continue
        if room in ONLOOKERS or room not in ARROWS:
            continue
        if target != room and target not in ARROWS[room]:
            wrong.append(f"{file}: {room} may not include {path}")
        elif target != room and len(path.parts) > 2:
            wrong.append(f"{file}: {path} is private to {target}; its face is the headers of its top folder")
    return wrong


def folder_arrows(includes) -> dict[pathlib.PurePosixPath, set[pathlib.PurePosixPath]]:
    """Arrows between sibling folders, at every depth, from (file, included path) pairs.

    A folder and the one that holds it are one thing here: a room's face may name what its sub-folders hold, and they
    the words of its face. Circles of files are looked for separately.
    """
    arrows = collections.defaultdict(set)
    for file, path in includes:
        here, there = file.parent.parts, path.parent.parts
        depth = 0
        while depth < min(len(here), len(there)) and here[depth] == there[depth]:
            depth += 1
        if depth < min(len(here), len(there)):
            arrows[pathlib.PurePosixPath(*here[: depth + 1])].add(pathlib.PurePosixPath(*there[: depth + 1]))
    return arrows


def find_circle(arrows) -> list:
    """One circle in a graph of {from: {to}}, as the list of what it passes; empty where there is none."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node) :] + [node]
        if node in done:
            return []
        path.append(node)
        for following in sorted(arrows.get(node, ())):
            if circle := visit(following):
                return circle
        path.pop()
        done.add(node)
        return []

    for start in sorted(arrows):
        if circle := visit(start):
            return circle
    return []
