"""One browser for all pages, and the ways to look at them."""

import pytest
from browser import LOOKS, started


@pytest.fixture(scope="session")
def browser():
    with started() as found:
        yield found


@pytest.fixture(params=LOOKS)
def look(request):
    return request.param
