"""A minimal FTP server on loopback. It is ours because it must also lie, stop and point elsewhere, which a decent one does not."""

from __future__ import annotations

import contextlib
import socket

from tests.support.small_http import HOME
from tests.support.small_server import SmallServer


class SmallFtp(SmallServer):
    """Serves ``files`` (path to bytes) to ``users`` (name to password; none: anybody).

    ``replies``: a command to the reply it always gets; ``cuts``: after so many bytes the next files are cut off, 0 for never;
    ``stamp``: what MDTM says; ``after``: called
    after each RETR; ``sent``: (from, to) of the bytes of each RETR; ``said``: every line that came.
    """

    def __init__(self, files, users=None, host=HOME):
        self.files, self.users = files, users or {}
        self.replies: dict[str, str] = {}
        self.cuts: list[int] = []
        self.sent, self.said = [], []
        self.after = lambda: None
        self.stamp = "20240102030405"
        super().__init__(host)

    def url(self, path, credentials=""):
        return f"ftp://{credentials}{self.host}:{self.port}{path}"

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            session = _Session(self, connection)
            session.say("220 hello")
            for raw in lines:
                line = raw.decode("utf-8").rstrip("\r\n")
                self.said.append(line)
                word, _, rest = line.partition(" ")
                if word in self.replies:
                    session.say(self.replies[word])
                    continue
                getattr(session, f"do_{word.lower()}", session.unknown)(rest)
                if word == "QUIT":
                    return
            session.end()


class _Session:
    def __init__(self, server, connection):
        self._server, self._connection = server, connection
        self._folder, self._user, self._from = "", "", 0
        self._second = None

    def say(self, line):
        self._connection.sendall(f"{line}\r\n".encode())

    def end(self):
        if self._second:
            self._second.close()
            self._second = None

    def unknown(self, _rest):
        self.say("502 no")

    def do_user(self, rest):
        self._user = rest
        self.say("331 and your password")

    def do_pass(self, rest):
        users = self._server.users
        self.say("230 in" if not users or users.get(self._user) == rest else "530 no")

    def do_pwd(self, _rest):
        self.say('257 "/"')

    def do_type(self, _rest):
        self.say("200 yes")

    def do_quit(self, _rest):
        self.say("221 bye")

    def do_cwd(self, rest):
        self._folder = f"{self._folder}/{rest.strip('/')}" if not rest.startswith("/") else rest.rstrip("/")
        self.say("250 there")

    def do_epsv(self, _rest):
        self.say(f"229 entering (|||{self._listen()}|)")

    def do_pasv(self, _rest):
        port = self._listen()
        self.say(f"227 entering ({self._server.host.replace('.', ',')},{port // 256},{port % 256})")

    def do_mdtm(self, rest):
        self.say(f"213 {self._server.stamp}" if self._content(rest) is not None else "550 what?")

    def do_size(self, rest):
        content = self._content(rest)
        self.say("550 what?" if content is None else f"213 {len(content)}")

    def do_rest(self, rest):
        self._from = int(rest)
        self.say("350 from there")

    def do_retr(self, rest):
        content, server = self._content(rest), self._server
        if content is None:
            self.say("550 what?")
            return
        self.say("150 here it comes")
        after = server.cuts.pop(0) if server.cuts else 0
        end = min(self._from + after, len(content)) if after else len(content)
        server.sent.append((self._from, end))
        data, _ = self._second.accept()
        with data:
            data.sendall(content[self._from:end])
        self.end()
        server.after()
        self.say("426 cut" if end < len(content) else "226 done")
        self._from = 0

    def _content(self, name):
        return self._server.files.get(f"{self._folder}/{name}")

    def _listen(self):
        self.end()
        self._second = socket.create_server((self._server.host, 0))
        return self._second.getsockname()[1]
