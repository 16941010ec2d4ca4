"""Patroni's failsafe mode, where the leader's host alone has lost etcd.

Failsafe mode lets a leader that can not refresh its key go on for as long as every member
of the cluster says yes (POST /failsafe). While etcd is gone for everybody, that is right.
If only the leader has lost it, its key ends with its lease, the routers lead nobody to it
any more, and the members that said yes do not take over: nobody writes.

So a member that is asked looks at the key itself, and says no when all of this is true:

- etcd answers a linearizable read, which takes a majority of its members;
- it did so whenever the member was asked within the last half ttl: a leader that has lost
  etcd together with everybody gets its time to be back first;
- the key is gone, or another's, or has less than half of its time left: a leader that is
  cut off for some seconds keeps its place;
- the member may lead itself. Otherwise nothing would be won.

The leader demotes itself when it hears that, while its key stands. Before, it looks once
more at the key: who reads that the key is its own, with time for another try to refresh it,
has not lost etcd.
"""

import base64
import inspect
import logging
import time
from multiprocessing.pool import ThreadPool

from urllib3 import Timeout

logger = logging.getLogger(__name__)

# Seconds for one question. The leader waits two seconds for the answer to its own, and
# this takes two questions, one after the other.
PATIENCE = 0.8
REFUSAL = "The leader key is about to be over, and I can take it"


def install(ha):
    """Has Patroni's class Ha answer, and ask, as is told above."""
    witness = Witness()
    accept, everybody_agrees = ha.update_failsafe, ha.check_failsafe_topology

    def update_failsafe(self, data):
        if self.state_handler.role != "primary" and witness.refuses(self, data["name"]):
            self._failsafe.set_is_active(0)
            return REFUSAL
        return accept(self, data)

    def check_failsafe_topology(self):
        return everybody_agrees(self) or has_time(self.dcs, self.state_handler.name)

    ha.update_failsafe = update_failsafe
    ha.check_failsafe_topology = check_failsafe_topology


class Witness:
    """A member's own view of etcd, when a leader asks whether to go on without it."""

    def __init__(self):
        self._missed = float("-inf")

    def refuses(self, ha, leader):
        """Tells whether the leader has to step down."""
        left = time_left(ha.dcs, leader)
        now = time.monotonic()
        if left is None:
            self._missed = now
            return False
        half = ha.dcs.ttl / 2
        return left < half <= now - self._missed and may_lead(ha)


def may_lead(ha):
    """Tells whether this member may take over: in a synchronous cluster as a standby."""
    server = ha.state_handler
    return server.state == "running" and (not ha.sync_mode_is_active() or ha.cluster.sync.matches(server.name))


def has_time(dcs, name):
    """Tells whether the leader key is name's for longer than another whole try to refresh it
    takes, and the questions to everybody after that."""
    return (time_left(dcs, name) or 0) > dcs.loop_wait + dcs._retry.deadline + 4


def time_left(dcs, name):
    """Returns for how many seconds the leader key will be name's if nobody refreshes it:
    0 if it is not. None: etcd does not answer."""
    client = dcs._client
    endpoints = client.machines_cache
    with ThreadPool(len(endpoints)) as pool:
        answers = pool.map(lambda endpoint: read_time_left(dcs, endpoint, name), endpoints)
    return next((left for left in answers if left is not None), None)


def read_time_left(dcs, endpoint, name):
    """Does what time_left does by one member of etcd."""
    try:
        key = base64.b64encode(dcs.leader_path.encode()).decode()
        found = ask(dcs._client, endpoint, "/kv/range", {"key": key}).get("kvs", [])
        if not found or base64.b64decode(found[0]["value"]).decode() != name:
            return 0
        lease = ask(dcs._client, endpoint, "/lease/timetolive", {"ID": found[0].get("lease", "0")})
        return max(int(lease.get("TTL", 0)), 0)
    except Exception as e:  # whatever it is: no answer
        logger.info("Reading the leader key by %s: %r", endpoint, e)
        return None


def ask(client, endpoint, path, question):
    """Sends one request to one member of etcd, beside all that the client is at."""
    kwargs = client._prepare_common_parameters(1, Timeout(total=PATIENCE))
    send = client._prepare_request(kwargs, question)
    return client._handle_server_response(send("POST", endpoint + client.version_prefix + path, **kwargs))


def check(ha, api, etcd3):
    """Returns what of Patroni is not as it was when this was written."""
    expected = [
        (api.RestApiHandler, "ret = self.server.patroni.ha.update_failsafe(request)"),
        (api.RestApiHandler, "code = 200 if message == 'Accepted' else 500"),
        (ha.Ha.update_failsafe, "def update_failsafe(self, data: Dict[str, Any]) -> Union[int, str, None]:"),
        (ha.Ha.update_failsafe, "if self.state_handler.state == 'running' and self.state_handler.role == 'primary':"),
        (ha.Ha._handle_dcs_error, "if self.is_failsafe_mode() and self.check_failsafe_topology():"),
        (ha.Ha.load_cluster_from_dcs, "self.cluster = cluster = self._failsafe.update_cluster(cluster)"),
        (ha.Failsafe.set_is_active, "self._reset_state()"),
        (etcd3.AbstractEtcd.__init__, "self._retry = Retry(deadline=config['retry_timeout']"),
        (etcd3.Etcd3Client.watchrange, "kwargs = self._prepare_common_parameters(1, self.read_timeout)"),
        (etcd3.Etcd3Client.watchrange, "request_executor = self._prepare_request(kwargs, {'create_request': params})"),
    ]
    return [f"{place.__qualname__} has no {line!r}" for place, line in expected if line not in inspect.getsource(place)]
