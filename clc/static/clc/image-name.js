// Says what becomes of a name that an image has already, as soon as it is typed.
(() => {
  const place = document.querySelector("[data-new-version]");
  const name = place.closest("form").querySelector("[name=name]");
  const wish = place.querySelector("[name=new_version]");
  const say = (text, values) => text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
  let asked = "";
  let timer = 0;

  function tell(image) {
    place.hidden = wish.disabled = !image;
    wish.required = Boolean(image);
    if (!image) { wish.checked = false; return; }
    const newest = Math.max(0, ...image.versions.filter((each) => each.state === "published").map((each) => each.version));
    const next = Math.max(0, ...image.versions.map((each) => each.version)) + 1;
    place.querySelector("[data-new-version-text]").textContent = say(newest ? place.dataset.textNext : place.dataset.textBegun, { name: image.name, n: newest, next });
  }

  async function look() {
    const text = name.value.trim();
    if (text === asked) return;
    asked = text;
    wish.checked = false;
    if (!text || !name.validity.valid) { tell(null); return; }
    try {
      const answer = await fetch(`${place.dataset.newVersion}?name=${encodeURIComponent(text)}`, { credentials: "same-origin", headers: { Accept: "application/json" } });
      const image = answer.ok ? (await answer.json()).results[0] : null;
      if (asked === text && !name.disabled) tell(image);
    } catch { asked = ""; /* the cloud says it at the end */ }
  }

  name.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 250); });
  name.addEventListener("change", () => { clearTimeout(timer); asked = ""; look(); });
  if (name.value && !wish.checked) look();
  else asked = name.value.trim();
})();
