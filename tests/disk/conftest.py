import mounts
import pytest


@pytest.fixture(scope="session", autouse=True)
def mounts_of_ones_own():
    """Whatever ends the tests, what they have mounted is gone with them."""
    return mounts.missing() or mounts.keep_private()
