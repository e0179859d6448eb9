import pytest
from browser.window import Window, missing, start_browser, web

from jobspool import Spool


def pytest_collection_modifyitems(items):
    if why := missing():
        for item in items:
            if item.path.parent.name == "browser":
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """One browser for all tests."""
    browser = start_browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A spool, and its page, for the tests of one module: each names its own jobs."""
    spool = Spool.init(tmp_path_factory.mktemp("shop") / "spool")
    with web(spool) as served:
        yield spool, served


def opened(driver, served):
    window = Window(driver, served)
    yield window
    faults = window.faults()
    driver.get("about:blank")
    assert faults == []


@pytest.fixture
def window(driver, spool):
    """A window on the page of a spool of its own."""
    with web(spool) as served:
        yield from opened(driver, served)


@pytest.fixture
def view(driver, shop):
    """A window on the page of the module's spool."""
    yield from opened(driver, shop[1])
