"""The evaluations are scripts in one folder; their tests import them from there."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "evaluation"))
