"""Lets Patroni's REST API take one of two logins while its password is replaced.

Members ask each other with the password that they have (POST /failsafe), and are not given
another at the same moment: each takes the new one before anybody sends it, and the old one
until nobody does. The second login is `restapi.also` of the configuration, as user:password.
"""

import base64
import hmac
import inspect


def install(server):
    """Has Patroni's class RestApiServer take a second login, if there is one."""
    reload_config, is_first = server.reload_config, server.check_basic_auth_key

    def reload_and_note(self, config):
        reload_config(self, config)
        also = config.get("also")
        self._also_key = base64.b64encode(also.encode()) if also else None

    def check_basic_auth_key(self, key):
        first = is_first(self, key)
        return first or self._also_key is not None and hmac.compare_digest(self._also_key, key.encode())

    server.reload_config = reload_and_note
    server.check_basic_auth_key = check_basic_auth_key


def check(api):
    """Returns what of Patroni is not as it was when this was written."""
    server = api.RestApiServer
    expected = [
        (server.reload_config, "self.__auth_key = base64.b64encode(config['auth'].encode('utf-8'))"),
        (server.check_basic_auth_key, "return hmac.compare_digest(self.__auth_key, key.encode('utf-8'))"),
        (server.check_auth_header, "not self.check_basic_auth_key(auth_header[6:])"),
        (server.__init__, "self.reload_config(config)"),
    ]
    return [f"{place.__qualname__} has no {line!r}" for place, line in expected if line not in inspect.getsource(place)]
