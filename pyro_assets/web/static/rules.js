// Checks a rule while somebody types, with the same form and the same checks as the button "Check only".
// Without this script the button does it.
"use strict";

(() => {
  const form = document.getElementById("rule");
  if (!form || !window.fetch) return;
  let timer = 0;
  let running = null;

  const show = (place, problems, warnings) => {
    const box = form.querySelector(`[data-said="${place}"]`);
    if (!box) return;
    box.replaceChildren();
    for (const [texts, kind, before] of [[problems, "problem", ""], [warnings, "problem warning", "Note: "]]) {
      for (const text of texts || []) {
        const line = document.createElement("p");
        line.className = kind;
        line.textContent = before + text;
        box.append(line);
      }
    }
    const input = document.getElementById(place);
    if (input) {
      if (problems && problems.length) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
  };

  const check = async () => {
    if (running) running.abort();
    running = new AbortController();
    try {
      const answer = await fetch(form.dataset.live, {
        method: "POST",
        headers: { Accept: "application/json" },
        body: new URLSearchParams(new FormData(form)),
        signal: running.signal,
      });
      if (!answer.ok) return;
      const found = await answer.json();
      for (const box of form.querySelectorAll("[data-said]")) {
        const place = box.dataset.said;
        show(place, found.problems[place], found.warnings[place]);
      }
      const written = document.getElementById("written");
      written.hidden = !found.text;
      written.querySelector("[data-text]").textContent = found.text;
      form.dataset.checked = String(Number(form.dataset.checked || 0) + 1);
    } catch (error) {
      if (error.name !== "AbortError") console.warn(error);
    }
  };

  form.addEventListener("input", (event) => {
    if (event.target.name.startsWith("preview_") || event.target.name === "why") return;
    clearTimeout(timer);
    timer = setTimeout(check, 400);
  });
})();
