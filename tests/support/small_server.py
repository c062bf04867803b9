"""What the small servers of the tests have in common: a socket on loopback, a thread for each connection, an end."""

import contextlib
import socket
import threading


class SmallServer:
    """``_serve(connection)`` is called for each connection, in a thread of its own."""

    def __init__(self, host, port=0):
        self._socket = socket.create_server((host, port))
        self.host, self.port = host, self._socket.getsockname()[1]
        self._threads = []
        self._runner = threading.Thread(target=self._run, daemon=True)
        self._runner.start()

    def close(self):
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for each in (self._runner, *self._threads):
            each.join(5)

    def _run(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()
