import pytest
from kit import new_spool


@pytest.fixture
def spool(tmp_path):
    """A new spool of its own."""
    return new_spool(tmp_path)
