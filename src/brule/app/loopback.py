"""A server that nobody else's computer can reach: a port of 127.0.0.1, and uvicorn behind it."""

import errno
import socket

import uvicorn
from starlette.applications import Starlette

from brule.errors import BruleError

HOST = "127.0.0.1"
_REASONS = {errno.EADDRINUSE: "is taken by another program", errno.EACCES: "is reserved for the system"}


def bind(port: int) -> socket.socket:
    """A socket that listens on this machine alone; 0: at any port that is free. Raises BruleError if it is not to be
    had."""
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        mend = "choose another with --port, or 0 for any that is free"
        raise BruleError(f"port {port} {_REASONS[error.errno]}; {mend}") from None


def address(listening: socket.socket) -> str:
    """Where it listens, http://127.0.0.1:5001."""
    return f"http://{HOST}:{listening.getsockname()[1]}"


def serve(application: Starlette, listening: socket.socket) -> None:
    """Answer until Ctrl-C or SIGTERM; what is being answered then is still answered, within ten seconds."""
    uvicorn.Server(
        uvicorn.Config(
            application, log_level="warning", lifespan="off", server_header=False, timeout_graceful_shutdown=10
        )
    ).run(sockets=[listening])
