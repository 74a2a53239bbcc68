import pytest


@pytest.fixture(scope="module")
def fast_arithmetic():
    """Documents are read in half the time: for what holds whatever the arithmetic."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROTULUS_ARITHMETIC", "int8")
        yield
