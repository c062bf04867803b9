"""The examination's probes against real sockets, and a whole role that answers, waits or is away."""

import http.server
import json
import socket
import threading
import time

import pytest

from deploy.doctor import examination, probes
from luhyaapi.wire import identity

pytestmark = pytest.mark.live


@pytest.fixture
def door():
    """A door that answers as ``door.answer`` (status, body) says."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = server.answer
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.answer = (200, b'{"ready": true, "reasons": []}')
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def says():
    """``says(bytes)``: the port of a service that answers one connection with them."""
    opened = []

    def serve(answer):
        listener = socket.create_server(("127.0.0.1", 0))
        opened.append(listener)

        def run():
            line, _ = listener.accept()
            line.recv(64)
            line.sendall(answer)
            line.close()

        threading.Thread(target=run, daemon=True).start()
        return listener.getsockname()[1]

    yield serve
    for listener in opened:
        listener.close()


def test_a_door_says_how_it_is(door):
    assert probes.ready(door.url) == (200, [])
    door.answer = (503, b'{"ready": false, "reasons": ["not connected to the CC"]}')
    assert probes.ready(door.url) == (503, ["not connected to the CC"])
    for strange in (b"<html>", b"[]"):
        door.answer = (404, strange)
        assert probes.ready(door.url) == (404, [])
    status, (why,) = probes.ready(f"http://127.0.0.1:{free_port()}")
    assert (status, "refused" in why) == (0, True)


def test_a_door_that_speaks_no_http_is_away(says):
    assert probes.ready(f"http://127.0.0.1:{says(b'SSH-2.0-x')}")[0] == 0


def test_clocks_are_compared(door):
    assert abs(probes.offset_s(door.url, time.time())) < 3
    assert 97 < probes.offset_s(door.url, time.time() + 100) < 103
    assert probes.offset_s(f"http://127.0.0.1:{free_port()}", time.time()) is None


def test_broker_and_board_are_known_by_their_first_words(says):
    assert probes.broker("127.0.0.1", says(b"\x01\x00\x00\x00\x00\x01\xff")) == ""
    assert "not what belongs there" in probes.broker("127.0.0.1", says(b"HTTP/1.1 400"))
    assert probes.board("127.0.0.1", says(b"VERSION 1.6\r\n")) == ""
    assert "refused" in probes.board("127.0.0.1", free_port())


def test_who_speaks_no_tls_is_said_to(says):
    assert probes.broker("127.0.0.1", says(b"AMQP\x00\x00\x09\x01"), secured=True)


def test_a_machine_with_one_role(door, tmp_path, says):
    """A node alone: its own checks and no others, from its configuration in the folder people put it."""
    state = tmp_path / "nc"
    token = tmp_path / "token"
    (tmp_path / "nc.toml").write_text(
        f'[host]\nrole = "nc"\nstate = "{state}"\ndoor_port = {free_port()}\n[boss]\ndoor = "{door.url}"\ntoken_file = "{token}"\n'
        '[hypervisor]\ndriver = "fake"\n', "utf-8",
    )
    (tmp_path / "nc.local.toml").write_text(f"[host]\ndoor_port = {door.server_port}\n")
    state.mkdir()
    key = identity.own_key(state / "identity")

    def look():
        found = examination.examine({"EDUCLOUD_HOME": "/nonexistent/educloud"}, tmp_path)
        return {f.what: f.health for f in found if f.name in ("nc", "clock", "broker")}, found

    seen, found = look()
    assert seen["has not joined"] == "fail"
    assert {f.name for f in found} & {"board", "clc", "walrus", "supervisor", "ports"} == set()
    token.write_text("ejt.x\n")
    token.chmod(0o644)
    seen, found = look()
    assert seen["has not joined yet"] == "warn"
    assert [f.health for f in found if f.name == "secrets"] == ["fail"]
    token.chmod(0o600)
    root = identity.make_authority(key)
    mine = identity.certify(key, root, identity.request(key, "nc-00000001"), "nc-00000001")
    at = f"amqp://u:p@127.0.0.1:{says(bytes([1, 0, 0, 0, 0, 1]))}/x"
    identity.Membership("nc-00000001", mine, root, "cc-00000001", root, at).save(state / "identity")
    seen, found = look()
    assert seen["joined as nc-00000001"] == "ok"
    assert [f.health for f in found if f.name == "broker"] == ["ok"]
    assert not any("certificate" in what for what in seen), "its doors show none"
    assert f"as at {door.url}" in seen
    door.answer = (503, json.dumps({"reasons": ["not connected to the CC"]}).encode())
    assert look()[0]["nc runs and is not ready"] == "fail"
    (tmp_path / "nc.toml").write_text("[host]\nroles = 1\n")
    assert [f.health for f in look()[1] if f.name == "nc"][:2] == ["ok", "fail"]
