import pytest
from web.page import page


@pytest.fixture
def web(spool):
    """A page of the spool."""
    with page(spool) as found:
        yield found
