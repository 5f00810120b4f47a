"use strict";
// Zoom and pan: only x is rescaled, so that texts and lines keep their size. What the groups carry is told in drawing.py.
(() => {
  const svg = document.querySelector("svg.timeline");
  const tip = document.getElementById("tip");
  const seconds = +svg.dataset.seconds, left = +svg.dataset.left, right = +svg.dataset.right, top = +svg.dataset.top, bottom = +svg.dataset.bottom;
  const steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
  const items = [...svg.querySelectorAll(".item")].map((group) => ({
    group,
    a: +group.dataset.a,
    b: group.dataset.b === undefined ? +group.dataset.a : +group.dataset.b,
    y: group.dataset.y,
    boxes: [...group.querySelectorAll("rect[data-w]")],
    marks: [...group.querySelectorAll("g[data-o]")],
    labels: [...group.querySelectorAll("text[data-room]")],
    words: group.querySelector("title").textContent,
  }));
  for (const item of items) item.group.querySelector("title").remove(); // else the browser would show it, too
  const order = [...items].sort((one, other) => one.a - other.a);
  const rows = new Map([...document.querySelectorAll("tr[data-item]")].map((row) => [items[+row.dataset.item], row]));
  let from = 0, span = seconds, chosen = null;

  const x = (at) => left + ((at - from) / span) * (right - left);
  const limited = (value, low, high) => Math.min(Math.max(value, low), high);

  function clock(at, step) {
    const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3;
    if (at < 60 && step < 60) return `${at.toFixed(digits)} s`;
    const rest = (at % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
    const minutes = Math.floor(at / 60);
    if (minutes < 60) return `${minutes}:${rest}`;
    return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
  }

  function drawScale() {
    const scale = document.getElementById("scale");
    const step = steps.find((one) => span / one <= 12) || steps[steps.length - 1];
    scale.replaceChildren();
    for (let number = Math.ceil(from / step - 1e-9); number * step <= from + span + 1e-9; number++) {
      const at = number * step;
      const line = document.createElementNS(svg.namespaceURI, "line");
      line.setAttribute("class", "grid");
      for (const [name, value] of [["x1", x(at)], ["x2", x(at)], ["y1", top], ["y2", bottom]]) line.setAttribute(name, value);
      const text = document.createElementNS(svg.namespaceURI, "text");
      text.setAttribute("class", "small dim");
      text.setAttribute("text-anchor", "middle");
      text.setAttribute("x", x(at));
      text.setAttribute("y", bottom + 14);
      text.textContent = clock(at, step);
      scale.append(line, text);
    }
  }

  function draw() {
    const scale = (right - left) / span;
    for (const item of items) {
      const isSeen = item.b >= from - span * 0.1 && item.a <= from + span * 1.1;
      item.group.style.display = isSeen ? "" : "none";
      if (!isSeen) continue;
      const at = x(item.a);
      item.group.setAttribute("transform", `translate(${at.toFixed(2)} ${item.y})`);
      for (const box of item.boxes) {
        box.setAttribute("x", (+box.dataset.o * scale).toFixed(2));
        box.setAttribute("width", Math.max(+box.dataset.w * scale, +box.dataset.least).toFixed(2));
      }
      for (const mark of item.marks) mark.setAttribute("transform", `translate(${(+mark.dataset.o * scale).toFixed(2)} 0)`);
      for (const label of item.labels) {
        const start = Math.max(+label.dataset.o * scale, left - at); // stays in view while its box is
        const end = Math.min((+label.dataset.o + +label.dataset.room) * scale, right - at);
        label.setAttribute("x", (start + 4).toFixed(2));
        const text = label.dataset.text, fits = Math.floor((end - start - 8) / +label.dataset.letter);
        label.textContent = text.length <= fits ? text : fits >= 4 ? `${text.slice(0, fits - 1)}…` : "";
      }
    }
    drawScale();
    place();
  }

  function look(start, length) {
    span = limited(length, 0.02, seconds);
    from = limited(start, 0, seconds - span);
    draw();
  }

  function zoom(factor, around = from + span / 2) {
    const length = limited(span * factor, 0.02, seconds);
    look(around - ((around - from) * length) / span, length);
  }

  function place() {
    if (chosen === null) return;
    const box = svg.getBoundingClientRect(), outer = svg.parentElement.getBoundingClientRect();
    const ratio = box.width / svg.viewBox.baseVal.width;
    const at = limited(x(Math.max(chosen.a, Math.min(from, chosen.b))), left, right) * ratio;
    tip.style.left = `${limited(at - 20, 4, Math.max(box.width - tip.offsetWidth - 4, 4))}px`;
    tip.style.top = `${box.top - outer.top + (+chosen.y + 30) * ratio}px`;
  }

  function choose(item, show = false) {
    if (chosen !== null) {
      chosen.group.classList.remove("chosen");
      if (rows.has(chosen)) rows.get(chosen).classList.remove("chosen");
    }
    chosen = item;
    tip.hidden = item === null;
    if (item === null) return;
    item.group.classList.add("chosen");
    if (rows.has(item)) rows.get(item).classList.add("chosen");
    tip.textContent = item.words;
    if (show && (item.b < from || item.a > from + span)) look(item.a - span / 2, span);
    place();
  }

  function next(by) {
    const now = chosen === null ? (by > 0 ? -1 : order.length) : order.indexOf(chosen);
    choose(order[limited(now + by, 0, order.length - 1)], true);
  }

  const atPointer = (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    return from + (limited(at, left, right) - left) / (right - left) * span;
  };
  const itemOf = (target) => {
    const group = target.closest(".item");
    return group === null ? null : items.find((item) => item.group === group);
  };

  svg.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      if (event.ctrlKey) zoom(Math.exp(event.deltaY * 0.01), atPointer(event));
      else look(from + ((event.deltaX || event.deltaY) / 1000) * span, span);
      return;
    }
    event.preventDefault();
    zoom(Math.exp(event.deltaY * 0.002), atPointer(event));
  }, { passive: false });

  let grabbed = null;
  svg.addEventListener("pointerdown", (event) => { grabbed = { at: event.clientX, from, moved: false }; });
  window.addEventListener("pointerup", () => { grabbed = null; });
  svg.addEventListener("pointermove", (event) => {
    if (grabbed !== null && event.buttons) {
      const ratio = svg.viewBox.baseVal.width / svg.getBoundingClientRect().width;
      const moved = event.clientX - grabbed.at;
      grabbed.moved = grabbed.moved || Math.abs(moved) > 3;
      if (grabbed.moved) look(grabbed.from - (moved * ratio / (right - left)) * span, span);
      return;
    }
    const item = itemOf(event.target);
    if (item !== null && item !== chosen) choose(item);
  });
  svg.addEventListener("pointerleave", () => { if (document.activeElement !== svg) choose(null); });
  svg.addEventListener("dblclick", (event) => zoom(0.4, atPointer(event)));

  const keys = {
    "+": () => zoom(0.6, chosen === null ? undefined : limited(chosen.a, from, from + span)),
    "-": () => zoom(1 / 0.6),
    "0": () => look(0, seconds),
    Home: () => choose(order[0], true),
    End: () => choose(order[order.length - 1], true),
    ArrowRight: () => next(1),
    ArrowLeft: () => next(-1),
    Escape: () => choose(null),
  };
  keys["="] = keys["+"];
  svg.tabIndex = 0;
  svg.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const pan = { ArrowRight: 0.2, ArrowLeft: -0.2 }[event.key];
    if (event.shiftKey && pan) look(from + pan * span, span);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });
  const buttons = { in: () => zoom(0.6), out: () => zoom(1 / 0.6), all: () => look(0, seconds), back: () => look(from - span * 0.3, span), on: () => look(from + span * 0.3, span) };
  for (const button of document.querySelectorAll("button[data-do]")) button.addEventListener("click", buttons[button.dataset.do]);

  for (const [item, row] of rows) {
    const show = () => {
      if (span > seconds / 4) look(item.a - seconds / 16, seconds / 8);
      choose(item, true);
      svg.scrollIntoView({ block: "nearest" });
    };
    row.tabIndex = 0;
    row.addEventListener("click", show);
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") show(); });
  }
  draw();
})();
