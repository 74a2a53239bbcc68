"""Adds up the JUnit files of a folder, names what failed, closes with `N passed, N failed`; exit code 1 on a failure.

A file that cannot be read is a test program that died before writing it: one failure.
"""

import pathlib
import sys
import xml.etree.ElementTree as xml


def outcomes(file: pathlib.Path):
    """Yields (name, "passed" | "failed" | "skipped") for each test case."""
    try:
        root = xml.parse(file).getroot()
    except xml.ParseError:
        yield f"{file.stem}: ended without a report", "failed"
        return
    for case in root.iter("testcase"):
        name = f"{file.stem}: {case.get('classname', '')}.{case.get('name', '')}"
        children = {child.tag: child.get("message") or "" for child in case}
        if children.keys() & {"failure", "error"} or case.get("status") == "fail":
            yield name, "failed"
        elif "skipped" in children or case.get("result") in ("skipped", "suppressed"):
            # CTest calls a test whose program is missing "skipped" too; one that skipped itself says so.
            missing = case.get("status") == "notrun" and "SKIP" not in children.get("skipped", "SKIP")
            yield name, "failed" if missing else "skipped"
        else:
            yield name, "passed"


def main() -> int:
    files = sorted(pathlib.Path(sys.argv[1]).glob("*.xml"))
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for file in files:
        for name, outcome in outcomes(file):
            count[outcome] += 1
            if outcome != "passed":
                print(f"{outcome.upper()} {name}")
    print(f"{count['passed']} passed, {count['failed']} failed")
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
