"""The numbers of /metrics, the alerts on them, and the dashboard's queries against a real Prometheus."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from clock import in_time, seconds, wait_until
from conftest import need_program
from prometheus_client.parser import text_string_to_metric_families
from servers import KEY, TLS_ONCE, RunningServer, free_port, running_server

from server.engines import EngineSettings
from server.http.metrics import Metrics
from server.http.record import Record
from server.takes.take import TakeSettings
from server.worker.supervisor import Supervisor

MONITORING = Path(__file__).parents[2] / "docs" / "dev" / "monitoring"
SENTENCE = "오늘은 날씨가 참 좋네요."
WELL_KNOWN = {
    "tts_requests_total",
    "tts_request_duration_seconds_bucket",
    "tts_concurrent_requests",
    "characters_synthesized_total",
    "model_load_time_seconds",
    "gpu_memory_usage_bytes",
    "gpu_utilization_percent",
    "voice_clone_cache_hit_rate",
}
"""What dashboards made for other servers of this model look for."""


class FullSupervisor:
    """Everything that may be read of a supervisor, known."""

    class facts:
        draft = False

    ready = True
    queue_depth = 3
    waiting_s = 12.5
    restarts = 2
    counts: Mapping[str, int] = Counter(spoken=9, failed=1, doubtful=2, retakes=4, death_engine=1, dummy_missing=3)
    batch_sizes: Mapping[int, int] = Counter({1: 4, 2: 3, 7: 2})
    load_seconds = 31.5
    seconds_spoken = 40.25
    gpu: Mapping[str, Mapping[str, float]] = {"cuda:0": {"memory_bytes": 5e9, "utilization_percent": 97.0}}


def samples(text: str | bytes) -> dict[str, float]:
    """`name{label="value"}` to value"""
    text = text.decode() if isinstance(text, bytes) else text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[sample.name + ("{" + labels + "}" if labels else "")] = sample.value
    return found


def names_in(found: Mapping[str, float]) -> set[str]:
    return {name.partition("{")[0] for name in found}


def test_all_that_is_known_is_told_by_the_names_that_dashboards_look_for() -> None:
    found = samples(Metrics(FullSupervisor()).text())
    assert names_in(found) | {"tts_requests_total"} >= WELL_KNOWN
    assert found['gpu_memory_usage_bytes{device="cuda:0"}'] == 5e9
    assert found['gpu_utilization_percent{device="cuda:0"}'] == 97
    assert found["model_load_time_seconds"] == 31.5
    assert found["voice_clone_cache_hit_rate"] == pytest.approx(9 / 12)
    assert (found["tts_queue_depth"], found["tts_queue_seconds"], found["tts_ready"]) == (3, 12.5, 1)
    assert found["tts_worker_restarts_total"] == 2
    assert (found["tts_lines_spoken_total"], found["tts_lines_failed_total"]) == (9, 1)
    assert (found["tts_lines_doubtful_total"], found["tts_retakes_total"]) == (2, 4)
    assert found["tts_spoken_seconds_total"] == 40.25
    assert found['tts_events_total{event="death_engine"}'] == 1
    assert 'tts_events_total{event="spoken"}' not in found, "told once"


def test_batch_sizes_become_a_histogram() -> None:
    found = samples(Metrics(FullSupervisor()).text())
    buckets = [found[f'tts_batch_size_bucket{{le="{edge}"}}'] for edge in ("1.0", "2.0", "4.0", "8.0", "+Inf")]
    assert buckets == [4, 7, 7, 9, 9]
    assert (found["tts_batch_size_sum"], found["tts_batch_size_count"]) == (24, 9)


def test_what_is_not_known_is_not_told() -> None:
    supervisor = Supervisor(EngineSettings("draft"), TakeSettings())
    found = names_in(samples(Metrics(supervisor).text()))
    assert not found & {"gpu_memory_usage_bytes", "gpu_utilization_percent", "voice_clone_cache_hit_rate"}
    assert {"tts_ready", "tts_queue_depth", "tts_worker_restarts_total", "tts_lines_spoken_total"} <= found


def test_only_delivered_lines_count_as_audio() -> None:
    metrics = Metrics(FullSupervisor())
    good = Record("a", "POST", "/tts/clone", 200, 2.0, 12, "h", 1, False, generation_seconds=1.5, audio_seconds=3.0)
    gone = Record("b", "POST", "/tts/clone", 0, 9.0, 99, "h")
    refused = Record("c", "POST", "/tts/clone", 422, 0.01, 5, "h")
    for record in (good, gone, refused):
        metrics.observe(record)
    found = samples(metrics.text())
    assert {status: found[f'tts_requests_total{{status="{status}"}}'] for status in ("200", "422", "499")} == {
        "200": 1,
        "422": 1,
        "499": 1,
    }
    assert found["characters_synthesized_total"] == 12
    assert (found["tts_audio_seconds_total"], found["tts_generation_seconds_total"]) == (3, 1.5)
    assert found["tts_real_time_factor"] == 0.5
    assert found["tts_request_duration_seconds_count"] == 3


def test_two_apps_in_one_process_do_not_share_their_numbers() -> None:
    one, other = Metrics(FullSupervisor()), Metrics(FullSupervisor())
    one.observe(Record("a", "POST", "/tts/clone", 200, 1.0))
    assert 'tts_requests_total{status="200"}' not in samples(other.text())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("metrics")) as running:
        yield running


def metrics_of(server: RunningServer) -> dict[str, float]:
    answer = httpx.get(server.address + "/metrics", headers=server.headers, trust_env=False, verify=TLS_ONCE)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(answer.text)


def test_a_real_server_counts_what_it_did(server: RunningServer) -> None:
    before = metrics_of(server)
    with ThreadPoolExecutor(4) as pool:
        spoken = list(pool.map(server.speak, [SENTENCE] * 4))
    server.speak("。")
    httpx.post(server.address + "/tts/clone", json={"text": SENTENCE}, trust_env=False, verify=TLS_ONCE)
    after = metrics_of(server)

    def more(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert [more(f'tts_requests_total{{status="{status}"}}') for status in (200, 422, 401)] == [4, 1, 1]
    assert more("tts_lines_spoken_total") == 4
    assert more("characters_synthesized_total") == 4 * len(SENTENCE)
    audio_s = sum(float(answer.headers["x-audio-duration"]) for answer in spoken)
    assert more("tts_audio_seconds_total") == pytest.approx(audio_s, abs=0.01)
    assert after["tts_concurrent_requests"] == 0 and after["tts_ready"] == 1
    assert after["model_load_time_seconds"] > 0
    assert sum(value for name, value in after.items() if name.startswith("tts_batch_size_count")) >= 4


def test_requests_that_wait_are_seen_while_they_wait_and_reading_is_quick(server: RunningServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(server.speak, SENTENCE * 10) for _ in range(8)]
        most, slowest = 0.0, 0.0
        while not all(each.done() for each in waiting):
            started = time.monotonic()
            most = max(most, metrics_of(server)["tts_concurrent_requests"])
            slowest = max(slowest, time.monotonic() - started)
    assert most >= 2
    assert in_time(slowest, 2)


# The files for Prometheus and Grafana


def dashboard_queries() -> list[str]:
    board = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def our_names(text: str) -> set[str]:
    return set(re.findall(r"\b(?:tts|gpu|model|voice|characters|process)_[a-z_]*[a-z]\b", text))


def test_alerts_and_dashboard_ask_only_for_numbers_that_there_are() -> None:
    full = Metrics(FullSupervisor())
    full.observe(Record("a", "POST", "/tts/clone", 200, 1.0, 5, "h", 1, False, 1.0, 2.0))
    told = names_in(samples(full.text())) | {"process_resident_memory_bytes", "process_open_fds"}
    asked = our_names("\n".join(dashboard_queries()))
    rules = (MONITORING / "alerts.yml").read_text("utf-8")
    asked |= our_names(rules)
    assert asked - told == set()
    board = our_names(" ".join(dashboard_queries()))
    assert {name for name in WELL_KNOWN if name not in board} == set(), "all of them are on the dashboard"


def test_the_papers_name_every_number() -> None:
    text = (MONITORING / "README.md").read_text("utf-8")
    full = Metrics(FullSupervisor())
    full.observe(Record("a", "POST", "/tts/clone", 200, 1.0))
    for name in names_in(samples(full.text())):
        family = re.sub(r"_(bucket|sum|count|created)$", "", name)
        assert family in text or family.startswith("process_"), family


@pytest.mark.system
def test_promtool_finds_nothing_wrong_and_each_alert_fires(tmp_path: Path) -> None:
    promtool = need_program("promtool", "prometheus")
    for name in ("alerts.yml", "alerts_test.yml", "prometheus.yml"):
        (tmp_path / name).write_bytes((MONITORING / name).read_bytes())
    (tmp_path / "voice-server.key").write_text(KEY)
    for words in (
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
        ["check", "config", "prometheus.yml"],
    ):
        ended = subprocess.run([promtool, *words], cwd=tmp_path, capture_output=True, text=True, timeout=seconds(60))
        assert ended.returncode == 0, ended.stdout + ended.stderr
    named = set(re.findall(r"- alert: (\w+)", (MONITORING / "alerts.yml").read_text("utf-8")))
    fired = re.findall(r"alertname: (\w+)\n\s+exp_alerts", (MONITORING / "alerts_test.yml").read_text("utf-8"))
    assert set(fired) == named


@contextlib.contextmanager
def prometheus(folder: Path, server: RunningServer) -> Iterator[str]:
    """A real one on loopback that scrapes the server each half second; yields its address."""
    port = free_port()
    config = (MONITORING / "prometheus.yml").read_text("utf-8")
    config = config.replace("127.0.0.1:7860", server.address.removeprefix("http://")).replace("15s", "500ms")
    (folder / "prometheus.yml").write_text(config)
    (folder / "alerts.yml").write_bytes((MONITORING / "alerts.yml").read_bytes())
    (folder / "voice-server.key").write_text(KEY)
    with (folder / "prometheus.log").open("wb") as out:
        process = subprocess.Popen(
            [
                need_program("prometheus", "prometheus"),
                "--config.file=prometheus.yml",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}"

        def ready() -> bool:  # it listens before it can answer
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(address + "/-/ready", trust_env=False, verify=TLS_ONCE).status_code == 200
            return False

        wait_until(ready, 30, "Prometheus", every_s=0.1)
        yield address
    finally:
        process.kill()
        process.wait()


def query(address: str, expression: str) -> list[dict[str, Any]]:
    answer = httpx.get(
        address + "/api/v1/query", params={"query": expression}, trust_env=False, verify=TLS_ONCE, timeout=seconds(10)
    )
    assert answer.json()["status"] == "success", (expression, answer.text)
    return list(answer.json()["data"]["result"])


@pytest.mark.system
def test_every_query_of_the_dashboard_finds_something_in_a_real_prometheus(
    tmp_path: Path, server: RunningServer
) -> None:
    not_for_draft = ("gpu_", "voice_clone_cache_hit_rate", "tts_events_total")
    expressions = [expression.replace("$__rate_interval", "1m") for expression in dashboard_queries()]
    wanted = {each for each in expressions if not any(name in each for name in not_for_draft)}
    with prometheus(tmp_path, server) as address:
        missing = set(wanted)

        def all_found() -> bool:
            server.speak(SENTENCE)
            missing.intersection_update(each for each in wanted if not query(address, each))
            return not missing

        wait_until(all_found, 40, f"an answer to each of {missing}", every_s=0.3)
        for each in expressions:
            query(address, each)
        (up,) = query(address, 'up{job="voice-server"}')
        assert up["value"][1] == "1"
        answer = httpx.get(address + "/api/v1/rules", trust_env=False, verify=TLS_ONCE)
        rules = answer.json()["data"]["groups"][0]["rules"]
        assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
        assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
