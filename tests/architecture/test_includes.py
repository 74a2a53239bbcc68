"""The arrows of the house, read from the #include lines; and the readers themselves, shown bad lines."""

import pathlib

import house

PurePath = pathlib.PurePosixPath


def test_every_include_is_an_arrow_of_the_plan():
    wrong = []
    for file in house.sources(house.tracked_files()):
        wrong += house.wrong_includes(file, (house.ROOT / file).read_text(errors="replace"))
    assert not wrong, "\n".join(wrong)


def all_includes():
    for file in house.sources(house.tracked_files()):
        if file.parts[0] in house.ARROWS:
            for _, path in house.includes_of((house.ROOT / file).read_text(errors="replace")):
                if path.parts[0] in house.ARROWS:
                    yield file, path


def test_folders_do_not_include_each_other_in_a_circle():
    circle = house.find_circle(house.folder_arrows(all_includes()))
    assert not circle, " -> ".join(map(str, circle))


def test_headers_do_not_include_each_other_in_a_circle():
    arrows = {}
    for file, path in all_includes():
        if file.suffix != ".cpp":
            arrows.setdefault(file, set()).add(path)
    circle = house.find_circle(arrows)
    assert not circle, " -> ".join(map(str, circle))


def test_links_follow_the_same_arrows():
    """A library that is linked against the plan would let an include follow unseen."""
    wrong = []
    for file in house.tracked_files():
        if file.name != "CMakeLists.txt" or file.parts[0] not in house.ARROWS:
            continue
        room = file.parts[0]
        for word in (house.ROOT / file).read_text().replace("(", " ").replace(")", " ").split():
            for other in house.ARROWS:
                if word.startswith(f"rotulus_{other}") and other != room and other not in house.ARROWS[room]:
                    wrong.append(f"{file}: {room} may not link {word}")
    assert not wrong, "\n".join(wrong)


# ---- the readers themselves


def test_the_reader_sees_each_kind_of_wrong_include():
    def wrong(file, line):
        return house.wrong_includes(PurePath(file), line + "\n")

    assert wrong("kernels/a.h", '#include "protocol/ids.h"')
    assert wrong("coordinator/a.cpp", "  #  include <worker/service.h>")
    assert wrong("worker/a.cpp", '#include "memory_store/tiers/host.h"')
    assert wrong("protocol/a.cpp", '#include "tests/support/x.h"')
    assert wrong("client/a.cpp", '#include "a.h"')
    assert wrong("client/a.cpp", '#include "../protocol/ids.h"')
    assert not wrong("worker/a.cpp", '#include "memory_store/kv_store.h"')
    assert not wrong("worker/model/a.cpp", '#include "worker/parallel/transport.h"')
    assert not wrong("tests/kernels/a.cpp", '#include "kernels/cpu/half.h"')
    assert not wrong("client/a.cpp", "#include <boost/asio.hpp>")


def test_the_reader_sees_a_circle_of_folders_at_any_depth():
    def circle(*pairs):
        return house.find_circle(house.folder_arrows((PurePath(a), PurePath(b)) for a, b in pairs))

    assert circle(("w/a/x.h", "w/b/y.h"), ("w/b/z.h", "w/a/c/d.h"))
    assert circle(("w/a/x.h", "w/b/y.h"), ("w/b/z.h", "w/c/y.h"), ("w/c/z.cpp", "w/a/y.h"))
    assert circle(("w/a/b/x.h", "w/a/c/y.h"), ("w/a/c/x.h", "w/a/b/y.h"))
    assert not circle(("w/a/x.h", "w/b/y.h"), ("w/a/z.h", "w/b/y.h"), ("w/x.h", "w/a/y.h"), ("w/a/y.h", "w/x.h"))
