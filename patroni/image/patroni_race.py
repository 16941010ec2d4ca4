"""Has who may lead ask the others without waiting for a host that is gone.

Before a member takes a leader key that has ended, it asks the others how they are, the last
leader among them, and takes no answer within two seconds for one. A host that lost its power
refuses nothing: the two seconds pass, and nobody can write. A host that is alive accepts a connection at
once; so half a second is given for that, and two, as before, for the answer. Whoever is not heard counts
as he did.
"""

import inspect

from urllib3 import Timeout

# Seconds for a connection. A packet that was lost is sent again after one: whoever needs that is
# asked again when Patroni looks next.
CONNECT = 0.5


def install(ha):
    """Has Patroni's class Ha ask so."""
    fetch = ha.fetch_node_status
    ha.fetch_node_status = lambda self, member: fetch(Asking(self), member)


class Asking:
    """Stands for a Ha, and for its Patroni, in fetch_node_status."""

    def __init__(self, ha):
        self.patroni = self
        self._request = ha.patroni.request

    def request(self, member, timeout, retries):
        return self._request(member, timeout=Timeout(connect=CONNECT, read=timeout), retries=retries)


def check(ha):
    """Returns what of Patroni is not as it was when this was written."""
    source = inspect.getsource(ha.Ha.fetch_node_status)
    expected = ["response = self.patroni.request(member, timeout=2, retries=0)"]
    faults = [f"Ha.fetch_node_status has no {line!r}" for line in expected if line not in source]
    if source.count("self.") != 1:
        faults.append("Ha.fetch_node_status uses more of Ha than it did")
    return faults
