"""Lets Patroni take other passwords while it runs, without a moment in which one is refused.

The REST API takes one of two logins: members ask each other with the password that they have
(POST /failsafe), and are not given another at the same moment. Each takes the new one before
anybody sends it, and the old one until nobody does. The second login is `restapi.also` of the
configuration, as user:password.

The password that a replica follows its leader with is in a file, for the next connection.
Patroni writes that file again whenever its configuration is read, but with the password from
when it began to follow; it looks for a better one when a connection was refused. Here it is
the password of the configuration.
"""

import base64
import hmac
import inspect


def install(server, config):
    """Changes Patroni's classes RestApiServer and ConfigHandler so."""
    take_two(server)
    follow_by_configuration(config)


def take_two(server):
    """Has the REST API take a second login, if there is one."""
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


def follow_by_configuration(config):
    """Has replicas follow with the password that is configured."""
    write = config._write_recovery_params

    def write_recovery_params(self, fd, params):
        leader, login = params.get("primary_conninfo"), self.replication
        if leader and leader.get("user") == login.get("username"):
            leader["password"] = login.get("password")
        write(self, fd, params)

    config._write_recovery_params = write_recovery_params


def check(api, config):
    """Returns what of Patroni is not as it was when this was written."""
    server, handler = api.RestApiServer, config.ConfigHandler
    expected = [
        (server.reload_config, "self.__auth_key = base64.b64encode(config['auth'].encode('utf-8'))"),
        (server.check_basic_auth_key, "return hmac.compare_digest(self.__auth_key, key.encode('utf-8'))"),
        (server.check_auth_header, "not self.check_basic_auth_key(auth_header[6:])"),
        (server.__init__, "self.reload_config(config)"),
        (handler.write_postgresql_conf, "self._write_recovery_params(f, self._recovery_params)"),
        (handler.write_recovery_conf, "self._write_recovery_params(f, recovery_params)"),
        (handler._write_recovery_params, "'PGPASSFILE' in self.write_pgpass(value)"),
        (handler.replication.fget, "return self._config['authentication']['replication']"),
    ]
    return [f"{place.__qualname__} has no {line!r}" for place, line in expected if line not in inspect.getsource(place)]
