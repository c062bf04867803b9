// Sets light or dark before the first paint; the choice is kept in this browser.
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
