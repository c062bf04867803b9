// Sends an image in pieces of 8 MiB; a cut line, a closed page or a restarted cloud goes on where it stopped.
(() => {
  const PIECE = 8 * 1024 * 1024;
  const TRIES = 10;
  const form = document.getElementById("upload");
  const $ = (selector) => form.querySelector(selector);
  const bar = $("[data-upload-progress] progress");
  const say = (name, values = {}) => (form.dataset[`text${name}`] || "").replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
  let stop = null;

  const size = (bytes) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let at = 0;
    while (bytes >= 1024 && at < units.length - 1) { bytes /= 1024; at += 1; }
    return `${at === 0 || bytes >= 100 ? bytes.toFixed(0) : bytes.toFixed(1)} ${units[at]}`;
  };
  const span = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  const key = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const pause = (ms, signal) => new Promise((done, fail) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); fail(signal.reason); }, { once: true });
  });

  class Problem extends Error {
    constructor(status, body) {
      super(body.what || body.title || `HTTP ${status}`);
      Object.assign(this, { status, code: body.code || String(status), why: body.why || body.detail || "", hint: body.hint || "", body });
      this.passing = status >= 500 || status === 429;
    }
  }

  // One request; what may pass by itself (no answer, 5xx) is tried again with growing pauses.
  async function send(method, url, body, signal, headers = {}) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const answer = await fetch(url, {
          method, body, signal, credentials: "same-origin",
          headers: { Accept: "application/json", "X-CSRFToken": document.querySelector("meta[name=csrf-token]").content, ...headers },
        });
        const text = await answer.text();
        let json = {};
        try { json = text ? JSON.parse(text) : {}; } catch { /* not ours, the status tells */ }
        if (!answer.ok) throw new Problem(answer.status, json);
        return { json, location: answer.headers.get("Location") };
      } catch (problem) {
        const passing = problem instanceof Problem ? problem.passing : problem.name !== "AbortError";
        if (signal?.aborted || !passing || attempt >= TRIES) throw problem;
        const seconds = Math.min(30, 2 ** attempt);
        $("[data-upload-text]").textContent = say("Wait", { s: seconds });
        await pause(seconds * 1000, signal);
      }
    }
  }
  const post = (url, body, signal, once) => send("POST", url, JSON.stringify(body), signal, { "Content-Type": "application/json", "Idempotency-Key": once });

  const files = () => [...form.querySelectorAll("input[type=file]")].filter((field) => field.files.length).map((field) => ({ part: field.dataset.part, file: field.files[0] }));
  const mark = (name, list) => `educloud-upload:${name}:${list.map(({ part, file }) => `${part}=${file.name},${file.size},${file.lastModified}`).join(";")}`;
  const keep = { get: (id) => { try { return localStorage.getItem(id); } catch { return null; } }, set: (id, value) => { try { localStorage.setItem(id, value); } catch { /* private window: no resume */ } }, drop: (id) => { try { localStorage.removeItem(id); } catch { /* nothing kept */ } } };

  const properties = () => Object.fromEntries([...form.querySelectorAll("[data-properties] [name]")].filter((field) => field.value).map((field) => [field.name, field.value]));

  async function begin(name, list, remembered, signal) {
    const known = keep.get(remembered);
    if (known) {
      try { return (await send("GET", `${form.dataset.uploads}${known}/`, undefined, signal)).json; } catch (problem) {
        if (!(problem instanceof Problem) || problem.status !== 404) throw problem;
        keep.drop(remembered);
      }
    }
    const parts = list.map(({ part, file }) => ({ part, size_bytes: file.size, format: part === "disk" ? $("[name=format]").value : "raw" }));
    const { json } = await post(form.dataset.uploads, { name, usage: $("[name=usage]").value, parts, ...properties() }, signal, key());
    keep.set(remembered, json.id);
    return json;
  }

  function progress(sent, total, started, before, part) {
    const share = total ? Math.floor((sent / total) * 100) : 100;
    bar.value = share;
    const seconds = (performance.now() - started) / 1000;
    const rate = seconds > 0.5 ? (sent - before) / seconds : 0;
    const tail = rate ? ` · ${say("Rate", { rate: size(rate), left: span((total - sent) / rate) })}` : "";
    $("[data-upload-share]").textContent = `${size(sent)} / ${size(total)} · ${share}%${tail}`;
    const line = say("Sending", { part });
    if ($("[data-upload-text]").textContent !== line) $("[data-upload-text]").textContent = line;
  }

  async function upload(name, list, signal) {
    const remembered = mark(name, list);
    const session = await begin(name, list, remembered, signal);
    form.dataset.upload = session.id;
    const url = `${form.dataset.uploads}${session.id}/`;
    const total = list.reduce((sum, { file }) => sum + file.size, 0);
    const there = Object.fromEntries((session.parts || []).map((entry) => [entry.part, entry.received_bytes || 0]));
    const before = Object.values(there).reduce((sum, bytes) => sum + bytes, 0);
    if (before) window.educloud.toast("info", say("Resumed", { size: size(before) }));
    const started = performance.now();
    let done = 0;
    for (const { part, file } of list) {
      let offset = there[part] || 0;
      progress(done + offset, total, started, before, part);
      while (offset < file.size) {
        const piece = file.slice(offset, offset + PIECE);
        try {
          const { json } = await send("PUT", `${url}${part}/?offset=${offset}`, piece, signal, { "Content-Type": "application/octet-stream" });
          offset = Number.isInteger(json.received_bytes) ? json.received_bytes : offset + piece.size;
        } catch (problem) {
          // The cloud has another opinion of what is there: its own word counts.
          const said = problem instanceof Problem && problem.status === 409 ? problem.body.received_bytes : undefined;
          if (!Number.isInteger(said) || said === offset) throw problem;
          offset = said;
        }
        progress(done + offset, total, started, before, part);
      }
      done += file.size;
    }
    bar.removeAttribute("value");
    $("[data-upload-text]").textContent = say("Checking");
    const parts = list.map(({ part, file }) => ({ part, size_bytes: file.size }));
    const { json } = await post(`${url}complete/`, { parts }, signal, `complete-${session.id}`);
    keep.drop(remembered);
    const task = json.task?.id || json.task || (/^tsk-/.test(json.id || "") ? json.id : "");
    location.assign(task ? form.dataset.taskUrl.replace("tsk-00000000", task) : form.dataset.imageUrl);
  }

  function trouble(problem) {
    const place = $("[data-upload-trouble]");
    place.hidden = !problem;
    if (!problem) return;
    place.querySelector("[data-what]").textContent = problem.message;
    place.querySelector("[data-why]").textContent = problem.why || "";
    place.querySelector("[data-hint]").textContent = problem.hint || "";
    place.querySelector("[data-code]").textContent = problem.code || "";
  }
  function busy(on) {
    $("[data-upload-progress]").hidden = !on;
    $("[data-upload-cancel]").hidden = !on;
    $("[data-upload-start]").disabled = on;
    form.querySelectorAll("input, select").forEach((field) => { field.disabled = on; });
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    trouble(null);
    const name = $("[name=name]").value.trim();
    const list = files();
    if (!name) { trouble(new Error(say("Name"))); $("[name=name]").focus(); return; }
    if (!list.some(({ part }) => part !== "initrd")) { trouble(new Error(say("Need"))); return; }
    stop = new AbortController();
    busy(true);
    try {
      await upload(name, list, stop.signal);
    } catch (problem) {
      busy(false);
      if (stop.signal.aborted) {
        window.educloud.toast("info", say("Cancelled"));
        keep.drop(mark(name, list));
        if (form.dataset.upload) send("DELETE", `${form.dataset.uploads}${form.dataset.upload}/`).catch(() => {});
      } else trouble(problem);
    }
  });
  $("[data-upload-cancel]").addEventListener("click", () => stop?.abort(new DOMException("cancelled", "AbortError")));
  addEventListener("beforeunload", (event) => { if (!$("[data-upload-progress]").hidden && bar.hasAttribute("value")) event.preventDefault(); });

  const drop = $("[data-drop]");
  const disk = $("[data-part=disk]");
  const guess = () => {
    const file = disk.files[0];
    if (!file) return;
    if (!$("[name=name]").value) $("[name=name]").value = file.name.replace(/(\.(qcow2|raw|img|vmdk|vdi|vhdx?|ova))?(\.(gz|bz2|xz|zst))?$/i, "").replace(/[^\w.-]+/g, "-");
    $("[name=format]").value = /\.raw$/i.test(file.name) ? "raw" : "";
  };
  disk.addEventListener("change", guess);
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) { disk.files = event.dataTransfer.files; guess(); }
  });
})();
