// Small behaviours of every page: ages that tick, copying, asking before deleting, pending buttons, menus, short notes.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const text = (name) => document.body.dataset[name] || "";

  // Ages
  const [justNow, seconds, minutes, hours, days] = text("ago").split("|");
  const ago = (span) => {
    if (span < 5) return justNow;
    if (span < 60) return seconds.replace("{n}", Math.floor(span));
    if (span < 3600) return minutes.replace("{n}", Math.floor(span / 60));
    if (span < 86400) return hours.replace("{n}", Math.floor(span / 3600));
    return days.replace("{n}", Math.floor(span / 86400));
  };
  const tick = () => {
    if (document.hidden) return;
    for (const element of $$("time[data-at]")) {
      const words = ago(Date.now() / 1000 - Number(element.dataset.at));
      if (element.textContent !== words) element.textContent = words;
    }
  };
  setInterval(tick, 1000);

  // Short notes
  const toast = (kind, title, why) => {
    // The same note twice at once says nothing more.
    if ($$("#toasts [data-toast]").some((shown) => $("b", shown)?.textContent === title && ($("p", shown)?.textContent ?? "") === (why || ""))) return;
    const note = document.createElement("div");
    note.className = `toast-note toast-${kind}`;
    note.dataset.toast = "";
    if (kind === "error") note.setAttribute("role", "alert");
    const body = document.createElement("div");
    body.className = "body";
    const head = document.createElement("b");
    head.textContent = title;
    body.append(head);
    if (why) {
      const line = document.createElement("p");
      line.textContent = why;
      body.append(line);
    }
    note.append(body);
    $("#toasts").append(note);
    fade(note);
  };
  const fade = (note) => setTimeout(() => note.remove(), note.classList.contains("toast-error") ? 12000 : 6000);
  const watchNotes = new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) if (node.dataset && "toast" in node.dataset) fade(node);
  });
  watchNotes.observe($("#toasts"), { childList: true });
  $$("[data-toast]").forEach(fade);
  window.educloud = { toast, ago };

  // A moment is typed in the browser's own time
  for (const field of $$("[data-zone]")) field.value = new Date().getTimezoneOffset();

  // Copying
  const copy = async (button, value) => {
    try {
      await navigator.clipboard.writeText(value);
    } catch {
      const field = document.createElement("textarea");
      field.value = value;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    button.dataset.done = "";
    toast("success", text("textCopied"), value.length > 80 ? `${value.slice(0, 80)}…` : value);
    setTimeout(() => delete button.dataset.done, 1500);
  };

  // Asking before deleting: resolves to whether to go on.
  const ask = (form) => new Promise((resolve) => {
    $$("details.menu[open]").forEach((menu) => { menu.open = false; });
    const dialog = $("#ask");
    const { ask: title, askText, askName, askYes } = form.dataset;
    $("#ask-title").textContent = title;
    $("#ask-text").textContent = askText || "";
    $("#ask-yes").textContent = askYes || title;
    $("#ask-field").hidden = !askName;
    $("#ask-want").textContent = askName || "";
    const name = $("#ask-name");
    name.value = "";
    const fits = () => { $("#ask-yes").disabled = Boolean(askName) && name.value.trim() !== askName; };
    name.oninput = fits;
    fits();
    dialog.returnValue = "no";
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    dialog.showModal();
    (askName ? name : $("button[value=no]", dialog)).focus();
  });

  const pend = (form) => {
    const button = form.querySelector("button:not([type=button])");
    if (button) button.setAttribute("aria-busy", "true");
  };
  // htmx asks through this event, so one question serves both kinds of form.
  document.addEventListener("htmx:confirm", (event) => {
    const form = event.detail.elt;
    if (!form.dataset || !form.dataset.ask) return;
    event.preventDefault();
    ask(form).then((yes) => { if (yes) { pend(form); event.detail.issueRequest(true); } });
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.hasAttribute("hx-post")) { if (!form.dataset.ask) pend(form); return; }
    if (form.dataset.ask && form.dataset.asked !== "yes") {
      event.preventDefault();
      ask(form).then((yes) => { if (yes) { form.dataset.asked = "yes"; pend(form); form.submit(); } });
      return;
    }
    if ("pending" in form.dataset) pend(form);
  });
  window.addEventListener("pageshow", () => $$("[aria-busy=true]").forEach((button) => button.removeAttribute("aria-busy")));
  document.addEventListener("htmx:afterRequest", (event) => {
    const { elt, xhr, failed } = event.detail;
    if (elt.matches?.("form[data-act]")) {
      $$("[aria-busy]", elt).forEach((button) => button.removeAttribute("aria-busy"));
      elt.closest("details")?.removeAttribute("open");
      document.dispatchEvent(new CustomEvent("educloud:acted", { detail: { from: elt } }));
    }
    if (elt.matches?.("form[data-filter]") && !failed) {
      const query = new URLSearchParams(new FormData(elt));
      for (const [key, value] of [...query]) if (!value) query.delete(key);
      history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
    }
    if (failed && xhr.status === 401) location.reload();
  });
  document.addEventListener("htmx:sendError", () => toast("error", text("textUnreachable"), text("textUnreachableWhy")));
  document.addEventListener("htmx:responseError", (event) => {
    const { xhr, elt } = event.detail;
    if (!elt.matches?.("form")) return;
    // A refusal comes as a problem document, or as a page whose note is shown.
    try {
      const problem = JSON.parse(xhr.responseText);
      toast("error", problem.what || problem.title || text("textRefused"), [problem.why || problem.detail, problem.hint].filter(Boolean).map((line) => line.replace(/([^.!?。])$/, "$1.")).join(" "));
    } catch {
      const page = new DOMParser().parseFromString(xhr.responseText, "text/html");
      const note = page.querySelector(".toast-note .body b, h1");
      toast("error", note?.textContent || text("textRefused"), page.querySelector(".toast-note .body p")?.textContent || "");
    }
  });

  document.addEventListener("click", (event) => {
    const target = event.target;
    const copier = target.closest("[data-copy], [data-copy-from]");
    if (copier) copy(copier, copier.dataset.copy ?? $(copier.dataset.copyFrom).textContent);
    target.closest("[data-toast-close]")?.closest("[data-toast]").remove();
    if (target.closest("[data-back]")) history.back();
    const menu = target.closest("[data-menu-button]");
    if (menu) {
      const open = $("#side").classList.toggle("open");
      menu.setAttribute("aria-expanded", String(open));
    }
    for (const open of $$("details.menu[open]")) if (!open.contains(target)) open.open = false;
  });
  // A menu near the lower edge, or inside a table that scrolls, is placed against the window.
  document.addEventListener("toggle", (event) => {
    const menu = event.target;
    if (!menu.matches?.("details.menu") || !menu.open) return;
    const list = $(".menu-list", menu);
    const button = menu.getBoundingClientRect();
    list.style.position = "fixed";
    list.style.right = `${document.documentElement.clientWidth - button.right}px`;
    const below = button.bottom + 4 + list.offsetHeight < innerHeight;
    list.style.top = `${below ? button.bottom + 4 : button.top - 4 - list.offsetHeight}px`;
  }, true);
  document.addEventListener("scroll", () => $$("details.menu[open]").forEach((menu) => { menu.open = false; }), { passive: true, capture: true });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") $$("details.menu[open]").forEach((menu) => { menu.open = false; $("summary", menu).focus(); });
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable], #screen")) return;
    const search = $("[data-search]");
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  });

  // The run form says in words and as a command what it will do.
  const run = $("[data-run]");
  if (run) {
    const quote = (value) => (/^[\w.:@/+=-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`);
    const say = () => {
      const values = Object.fromEntries(new FormData(run));
      const usual = { memory: $("input[name=image]:checked", run)?.dataset.memory };
      for (const name of ["image", "count", "cpus", "memory"]) for (const place of $$(`[data-show=${name}]`)) place.textContent = values[name] || usual[name] || "–";
      const words = ["educloud instance run", `--image ${quote(values.image || "NAME")}`];
      if (values.name) words.push(`--name ${quote(values.name)}`);
      if (values.cpus && values.cpus !== "1") words.push(`--cpus ${quote(values.cpus)}`);
      if (values.memory) words.push(`--memory ${quote(values.memory)}`);
      if (values.persistence === "transient") words.push("--transient");
      if (values.data_disk) words.push(`--data-disk ${quote(values.data_disk)}`);
      for (const name of ["network", "group"]) if (values[name]) words.push(`--${name} ${quote(values[name])}`);
      if (values.first_boot_offline) words.push("--first-boot-offline");
      if (values.expires) words.push(`--expires ${quote(values.expires)}`);
      if (values.kind) words.push(`--kind ${values.kind}`);
      if (values.count && values.count !== "1") words.push(`--count ${quote(values.count)}`);
      $("[data-show=command]").textContent = words.join(" ");
    };
    // What more is asked for than is left is told before it is sent; the cloud decides again.
    const over = $("[data-over]", run);
    const weigh = () => {
      const values = Object.fromEntries(new FormData(run));
      const [many, cpus] = [Number(values.count) || 1, Number(values.cpus) || 1];
      const left = (name) => (name in run.dataset ? Number(run.dataset[name]) : Infinity);
      const lacks = [[many, left("leftInstances")], [many * cpus, left("leftCpus")]].find(([asked, there]) => asked > there);
      over.hidden = !lacks;
      over.textContent = lacks ? `${run.dataset.textLeft} ${lacks[0]} > ${lacks[1]}` : "";
      for (const name of ["count", "cpus"]) run.elements[name]?.setCustomValidity(over.textContent);
    };
    run.addEventListener("input", weigh);
    weigh();
    run.addEventListener("input", say);
    say();
  }
  for (const button of $$("[data-print]")) button.addEventListener("click", () => print());
  for (const log of $$("[data-scroll-end]")) log.scrollTop = log.scrollHeight;
})();
