// One stream of events a page: what changed is asked for anew and put in place; without a stream it asks every 5 s.
(() => {
  const ROW_MS = 150;
  const LIST_MS = 400;
  const POLL_MS = 5000;
  const LEAVE_MS = 10000;
  const RETRY_MS = 30000;
  const NOUNS = ["instance", "task", "host", "image", "workspace"];
  const LISTS = { instance: "instances", task: "tasks", host: "hosts", image: "images", workspace: "workspaces" };
  const waiting = new Map();
  let source = null;
  let errors = 0;
  let poll = null;
  let missed = false;

  const find = (name) => [...document.querySelectorAll(`[data-live="${CSS.escape(name)}"]`)];
  // A page being typed in, a chosen menu or a dialog must not be pulled away from under the hand.
  const inUse = (element) => element.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")
    || element.querySelector("details.menu[open]") !== null || document.querySelector("dialog[open]") !== null;

  // A reload would call off what somebody has just clicked on. A download leaves the page where it is, so it is for a while only.
  let left = -LEAVE_MS;
  window.addEventListener("beforeunload", () => { left = performance.now(); });
  const leaving = () => performance.now() - left < LEAVE_MS;

  const typing = (element) => "liveReload" in element.dataset && document.activeElement.matches("input, textarea, select");

  const refresh = (element) => {
    const url = element.dataset.liveUrl;
    if (!url || !element.isConnected) return;
    if (typing(element) || inUse(element)) { later(element, 1500); return; }
    const { state } = element.dataset;
    const focus = element.contains(document.activeElement) ? trail(element, document.activeElement) : null;
    const options = { source: element, target: element, swap: "outerHTML", headers: { "X-Live": "1" } };
    if (element.dataset.liveSelect) options.select = element.dataset.liveSelect;
    const { id } = element;
    htmx.ajax("GET", url, options).then(() => {
      // Another state is another page: its screen, its forms.
      const now = document.getElementById(id);
      if (now && "liveReload" in now.dataset && now.dataset.state !== state) {
        if (!typing(now) && !leaving()) { location.reload(); return; }
        now.dataset.state = state;
        later(now, 1500);
      }
      if (focus === null || !id) return;
      now?.querySelectorAll("a, button, summary")[focus]?.focus({ preventScroll: true });
    }, () => {});
  };
  const trail = (element, active) => [...element.querySelectorAll("a, button, summary")].indexOf(active);

  const later = (element, delay) => {
    clearTimeout(waiting.get(element));
    waiting.set(element, setTimeout(() => { waiting.delete(element); refresh(element); }, delay));
  };
  const lists = (noun) => find(LISTS[noun]).forEach((element) => later(element, LIST_MS));

  const tell = (noun, id) => document.dispatchEvent(new CustomEvent("educloud:changed", { detail: { noun, id } }));

  const changed = (noun, id) => {
    tell(noun, id);
    if (document.hidden) { missed = true; return; }
    const own = find(`${noun}:${id}`);
    own.forEach((element) => later(element, ROW_MS));
    // A list is asked for anew only when it does not show the thing yet, or cannot refresh one row by itself.
    for (const list of find(LISTS[noun])) if (!own.some((element) => list.contains(element))) later(list, LIST_MS);
    if (noun === "task") { const owner = document.querySelector("[data-live-all]"); if (owner) later(owner, LIST_MS); }
  };
  const everything = () => {
    tell("", "");
    for (const element of document.querySelectorAll("[data-live]")) {
      if (!element.parentElement?.closest("[data-live]")) later(element, ROW_MS);
    }
  };

  const show = (state) => { document.documentElement.dataset.stream = state; };
  const startPoll = () => {
    if (poll) return;
    show("polling");
    poll = setInterval(() => { if (!document.hidden) everything(); }, POLL_MS);
    setTimeout(connect, RETRY_MS);
  };
  const stopPoll = () => { clearInterval(poll); poll = null; };

  const read = (event) => {
    let fact;
    try { fact = JSON.parse(event.data); } catch { return; }
    const noun = fact.type || event.type;
    // That somebody looks changes nothing; and who looks again at each change would look for ever.
    if (noun === "instance" && / opened$/.test(fact.what || "")) return;
    if (NOUNS.includes(noun) && fact.id) changed(noun, fact.id);
  };
  function connect() {
    if (!("EventSource" in window)) { startPoll(); return; }
    source?.close();
    source = new EventSource(document.body.dataset.events);
    source.onopen = () => {
      if (errors || poll) everything();
      errors = 0;
      stopPoll();
      show("open");
    };
    source.onmessage = read;
    for (const noun of NOUNS) source.addEventListener(noun, read);
    source.onerror = () => {
      errors += 1;
      if (errors >= 3 || source.readyState === EventSource.CLOSED) { source.close(); startPoll(); }
    };
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && missed) { missed = false; everything(); }
  });
  // What somebody just did shows at once, without waiting for the event.
  document.addEventListener("educloud:acted", (event) => {
    const place = event.detail.from.closest("[data-live]");
    if (place) { const name = place.dataset.live; find(name).forEach((element) => later(element, ROW_MS)); }
  });
  // A thing that is gone takes its row along.
  document.addEventListener("htmx:responseError", (event) => {
    const element = event.detail.elt;
    if (event.detail.xhr.status !== 404 || !element.matches?.("tr[data-live]")) return;
    const noun = element.dataset.live.split(":")[0];
    element.remove();
    lists(noun);
  });
  // A stream that stays open would hold the page's last connection while it leaves.
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => { if (event.persisted) connect(); });

  // A place in the queue moves without an event about who stands there.
  setInterval(() => {
    if (document.hidden || poll) return;
    const queued = [...document.querySelectorAll('[data-live][data-state="queued"]')];
    new Set(queued.map((element) => element.closest('[data-live="instances"], [data-live="tasks"]') || element)).forEach(refresh);
  }, POLL_MS);

  if (document.querySelector("[data-live], #screen, #serial")) connect();
})();
