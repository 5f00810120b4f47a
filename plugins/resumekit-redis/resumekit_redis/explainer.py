"""What a failure means to the application, and what to do about it."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator

from redis import exceptions

from resumekit.errors import ConfigurationError

__all__ = ["Explainer"]

_CHECK = "check that the server runs, and its address in the URL"


class Explainer:
    """Turns what redis-py raises into what a store, or a pool's backend, raises.

    Args:
        what: Is on the server, with its article.
        rights: That a user needs, as in `ACL SETUSER`.
        tls: The connection is to be encrypted.
    """

    def __init__(self, what: str, rights: str, *, tls: bool) -> None:
        self._what = what
        self._rights = rights
        self._tls = tls

    def of(self, error: Exception) -> Exception:
        """Say what is wrong, and what to do, without a word of the URL: the messages of redis-py quote the host."""
        said = str(error)
        match error:
            case exceptions.AuthenticationError() | exceptions.AuthenticationWrongNumberOfArgsError():
                return ConfigurationError(
                    f"{self._what} refuses the user name or the password, or asks for one; write them into the URL, as in"
                    " 'rediss://USER:PASSWORD@HOST:6380/0'"
                )
            case exceptions.NoPermissionError() | exceptions.AuthorizationError():
                return self._no_permission()
            case exceptions.ReadOnlyError():
                return OSError(f"{self._what} is a read-only replica; name the primary in the URL")
            case exceptions.OutOfMemoryError():
                return OSError(
                    f"{self._what} is out of memory; raise its maxmemory (and leave maxmemory-policy at noeviction)"
                )
            case exceptions.BusyLoadingError():
                return OSError(f"{self._what} is starting, and still loads its data")
            case exceptions.MovedError() | exceptions.AskError() | exceptions.ClusterCrossSlotError():
                return ConfigurationError(
                    f"{self._what} is a node of a cluster, which this version does not follow; name a single server (with"
                    " replicas, if you like), or a proxy that hides the cluster"
                )
            case exceptions.MasterDownError() | exceptions.ClusterDownError() | exceptions.TryAgainError():
                return OSError(f"{self._what} has no primary at the moment")
            case exceptions.ResponseError():
                return self._refused(said)
            case _:
                return self._unreachable(error)

    def _no_permission(self) -> ConfigurationError:
        return ConfigurationError(f"the user of {self._what} may not do what is needed; give it {self._rights}")

    def _refused(self, said: str) -> Exception:
        if "WRONGTYPE" in said:
            return ConfigurationError(
                f"something else stands under a key of {self._what}; give it a prefix of its own: '?prefix=calls:' at the end of"
                " the URL"
            )
        if "NOPERM" in said or "ACL failure" in said or "can't run this command" in said:
            return self._no_permission()
        if "DB index is out of range" in said or "invalid DB index" in said:
            return ConfigurationError(f"{self._what} has no database of this number; correct the end of the URL")
        if said.startswith(("BUSY", "MISCONF", "NOREPLICAS", "UNBLOCKED")) or "max number of clients" in said:
            return OSError(f"{self._what} refused a write for now ({said.partition(' ')[0]})")
        return ConfigurationError(
            f"{self._what} answered {said.partition(' ')[0]}; it has to be Redis 6.2, Valkey 7.2, or newer, with Lua scripts"
        )

    def _unreachable(self, error: Exception) -> Exception:
        for cause in _causes(error):
            if isinstance(cause, exceptions.ResponseError | exceptions.AuthenticationError):
                return self.of(cause)  # what the server said to the first commands of a connection
            if isinstance(cause, ssl.SSLCertVerificationError):
                return ConfigurationError(
                    f"the certificate of {self._what} is not trusted; name its authority in the URL, as in"
                    " '?ssl_ca_certs=/etc/ssl/redis.pem'"
                )
            if isinstance(cause, PermissionError):
                return ConfigurationError(f"the socket of {self._what} may not be opened by this user")
            if isinstance(cause, TypeError | ValueError):
                return ConfigurationError(f"a setting in the URL of {self._what} has a value that makes no sense")
        for cause in _causes(error):
            if isinstance(cause, socket.gaierror):
                return ConnectionError(f"{self._what} cannot be reached: nobody knows the name of its host; {_CHECK}")
            if isinstance(cause, OSError) and cause.errno is not None and cause.errno in errno.errorcode:
                return ConnectionError(f"{self._what} cannot be reached: {os.strerror(cause.errno)}; {_CHECK}")
        what = "it did not answer in time" if isinstance(error, exceptions.TimeoutError) else "the connection was lost"
        if self._tls and isinstance(error, exceptions.TimeoutError):  # a server takes the handshake for half a command
            what += "; if this port is one without TLS, write 'redis://' for 'rediss://'"
        return ConnectionError(f"{self._what} cannot be reached: {what}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
