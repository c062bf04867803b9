// What somebody typed outlives what replaces the page around it: a live refresh, a reload, the answer to another form.
(() => {
  const KEY = "educloud-typed";
  const NEVER = ["hidden", "password", "file", "submit", "button"];
  const ticked = (field) => ["checkbox", "radio"].includes(field.type);
  const all = (root) => [...root.querySelectorAll("input, textarea, select")].filter((field) => field.name && !NEVER.includes(field.type));
  const key = (field) => [field.form?.getAttribute("action") ?? "", field.name, ticked(field) ? field.value : ""].join("|");

  const changed = (field) => {
    if (ticked(field)) return field.checked !== field.defaultChecked;
    if (field.options) return field.value !== ([...field.options].find((option) => option.defaultSelected) ?? field.options[0])?.value;
    return field.value !== field.defaultValue;
  };

  // A form that was refused shows again what was typed: there the page's own values are somebody's.
  const read = (fields, isTheirs = false) => fields.filter((field) => isTheirs || changed(field) || field === document.activeElement).map((field) => ({
    key: key(field), value: field.value, checked: field.checked, isFocused: field === document.activeElement,
    from: field.selectionStart ?? null, to: field.selectionEnd ?? null,
  }));
  const write = (typed, root) => {
    const there = new Map(all(root).map((field) => [key(field), field]));
    for (const { key: name, value, checked, isFocused, from, to } of typed) {
      const field = there.get(name);
      if (!field) continue;
      if (ticked(field)) field.checked = checked;
      else if (field.value !== value) field.value = value;
      field.dispatchEvent(new Event("input", { bubbles: true }));
      if (!isFocused) continue;
      field.focus({ preventScroll: true });
      if (from !== null) field.setSelectionRange(from, to);
    }
  };

  // A part of the page is replaced
  const replaced = new WeakMap();
  document.addEventListener("htmx:beforeSwap", (event) => replaced.set(event.detail.xhr, read(all(event.detail.target))));
  document.addEventListener("htmx:afterSwap", (event) => write(replaced.get(event.detail.xhr) ?? [], document));

  // The page comes anew: what was typed for it waits for the next page of this tab, and for that one only
  let sent = null;
  addEventListener("submit", (event) => {
    const leaves = !event.defaultPrevented || (event.target.dataset.ask && !event.target.hasAttribute("hx-post"));
    if (leaves) sent = event.target;
  });
  document.getElementById("ask").addEventListener("close", (event) => { if (event.target.returnValue !== "yes") sent = null; });
  addEventListener("pagehide", () => {
    const typed = read(all(document).filter((field) => field.form?.method === "post" && field.form !== sent), "refilled" in document.body.dataset);
    sent = null;
    try {
      if (typed.length) sessionStorage.setItem(KEY, JSON.stringify({ path: location.pathname, typed }));
    } catch { /* without a store the text is lost, as in any page */ }
  });
  try {
    const { path, typed } = JSON.parse(sessionStorage.getItem(KEY)) ?? {};
    sessionStorage.removeItem(KEY);
    if (path === location.pathname) write(typed, document);
  } catch { /* nothing was kept */ }
})();
