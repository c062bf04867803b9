"""The addresses that watch this process."""


def test_health_and_readiness(client, world, monkeypatch):
    assert client.get("/healthz").json() == {"ok": True}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert "broker: clc-relay does not report" in ready.json()["lines"]
    from clc.services import pictures

    monkeypatch.setattr(pictures.board(), "is_alive", lambda: False)
    assert (client.get("/readyz").status_code, client.get("/readyz").json()["reasons"][0][:6]) == (503, "board:")


def test_figures_are_for_this_machine_and_administrators(client, admin, user, api):
    assert b"educloud_refused_messages_total" in client.get("/metrics").content
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 401
    assert client.get("/metrics", HTTP_X_FORWARDED_FOR="192.0.2.1").status_code == 401
    assert api(user).get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 403
    assert api(admin).get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 200
