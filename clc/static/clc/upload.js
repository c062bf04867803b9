// Sends an image in pieces of 8 MiB; a cut line, a closed page or a restarted cloud goes on where it stopped.
(() => {
  const PIECE = 8 * 1024 * 1024;
  const TRIES = 10;
  const form = document.getElementById("upload");
  const $ = (selector) => form.querySelector(selector);
  const bar = $("[data-upload-progress] progress");
  const say = (name, values = {}) => (form.dataset[`text${name}`] || "").replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
  let stop = null;
  let again = null; // the upload that goes on, from memory, with its session
  let under = { id: "", complete: false }; // the one under way, and whether the cloud was told that all is there

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
    signal?.addEventListener("abort", () => { clearTimeout(timer); fail(signal.reason); }, { once: true });
  });

  class Problem extends Error {
    constructor(status, body) {
      super(body.what || body.title || `HTTP ${status}`);
      Object.assign(this, { status, code: body.code || String(status), why: body.why || body.detail || "", hint: body.hint || "", body });
      this.passing = status >= 500 || status === 429;
    }
  }

  // One request, not tried again; `seen` is told how many bytes of the body are on their way, `signal` cuts it.
  const request = (method, url, body, headers, signal, seen) => new Promise((done, fail) => {
    const asked = new XMLHttpRequest();
    asked.open(method, url);
    const all = { Accept: "application/json", "X-CSRFToken": document.querySelector("meta[name=csrf-token]").content, ...headers };
    for (const [name, value] of Object.entries(all)) asked.setRequestHeader(name, value);
    if (seen) asked.upload.addEventListener("progress", (event) => seen(event.loaded));
    const cut = () => asked.abort();
    signal?.addEventListener("abort", cut, { once: true });
    asked.addEventListener("loadend", () => {
      signal?.removeEventListener("abort", cut);
      if (!asked.status) { fail(signal?.aborted ? signal.reason : new Problem(503, { what: say("Silent"), code: "host_silent" })); return; }
      let json = {};
      try { json = JSON.parse(asked.responseText || "{}"); } catch { /* not ours, the status tells */ }
      if (asked.status >= 400) fail(new Problem(asked.status, json));
      else done({ status: asked.status, json });
    });
    asked.send(body);
  });

  // The same, and what may pass by itself (no answer, 5xx) is tried again with growing pauses.
  async function send(method, url, { body, headers, signal, seen, whole } = {}) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await request(method, url, body, headers, whole ? undefined : signal, seen);
      } catch (problem) {
        if (signal?.aborted || !problem.passing || attempt >= TRIES) throw problem;
        const seconds = Math.min(30, 2 ** attempt);
        $("[data-upload-text]").textContent = say("Wait", { s: seconds });
        await pause(seconds * 1000, signal).catch(() => { throw problem; });
      }
    }
  }
  // What the cloud may have done, although the answer never came, is not cut in the middle.
  const post = (url, body, signal, once) => send("POST", url, { body: JSON.stringify(body), signal, whole: true, headers: { "Content-Type": "application/json", "Idempotency-Key": once } });
  const discard = (id) => send("DELETE", `${form.dataset.uploads}${id}/`);

  const files = () => [...form.querySelectorAll("input[type=file]")].filter((field) => field.files.length).map((field) => ({ part: field.dataset.part, file: field.files[0] }));
  const marks = (list) => list.map(({ part, file }) => ({ part, name: file.name, size: file.size, changed: file.lastModified }));
  const same = (one, other) => one.part === other.part && one.name === other.name && one.size === other.size && one.changed === other.changed;

  // Uploads that began in this browser: which files, as what. Without storage (a private window) nothing is taken up again.
  const KEY = "educloud-upload:";
  const memory = {
    all() {
      try {
        return Object.keys(localStorage).filter((key) => key.startsWith(KEY)).flatMap((key) => {
          try { const one = JSON.parse(localStorage.getItem(key)); return one?.id && Array.isArray(one.files) ? [one] : []; } catch { return []; }
        }).sort((one, other) => other.at - one.at);
      } catch { return []; }
    },
    keep(one) { try { localStorage.setItem(KEY + one.id, JSON.stringify(one)); } catch { /* no storage */ } },
    drop(id) { try { localStorage.removeItem(KEY + id); } catch { /* no storage */ } },
  };

  const told = () => [...form.querySelectorAll(".fields [name]")];
  const properties = () => Object.fromEntries([...form.querySelectorAll("[data-properties] [name]")].filter((field) => field.value).map((field) => [field.name, field.value]));

  // The upload of these files that began before, as the cloud knows it now; null: none.
  async function earlier(list) {
    const chosen = marks(list);
    for (const one of memory.all()) {
      if (!chosen.length || !chosen.every((mark) => one.files.some((file) => same(file, mark)))) continue;
      try {
        return { ...one, session: (await send("GET", `${form.dataset.uploads}${one.id}/`)).json };
      } catch (problem) {
        if (problem.status !== 404) throw problem;
        memory.drop(one.id);
      }
    }
    return null;
  }

  const received = (session) => Object.fromEntries((session.parts || []).map((entry) => [entry.part, entry.received_bytes || 0]));
  const sum = (values) => Object.values(values).reduce((all, value) => all + value, 0);

  async function begin(list, signal) {
    const parts = list.map(({ part, file }) => ({ part, size_bytes: file.size, format: part === "disk" ? $("[name=format]").value : "raw" }));
    const name = $("[name=name]").value.trim();
    const { json } = await post(form.dataset.uploads, { name, usage: $("[name=usage]").value, new_version: $("[name=new_version]").checked, parts, ...properties() }, signal, key());
    memory.keep({ id: json.id, at: Date.now(), files: marks(list), fields: Object.fromEntries(told().filter((field) => field.type !== "checkbox").map((field) => [field.name, field.value])) });
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

  async function upload(list, signal) {
    const session = again ? (await send("GET", `${form.dataset.uploads}${again.id}/`, { signal })).json : await begin(list, signal);
    under = { id: session.id, complete: false };
    signal.throwIfAborted();
    const url = `${form.dataset.uploads}${session.id}/`;
    const total = list.reduce((all, { file }) => all + file.size, 0);
    const there = received(session);
    const before = sum(there);
    const started = performance.now();
    let done = 0;
    for (const { part, file } of list) {
      let offset = there[part] || 0;
      progress(done + offset, total, started, before, part);
      while (offset < file.size) {
        const piece = file.slice(offset, offset + PIECE);
        const seen = (bytes) => progress(done + offset + Math.min(bytes, piece.size), total, started, before, part);
        try {
          const { json } = await send("PUT", `${url}${part}/?offset=${offset}`, { body: piece, signal, seen, headers: { "Content-Type": "application/octet-stream" } });
          offset = Number.isInteger(json.received_bytes) ? json.received_bytes : offset + piece.size;
        } catch (problem) {
          // The cloud has another opinion of what is there: its own word counts.
          const said = problem.status === 409 ? problem.body.received_bytes : undefined;
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
    under.complete = true;
    const { json } = await post(`${url}complete/`, { parts }, signal, `complete-${session.id}`);
    signal.throwIfAborted();
    memory.drop(session.id);
    follow(json);
  }

  const follow = (task) => location.assign(/^tsk-/.test(task.id || "") ? form.dataset.taskUrl.replace("tsk-00000000", task.id) : form.dataset.imageUrl);

  // What became of a cancelled upload, as the cloud says it; it is remembered as long as the cloud has it.
  async function cancelled(problem) {
    const { id, complete } = under;
    if (!id) {
      // What the cloud refused did not begin; what it did not answer may have.
      if (problem.status < 500) window.educloud.toast("info", say("Cancelled"));
      else trouble({ message: say("Uncancelled"), hint: say("UncancelledHint") });
      return;
    }
    try {
      const { status, json } = await discard(id);
      memory.drop(id);
      if (status === 202) { follow(json); return; }
      window.educloud.toast("info", say(complete ? "Over" : "Cancelled"));
      offer(null);
    } catch (problem) {
      trouble({ message: say("Uncancelled"), why: [problem.message, problem.why].filter(Boolean).join(": "), hint: say("UncancelledHint"), code: problem.code });
      offer(await earlier(files()).catch(() => null));
    }
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
    $("[data-upload-anew]").disabled = on;
    form.querySelectorAll("input, select").forEach((field) => { field.disabled = on || (Boolean(again) && told().includes(field)); });
  }

  // Shows the upload that goes on, with what was said when it began; null: nothing goes on, and the form is free.
  function offer(one) {
    const isFree = !one && again;
    again = one;
    $("[data-upload-again]").hidden = !one;
    if (one) {
      for (const field of told()) if (field.name in one.fields) field.value = one.fields[field.name];
      const total = one.files.reduce((all, file) => all + file.size, 0);
      const missing = one.files.filter((file) => !marks(files()).some((mark) => same(mark, file)));
      $("[data-again-text]").textContent = say("Again", { name: one.fields.name, share: `${total ? Math.floor((100 * sum(received(one.session))) / total) : 100} %` })
        + (missing.length ? ` ${say("Also", { files: missing.map((file) => file.name).join(", ") })}` : "");
      $("[data-new-version]").hidden = true;
      $("[name=new_version]").required = false;
    }
    for (const field of told()) field.disabled = Boolean(one);
    if (isFree) $("[name=name]").dispatchEvent(new Event("change"));
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    trouble(null);
    const list = files();
    if (!$("[name=name]").value.trim()) { trouble(new Error(say("Name"))); $("[name=name]").focus(); return; }
    if (!list.some(({ part }) => part !== "initrd")) { trouble(new Error(say("Need"))); return; }
    if (again && marks(list).length !== again.files.length) { trouble(new Error($("[data-again-text]").textContent)); return; }
    stop = new AbortController();
    under = { id: again?.id || "", complete: false };
    busy(true);
    try {
      await upload(list, stop.signal);
    } catch (problem) {
      if (stop.signal.aborted) { await cancelled(problem); busy(false); return; }
      if (problem.status === 404 && again) { memory.drop(again.id); offer(null); }
      busy(false);
      trouble(problem);
      if (problem.code === "exists") $("[name=name]").dispatchEvent(new Event("change"));
      else offer(await earlier(list).catch(() => again));
    }
  });
  $("[data-upload-cancel]").addEventListener("click", () => stop?.abort(new DOMException("cancelled", "AbortError")));
  addEventListener("beforeunload", (event) => { if (!$("[data-upload-progress]").hidden && bar.hasAttribute("value")) event.preventDefault(); });

  $("[data-upload-anew]").addEventListener("click", async () => {
    trouble(null);
    try {
      await discard(again.id);
      memory.drop(again.id);
      offer(null);
    } catch (problem) { trouble(problem); }
  });
  for (const button of form.querySelectorAll("[data-upload-discard]")) {
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await discard(button.dataset.uploadDiscard);
        memory.drop(button.dataset.uploadDiscard);
        button.closest("[data-half-done]").remove();
        if (again?.id === button.dataset.uploadDiscard) offer(null);
      } catch (problem) { button.disabled = false; trouble(problem); }
    });
  }

  const drop = $("[data-drop]");
  const disk = $("[data-part=disk]");
  const guess = () => {
    const file = disk.files[0];
    if (!file) return;
    const name = $("[name=name]");
    if (!name.value) {
      name.value = file.name.replace(/(\.(qcow2|raw|img|vmdk|vdi|vhdx?|ova))?(\.(gz|bz2|xz|zst))?$/i, "").replace(/[^\w.-]+/g, "-");
      name.dispatchEvent(new Event("change"));
    }
    $("[name=format]").value = /\.raw$/i.test(file.name) ? "raw" : "";
  };
  const chosen = async () => {
    trouble(null);
    const list = files();
    try {
      const one = await earlier(list);
      if (list.length !== files().length) return;
      if (again && !one) $("[name=name]").value = "";
      offer(one);
      if (!one && list.some(({ part }) => part === "disk")) guess();
    } catch (problem) { trouble(problem); guess(); }
  };
  for (const field of form.querySelectorAll("input[type=file]")) field.addEventListener("change", chosen);
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) { disk.files = event.dataTransfer.files; chosen(); }
  });
})();
