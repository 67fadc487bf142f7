// Makes pages quicker to use: links and forms of the same page change it in place, frames zoom at once, charts are
// zoomed by dragging, and a page can be made anew every few seconds. Without this script every link and form works.
"use strict";

(() => {
  const root = document.documentElement;
  const here = () => location.pathname + location.search;
  let asking = null;
  let timer = 0;
  let shown = here();

  // Put the page of an address in the place of this one; where that cannot be done, go there.
  const go = async (address, { push = true, quiet = false } = {}) => {
    if (asking) asking.abort();
    const own = (asking = new AbortController());
    if (!quiet) root.dataset.busy = "";
    try {
      const answer = await fetch(address, { headers: { Accept: "text/html" }, signal: own.signal });
      if (answer.redirected || !(answer.headers.get("content-type") || "").startsWith("text/html")) throw new Error("elsewhere");
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("main");
      if (!fresh || answer.status >= 500) throw new Error("no page");
      const old = document.querySelector("main");
      const focused = keyOf(document.activeElement);
      const open = [...old.querySelectorAll("details[open][id]")].map((one) => one.id);
      old.replaceWith(fresh);
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      document.title = page.title;
      document.body.dataset.refresh = page.body.dataset.refresh || 0;
      document.querySelector("nav[aria-label=Pages]")?.replaceWith(page.querySelector("nav[aria-label=Pages]"));
      if (push) history.pushState(null, "", address);
      shown = here();
      prepare();
      if (focused) fresh.querySelector(focused)?.focus({ preventScroll: true });
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!quiet) location.assign(address);
    } finally {
      if (asking === own) {
        asking = null;
        delete root.dataset.busy;
      }
    }
  };

  // What finds the same element again in another page.
  const keyOf = (element) => {
    if (!element || !element.closest("main")) return "";
    if (element.closest(".flame")) return ".flame a[aria-current]";
    return element.id ? `#${CSS.escape(element.id)}` : element.href ? `a[href="${CSS.escape(element.getAttribute("href"))}"]` : "";
  };

  const isHere = (address) => address.origin === location.origin && same(address.pathname) === same(location.pathname);
  const same = (path) => (path === "/" ? "/explore" : path);

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    if (link.hasAttribute("download")) return;
    const address = new URL(typeof link.href === "string" ? link.href : link.href.baseVal, location.href);
    const isInside = link.closest("main") && isHere(address) && address.search !== location.search;
    if (!isInside) {
      if (address.origin === location.origin && address.pathname !== location.pathname) root.dataset.busy = "";
      return;
    }
    event.preventDefault();
    const frame = link.closest("[data-zooms] a");
    if (frame) zoom(frame);
    hideTip();
    go(address.href);
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const address = new URL(form.action, location.href);
    if (form.method !== "get" || !form.closest("main") || !isHere(address)) {
      root.dataset.busy = "";
      return;
    }
    event.preventDefault();
    const fields = [...new FormData(form)].filter(([, value]) => value !== "");
    address.search = new URLSearchParams(fields).toString();
    go(address.href);
  });

  document.addEventListener("change", (event) => {
    const form = event.target.form;
    if (event.target.tagName === "SELECT" && form?.matches(".filters")) form.requestSubmit();
  });

  // Links to a part of the page arrive here, too, and need no other page.
  addEventListener("popstate", () => here() === shown || go(location.href, { push: false }));
  addEventListener("pageshow", () => delete root.dataset.busy);

  // Flame graphs.
  const geometry = (frame) => {
    const box = frame.firstElementChild;
    const x = parseFloat(box.getAttribute("x"));
    return { box, x, width: parseFloat(box.getAttribute("width")), row: parseFloat(box.getAttribute("y")) };
  };

  const zoom = (frame) => {
    const to = geometry(frame);
    for (const other of frame.closest("svg").querySelectorAll("a")) {
      const one = geometry(other);
      const isAbove = one.row < to.row && one.x <= to.x + 0.001 && one.x + one.width >= to.x + to.width - 0.001;
      const isBelow = one.row >= to.row && one.x >= to.x - 0.001 && one.x + one.width <= to.x + to.width + 0.001;
      if (isAbove || isBelow) {
        one.box.setAttribute("x", isAbove ? "0%" : `${((one.x - to.x) * 100) / to.width}%`);
        one.box.setAttribute("width", isAbove ? "100%" : `${(one.width * 100) / to.width}%`);
        other.classList.toggle("above", isAbove);
      } else {
        other.remove();
      }
    }
  };

  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const hideTip = () => (tip.hidden = true);

  // The words of an element's <title>, which then is shown by us alone.
  const wordsOf = (element) => {
    const title = element.querySelector("title");
    if (title) {
      element.dataset.words = title.textContent;
      if (element.tagName.toLowerCase() === "a") element.setAttribute("aria-label", title.textContent.replaceAll("\n", "; "));
      title.remove();
    }
    return element.dataset.words || "";
  };

  const showTip = (element, x, y) => {
    const [name, ...rest] = wordsOf(element).split("\n");
    if (!name) return;
    const strong = document.createElement("strong");
    strong.textContent = name;
    tip.replaceChildren(strong, ...rest.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
    tip.hidden = false;
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${y + 18 + tip.offsetHeight > innerHeight ? y - tip.offsetHeight - 8 : y + 18}px`;
  };

  const SHOWN = ".flame a, .chart rect, .chart circle";
  document.addEventListener("pointermove", (event) => {
    const element = event.target.closest?.(SHOWN);
    if (element) showTip(element, event.clientX, event.clientY);
    else hideTip();
  });
  document.addEventListener("focusin", (event) => {
    const frame = event.target.closest?.(".flame a");
    if (!frame || !frame.matches(":focus-visible")) return hideTip();
    const { left, bottom } = frame.getBoundingClientRect();
    showTip(frame, left, bottom - 10);
  });

  const MOVES = { ArrowUp: -20, ArrowDown: 20, ArrowLeft: 0, ArrowRight: 0, Home: 0 };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hideTip();
    const frame = event.target.closest?.(".flame a");
    if (!frame || !(event.key in MOVES)) return;
    event.preventDefault();
    const from = geometry(frame);
    const all = [...frame.closest(".flame").querySelectorAll("a")].map((one) => ({ one, ...geometry(one) }));
    const middle = from.x + from.width / 2;
    const far = ({ x, width }) => Math.max(x - middle, middle - x - width, 0);
    let to;
    if (event.key === "Home") to = all[0];
    else if (MOVES[event.key]) to = all.filter(({ row }) => row === from.row + MOVES[event.key]).sort((a, b) => far(a) - far(b))[0];
    else {
      const row = all.filter(({ row }) => row === from.row).sort((a, b) => a.x - b.x);
      to = row[row.findIndex(({ one }) => one === frame) + (event.key === "ArrowLeft" ? -1 : 1)];
    }
    if (!to) return;
    frame.setAttribute("tabindex", "-1");
    to.one.setAttribute("tabindex", "0");
    to.one.focus();
  });

  // Frames whose name contains what is typed, and how much of the drawing they are.
  const mark = (text) => {
    const wanted = text.trim().toLowerCase();
    for (const flame of document.querySelectorAll(".flame")) {
      const spans = [];
      for (const frame of flame.querySelectorAll("a")) {
        const name = (frame.dataset.words || frame.querySelector("title")?.textContent || "").split("\n")[0];
        const isHit = wanted !== "" && name.toLowerCase().includes(wanted);
        frame.classList.toggle("hit", isHit);
        if (isHit) spans.push(geometry(frame));
      }
      let covered = 0;
      let end = 0;
      for (const { x, width } of spans.sort((a, b) => a.x - b.x)) {
        covered += Math.max(0, x + width - Math.max(end, x));
        end = Math.max(end, x + width);
      }
      const said = document.getElementById("matched");
      if (said) said.textContent = wanted ? `${spans.length} frames, ${covered.toFixed(1)} % of what is shown` : "";
    }
  };
  document.addEventListener("input", (event) => {
    if (event.target.id === "search" && event.target.closest(".find")) mark(event.target.value);
  });

  // A part of a chart, chosen by dragging, becomes the time of the page.
  let drag = null;
  const timeAt = (svg, clientX) => {
    const { begin, end, left, right } = Object.fromEntries(Object.entries(svg.dataset).map(([key, value]) => [key, Number(value)]));
    const x = (clientX - svg.getBoundingClientRect().left) * (svg.viewBox.baseVal.width / svg.getBoundingClientRect().width);
    const part = Math.min(1, Math.max(0, (x - left) / (right - left)));
    return { x: left + part * (right - left), time: begin + part * (end - begin) };
  };
  document.addEventListener("pointerdown", (event) => {
    const svg = event.target.closest?.(".chart .drawing");
    if (!svg || event.button || event.pointerType === "touch" || !document.getElementById("until")) return;
    const band = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    band.setAttribute("class", "band");
    band.setAttribute("height", svg.viewBox.baseVal.height);
    svg.append(band);
    drag = { svg, band, from: timeAt(svg, event.clientX) };
    svg.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const to = timeAt(drag.svg, event.clientX);
    drag.band.setAttribute("x", Math.min(to.x, drag.from.x));
    drag.band.setAttribute("width", Math.abs(to.x - drag.from.x));
  });
  document.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const { svg, band, from } = drag;
    drag = null;
    const to = timeAt(svg, event.clientX);
    band.remove();
    if (Math.abs(to.x - from.x) < 8) return;
    const begin = Math.floor(Math.min(from.time, to.time) / 60000);
    const end = Math.max(begin + 1, Math.ceil(Math.max(from.time, to.time) / 60000));
    const address = new URL(location.href);
    address.searchParams.delete("hours");
    address.searchParams.set("last", `${end - begin}m`);
    address.searchParams.set("until", new Date(end * 60000).toISOString().slice(0, 16));
    go(address.href);
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });

  const prepare = () => {
    hideTip();
    for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
    for (const flame of document.querySelectorAll(".flame")) {
      // One stop for the whole drawing; arrow keys move inside of it.
      for (const frame of flame.querySelectorAll("a")) frame.setAttribute("tabindex", "-1");
      (flame.querySelector("a[aria-current]") || flame.querySelector("a"))?.setAttribute("tabindex", "0");
    }
    for (const hint of document.querySelectorAll(".skip-here")) hint.remove();
    const search = document.getElementById("search");
    if (search?.value) mark(search.value);
    clearInterval(timer);
    const seconds = Number(document.body.dataset.refresh || 0);
    const isTyping = () => document.activeElement?.matches("input, textarea") || drag || asking;
    if (seconds) {
      timer = setInterval(() => document.hidden || isTyping() || go(location.href, { push: false, quiet: true }), seconds * 1000);
    }
  };
  prepare();
})();
