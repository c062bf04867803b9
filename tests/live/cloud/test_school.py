"""A school from nothing, by one script."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.live
SCRIPT = Path(__file__).resolve().parents[3] / "examples/school.sh"


def school(cloud, told):
    environ = cloud.environ | {"PATH": f"{Path(sys.executable).parent}:{cloud.environ['PATH']}"}
    return subprocess.run(["sh", SCRIPT, "edu.school", "tiny", told], env=environ, capture_output=True, text=True, timeout=180, check=False)


def test_a_school_of_three_classes_is_made_and_again_the_same(cloud, tmp_path):
    done = school(cloud, tmp_path / "passwords.csv")
    assert done.returncode == 0, done.stdout + done.stderr
    people = [each for each in cloud.json("user", "list") if each["group"].startswith("edu.school.")]
    assert len(people) == 93
    assert {each["group"] for each in people if each["role"] == "powerAdm"} == {"edu.school.class1", "edu.school.class2", "edu.school.class3"}
    assert len((tmp_path / "passwords.csv").read_text().splitlines()) == 94
    (limit,) = [each for each in cloud.json("quota", "list", "--group", "edu.school.class2") if each["counted"] == "instances"]
    assert (limit["limit"], limit["used"]) == (40, 0)
    who = {each["user"] for each in cloud.json("permission", "who", "execute", "image", "tiny")}
    assert {"class1-01", "teacher-class1"} <= who
    record = tmp_path / "record.jsonl"
    until = time.monotonic() + 30
    while cloud.json("audit", "verify")["unsealed"]:
        assert time.monotonic() < until
    cloud.call("audit", "export", "--out", str(record))
    lines = record.read_text().splitlines(keepends=True)
    made = [line for line in map(json.loads, lines) if line.get("what") == "user added" and line["fields"]["group"].startswith("edu.school.")]
    assert (len(made), {line["actor"] for line in made}) == (93, {"admin"})
    assert cloud.json("audit", "verify", str(record))["whole"]
    record.write_text("".join(line for line in lines if '"class2-07"' not in line))
    assert cloud.json("audit", "verify", str(record), code=1)["faults"], "a pupil is gone from the record"
    again = school(cloud, tmp_path / "second.csv")
    assert again.returncode == 0, again.stdout + again.stderr
    assert not (tmp_path / "second.csv").exists(), "nobody is new"
