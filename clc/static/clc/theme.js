// Sets light or dark before the first paint, the choice is kept in this browser; and loads a page again that came in half.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => {
    try { return localStorage.getItem("educloud-theme"); } catch { return null; }
  };
  const apply = () => root.setAttribute("data-bs-theme", kept() || (system.matches ? "dark" : "light"));
  apply();
  system.addEventListener("change", apply);
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-switch]")) return;
    const next = root.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
    try { localStorage.setItem("educloud-theme", next); } catch { /* private window: this page only */ }
    root.setAttribute("data-bs-theme", next);
  });
})();

// A browser whose network changes while a page loads gives up what is on its way: without a script the page would be dead.
(() => {
  const KEY = "educloud-halves";
  const AT_MOST = 4;
  const WITHIN_MS = 60000;
  const recent = () => {
    try { return JSON.parse(sessionStorage.getItem(KEY) || "[]").filter((at) => Date.now() - at < WITHIN_MS); } catch { return null; }
  };
  let underWay = false;
  addEventListener("error", (event) => {
    const lost = event.target;
    const needed = lost instanceof HTMLScriptElement || (lost instanceof HTMLLinkElement && lost.rel === "stylesheet");
    const answered = performance.getEntriesByType("navigation")[0]?.responseStatus;
    // what answers a form holds what somebody typed
    if (!needed || underWay || (answered && answered !== 200)) return;
    const times = recent();
    if (!times || times.length >= AT_MOST) return;
    underWay = true;
    sessionStorage.setItem(KEY, JSON.stringify([...times, Date.now()]));
    setTimeout(() => location.replace(location.href), 300 * 2 ** times.length);
  }, true);
})();
